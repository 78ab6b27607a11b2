"""The best path, against all paths."""

from __future__ import annotations

import itertools

import pytest
import torch

from saiki import Ragged, losses
from saiki.core.errors import DTypeError, ShapeError
from saiki.decoding import viterbi


def test_it_is_the_best_of_all_paths(rng):
    for K in (1, 2, 4):
        tables = [torch.randn(T, K, K, dtype=torch.float64, generator=rng) for T in (3, 0, 1, 4, 3, 2)]
        potentials = Ragged.from_list(tables)
        found = viterbi(potentials)
        assert found.labels.data.dtype == torch.int64
        torch.testing.assert_close(losses.crf_score(potentials, found.labels), found.scores)
        for table, labels, score in zip(tables, found.labels.to_list(), found.scores):
            scores = {
                path: sum(float(table[t, i, j]) for t, (i, j) in enumerate(zip((0, *path[:-1]), path)))
                for path in itertools.product(range(K), repeat=len(table))
            }
            best = max(scores, key=scores.get)
            assert tuple(labels.tolist()) == best
            assert float(score) == pytest.approx(scores[best], abs=1e-12)


def test_a_path_that_the_steps_alone_would_not_choose():
    """Each step alone prefers label 1, but 1 may not follow 1."""
    table = torch.tensor([[[0.0, 1.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, float("-inf")]]])
    found = viterbi(Ragged.from_list([table]))
    assert found.labels.data.tolist() in ([0, 1], [1, 0]) and found.scores.tolist() == [1.0]


def test_what_is_no_chain_is_refused():
    with pytest.raises(DTypeError, match="must be a Ragged of floating numbers"):
        viterbi(torch.zeros(2, 3, 3))
    with pytest.raises(ShapeError, match=r"is \(3,\) but must be \(K, K\)"):
        viterbi(Ragged.from_list([torch.zeros(2, 3)]))
