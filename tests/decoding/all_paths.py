"""Exhaustive search: every path of a small case, added up by what it collapses to."""

from __future__ import annotations

import itertools
import math
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch

from saiki.decoding import ctc_collapse


class Truth(NamedTuple):
    total: float  # ln of the sum over all paths
    best: float  # ln of the best path
    starts: tuple[int, ...]  # of the labels in that path
    ends: tuple[int, ...]


@cache
def every_path(T, K, blank):
    """(K^T, T) paths, and what each collapses to."""
    paths = np.array(list(itertools.product(range(K), repeat=T)), dtype=np.int64).reshape(-1, T)
    return paths, [ctc_collapse(path, blank) for path in paths]


def exhaustive(rows, blank=0):
    """labels -> Truth, for (T, K) log-probabilities."""
    rows = np.asarray(rows, dtype=np.float64)
    paths, collapsed = every_path(*rows.shape, blank)
    found = {}
    for value, (labels, starts, ends) in zip(rows[np.arange(len(rows)), paths].sum(axis=1), collapsed):
        if value == -math.inf:
            continue
        before = found.get(labels, Truth(-math.inf, -math.inf, (), ()))
        best = (float(value), starts, ends) if value > before.best else before[1:]
        found[labels] = Truth(float(np.logaddexp(before.total, value)), *best)
    return found


def random_rows(rng, T, K, scale=2.0):
    """(T, K) log-probabilities."""
    return torch.log_softmax(scale * torch.randn(T, K, generator=rng, dtype=torch.float64), dim=-1)


def same_readings(ours, theirs, tolerance=1e-9):
    """Labels and frames equal, numbers up to rounding."""
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs):
        assert [h.labels for h in mine] == [h.labels for h in other]
        assert [(h.starts, h.ends) for h in mine] == [(h.starts, h.ends) for h in other]
        for a, b in zip(mine, other):
            assert a.log_probability == pytest.approx(b.log_probability, abs=tolerance)
            assert a.language == pytest.approx(b.language, abs=tolerance)
