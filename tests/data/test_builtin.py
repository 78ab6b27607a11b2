"""The built-in sets are what their sources say, and the generated ones what their papers say."""

from __future__ import annotations

import hashlib
from importlib import resources

import numpy as np
import pytest

from saiki.core.errors import OptionError, ValueRangeError
from saiki.data import DATASETS, load
from saiki.data.builtin import EMOJI


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_every_set_names_its_origin(name):
    data = load(name)
    assert data.name == name and data.description and data.source and data.licence
    assert len(data) > 0 and (data.table is None) != (not data.sequences)


def test_co2_is_the_file_it_says():
    file = resources.files("saiki.data") / "files" / "co2_weekly.csv"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert digest in (resources.files("saiki.data") / "files" / "SOURCE.md").read_text()
    data = load("co2")
    table = data.X
    assert "statsmodels" in data.source and "Keeling" in data.source and "Whorf" in data.source
    assert len(table) == 2284 and np.isnan(table["co2"]).sum() == 59
    assert table.frequency.name == "1 week" and table.frequency.season == 52 and table.gaps == ()
    assert table.time_style.write(table.times[[0, -1]]).tolist() == [19580329, 20011229]
    assert table["co2"][0] == 316.1 and table["co2"][-1] == 371.5


def test_digits():
    data = load("digits")
    assert len(data) == 1797 and data.sequences[0].shape == (8, 8)
    assert max(s.max() for s in data.sequences) == 1 and set(data.y.tolist()) == set(range(10))


def test_emoji_is_balanced_and_says_nothing_twice():
    file = resources.files("saiki.data") / "files" / "emoji.csv"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert digest in (resources.files("saiki.data") / "files" / "SOURCE.md").read_text()
    data = load("emoji")
    labels, counts = np.unique(data.y, return_counts=True)
    assert set(labels) == set(EMOJI) == set(data.classes) and (counts == 100).all()
    assert len({text.casefold() for text in data.X}) == 500
    assert all(5 <= len(text) <= 80 and text == text.strip() for text in data.X)


def test_sine_without_noise():
    table = load("sine", length=50, period=10.0, noise=0.0).table
    np.testing.assert_allclose(table["y"], np.sin(2 * np.pi * np.arange(50) / 10), atol=1e-12)
    several = load("sine", length=50, series=3).table
    assert several.lengths == (50, 50, 50) and several.id == "series"


def test_adding_in_the_unit_form():
    """Always answering 1 has the squared error 1/6; its standard deviation is sqrt(1/15 - 1/36) = 0.197."""
    data = load("adding", n=4000, T=20)
    for sequence, target in zip(data.sequences[:200], data.y, strict=False):
        marked = np.flatnonzero(sequence[:, 1])
        assert len(marked) == 2 and marked[0] < 10 <= marked[1] and (sequence[marked, 1] == 1).all()
        assert target == sequence[marked, 0].sum()
    error = np.mean((data.y - 1) ** 2)
    assert abs(error - 1 / 6) < 5 * np.sqrt(1 / 15 - 1 / 36) / np.sqrt(4000)


def test_adding_in_the_form_of_1997():
    """Always answering 0.5 has the squared error 1/24, standard deviation sqrt(1/240 - 1/576) = 0.0493,
    without the
    rare sequences in which the first pair is chosen."""
    T = 100
    data = load("adding", n=4000, T=T, form="1997")
    lengths = np.array([len(sequence) for sequence in data.sequences])
    assert lengths.min() == T and lengths.max() == T + T // 10
    usual = []
    for sequence, target in zip(data.sequences, data.y, strict=True):
        assert np.abs(sequence[:, 0]).max() <= 1
        assert sequence[0, 1] == sequence[-1, 1] == -1 and (sequence[1:-1, 1] >= 0).all()
        marked = np.flatnonzero(sequence[:, 1] == 1)
        assert target == pytest.approx(0.5 + sequence[marked, 0].sum() / 4, abs=1e-15)
        assert marked.max() < T // 2 - 1 and marked.min() < T // 2 - 1
        if len(marked) == 2:
            assert marked[0] < 10
            usual.append(target)
        else:
            assert len(marked) == 1  # the first pair was chosen, keeps its -1 and counts as 0
    share = 1 - len(usual) / len(data)
    assert abs(share - (0.1 + 0.9 / 48)) < 5 * np.sqrt(0.12 * 0.88 / 4000)
    error = np.mean((np.array(usual) - 0.5) ** 2)
    assert abs(error - 1 / 24) < 5 * np.sqrt(1 / 240 - 1 / 576) / np.sqrt(len(usual))


def test_copy_memory():
    data = load("copy_memory", n=5, T=30, symbols=8, length=10)
    for inputs, targets in zip(data.sequences, data.y, strict=True):
        assert inputs.shape == (50, 10) and (inputs.sum(axis=1) == 1).all() and targets.shape == (50,)
        steps = inputs.argmax(axis=1)
        assert (steps[:10] >= 1).all() and (steps[:10] <= 8).all()
        assert (steps[10:39] == 0).all() and (steps[39:] == 9).all()
        assert (targets[:40] == 0).all() and (targets[40:] == steps[:10]).all()


@pytest.mark.parametrize("name", ["sine", "adding", "copy_memory"])
def test_the_seed_decides(name):
    def numbers(seed):
        data = load(name, seed=seed)
        return (
            data.table["y"] if data.table is not None else np.concatenate([s.ravel() for s in data.sequences])
        )

    np.testing.assert_array_equal(numbers(3), numbers(3))
    assert not np.array_equal(numbers(3), numbers(4))


def test_refusals():
    with pytest.raises(OptionError, match="unknown data set 'co'; did you mean 'co2'"):
        load("co")
    with pytest.raises(OptionError, match="unknown option of data set 'sine' 'perod'; did you mean 'period'"):
        load("sine", perod=3)
    with pytest.raises(OptionError, match="form='1996'"):
        load("adding", form="1996")
    with pytest.raises(ValueRangeError):
        load("adding", T=5, form="1997")
