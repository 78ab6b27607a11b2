"""Prefix beam search against exhaustive search, its plain twin, and its promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from all_paths import exhaustive, random_rows, same_readings

from saiki import engine
from saiki.core.errors import DTypeError, LengthError, OptionError, ShapeError, ValueRangeError
from saiki.core.ragged import Ragged
from saiki.decoding import Fusion, Lexicon, PrefixBeam, ctc_greedy

EVERYTHING = 4096  # wider than any small case has prefixes


def ranked(truths):
    return sorted(truths.items(), key=lambda item: -item[1].total)


@pytest.mark.parametrize(
    ("T", "K", "blank"), [(1, 2, 0), (2, 3, 2), (4, 3, 1), (5, 4, 0), (6, 3, 0), (4, 5, 4)]
)
def test_a_wide_beam_is_exhaustive(search, rng, T, K, blank):
    rows = random_rows(rng, T, K)
    truth = ranked(exhaustive(rows, blank))
    found = PrefixBeam(width=EVERYTHING, best=len(truth), blank=blank).decode([rows])[0]
    assert len(found) == len(truth)
    assert math.fsum(math.exp(h.score) for h in found) == pytest.approx(1, abs=1e-9)
    for hypothesis, (labels, exact) in zip(found, truth):
        assert hypothesis.labels == labels
        assert hypothesis.log_probability == pytest.approx(exact.total, abs=1e-10)
        assert hypothesis.language == 0.0


def test_time_stamps_are_those_of_the_best_alignment(search, rng):
    for _ in range(8):
        rows = random_rows(rng, 6, 3)
        truth = exhaustive(rows)
        for hypothesis in PrefixBeam(width=EVERYTHING, best=200).decode([rows])[0]:
            exact = truth[hypothesis.labels]
            assert (hypothesis.starts, hypothesis.ends) == (exact.starts, exact.ends)


def test_the_best_labels_need_not_be_the_best_path(search):
    """The textbook's case: blank .6, a .4, twice; the best path is empty, yet "a" has .64."""
    rows = torch.tensor([[0.6, 0.4], [0.6, 0.4]], dtype=torch.float64).log()
    assert ctc_greedy([rows])[0].labels == ()
    best = PrefixBeam(width=3).decode([rows])[0][0]
    assert best.labels == (1,)
    assert math.exp(best.score) == pytest.approx(0.64)


@pytest.mark.parametrize("width", [1, 2, 3, 7, 20])
@pytest.mark.parametrize(
    "options",
    [{}, {"blank_skip": 0.6}, {"label_floor": 0.05}, {"margin": 3.0}, {"margin": 6.0, "blank_skip": 0.7}],
    ids=str,
)
def test_both_searches_agree(rng, width, options):
    pytest.importorskip("saiki._native", reason="the native extension was not built")
    batch = [random_rows(rng, T, 6) for T in (14, 0, 1, 9, 25)]
    beam = PrefixBeam(width=width, best=width, **options)
    ours = beam.decode(batch)
    with engine.use("reference"):
        same_readings(ours, beam.decode(batch))


def test_both_searches_settle_ties_alike(rng):
    pytest.importorskip("saiki._native", reason="the native extension was not built")
    rows = torch.full((5, 4), math.log(0.25), dtype=torch.float64)
    for width in (1, 2, 3, 5, 8, 13):
        beam = PrefixBeam(width=width, best=width)
        ours = beam.decode([rows])
        with engine.use("reference"):
            same_readings(ours, beam.decode([rows]))


@pytest.mark.parametrize("chunks", [(1,) * 20, (7, 13), (3, 0, 5, 12), (20,)])
def test_chunks_equal_the_whole(search, rng, chunks):
    logits = 2 * torch.randn(20, 3, 5, generator=rng)
    lengths = torch.tensor([20, 11, 0])
    beam = PrefixBeam(width=6, best=6, blank_skip=0.8)
    session = beam.start(3)
    begin = 0
    for count in chunks:
        here = (lengths - begin).clamp(0, count)
        session.advance(logits[begin : begin + count], here)
        begin += count
    assert session.hypotheses() == beam.decode(logits, lengths)  # to the last bit


