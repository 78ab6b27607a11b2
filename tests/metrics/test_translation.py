"""Exact matches and BLEU, against the formula worked out by hand."""

from __future__ import annotations

import math

import pytest

from saiki.core.errors import DTypeError, LengthError, OptionError
from saiki.metrics import bleu, exact_match


def test_exact_match_counts_any_right_answer():
    score = exact_match([["a", "b"], "c", ["d"]], ["b", "c", "x"])
    assert score == pytest.approx(2 / 3) and score.count == 3


def test_bleu_is_the_formula():
    """11 tokens said, 12 wanted: 10 of 11 words, 8 of 9 pairs, 6 of 7 triples, 4 of 5 fours are right."""
    pytest.importorskip("sacrebleu")
    targets = ["the cat sat on the mat", "a dog ran to a house"]
    said = ["the cat sat on the mat", "a dog ran to it"]
    shares = (10 / 11, 8 / 9, 6 / 7, 4 / 5)
    expected = 100 * math.exp(1 - 12 / 11) * math.exp(sum(map(math.log, shares)) / 4)
    score = bleu(targets, said)
    assert score == pytest.approx(expected, abs=1e-9) and score.count == 2
    assert bleu(targets, targets) == pytest.approx(100)


def test_bleu_takes_several_answers_and_text_that_is_cut_already():
    pytest.importorskip("sacrebleu")
    targets = [["one two three four five", "1 2 3 4 5"], ["a b c d"]]
    assert bleu(targets, ["1 2 3 4 5", "a b c d"]) == pytest.approx(100)
    said = ["ein hund , der läuft ."]
    assert bleu(["ein hund, der läuft."], said) == pytest.approx(100)
    assert bleu(["ein hund, der läuft."], said, tokenize="blanks") < 50
    assert bleu(["A B C D E"], ["a b c d e"], lowercase=True) == pytest.approx(100)


@pytest.mark.parametrize(
    ("targets", "said", "error", "message"),
    [
        (["a"], ["a", "b"], LengthError, "there are 1 targets and 2 hypotheses"),
        ([], [], LengthError, "there are 0 targets"),
        ("a", ["a"], DTypeError, "targets is str"),
        ([[]], ["a"], LengthError, r"targets\[0\] holds no text"),
        ([["a", 1]], ["a"], DTypeError, "entry 0 holds int"),
    ],
)
def test_what_cannot_be_compared(targets, said, error, message):
    with pytest.raises(error, match=message):
        exact_match(targets, said)


def test_an_unknown_tokenization_offers_the_nearest():
    with pytest.raises(OptionError, match="unknown BLEU tokenization '13b'"):
        bleu(["a"], ["a"], tokenize="13b")
