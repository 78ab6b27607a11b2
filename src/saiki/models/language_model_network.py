"""The network of a language model: embedding, recurrent layers, softmax, and the ways it is run.

    x_t → E[x_t] → dropout → recurrent layers, dropout between → h_t → -ln softmax(W h_t + b)_{x_{t+1}}

Dropout is locked: one mask a stream and window, the same at each of its steps (Gal & Ghahramani 2016). The
last layer, of `saiki.nn.softmax`, hands h on, so the stack's output is h and the loss asks that layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from saiki.core.checks import require_int
from saiki.core.errors import OptionError
from saiki.core.ragged import Ragged
from saiki.engine import Session, available, session
from saiki.models.options import Array, Layer, recurrent_layer
from saiki.nn import DropoutConfig, Embedding, EmbeddingConfig, Stack, StackState
from saiki.nn.recurrent import RecurrentLayer
from saiki.nn.softmax import AdaptiveSoftmax, FullSoftmax, SampledSoftmax, SoftmaxLayer

HEAD = "softmax"  # the last layer's name
EMBEDDING_RANGE = (
    0.1  # tokens' vectors begin uniform in ±0.1, as in Zaremba et al. 2014 and Merity et al. 2018
)
CHUNK = 4096  # steps that are read at once where no gradient is wanted


class SoftmaxOption:
    """Which softmax: one of the values below."""

    type: ClassVar[str]


@dataclass(frozen=True)
class Full(SoftmaxOption):
    """A score for each token."""

    type: ClassVar[str] = "full"


@dataclass(frozen=True)
class Adaptive(SoftmaxOption):
    """`AdaptiveSoftmax`.

    Args:
        cutoffs: where the short list and the groups end; None: a twentieth and a quarter of the vocabulary.
    """

    cutoffs: tuple[int, ...] | None = None
    type: ClassVar[str] = "adaptive"

    def __post_init__(self) -> None:
        if self.cutoffs is not None:
            object.__setattr__(
                self, "cutoffs", tuple(require_int(c, "a cutoff", low=1) for c in self.cutoffs)
            )

    def of(self, classes: int) -> tuple[int, ...]:
        """The cutoffs for so many tokens."""
        if self.cutoffs is not None:
            return self.cutoffs
        if classes < 8:
            raise OptionError(
                f"softmax='adaptive' makes groups of rare tokens, and there are {classes} tokens in all.",
                "Use softmax='full'.",
            )
        return max(1, classes // 20), max(2, classes // 4)


@dataclass(frozen=True)
class Sampled(SoftmaxOption):
    """`SampledSoftmax`.

    Args:
        samples: S, tokens drawn for an update.
    """

    samples: int = 1024
    type: ClassVar[str] = "sampled"

    def __post_init__(self) -> None:
        require_int(self.samples, "samples", low=1)


SOFTMAXES: dict[str, type[SoftmaxOption]] = {kind.type: kind for kind in (Full, Adaptive, Sampled)}


def layers_of(
    vocabulary: int,
    *,
    cell: str,
    hidden_size: int,
    num_layers: int,
    embedding_size: int | None,
    dropout: float,
    engine: str | None,
    network: Sequence[Layer] | None,
) -> list[Layer]:
    """The layer configs below the softmax: the shorthand, or an embedding and the layers given."""
    size = hidden_size if embedding_size is None else embedding_size
    layers: list[Layer] = [EmbeddingConfig(num_embeddings=vocabulary, size=size)]
    if network is not None:
        return [*layers, *network]
    drop: list[Layer] = [DropoutConfig(p=dropout, locked=True)] if dropout > 0 else []
    layers += drop
    for _ in range(num_layers):
        layers += [recurrent_layer(cell, hidden_size, False, engine), *drop]
    return layers


def build(
    layers: Sequence[Layer],
    vocabulary: int,
    *,
    tied: bool | None,
    softmax: SoftmaxOption,
    initial: float | None,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device | str | None = None,
) -> Stack:
    """The whole stack, the softmax last.

    Args:
        layers: from `layers_of`.
        vocabulary: V.
        tied: whether the word vectors are the softmax's W as well; None: where the sizes agree.
        softmax: which.
        initial: every weight starts uniform in ±initial; None: as each layer does, tokens' vectors in ±0.1.
        generator: for weights, masks and samples.
        dtype: of the parameters.
        device: where they live.
    Raises:
        OptionError: the layers pool over time, or tied goes with an adaptive softmax.
        ShapeError: tied weights of two sizes.
    """
    below = Stack.build(layers, 1, generator=generator, dtype=dtype, device=device)
    if below.pooled:
        raise OptionError(
            "the network pools over time, and a language model says a word at every step.",
            "Leave the pooling layer out.",
        )
    embedding = next(layer for layer in below.layers.values() if isinstance(layer, Embedding))
    fits = embedding.size == below.output_size
    if tied and isinstance(softmax, Adaptive):
        raise OptionError(
            "tied=True makes every word vector a row of W, and the adaptive softmax has none for rare words.",
            "Leave tied out, or use softmax='full' or 'sampled'.",
        )
    head: SoftmaxLayer
    H = below.output_size
    if isinstance(softmax, Adaptive):
        head = AdaptiveSoftmax(
            H, vocabulary, softmax.of(vocabulary), generator=generator, dtype=dtype, device=device
        )
    else:
        shared = embedding if tied or (tied is None and fits) else None
        head = FullSoftmax(H, vocabulary, tied=shared, generator=generator, dtype=dtype, device=device)
        if isinstance(softmax, Sampled):
            head = SampledSoftmax(head, softmax.samples, generator=generator)
    stack = Stack([*below.layers.items(), (HEAD, head)], input_size=1)
    with torch.no_grad():
        weights = [embedding.weight] if initial is None else list(stack.parameters())
        for weight in weights:
            if not weight.is_meta:
                reach = EMBEDDING_RANGE if initial is None else initial
                drawn = torch.rand(weight.shape, generator=generator, dtype=weight.dtype)
                weight.copy_((2 * drawn - 1) * reach)
    return stack


def start_from_shares(network: Stack, ids: Array) -> None:
    """Let the softmax's b start at ln of each token's share, so that training starts at the loss of unigrams.

    An adaptive softmax starts at zero, its groups equally likely.

    Args:
        network: from `build`.
        ids: (n,) tokens of the training text.
    """
    head = head_of(network)
    full = head.full if isinstance(head, SampledSoftmax) else head
    if isinstance(full, FullSoftmax):
        counts = (
            np.bincount(ids, minlength=full.classes) + 1.0
        )  # one that is only in other texts has some share
        with torch.no_grad():
            full.bias.copy_(torch.from_numpy(np.log(counts / counts.sum())))


def head_of(network: Stack) -> SoftmaxLayer:
    """The softmax of a stack that `build` made."""
    head = network.layers[HEAD]
    assert isinstance(head, SoftmaxLayer)
    return head


class VocabularyLoss:
    """-ln p of the next token, as the trainer takes it: outputs are h, the softmax is asked.

    Args:
        layer: the network's last.
    """

    def __init__(self, layer: SoftmaxLayer) -> None:
        self.layer = layer

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(N,) nats a token, of h (N, H) and tokens (N,)."""
        return self.layer.losses(outputs, targets)