def test_a_session_may_be_asked_on_the_way(search, rng):
    rows = random_rows(rng, 12, 4)
    beam = PrefixBeam(width=5, best=5)
    session = beam.start()
    assert [h.labels for h in session.hypotheses()[0]] == [()]
    session.advance([rows[:5]])
    assert session.hypotheses() == beam.decode([rows[:5]])
    assert session.hypotheses(2) == [beam.decode([rows[:5]])[0][:2]]
    session.advance([rows[5:]])
    assert session.hypotheses() == beam.decode([rows])


def test_batch_mates_threads_and_padding_do_not_matter(rng):
    pytest.importorskip("saiki._native", reason="the native extension was not built")
    logits = torch.randn(15, 7, 6, generator=rng)
    lengths = [15, 3, 8, 0, 15, 1, 12]
    beam = PrefixBeam(width=8, best=3)
    together = beam.decode(logits, lengths)
    padded = logits.clone()
    for b, length in enumerate(lengths):
        assert beam.decode(logits[:length, b : b + 1])[0] == together[b]
        padded[length:, b] = torch.nan
    assert beam.decode(padded, lengths) == together
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert beam.decode(logits, lengths) == together
    finally:
        torch.set_num_threads(before)
    assert beam.decode(Ragged.of(logits, lengths)) == together
    assert beam.decode(logits.requires_grad_(), lengths) == together


def test_skipped_frames_are_blanks(search):
    """A skipped blank still parts two equal labels, and still costs its own probability."""
    probabilities = [[0.1, 0.8, 0.1], [0.98, 0.01, 0.01], [0.1, 0.8, 0.1], [0.99, 0.005, 0.005]]
    rows = torch.tensor(probabilities, dtype=torch.float64).log()
    found = PrefixBeam(width=10, blank_skip=0.95).decode([rows])[0][0]
    assert found.labels == (1, 1) and found.starts == (0, 2) and found.ends == (1, 3)
    assert found.score == pytest.approx(math.log(0.8 * 0.98 * 0.8 * 0.99))
    all_frames = PrefixBeam(width=10).decode([rows])[0][0]
    assert all_frames.labels == (1, 1) and all_frames.score > found.score


def test_skipping_nothing_and_flooring_nothing_change_nothing(search, rng):
    rows = [random_rows(rng, 12, 5)]
    plain = PrefixBeam(width=6, best=6).decode(rows)
    assert PrefixBeam(width=6, best=6, blank_skip=1.0, label_floor=0.0, margin=1e9).decode(rows) == plain


def test_a_wider_beam_finds_no_worse(search, rng):
    rows = [random_rows(rng, 20, 6, scale=1.0)]
    scores = [PrefixBeam(width=w).decode(rows)[0][0].score for w in (1, 10, 100)]
    assert scores[0] < scores[2] and scores[1] <= scores[2] + 1e-9


def test_a_prefix_that_comes_back_is_the_same_prefix(search):
    """Pruned and grown again while a longer one lives: its sums must not be split between two copies."""
    generator = torch.Generator().manual_seed(7)
    for _ in range(30):
        rows = random_rows(generator, 9, 3, scale=3.0)
        found = PrefixBeam(width=3, best=3).decode([rows])[0]
        assert len({h.labels for h in found}) == len(found)


def test_long_streams_do_not_grow(rng):
    """Many more frames than nodes are kept: what is swept away is not needed."""
    pytest.importorskip("saiki._native", reason="the native extension was not built")
    path = torch.randint(5, (4000,), generator=rng)
    noise = torch.randn(4000, 5, generator=rng, dtype=torch.float64)
    rows = torch.log_softmax(7 * torch.nn.functional.one_hot(path, 5) + noise, dim=-1)
    beam = PrefixBeam(width=40, best=3)
    session = beam.start()
    for part in rows.split(777):
        session.advance([part])
    found = session.hypotheses()[0]
    assert found == beam.decode([rows])[0] and len({h.labels for h in found}) == 3
    for h in found:
        assert len(h.labels) == len(h.starts) == len(h.ends)
        assert all(a < b for a, b in zip(h.starts, h.ends))
        assert all(b <= a for b, a in zip(h.ends, h.starts[1:]))
    greedy = ctc_greedy([rows])[0]
    assert found[0].score >= greedy.score  # the sum holds the best path


