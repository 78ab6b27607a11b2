"""The generated tasks are what their papers say; `sine`, `adding`, `copy_memory`: see test_builtin.py."""

from __future__ import annotations

import re

import numpy as np
import pytest

from saiki.core.errors import LabelError, OptionError, ShapeError, ValueRangeError
from saiki.data import REBER_SYMBOLS, load, reber_successors

WORD = re.compile("B(TS*X|PT*V)(.*)E")


def text(codes) -> str:
    return "".join(REBER_SYMBOLS[code] for code in codes)


def whole(data, k: int) -> str:
    """Word k, its last symbol from the targets."""
    return text([*data.sequences[k].argmax(axis=1), data.y[k][-1]])


# The grammar as a regular expression: TS*X leads to place 4, PT*V to place 5; from 4 X leads to 3 and so over
# T*V to 5, from 5 P leads back to 4; S ends at 4, V at 5.
LOOP = "(XT*VP)*"
AT_4, AT_5 = f"{LOOP}(S|XT*VV)", "(PXT*V)*(V|PS)"
REBER = f"B(TS*X{AT_4}|PT*V{AT_5})E"


def test_reber_words_are_of_the_grammar():
    data = load("reber", n=500, embedded=False)
    words = [whole(data, k) for k in range(500)]
    assert all(re.fullmatch(REBER, word) for word in words)
    assert min(map(len, words)) == 5 and {"BTXSE", "BPVVE"} <= set(words)
    starts = np.mean([word[1] == "T" for word in words])
    assert abs(starts - 0.5) < 5 * 0.5 / np.sqrt(500)


def test_embedded_words_end_as_they_begin():
    data = load("reber", n=500)
    words = [whole(data, k) for k in range(500)]
    assert all(re.fullmatch(f"B(T{REBER}T|P{REBER}P)E", word) for word in words)
    for inputs, targets in zip(data.sequences, data.y, strict=True):
        assert inputs.shape == (len(targets), 7) and (inputs.sum(axis=1) == 1).all()
        np.testing.assert_array_equal(inputs[1:].argmax(axis=1), targets[:-1])


def test_a_stream_is_words_one_after_another():
    data = load("continual_reber", n=2, length=800, seed=5)
    for k in range(2):
        assert data.sequences[k].shape == (800, 7)
        stream = whole(data, k)
        assert len(stream) == 801
        done = re.match(f"(B(T{REBER}T|P{REBER}P)E)*", stream)
        assert done is not None and 801 - done.end() < 60  # the last word is cut off
    assert whole(data, 0) != whole(data, 1)


def test_successors_know_the_outer_symbol():
    codes = [REBER_SYMBOLS.index(symbol) for symbol in "BTBPVVETEBPBTXSEPE"]
    allowed = reber_successors(np.eye(7)[codes])
    said = ["".join(s for s, ok in zip(REBER_SYMBOLS, row) if ok) for row in allowed]
    assert said == "TP B TP TV PV E T E B TP B TP SX XS E P E B".replace("XS", "SX").split()


def test_successors_hold_what_comes():
    """Whatever the stream goes on with is allowed, and where two symbols are, both come."""
    data = load("continual_reber", length=3000, seed=1)
    inputs, targets = data.sequences[0], data.y[0]
    allowed = reber_successors(inputs)
    assert allowed[np.arange(3000), targets].all()
    assert set(allowed.sum(axis=1)) == {1, 2}
    two = allowed.sum(axis=1) == 2
    first = allowed[two].argmax(axis=1) == targets[two]
    assert abs(first.mean() - 0.5) < 5 * 0.5 / np.sqrt(two.sum())


def test_successors_refuse_what_is_no_word():
    wrong = np.eye(7)[[REBER_SYMBOLS.index(symbol) for symbol in "BTBS"]]
    with pytest.raises(LabelError, match="step 3 is S, but the embedded Reber grammar has T or P there"):
        reber_successors(wrong)
    with pytest.raises(ShapeError, match=r"\(4, 6\) but must be \(T, 7\)"):
        reber_successors(wrong[:, :6])


def test_timing_to_measure():
    data = load("timing", n=400, gap=20, kinds=3, seed=2)
    for sequence, kind in zip(data.sequences, data.y, strict=True):
        spikes = np.flatnonzero(sequence[:, 0])
        assert len(spikes) == 2 and spikes[1] - spikes[0] == 20 + kind and spikes[1] == len(sequence) - 1
        assert spikes[0] < 10
    assert set(data.y.tolist()) == {0, 1, 2} and data.classes == ("20", "21", "22")
    # the length alone does not give it away
    assert len({len(s) for s, k in zip(data.sequences, data.y, strict=True) if k == 0}) == 10


def test_timing_to_generate():
    data = load("timing", form="generate", n=2, gap=10, length=35)
    assert (data.sequences[0] == 1).all() and data.sequences[0].shape == (35, 1)
    assert np.flatnonzero(data.y[1]).tolist() == [9, 19, 29]


def test_waves():
    data = load("waves", n=3, length=120, onset=70, fast=6.0, slow=30.0)
    for inputs, targets in zip(data.sequences, data.y, strict=True):
        x = np.append(inputs[:, 0], targets[-1])
        np.testing.assert_array_equal(x[1:], targets)
        for part, period, amplitude in ((x[:70], 6.0, 0.2), (x[70:], 30.0, 1.0)):
            again = 2 * np.cos(2 * np.pi / period) * part[1:-1] - part[:-2]  # a clean sine obeys this
            np.testing.assert_allclose(part[2:], again, atol=1e-12)
            assert 0.8 * amplitude < np.abs(part).max() <= amplitude
    noisy = load("waves", n=200, noise=0.1).sequences
    clean = load("waves", n=200).sequences
    assert np.std(np.array(noisy) - np.array(clean)) == pytest.approx(0.1, rel=0.05)


def test_marked():
    data = load("marked", n=2000, T=40, share=0.2)
    for sequence, targets in zip(data.sequences[:50], data.y, strict=False):
        last = 0.0
        for (value, mark), target in zip(sequence, targets, strict=True):
            last = value if mark == 1 else last
            assert target == last
    silent = 1 - np.mean(0.8 ** np.arange(1, 41))
    error = np.square(np.array(data.y)).mean(axis=1)  # a sequence's steps hang together
    assert abs(error.mean() - silent / 3) < 5 * error.std() / np.sqrt(2000)


@pytest.mark.parametrize("name", ["reber", "continual_reber", "timing", "waves", "marked"])
def test_the_seed_decides(name):
    def numbers(seed):
        return np.concatenate([s.ravel() for s in load(name, seed=seed).sequences])

    np.testing.assert_array_equal(numbers(3), numbers(3))
    assert not np.array_equal(numbers(3), numbers(4))


def test_refusals():
    with pytest.raises(OptionError, match="form='count' is unknown"):
        load("timing", form="count")
    with pytest.raises(ValueRangeError):
        load("waves", length=50, onset=51)
    with pytest.raises(ValueRangeError):
        load("marked", share=1.5)
