"""Greedy CTC decoding: the best class of each frame, runs merged, blanks left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from saiki.core.ragged import Ragged
from saiki.decoding.emissions import log_probabilities_of
from saiki.decoding.hypothesis import Hypothesis
from saiki.engine.dispatch import selected
from saiki.engine.native import native

__all__ = ["ctc_collapse", "ctc_greedy"]


def ctc_greedy(
    logits: Any,  # noqa: ANN401
    lengths: Any = None,  # noqa: ANN401
    *,
    blank: int = 0,
    normalized: bool = False,
) -> list[Hypothesis]:
    """The labels of each utterance's most probable path.

        π*_t = argmax_k p_t(k)        labels = π* with runs merged and blanks left out

    The most probable path need not belong to the most probable labels: those are what `PrefixBeam` looks for.
    Of equal classes the lowest is taken.

    Args:
        logits: (T, B, K) before the softmax, or a Ragged, a list of (T_i, K) arrays, a PackedSequence.
        lengths: (B,) frames in use of a padded array; None: all.
        blank: class index of the blank.
        normalized: the rows are log-probabilities already, and taken as they stand.
    Returns:
        B hypotheses in the user's order; `log_probability` is Σ_t ln p_t(π*_t), a label's frames are its run.
    Raises:
        ShapeError, DTypeError, ValueRangeError: as `log_probabilities_of`.
    Source: Graves et al. 2006, section 3.2 (best path decoding).
    """
    batch = log_probabilities_of(logits, lengths, blank=blank, normalized=normalized)
    module = native()
    if selected() == "reference" or isinstance(module, str):
        return plain_greedy(batch, blank)
    found = module.ctc_greedy(batch.data, batch.batch_sizes, batch.order, blank, torch.get_num_threads())
    return [Hypothesis(*reading) for reading in found]


def plain_greedy(batch: Ragged, blank: int) -> list[Hypothesis]:
    """The same in numpy, the twin of csrc/beam.cpp; for checked log-probabilities."""
    found = []
    for rows in batch.to_list():
        values = rows.numpy()
        path = values.argmax(axis=1) if len(values) else np.zeros(0, dtype=np.int64)
        # in order and in double precision, as the native loop adds
        total = 0.0
        for t, k in enumerate(path):
            total += float(values[t, k])
        labels, starts, ends = ctc_collapse(path, blank)
        found.append(Hypothesis(labels, starts, ends, total))
    return found


def ctc_collapse(path: Any, blank: int = 0) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:  # noqa: ANN401
    """The labels a path stands for, and the frames of each.

    Args:
        path: (T,) a class a frame.
        blank: class index of the blank.
    Returns:
        labels, first frames, frames after the last: three tuples of equal length.
    Source: Graves et al. 2006, section 3.1 (the map B).
    """
    steps = np.asarray(path, dtype=np.int64).reshape(-1)
    if steps.size == 0:
        return (), (), ()
    first = np.flatnonzero(np.r_[True, steps[1:] != steps[:-1]])
    after = np.r_[first[1:], steps.size]
    kept = steps[first] != blank
    labels, starts, ends = steps[first][kept], first[kept], after[kept]
    return tuple(labels.tolist()), tuple(starts.tolist()), tuple(ends.tolist())
