"""CTC prefix beam search: the most probable labels, not the most probable path."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from saiki.core.checks import require_bool, require_int, require_positive, require_probability
from saiki.core.errors import DTypeError, LabelError, LengthError, OptionError, ShapeError
from saiki.core.log import say_once
from saiki.core.ragged import Ragged
from saiki.decoding.emissions import log_probabilities_of
from saiki.decoding.hypothesis import Hypothesis
from saiki.decoding.language import Fusion, LabelNGram, WordNGram
from saiki.decoding.lexicon import Lexicon
from saiki.decoding.native_beam import NativeSearch
from saiki.decoding.plain_beam import PlainSearch, Settings
from saiki.engine.dispatch import selected
from saiki.engine.native import native

__all__ = ["BeamSession", "PrefixBeam"]


@dataclass(frozen=True, eq=False)
class PrefixBeam:
    """A prefix beam search with these options; it holds no state and serves any number of utterances.

        argmax_l  ln Σ p(π | input) + what the language model adds        over the paths π that collapse to l

    The sum runs over the alignments whose beginnings stay among the `width` best prefixes of each frame. An
    utterance's answer does not depend on its batch mates, on the number of threads, or on the chunks in which
    it comes. Runs in C++, in plain Python under `engine.use("reference")` or where the extension is missing.

    Args:
        width: prefixes that stay after each frame.
        best: hypotheses to give for an utterance, at most `width`.
        blank: class index of the blank.
        blank_skip: a frame whose blank has at least this probability counts as a blank, no label is tried,
            which saves most of the time. None: every frame counts.
        label_floor: classes less probable than this are taken as impossible in a frame, its best class aside.
            None: none are.
        margin: prefixes more than so many nats below the best are dropped. None: none are.
        language: a language model with its weight and bonus.
        lexicon: the label sequences that may be. An utterance of which no prefix in the beam is made of whole
            words at its end has no hypothesis.
        normalized: the input is log-probabilities already, and taken as they stand.
    Raises:
        DTypeError, ValueRangeError: an option of the wrong type or out of its range; where decoding begins.
    Source: Hannun et al. 2014, algorithm 1; Chen et al. 2016 (blank frames).

    Example:
        best = PrefixBeam(width=25).decode(logits)[0][0]
    """

    width: int = 25
    best: int = 1
    blank: int = 0
    blank_skip: float | None = None
    label_floor: float | None = None
    margin: float | None = None
    language: Fusion | None = None
    lexicon: Lexicon | None = None
    normalized: bool = False

    def decode(self, logits: Any, lengths: Any = None) -> list[list[Hypothesis]]:  # noqa: ANN401
        """The best hypotheses of each utterance.

        Args:
            logits: (T, B, K) before the softmax, or a Ragged, a list of (T_i, K) arrays, a PackedSequence.
            lengths: (B,) frames in use of a padded array; None: all.
        Returns:
            B lists in the user's order, the best first; `best` of them, or fewer where there are no more.
        Raises:
            ShapeError, DTypeError, ValueRangeError: as `log_probabilities_of`.
        """
        batch = log_probabilities_of(logits, lengths, blank=self._blank, normalized=self.normalized)
        session = self.start(batch.B)
        session._advance(batch)
        return session.hypotheses()

    def start(self, B: int = 1) -> BeamSession:
        """Begin to decode B utterances whose frames come in chunks.

        Raises:
            OptionError, DTypeError, ValueRangeError: an option that cannot be.
        """
        return BeamSession(self, require_int(B, "B", 0))

    @property
    def _blank(self) -> int:
        return require_int(self.blank, "blank", 0)

    def settings(self) -> Settings:
        """The options, checked, in the form that the searches take."""
        width = require_int(self.width, "width", 1, 1 << 20)
        require_int(self.best, "best", 1)
        if self.best > width:
            raise OptionError(
                f"best is {self.best} but the beam keeps {width} prefixes, so there are no more.",
                f"Use width={self.best} or more.",
            )
        require_bool(self.normalized, "normalized")
        log_skip, floor, margin = math.inf, -math.inf, math.inf
        if self.blank_skip is not None:
            probability = require_probability(self.blank_skip, "blank_skip")
            log_skip = math.log(probability) if probability > 0 else -math.inf
        if self.label_floor is not None:
            probability = require_probability(self.label_floor, "label_floor")
            floor = math.log(probability) if probability > 0 else -math.inf
        if self.margin is not None:
            margin = require_positive(self.margin, "margin")
        for name, value, kind in (("language", self.language, Fusion), ("lexicon", self.lexicon, Lexicon)):
            if value is not None and not isinstance(value, kind):
                raise DTypeError(
                    f"{name} is {type(value).__name__} but must be a {kind.__name__} or None.",
                    f"Wrap it: {kind.__name__}(…)." if kind is Fusion else "Build one with Lexicon.of(…).",
                )
        return Settings(width, self._blank, log_skip, floor, margin, self.language, self.lexicon)


class BeamSession:
    """B utterances on the way, made by `PrefixBeam.start`.

    Args:
        beam: the options.
        B: utterances.
    """

    def __init__(self, beam: PrefixBeam, B: int) -> None:
        self._beam = beam
        self._settings = beam.settings()
        self._B = B
        self._seen = torch.zeros(B, dtype=torch.int64)  # frames of each utterance
        self._K: int | None = None
        self._search: _Plain | NativeSearch | None = None

    @property
    def B(self) -> int:
        """Utterances."""
        return self._B

    def advance(self, logits: Any, lengths: Any = None) -> None:  # noqa: ANN401
        """Read the next frames of every utterance.

        Args:
            logits: a chunk of B utterances, in any form that `decode` takes; an utterance may have no frame.
            lengths: (B,) frames in use of a padded array; None: all.
        Raises:
            LengthError: not B utterances.
            ShapeError: another number of classes than before.
        """
        batch = log_probabilities_of(
            logits, lengths, blank=self._beam._blank, normalized=self._beam.normalized, before=self._seen
        )
        self._advance(batch)

    def _advance(self, batch: Ragged) -> None:
        if batch.B != self._B:
            raise LengthError(
                f"the chunk has {batch.B} utterances but the session was started for {self._B}."
            )
        K = batch.feature_shape[0]
        if self._K is None:
            self._begin(K)
        elif K != self._K:
            raise ShapeError(f"the chunk has {K} classes but those before had {self._K}.")
        assert self._search is not None
        self._search.advance(batch)
        self._seen += batch.lengths

    def hypotheses(self, best: int | None = None, *, final: bool = True) -> list[list[Hypothesis]]:
        """The best of each utterance so far; the session may go on afterwards.

        Args:
            best: how many; None: as many as the beam was told.
            final: the utterances end here: whole words alone, and with what the language model says of the
                end. False: as they stand, a word may be cut.
        Returns:
            B lists, the best first. Before the first frame the empty sequence is the only one.
        Raises:
            ValueRangeError: `best` is more than `width`.
        """
        count = self._beam.best if best is None else require_int(best, "best", 1, self._settings.width)
        require_bool(final, "final")
        if self._search is None:
            self._search_plainly()
        assert self._search is not None
        return self._search.hypotheses(count, final)

    def _search_plainly(self) -> None:
        """Before any frame nobody knows K, and there is nothing to search."""
        self._search = _Plain(self._settings, self._B)

    def _begin(self, K: int) -> None:
        self._K = K
        _check_classes(self._settings, K)
        module = native()
        if selected() == "reference" or isinstance(module, str):
            if isinstance(module, str):
                say_once("decoding without extension", f"prefix beam search runs in plain Python: {module}")
            self._search = _Plain(self._settings, self._B)
        else:
            self._search = NativeSearch(module, self._settings, self._B, K)


class _Plain:
    """B plain searches."""

    def __init__(self, settings: Settings, B: int) -> None:
        self._searches = [PlainSearch(settings) for _ in range(B)]

    def advance(self, batch: Ragged) -> None:
        for search, rows in zip(self._searches, batch.to_list()):
            search.advance(rows.numpy())

    def hypotheses(self, count: int, final: bool) -> list[list[Hypothesis]]:
        return [search.hypotheses(count, final) for search in self._searches]


def _check_classes(settings: Settings, K: int) -> None:
    """Refuse a lexicon or a language model that speaks of other classes."""
    lexica = [("lexicon", settings.lexicon)]
    if settings.fusion is not None:
        model = settings.fusion.model
        if isinstance(model, LabelNGram) and len(model.numbers) != K:
            raise ShapeError(
                f"the language model was given {len(model.numbers)} tokens but there are {K} classes.",
                "Give one token for each class, the blank's place included.",
            )
        if isinstance(model, WordNGram):
            lexica.append(("language model's spelling", model.spelling))
    for what, lexicon in lexica:
        if lexicon is None:
            continue
        if lexicon.classes != K:
            raise ShapeError(
                f"the {what} was given {lexicon.classes} tokens but there are {K} classes.",
                "Give one token for each class, the blank's place included.",
            )
        if bool((lexicon.label == settings.blank).any()):
            raise LabelError(
                f"the {what} spells words with class {settings.blank}, which is the blank.",
                "Give the blank's place a token that no word has, or say which class is blank.",
            )
