"""Prefix beam search in the extension (csrc/beam.cpp): what it is told, and its answers."""

from __future__ import annotations

import math
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from saiki.core.ragged import Ragged
from saiki.decoding.hypothesis import Hypothesis
from saiki.decoding.language import Fusion, LabelNGram, WordNGram
from saiki.decoding.lexicon import Lexicon
from saiki.decoding.ngram import NGram
from saiki.decoding.plain_beam import Settings

__all__ = ["NativeSearch"]

# the extension's copies of models and lexica, made once each
_COPIES: WeakKeyDictionary[NGram | Lexicon, Any] = WeakKeyDictionary()


class NativeSearch:
    """B utterances, searched on as many threads as torch has.

    Args:
        module: `saiki._native`.
        settings: the options.
        B: utterances.
        K: classes.
    """

    def __init__(self, module: Any, settings: Settings, B: int, K: int) -> None:  # noqa: ANN401
        self._settings = settings
        self._fusion = settings.fusion
        self._K = K
        language, weight, bonus = None, 0.0, 0.0
        if self._fusion is not None:
            language = _language(module, self._fusion)
            weight, bonus = float(self._fusion.weight), float(self._fusion.bonus)
        self._external = language is not None and len(language) == 0
        self._search = module.Beam(
            B=B,
            K=K,
            width=settings.width,
            blank=settings.blank,
            log_skip=settings.log_skip,
            floor=settings.floor,
            margin=settings.margin,
            lexicon=None if settings.lexicon is None else _lexicon(module, settings.lexicon),
            language=language,
            weight=weight,
            bonus=bonus,
        )

    def advance(self, batch: Ragged) -> None:
        """Read more frames."""
        ask = self._ask if self._external else None
        self._search.advance(batch.data, batch.batch_sizes, batch.order, ask, torch.get_num_threads())

    def hypotheses(self, count: int, final: bool) -> list[list[Hypothesis]]:
        """The best of each utterance, at most `count`."""
        # what the end adds is known to an outside model alone, and may change the order of all in the beam
        rescored = final and self._external and hasattr(self._fusion.model, "end")  # type: ignore[union-attr]
        found = self._search.hypotheses(self._settings.width if rescored else count, final)
        readings = [[Hypothesis(*reading) for reading in utterance] for utterance in found]
        return [self._ended(utterance)[:count] for utterance in readings] if rescored else readings

    def _ask(self, prefixes: list[tuple[int, ...]]) -> np.ndarray[Any, Any]:
        assert self._fusion is not None
        return np.ascontiguousarray(self._fusion.added(prefixes, self._K))

    def _ended(self, readings: list[Hypothesis]) -> list[Hypothesis]:
        assert self._fusion is not None
        ended = []
        for h in readings:
            added = h.language + self._fusion.finished(h.labels)
            if added > -math.inf:
                ended.append(Hypothesis(h.labels, h.starts, h.ends, h.log_probability, added))
        return sorted(ended, key=lambda h: -h.score)


def _language(module: Any, fusion: Fusion) -> tuple[Any, ...]:  # noqa: ANN401
    """The model as the extension takes it; empty for one that it asks through Python."""
    model = fusion.model
    if isinstance(model, LabelNGram):
        return (_ngram(module, model.model), model.numbers, model.model.start, model.model.end)
    if isinstance(model, WordNGram):
        spelling = model.spelling
        return (
            _ngram(module, model.model),
            model.numbers,
            model.model.start,
            model.model.end,
            _lexicon(module, spelling),
            spelling.separator,
            model.unknown,
        )
    return ()


def _ngram(module: Any, model: NGram) -> Any:  # noqa: ANN401
    if model not in _COPIES:
        _COPIES[model] = module.NGram(
            len(model.words),
            model.first,
            model.word,
            model.log_probability,
            model.backoff,
            model.suffix,
            model.state,
        )
    return _COPIES[model]


def _lexicon(module: Any, lexicon: Lexicon) -> Any:  # noqa: ANN401
    if lexicon not in _COPIES:
        _COPIES[lexicon] = module.Automaton(
            lexicon.first, lexicon.label, lexicon.target, lexicon.accepting.astype(np.int64)
        )
    return _COPIES[lexicon]