def token_scores(network: Stack, ids: Array, start: int) -> Array:
    """(n,) float64 ln p of each token given all before it, nats: a text read as one stream, from its start.

    Args:
        network: in evaluation mode.
        ids: (n,) tokens.
        start: the token before them.
    """
    head, device = head_of(network), next(network.parameters()).device
    read = np.concatenate([np.array([start], dtype=np.int64), ids[:-1]])
    found: list[Array] = []
    state: StackState | None = None
    with torch.inference_mode():
        for at in range(0, len(ids), CHUNK):
            chunk = Ragged.from_list([torch.from_numpy(read[at : at + CHUNK]).to(device)])
            h, state = network.run(chunk, state)
            assert isinstance(h, Ragged)
            said = torch.from_numpy(ids[at : at + CHUNK]).to(device)
            found.append(-head.losses(h.data, said).double().cpu().numpy())
    return np.concatenate(found) if found else np.zeros(0)


class Reader:
    """Reads texts side by side, token by token, and says what may come next. The state is a value.

    Where the native kernels have every cell, their weights are packed once, at the first step: a reader does
    not see what is learned after it.

    Args:
        network: a stack that `build` made, in evaluation mode.
    """

    def __init__(self, network: Stack) -> None:
        self.network = network
        self.head = head_of(network)
        self.device = next(network.parameters()).device

    def read(self, texts: Sequence[Array], state: StackState | None = None) -> tuple[Array, StackState]:
        """Read some tokens of each of B texts.

        Args:
            texts: B arrays of tokens, at least one token each.
            state: where they stand; None: at their start.
        Returns:
            (B, V) float64 ln p of the token that comes next, and where the texts stand now.
        """
        with torch.inference_mode():
            batch = Ragged.from_list([torch.from_numpy(np.asarray(t)).to(self.device) for t in texts])
            h, after = self.network.run(batch, state)
            assert isinstance(h, Ragged)
            return self._say(h.last()), after

    def states(self, texts: Sequence[Array]) -> StackState:
        """Where B texts stand after some tokens, perhaps none, of each."""
        with torch.inference_mode():
            arrays = [torch.from_numpy(np.asarray(t, dtype=np.int64)).to(self.device) for t in texts]
            return self.network.run(Ragged.from_list(arrays))[1]

    def step(self, tokens: Array, state: StackState) -> tuple[Array, StackState]:
        """Read one token (B,) of each of B texts; see `read`."""
        if self._layers is None:
            return self.read(tokens[:, None], state)  # type: ignore[arg-type]
        with torch.inference_mode():
            x = torch.from_numpy(tokens[:, None])  # one id a row
            after: list[tuple[Tensor, ...]] = []
            for layer, sessions in self._layers:
                if not sessions:
                    out = layer(x)
                    assert isinstance(out, Tensor)
                    x = out
                    continue
                reached = []
                for k, session in enumerate(sessions):
                    before = session.cell.state_type(*(value[k].contiguous() for value in state[len(after)]))
                    reached.append(session.step(x.contiguous(), before))
                    x = getattr(reached[-1], session.cell.output)
                after.append(tuple(torch.stack(values) for values in zip(*reached)))
            return self._say(x), tuple(after)

    @cached_property
    def _layers(self) -> list[tuple[torch.nn.Module, tuple[Session, ...]]] | None:
        """The layers below the softmax, recurrent ones with their packed weights; None where a cell has no
        kernel here.
        """
        made: list[tuple[torch.nn.Module, tuple[Session, ...]]] = []
        for layer in list(self.network.layers.values())[:-1]:
            sessions: tuple[Session, ...] = ()
            if isinstance(layer, RecurrentLayer):
                cells = [(cell, layer._parameters_of(k, "")) for k, cell in enumerate(layer.cells)]
                kind = str(cells[0][1]["weight_hh"].dtype).removeprefix("torch.")
                if any("cpu" not in available(c, self.device, p["weight_hh"].dtype) for c, p in cells):
                    return None
                sessions = tuple(session(cell, params, weights=kind) for cell, params in cells)
            made.append((layer, sessions))
        return made

    def _say(self, h: Tensor) -> Array:
        return np.asarray(self.head.log_probabilities(h).double().cpu().numpy())


def chosen_rows(state: StackState, rows: Array) -> StackState:
    """The state of some of the texts, in this order; a text may come twice."""
    index = torch.from_numpy(np.asarray(rows, dtype=np.int64))
    return tuple(tuple(value.index_select(1, index.to(value.device)) for value in part) for part in state)
