"""Encoder and decoder: a sequence in, a sequence of other length and other symbols out.

    h_1 … h_S = encoder(x_1 … x_S)                  recurrent, usually in both directions
    s         = h_S,  (1/S) Σ h_s,  or  [h_S^→ ; h_1^←]         summary "last", "mean", "both_ends"
    z_t       = decoder cell(z_{t-1}, u_t)          h^z_t is its output
    p(y_t)    = softmax(W_o o_t + b_o)

What the decoder knows of the source is the choice `context`:

    "initial"     z_0 = tanh(W_z s + b_z)    u_t = E y_{t-1}           o_t = h^z_t
    "every_step"  z_0 = 0                    u_t = [E y_{t-1} ; s]     o_t = h^z_t
    "attention"   z_0 = tanh(W_z s + b_z)    u_t = E y_{t-1}           o_t = tanh(W_c [c_t ; h^z_t] + b_c)
                  c_t the weighted mean of h_1 … h_S with h^z_t for its query (`saiki.nn.attention`)
                  with `input_feeding`       u_t = [E y_{t-1} ; o_{t-1}],  o_0 = 0

With "initial" the source is told once and must be kept through all steps; with "every_step" it is told again
at each; with "attention" each step looks for itself. Without input feeding u_t needs no o_{t-1}, so training
runs the decoder in one call over all steps; with it step follows step.

`feed_previous=False` leaves E y_{t-1} out: the decoder reads the repeated context and nothing else.

Sources: Cho et al. 2014 and Sutskever, Vinyals & Le 2014 (the fixed vector); Bahdanau, Cho & Bengio 2015;
Luong, Pham & Manning 2015, eqs. 5, 6 and section 3.3 (o_t and input feeding); Bengio et al. 2015 (scheduled
sampling).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from saiki.core.checks import as_tensor, require_int
from saiki.core.errors import DTypeError, LengthError, OptionError, ValueRangeError
from saiki.core.ragged import Ragged
from saiki.core.random import generator as make_generator
from saiki.nn.attention import Attention, Memory, cut, from_padded_rows
from saiki.nn.basic import Dense, Dropout, Embedding
from saiki.nn.decoder_steps import DecoderState, DecoderSteps
from saiki.nn.encoder_decoder_config import EncoderDecoderConfig
from saiki.nn.flow import kind
from saiki.nn.one_hot import OneHot
from saiki.nn.pooling import Last, Mean
from saiki.nn.recurrent import RecurrentLayer
from saiki.nn.stack import Stack
from saiki.nn.summary import Summary, SummaryRow

__all__ = ["EncoderDecoder", "EncoderDecoderConfig", "EncoderDecoderInput"]


@final
@dataclass(frozen=True, eq=False)
class EncoderDecoderInput:
    """A batch of sources, with what the decoder is to read: the input of `EncoderDecoder`.

    Args:
        source: B sequences of ids, data (N,) int64.
        previous: B sequences of ids, in the same order, data (N',): at each step of the target the symbol
            before, so a start symbol and then all but the last symbol of the target.
    Raises:
        LengthError: not the same number of sequences.
        DTypeError: not ids.
    """

    source: Ragged
    previous: Ragged

    def __post_init__(self) -> None:
        for name in ("source", "previous"):
            value = getattr(self, name)
            if not isinstance(value, Ragged):
                raise DTypeError(f"{name} is {kind(value)} but must be a Ragged of ids.")
            if value.data.ndim != 1 or value.dtype.is_floating_point or value.dtype == torch.bool:
                raise DTypeError(
                    f"{name} has data {tuple(value.data.shape)} of {value.dtype} but must have ids, (N,)."
                )
        if self.source.B != self.previous.B:
            raise LengthError(
                f"there are {self.source.B} sources but {self.previous.B} sequences for the decoder."
            )

    @classmethod
    def of(
        cls, sources: Sequence[Any], targets: Sequence[Any], *, start: int, end: int
    ) -> tuple[EncoderDecoderInput, Ragged]:
        """The input for teacher forcing, and what is to be predicted.

            the decoder reads  <s> y_1 … y_T        and predicts  y_1 … y_T </s>

        Args:
            sources: B sequences of ids, (S_b,) each.
            targets: B sequences of ids, (T_b,) each, without start and end.
            start: id of <s>.
            end: id of </s>.
        Returns:
            The input; and B sequences of T_b + 1 ids, whose `data` are the targets of a step each.
        Raises:
            LengthError: not as many targets as sources.
            DTypeError: not ids; the sequence is named.
        """
        if len(sources) != len(targets):
            raise LengthError(f"there are {len(sources)} sources but {len(targets)} targets.")
        first, last = (
            torch.tensor([require_int(symbol, name, 0)]) for symbol, name in ((start, "start"), (end, "end"))
        )
        ids = [_ids(one, f"targets[{k}]") for k, one in enumerate(targets)]
        read = Ragged.from_list([torch.cat((first, one)) for one in ids])
        wanted = Ragged.from_list([torch.cat((one, last)) for one in ids])
        given = [_ids(one, f"sources[{k}]") for k, one in enumerate(sources)]
        return cls(Ragged.from_list(given, dtype=torch.int64), read), wanted

    @property
    def B(self) -> int:
        """Sequences."""
        return self.source.B

    @property
    def device(self) -> torch.device:
        """Where the ids are."""
        return self.source.device

    @property
    def steps(self) -> Ragged:
        """What the encoder's stack reads: the source."""
        return self.source

    def to(self, device: torch.device | str) -> EncoderDecoderInput:
        """The same on a device."""
        return EncoderDecoderInput(self.source.to(device), self.previous.to(device))

    def select(self, indices: Tensor) -> EncoderDecoderInput:
        """The sequences of these numbers, in this order."""
        return EncoderDecoderInput(self.source.select(indices), self.previous.select(indices))

    def sequence_sum(self, per_row: Tensor) -> Tensor:
        """Add up a value a step of the target over each sequence: (N', …) to (B, …)."""
        return self.previous.sequence_sum(per_row)


@final
class EncoderDecoder(torch.nn.Module):
    """Encoder and decoder; for the equations see the module, for the options `EncoderDecoderConfig`.

    Args:
        config: what it is.
        generator: for initial weights, dropout masks and scheduled sampling; the same state, the same bits.
        device: where the parameters live.
        dtype: of the parameters; torch's default if not given.
    Attributes:
        stack: the encoder, a `Stack` from ids to (N, M).
        decoder: the decoder's recurrent layers.

    Example:
        network = EncoderDecoder(EncoderDecoderConfig(source_size=30, target_size=40))
        inputs, wanted = EncoderDecoderInput.of(sources, targets, start=0, end=1)
        logits = network(inputs)  # a Ragged with the rows of `wanted`, data (N', 40)
        loss = cross_entropy(logits.data, wanted.data).mean()
    """

    batches: Tensor

    def __init__(
        self,
        config: EncoderDecoderConfig,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(config, EncoderDecoderConfig):
            raise DTypeError(f"config is {kind(config)} but must be an EncoderDecoderConfig.")
        self.config = config
        source = make_generator(generator)
        made: dict[str, Any] = {"generator": source, "dtype": dtype, "device": device}
        drop = config.dropout > 0

        def symbols(size: int) -> Embedding | OneHot:
            if config.embedding_size is None:
                return OneHot(size, dtype=dtype)
            return Embedding(size, config.embedding_size, **made)

        def recurrent(encoder: bool, width: int) -> RecurrentLayer:
            layer = config.recurrent(encoder=encoder).build(width, source, dtype, device)
            assert isinstance(layer, RecurrentLayer)
            return layer

        read = symbols(config.source_size)
        name = "embedding" if isinstance(read, Embedding) else "one_hot"
        lines: list[tuple[str, torch.nn.Module]] = [(name, read)]
        if drop and isinstance(read, Embedding):
            lines.append(("dropout", Dropout(config.dropout, generator=source)))
        lines.append(("encoder", recurrent(True, read.width(1))))
        self.stack = Stack(lines, input_size=1)
        M, H = self.stack.output_size, config.hidden_size
        self.summarise: Last | Mean = (
            Mean() if config.summary == "mean" else Last(both_ends=config.summary == "both_ends")
        )

        self.embedding = symbols(config.target_size) if config.feed_previous else None
        width = 0 if self.embedding is None else self.embedding.width(1)
        if config.context == "every_step":
            width += M
        if config.input_feeding:
            width += H
        self.decoder = recurrent(False, width)
        K, cell = self.decoder.output_size, self.decoder.cell
        self.bridge = (
            Dense(M, config.num_layers * sum(cell.state_sizes), activation="tanh", **made)
            if config.context != "every_step"
            else None
        )
        self.attention: Attention | None = None
        self.combine: Dense | None = None
        if config.context == "attention":
            size = config.attention_size if config.score == "additive" else None
            self.attention = Attention(K, M, score=config.score, size=size, **made)
            self.combine = Dense(M + K, H, activation="tanh", **made)
        self.dropout = Dropout(config.dropout, generator=source)
        self.head = Dense(H if self.combine is not None else K, config.target_size, **made)
        self.generator = make_generator(source, "scheduled sampling")
        if config.scheduled_sampling:
            # training batches so far: kept with the weights, so that a resumed run goes on where it was
            self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    # what it is

    @property
    def input_size(self) -> int:
        """1: ids."""
        return 1

    @property
    def output_size(self) -> int:
        """V', a score for each symbol of the target."""
        return self.config.target_size

    @property
    def sampling(self) -> float:
        """The probability of one's own symbol at the batch to come, while training."""
        p, ramp = self.config.scheduled_sampling, self.config.sampling_updates
        return p * min(1.0, int(self.batches) / ramp) if p and ramp else p

    # running

    def forward(self, inputs: EncoderDecoderInput) -> Ragged:
        """Score every symbol at every step of the target, given the true symbols before it.

        Args:
            inputs: B sources and what the decoder reads.
        Returns:
            Logits, data (N', V'), the rows of `inputs.previous`.
        Raises:
            ValueRangeError: an id outside its vocabulary; the message names its sequence and step.
            DTypeError: not an `EncoderDecoderInput`.
        """
        return self._decode(inputs)[0]

    def alignments(self, inputs: EncoderDecoderInput) -> list[Tensor]:
        """The weights α that each step of the target gives to the steps of the source: (T_b, S_b) each.

        Raises:
            OptionError: the network has no attention.
        """
        if self.attention is None:
            raise OptionError(
                f"there are no weights to show: the network has context={self.config.context!r}.",
                "Build it with context='attention'.",
            )
        weights = self._decode(inputs)[1]
        assert weights is not None
        return cut(weights, inputs.previous.lengths, inputs.source.lengths)

    def _decode(self, inputs: EncoderDecoderInput) -> tuple[Ragged, Tensor | None]:
        """Logits, and the weights (B, T, S) in the user's order."""
        if not isinstance(inputs, EncoderDecoderInput):
            raise DTypeError(
                f"inputs is {kind(inputs)} but must be an EncoderDecoderInput.",
                "Make one with EncoderDecoderInput.of(sources, targets, start=, end=).",
            )
        encoded = self._encode(inputs.source)
        whole = self.summarise(encoded)
        memory = None if self.attention is None else self.attention.memory(encoded)
        previous = inputs.previous
        if self.training and self.config.scheduled_sampling:
            previous = self._mixed(encoded, previous)
        if self.config.input_feeding:
            assert memory is not None
            return self._steps().unroll(self._read(previous), self._initial(whole, previous.B), memory)
        return self._at_once(previous, whole, memory)

    def _encode(self, source: Ragged) -> Ragged:
        encoded = self.stack(source)
        assert isinstance(encoded, Ragged)
        return encoded

    def _at_once(
        self, previous: Ragged, whole: Tensor, memory: Memory | None
    ) -> tuple[Ragged, Tensor | None]:
        """All steps in one call of the decoder."""
        parts = [] if self.embedding is None else [self._read(previous).data]
        if self.config.context == "every_step":
            parts.append(whole.index_select(0, previous.row_sequence))
        x = previous.with_data(parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1))
        initial = self._initial(whole, previous.B)
        hx = tuple(torch.stack([layer[k] for layer in initial]) for k in range(len(initial[0])))
        h = self.decoder(x, hx if len(hx) > 1 else hx[0], return_states=False)[0]
        weights = None
        out = h
        if memory is not None:
            assert self.attention is not None and self.combine is not None
            context, weights = self.attention(h.to_padded(batch_first=True), memory)
            both = torch.cat((from_padded_rows(context, h).data, h.data), dim=-1)
            out = self.combine(h.with_data(both))
        return self.head(self.dropout(out)), weights

    def _read(self, previous: Ragged) -> Ragged:
        """E y_{t-1} for every step of the target."""
        assert self.embedding is not None
        vectors = self.embedding(previous)
        read = self.dropout(vectors) if isinstance(self.embedding, Embedding) else vectors
        assert isinstance(read, Ragged)
        return read

    def _initial(self, whole: Tensor, B: int) -> tuple[tuple[Tensor, ...], ...]:
        """z_0 of each layer, (B, size) each, in the user's order."""
        cell, layers = self.decoder.cell, self.config.num_layers
        if self.bridge is None:
            start = self.decoder.initial_state(B)
            return tuple(tuple(part[k] for part in start) for k in range(layers))
        parts = iter(self.bridge(whole).split(list(cell.state_sizes) * layers, dim=-1))
        return tuple(tuple(next(parts) for _ in cell.state_sizes) for _ in range(layers))

    def _steps(self) -> DecoderSteps:
        return DecoderSteps.of(
            self.decoder, self.attention, self.combine, self.head, self.dropout, self.config.input_feeding
        )

    # one step at a time

    @torch.no_grad()
    def start(self, source: Ragged) -> DecoderState:
        """Read the sources; the state from which `step` goes on, one row a source, in the user's order.

        The decoder's weights are packed here, once for all steps, so a state is of the weights as they are
        now. Nothing has a gradient, and nothing is dropped.
        """
        if not isinstance(source, Ragged):
            raise DTypeError(f"source is {kind(source)} but must be a Ragged of ids.")
        with _undropped(self):
            return self._start(self._encode(source))

    def _start(self, encoded: Ragged) -> DecoderState:
        whole = self.summarise(encoded)
        return DecoderState(
            layers=self._initial(whole, encoded.B),
            fed=whole.new_zeros((encoded.B, self.config.hidden_size)) if self.config.input_feeding else None,
            whole=whole if self.config.context == "every_step" else None,
            memory=None if self.attention is None else self.attention.memory(encoded),
            attention=None,
            steps=self._steps().frozen(),
        )

    @torch.no_grad()
    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """One step: the scores of the next symbol of R sequences, and the state after it.

        Args:
            tokens: (R,) the symbol before, one a row of the state; the start symbol at first.
            state: from `start`, from the step before, or rows of it (`state.select`).
        Returns:
            Logits (R, V'), and the next state; its `attention` (R, S) are this step's weights, if any.
        """
        x = None
        if isinstance(self.embedding, OneHot):
            x = self.embedding(tokens)
        elif self.embedding is not None:
            weight = self.embedding.weight
            if not weight.is_cpu:  # over there a wrong index is no error that could be caught
                tokens = self.embedding._checked(tokens, tokens)
            try:
                x = torch.nn.functional.embedding(tokens, weight)
            except IndexError:
                raise ValueRangeError(
                    f"tokens holds {int(tokens.min())} to {int(tokens.max())} but the symbols of the target "
                    f"run from 0 to {self.config.target_size - 1}."
                ) from None
        return state.steps.advance(x, state)

    @torch.no_grad()
    def _mixed(self, encoded: Ragged, previous: Ragged) -> Ragged:
        """What the decoder reads in scheduled sampling: the true symbol, or its own best guess instead.

        No gradient goes through the choice of a symbol, so the symbols are found first, by the fast steps.
        """
        p = self.sampling
        self.batches.add_(1)
        own = torch.rand(previous.N, generator=self.generator) < p
        if not bool(own.any()):
            return previous
        state = self._start(encoded.detach()).select(previous.order[: previous.live])
        tokens = previous.data.clone()
        start, said = 0, tokens[: previous.live]
        for t, n in enumerate(previous.batch_sizes.tolist()):
            here = slice(start, start + n)
            if t:
                tokens[here] = torch.where(own[here].to(tokens.device), said[:n], tokens[here])
            state = state if n == state.rows else state.first(n)
            logits, state = self.step(tokens[here], state)
            said, start = logits.argmax(dim=-1), start + n
        return previous.with_data(tokens)

    # written down

    def summary(self, steps: int | None = None) -> Summary:
        """The table of parts, output shapes and parameters; `print` it.

        Args:
            steps: S, steps of a source, for the shapes; the letter S stands there if not given.
        """
        S: int | str = "S" if steps is None else require_int(steps, "steps", 0)
        inner = self.stack.summary(steps)
        rows = [SummaryRow("source", "", ("B", S), 0)]
        for row in inner.rows[1:]:
            rows.append(SummaryRow(row.name, row.kind, ("B", S, *row.shape[2:]), row.parameters))
        H, config = self.config.hidden_size, self.config
        K = self.decoder.output_size
        parts: list[tuple[str, torch.nn.Module | None, str, tuple[int | str, ...]]] = [
            ("summarise", self.summarise, str(config.summary), ("B", self.stack.output_size)),
            ("bridge", self.bridge, "", ("B", 0 if self.bridge is None else self.bridge.size)),
            ("target", self.embedding, "", ("B", "T", self.decoder.input_size)),
            ("decoder", self.decoder, "", ("B", "T", K)),
            ("attention", self.attention, config.score, ("B", "T", S)),
            ("combine", self.combine, "", ("B", "T", H)),
            ("head", self.head, "", ("B", "T", config.target_size)),
        ]
        for name, part, title, shape in parts:
            if part is None:
                continue
            if name == "target" and isinstance(part, Embedding | OneHot):
                shape = ("B", "T", part.width(1))
            what = type(part).__name__ + (f", {title}" if title and name == "attention" else "")
            count = sum(parameter.numel() for parameter in part.parameters())
            rows.append(SummaryRow(name, what, shape, count))
        trainable = sum(p.numel() for p in self.parameters() if p.requires_grad)
        return Summary(tuple(rows), trainable, sum(p.numel() for p in self.parameters()) - trainable)


def _ids(value: object, name: str) -> Tensor:
    """One sequence of ids, (T,) int64; DTypeError for anything else."""
    ids = as_tensor(value, name)
    if ids.ndim != 1 or (ids.numel() and (ids.dtype.is_floating_point or ids.dtype == torch.bool)):
        raise DTypeError(f"{name} is {kind(ids)} but must be a sequence of ids, whole numbers (T,).")
    return ids.long()


@contextmanager
def _undropped(network: torch.nn.Module) -> Iterator[None]:
    """No dropout inside; each module's mode is put back after."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
