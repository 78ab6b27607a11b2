"""Forecaster(attention=True): weights over the past, told and drawn, and a row with and one without."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from saiki import Forecaster, load
from saiki.core.errors import OptionError
from saiki.core.ragged import Ragged
from saiki.models import searching
from saiki.nn import AttentionPool, LastConfig, LSTMConfig

QUICK = {
    "hidden_size": 6, "max_epochs": 3, "season": 8, "validation": 0.2, "random_state": 0, "verbose": False,
}  # fmt: skip
WITHOUT = "the same network without attention"


@pytest.fixture(scope="module")
def series():
    rng = np.random.default_rng(3)
    return np.sin(2 * np.pi * np.arange(160) / 8) + 0.1 * rng.standard_normal(160)


@pytest.fixture(scope="module")
def fitted(series):
    return Forecaster(4, 16, attention=True, **QUICK).fit(series)


def test_it_is_measured_with_and_without(fitted, series):
    plain = Forecaster(4, 16, **QUICK).fit(series)
    row = next(row for row in fitted.baselines_ if row["name"] == WITHOUT)
    assert row["mae"] == plain.metrics_["mae"] != fitted.metrics_["mae"]
    page = fitted.report()
    assert WITHOUT in page and "Attention over past steps" in page
    others = [other for other in fitted.baselines_ if other["name"] != WITHOUT]
    assert [other["name"] for other in others] == [other["name"] for other in plain.baselines_]
    with searching():
        quiet = Forecaster(4, 16, attention=True, **QUICK).fit(series)
    assert quiet.baselines_ == []


def test_weights_over_past_steps(fitted):
    (shown,) = fitted.details_["attention"]
    assert shown["layer"] == "attention"
    weights = np.array(shown["weights"])
    assert weights.shape == (12, 16) and (weights > 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)


def test_it_looks_where_the_answer_is():
    """A value at a marked step comes back at the end: the weight lies on that step."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((256, 12))
    marks = np.eye(12)[rng.integers(0, 10, 256)]
    x = torch.from_numpy(np.stack([values, marks], axis=-1)).float()
    y = torch.from_numpy((values * marks).sum(axis=1)).float()
    layer = AttentionPool(2, 8, last=True, generator=torch.Generator().manual_seed(0))
    head = torch.nn.Parameter(torch.zeros(4))
    optimiser = torch.optim.Adam([*layer.parameters(), head], lr=0.05)
    batch = Ragged.from_list(list(x))
    for _ in range(150):
        pooled = layer(batch)
        loss = ((pooled @ head - y) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    _, weights = layer(batch, return_weights=True)
    found = torch.stack(weights.to_list()).argmax(dim=1)
    assert (found == x[..., 1].argmax(dim=1)).float().mean() > 0.95


def test_saved_bidirectional_and_recursive(series, tmp_path, monkeypatch):
    monkeypatch.setattr(Forecaster, "report", lambda self: "<html></html>")  # drawn in the test above
    model = Forecaster(
        2, 8, attention=True, bidirectional=True, strategy="recursive", baselines=False, **QUICK
    ).fit(series)
    assert model.baselines_ == [] and model.layers_[-1][1].both_ends
    model.save(tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.attention is True
    np.testing.assert_array_equal(again.forecast(), model.forecast())


def test_what_makes_no_sense_is_refused(series):
    for options, said in (
        ({"mode": "stream"}, "attention is True, but it weighs the steps of a window"),
        ({"network": [LSTMConfig(hidden_size=4), LastConfig()]}, "network has one already"),
        ({"attention": "yes"}, "attention is 'yes'"),
    ):
        with pytest.raises((OptionError, TypeError), match=said):
            Forecaster(4, 16, **{"attention": True, **QUICK, **options}).fit(series)
