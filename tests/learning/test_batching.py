"""Mini-batches, clipping, early stopping."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saiki import learning as L
from saiki.core.errors import OptionError


def waste(lengths, parts):
    """Share of a padded batch that would be padding."""
    padded = sum(int(lengths[p].max()) * len(p) for p in parts)
    return 1 - int(lengths.sum()) / padded


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 40), max_size=70),
    st.one_of(st.integers(1, 80), st.none(), st.just("all")),
    st.integers(0, 5),
    st.integers(1, 4),
    st.booleans(),
    st.booleans(),
)
def test_every_sequence_comes_once(lengths, size, seed, epoch, shuffle, bucket):
    lengths = torch.tensor(lengths, dtype=torch.int64)
    options = {"seed": seed, "epoch": epoch, "shuffle": shuffle, "bucket": bucket}
    parts = L.batches(lengths, size, **options)
    flat = torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64)
    assert sorted(flat.tolist()) == list(range(len(lengths)))
    assert all(0 < len(p) <= (len(lengths) if isinstance(size, str | None) else size) for p in parts)
    again = L.batches(lengths, size, **options)
    assert all(torch.equal(a, b) for a, b in zip(parts, again))  # pure


def test_bucketing_wastes_little_and_mixing_stays():
    lengths = torch.randint(1, 200, (3000,), generator=torch.Generator().manual_seed(0))
    bucketed = L.batches(lengths, 16, seed=1, epoch=1)
    plain = L.batches(lengths, 16, seed=1, epoch=1, bucket=False)
    assert waste(lengths, plain) > 0.4
    assert waste(lengths, bucketed) < 0.05
    means = torch.tensor([lengths[p].double().mean() for p in bucketed])
    drift = torch.corrcoef(torch.stack([means, torch.arange(len(means), dtype=torch.float64)]))[0, 1]
    assert abs(drift) < 0.2  # the batches do not come in order of length
    other = L.batches(lengths, 16, seed=1, epoch=2)
    assert {tuple(sorted(p.tolist())) for p in bucketed} != {tuple(sorted(p.tolist())) for p in other}


def test_batch_mini_batch_and_single_sample():
    lengths = torch.full((7,), 3)
    assert [len(p) for p in L.batches(lengths, None, seed=0, epoch=1)] == [7]
    assert [len(p) for p in L.batches(lengths, "all", seed=0, epoch=1)] == [7]
    assert [len(p) for p in L.batches(lengths, 3, seed=0, epoch=1)] == [3, 3, 1]
    assert [len(p) for p in L.batches(lengths, 1, seed=0, epoch=1)] == [1] * 7
    assert torch.equal(torch.cat(L.batches(lengths, 3, seed=0, epoch=1, shuffle=False)), torch.arange(7))
    with pytest.raises(OptionError, match="batch_size is 'some'"):
        L.batches(lengths, "some", seed=0, epoch=1)
    with pytest.raises(ValueError, match="batch_size is 0"):
        L.batches(lengths, 0, seed=0, epoch=1)


def test_clipping_worked_by_hand():
    g = {"a": torch.tensor([3.0], dtype=torch.float64), "b": torch.tensor([4.0], dtype=torch.float64)}
    assert L.global_norm(g) == 5.0
    clipped = L.clip_by_norm(g, 1.0)
    assert clipped["a"].item() == pytest.approx(0.6, abs=2e-16) and clipped["b"].item() == pytest.approx(
        0.8, abs=2e-16
    )
    assert L.clip_by_norm(g, 5.0)["b"] is g["b"]  # short enough: untouched
    assert {n: v.item() for n, v in L.clip_by_value(g, 3.5).items()} == {
        "a": 3.0,
        "b": 3.5,
    }  # the direction turns
    assert L.global_norm({}) == 0.0
    with pytest.raises(ValueError, match="clip_norm is 0"):
        L.clip_by_norm(g, 0)


def test_the_norm_of_large_float32_gradients_does_not_overflow():
    g = {"a": torch.full((4,), 1e30)}
    assert L.global_norm(g) == pytest.approx(2e30, rel=1e-6)
    assert L.global_norm(L.clip_by_norm(g, 1.0)) == pytest.approx(1.0, rel=1e-6)
    assert not math.isfinite(L.global_norm({"a": torch.tensor([float("nan")])}))


@pytest.mark.parametrize("scale", [1.0, 1e25], ids=["in float32", "beyond its squares"])
def test_the_norm_of_a_large_gradient_is_summed_in_blocks(scale):
    g = {
        "a": scale * torch.randn(300, 301, generator=torch.Generator().manual_seed(0)).t(),
        "b": torch.ones(3),
    }
    exact = math.sqrt(sum(float(value.double().square().sum()) for value in g.values()))
    assert L.global_norm(g) == pytest.approx(exact, rel=1e-6)
    g["a"][0, 0] = float("nan")
    assert math.isnan(L.global_norm(g))


def test_early_stopping_counts_evaluations_without_a_new_best():
    rule, state = L.EarlyStopping(patience=2), L.Stopping()
    history = []
    for update, loss in enumerate([5.0, 3.0, 3.0, 4.0, 1.0], start=1):
        state = state.observe(loss, 10 * update, update)
        history.append((state.best, state.best_update, state.waited, rule.stops(state)))
    assert history == [
        (5.0, 10, 0, False),
        (3.0, 20, 0, False),
        (3.0, 20, 1, False),  # an equal loss is no new best
        (3.0, 20, 2, True),
        (1.0, 50, 0, False),
    ]
    assert not L.EarlyStopping(None).stops(L.Stopping(1.0, 1, 1, 10**6))
    with pytest.raises(ValueError, match="patience is 0"):
        L.EarlyStopping(0)
