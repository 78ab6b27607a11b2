"""Greedy decoding: by hand, beside a loop, and what it refuses."""

from __future__ import annotations

import itertools

import pytest
import torch

from saiki.core.errors import DTypeError, LabelError, ShapeError, ValueRangeError
from saiki.core.ragged import Ragged
from saiki.decoding import Hypothesis, Word, ctc_collapse, ctc_greedy


def collapse_by_hand(path, blank):
    merged = [key for key, _ in itertools.groupby(path)]
    return tuple(k for k in merged if k != blank)


def peaks(path, K):
    """Logits whose best path is this one."""
    return 4.0 * torch.nn.functional.one_hot(torch.tensor(path), K).double()


@pytest.mark.parametrize("blank", [0, 2, 4])
def test_every_short_path_collapses_as_by_hand(blank):
    for T in range(1, 5):
        for path in itertools.product(range(5), repeat=T):
            labels, starts, ends = ctc_collapse(path, blank)
            assert labels == collapse_by_hand(path, blank)
            for k, start, end in zip(labels, starts, ends):
                assert set(path[start:end]) == {k}
                assert start == 0 or path[start - 1] != k
                assert end == T or path[end] != k


def test_a_batch_is_decoded_in_its_own_order(rng):
    paths = [[0, 1, 1, 0, 1], [], [2, 2], [0, 0, 0], [1, 2, 0, 2, 2, 1]]
    batch = Ragged.of([peaks(path, 3) if path else torch.zeros(0, 3).double() for path in paths])
    found = ctc_greedy(batch)
    assert [h.labels for h in found] == [(1, 1), (), (2,), (), (1, 2, 2, 1)]
    assert found[4].starts == (0, 1, 3, 5) and found[4].ends == (1, 2, 5, 6)
    one = float(torch.log_softmax(peaks([0], 3), -1)[0, 0])
    for hypothesis, path in zip(found, paths):
        assert hypothesis.score == pytest.approx(len(path) * one, abs=1e-12)


def test_padding_and_batch_mates_do_not_matter(rng):
    logits = torch.randn(9, 3, 5, generator=rng)
    lengths = [9, 4, 6]
    padded = logits.clone()
    for b, length in enumerate(lengths):
        padded[length:, b] = torch.nan
    together = ctc_greedy(padded, lengths)
    for b, length in enumerate(lengths):
        assert ctc_greedy(logits[:length, b : b + 1])[0] == together[b]


def test_text_and_words_with_their_frames():
    tokens = ["", "a", "b", " "]
    h = Hypothesis((3, 1, 2, 3, 3, 2), (0, 1, 3, 5, 7, 9), (1, 2, 4, 6, 8, 11), -1.0)
    assert h.text(tokens) == " ab  b"
    assert h.words(tokens) == (Word("ab", 1, 4), Word("b", 9, 11))
    with pytest.raises(LabelError, match="tokens has 2 entries, but a label is 3"):
        h.text(["", "a"])


def test_bad_outputs_are_named():
    logits = torch.zeros(4, 2, 3)
    for value, said in ((torch.nan, "a number is NaN"), (torch.inf, r"a number is \+inf")):
        broken = logits.clone()
        broken[2, 1, 0] = value
        with pytest.raises(ValueRangeError, match=rf"utterance 1, frame 2: {said}"):
            ctc_greedy(broken)
    broken = logits.clone()
    broken[3, 0] = -torch.inf
    with pytest.raises(ValueRangeError, match="utterance 0, frame 3: nothing is possible"):
        ctc_greedy(broken)
    with pytest.raises(ValueRangeError, match=r"blank is 3 but must be a whole number"):
        ctc_greedy(logits, blank=3)
    with pytest.raises(ShapeError, match=r"each frame of logits is \(\)"):
        ctc_greedy(torch.zeros(4, 2))
    with pytest.raises(DTypeError, match=r"torch.int64 but must hold floating"):
        ctc_greedy(torch.zeros(4, 2, 3, dtype=torch.int64))


def test_log_probabilities_may_come_as_they_are():
    rows = torch.tensor([[0.5, 0.2, 0.1]]).log().unsqueeze(1)  # they add up to 0.8
    assert ctc_greedy(rows, normalized=True)[0].score == pytest.approx(float(torch.tensor(0.5).log()))
    assert ctc_greedy(rows)[0].score == pytest.approx(float(torch.tensor(0.5 / 0.8).log()))
