"""The options of an encoder-decoder; what they mean is said in `saiki.nn.encoder_decoder`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

from saiki.cells import Cell
from saiki.core.checks import require_bool, require_int, require_probability
from saiki.core.errors import DTypeError, OptionError
from saiki.core.names import choose
from saiki.nn.attention import SCORES
from saiki.nn.basic import MAX_EMBEDDINGS, MAX_SIZE
from saiki.nn.configs import (
    CellConfig,
    ElementwiseLSTMConfig,
    GRUConfig,
    JordanConfig,
    LSTMConfig,
    RecurrentConfig,
    RNNConfig,
)
from saiki.nn.flow import kind

_CONTEXTS = {name: name for name in ("attention", "initial", "every_step")}
_SUMMARIES = {name: name for name in ("last", "mean", "both_ends")}
_CELLS: dict[str, type[RecurrentConfig]] = {
    "elman": RNNConfig,
    "jordan": JordanConfig,
    "lstm": LSTMConfig,
    "gru": GRUConfig,
    "elementwise_lstm": ElementwiseLSTMConfig,
}


@final
@dataclass(frozen=True, kw_only=True)
class EncoderDecoderConfig:
    """What an `EncoderDecoder` is.

    Args:
        source_size: V, symbols of the source.
        target_size: V', symbols of the target, those for start and end included.
        hidden_size: H, units of each layer of the decoder, and of each direction of the encoder unless
            `encoder_size` says otherwise.
        cell: of both: "lstm", "gru", "elman", "jordan", "elementwise_lstm", or a subclass of
            `saiki.cells.Cell`.
        cell_options: the cell's own options, such as {"peepholes": True}.
        num_layers: recurrent layers of the encoder, and of the decoder.
        bidirectional: whether the encoder reads in both directions.
        encoder_size: units of each direction of the encoder; `hidden_size` if not given.
        embedding_size: width of the vectors of both vocabularies; None: unit vectors, no parameters.
        dropout: probability of a zero while training: on embeddings, between layers, and on o_t.
        context: what the decoder knows of the source: "attention", "initial" or "every_step".
        summary: the source as one vector: "last", "mean" or "both_ends"; if not given "both_ends" of a
            bidirectional encoder and "last" of another.
        score: of attention: "additive", "general" or "dot".
        attention_size: units of the additive score; H if not given.
        input_feeding: with attention: o_{t-1} is part of the decoder's input.
        feed_previous: whether the decoder reads the symbol before; False needs "every_step".
        scheduled_sampling: probability, while training, that the symbol before is the network's own best
            guess and not the true one.
        sampling_updates: training batches over which that probability rises from 0, evenly; 0: it is there
            from the start.
        engine: which engine runs the recurrences; None leaves the choice to `saiki.engine`.
    Raises:
        OptionError, DTypeError, ValueRangeError: an option is unknown, out of range, or contradicts another.
    """

    source_size: int
    target_size: int
    hidden_size: int = 256
    cell: str | Callable[..., Cell[Any, Any]] = "lstm"
    cell_options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    num_layers: int = 1
    bidirectional: bool = True
    encoder_size: int | None = None
    embedding_size: int | None = 128
    dropout: float = 0.0
    context: str = "attention"
    summary: str | None = None
    score: str = "general"
    attention_size: int | None = None
    input_feeding: bool = False
    feed_previous: bool = True
    scheduled_sampling: float = 0.0
    sampling_updates: int = 0
    engine: str | None = None

    def __post_init__(self) -> None:
        for name, high in (("source_size", MAX_EMBEDDINGS), ("target_size", MAX_EMBEDDINGS)):
            require_int(getattr(self, name), name, 1, high)
        for name in ("encoder_size", "embedding_size", "attention_size"):
            if getattr(self, name) is not None:
                require_int(getattr(self, name), name, 1, MAX_SIZE)
        for name in ("bidirectional", "input_feeding", "feed_previous"):
            require_bool(getattr(self, name), name)
        for name in ("dropout", "scheduled_sampling"):
            require_probability(getattr(self, name), name)
        require_int(self.sampling_updates, "sampling_updates", 0)
        choose(self.context, _CONTEXTS, "context")
        choose(self.score, SCORES, "score")
        if self.summary is None:
            object.__setattr__(self, "summary", "both_ends" if self.bidirectional else "last")
        choose(self.summary or "", _SUMMARIES, "summary")
        if not isinstance(self.cell_options, Mapping):
            raise DTypeError(f"cell_options is {kind(self.cell_options)} but must be a table of options.")
        self._require_sense()
        self.recurrent(encoder=True)  # which checks the cell, its options and sizes
        self.recurrent(encoder=False)

    def _require_sense(self) -> None:
        """Refuse what contradicts itself."""
        if self.summary == "both_ends" and not self.bidirectional:
            raise OptionError(
                "summary='both_ends' joins the two directions, but bidirectional=False says there is one.",
                "Take summary='last'.",
            )
        if self.context != "attention":
            for name, given in (
                ("input_feeding", self.input_feeding),
                ("attention_size", self.attention_size),
            ):
                if given:
                    raise OptionError(f"{name}={given!r} needs context='attention', not {self.context!r}.")
        if self.attention_size is not None and self.score != "additive":
            raise OptionError(
                f"attention_size={self.attention_size} needs score='additive'; {self.score!r} has no units."
            )
        if not self.feed_previous and self.context != "every_step":
            raise OptionError(
                f"feed_previous=False leaves the decoder nothing to read with context={self.context!r}.",
                "Take context='every_step'.",
            )
        if not self.feed_previous and self.scheduled_sampling:
            raise OptionError("scheduled_sampling needs feed_previous=True: it is about the symbol before.")

    def recurrent(self, *, encoder: bool) -> RecurrentConfig:
        """The recurrent layers of the encoder or of the decoder."""
        size = self.hidden_size if not encoder or self.encoder_size is None else self.encoder_size
        common: dict[str, Any] = {
            "hidden_size": size,
            "num_layers": self.num_layers,
            "dropout": self.dropout if self.num_layers > 1 else 0.0,
            "bidirectional": encoder and self.bidirectional,
            "engine": self.engine,
        }
        if isinstance(self.cell, str):
            made = choose(self.cell, _CELLS, "cell")
            taken = {*common, "learn_initial_state"}  # the decoder starts from what the encoder says
            own = [name for name in made.__dataclass_fields__ if name not in taken]
            for name in self.cell_options:
                choose(name, dict.fromkeys(own), f"option of the cell {self.cell!r}")
            return made(**common, **self.cell_options)
        return CellConfig(cell=self.cell, options=self.cell_options, **common)
