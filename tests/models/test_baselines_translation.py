"""The simple translators, on pairs small enough to see what must come out."""

from __future__ import annotations

import numpy as np

from saiki.data.tokens import TextCodec
from saiki.models.baselines_translation import (
    likeliest,
    nearest_target,
    token_for_token,
    translation_baselines,
)


def test_the_nearest_source_gives_its_target():
    train = (["the cat", "a dog", "7"], ["die Katze", "ein Hund", "sieben"])
    assert nearest_target(train, ["a dog!", "that cat", "7", "?"]) == [
        "ein Hund",
        "die Katze",
        "sieben",
        "die Katze",
    ]


def test_model_1_finds_the_dictionary():
    """The classic example: each word is seen with each of two others, and only one reading explains all."""
    left = [np.array([0, 1]), np.array([0, 2]), np.array([3, 2])]  # das Haus, das Buch, ein Buch
    right = [np.array([0, 1]), np.array([0, 2]), np.array([3, 2])]  # the house, the book, a book
    assert likeliest(left, right, 5, 4).tolist() == [0, 1, 2, 3, -1]


def test_token_for_token_keeps_the_source_order_and_drops_what_it_never_saw():
    sources = ["das Haus", "das Buch", "ein Buch"]
    targets = ["the house", "the book", "a book"]
    codecs = tuple(TextCodec.fit(texts, "whitespace") for texts in (sources, targets))
    assert token_for_token((sources, targets), ["ein Haus", "Buch neu das"], codecs) == [
        "a house",
        "book the",
    ]


def test_every_method_is_measured():
    sources, targets = ["aa", "ab", "bb"], ["x x", "x y", "x x"]
    codecs = (TextCodec.fit(sources, "characters"), TextCodec.fit(targets, "whitespace"))
    said = []

    def measure(texts):
        said.append(texts)
        return {"count": float(len(texts))}

    rows = translation_baselines((sources, targets), ["ab", "b"], codecs, measure)
    assert [row["count"] for row in rows] == [2.0] * 4 and len({row["name"] for row in rows}) == 4
    assert said[0] == ["ab", "b"] and said[1] == ["x x", "x x"] and said[2][0] == "x y"