def ctc_value(rows, labels):
    """ln p(labels) by the forward variables, blank 0."""
    extended = [0]
    for label in labels:
        extended += [label, 0]
    S = len(extended)
    extended = np.array(extended)
    skip = np.r_[False, False, (extended[2:] != 0) & (extended[2:] != extended[:-2])]
    alpha = np.full(S, -np.inf)
    alpha[:2] = rows[0, extended[:2]]
    for row in rows[1:]:
        one = np.r_[-np.inf, alpha[:-1]]
        two = np.where(skip, np.r_[-np.inf, -np.inf, alpha[:-2]], -np.inf)
        alpha = np.logaddexp(np.logaddexp(alpha, one), two) + row[extended]
    return float(np.logaddexp(alpha[-1], alpha[-2]))


def test_scores_are_those_of_the_forward_variables(search, rng):
    rows = random_rows(rng, 8, 4)
    for h in PrefixBeam(width=EVERYTHING, best=50).decode([rows])[0]:
        if h.labels:
            assert h.score == pytest.approx(ctc_value(rows.numpy(), h.labels), abs=1e-9)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"width": 0}, ValueRangeError, "width is 0"),
        ({"width": 2.5}, DTypeError, "width is 2.5"),
        ({"width": 4, "best": 5}, OptionError, "best is 5 but the beam keeps 4 prefixes"),
        ({"best": 0}, ValueRangeError, "best is 0"),
        ({"blank": 3}, ValueRangeError, "blank is 3"),
        ({"blank": -1}, ValueRangeError, "blank is -1"),
        ({"blank_skip": 1.5}, ValueRangeError, "blank_skip is 1.5"),
        ({"label_floor": -0.1}, ValueRangeError, "label_floor is -0.1"),
        ({"margin": 0}, ValueRangeError, "margin is 0"),
        ({"language": 3}, DTypeError, "language is int but must be a Fusion or None"),
        ({"lexicon": ["a"]}, DTypeError, "lexicon is list but must be a Lexicon or None"),
        ({"normalized": 1}, DTypeError, "normalized is 1"),
    ],
    ids=str,
)
def test_options_that_cannot_be(options, error, said):
    with pytest.raises(error, match=said):
        PrefixBeam(**options).decode(torch.zeros(4, 1, 3))


def test_chunks_that_do_not_belong(search, rng):
    session = PrefixBeam().start(2)
    with pytest.raises(LengthError, match="the chunk has 1 utterances but the session was started for 2"):
        session.advance(torch.zeros(4, 1, 3))
    session.advance(torch.zeros(4, 2, 3), [4, 2])
    with pytest.raises(ShapeError, match="the chunk has 5 classes but those before had 3"):
        session.advance(torch.zeros(4, 2, 5))
    broken = torch.zeros(4, 2, 3)
    broken[1, 1, 0] = torch.nan
    with pytest.raises(ValueRangeError, match="utterance 1, frame 3: a number is NaN"):  # after its 2
        session.advance(broken)
    with pytest.raises(ValueRangeError, match="best is 26"):
        session.hypotheses(26)


def test_what_nothing_can_follow_ends(search):
    """A lexicon whose words the rows make impossible leaves no hypothesis, and breaks nothing."""
    rows = torch.log(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]], dtype=torch.float64))
    beam = PrefixBeam(lexicon=Lexicon.of(["a"], "_ab", separator=None), language=Fusion(Zeros()))
    assert beam.decode([rows, rows[:0]]) == [[], [beam.decode([rows[:0]])[0][0]]]


class Zeros:
    def score(self, prefix):
        return np.zeros(3)
