"""Vocabularies: every token has one id, an unknown one is `<unk>` or an error that names it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saiki.core.errors import DTypeError, LabelError, OptionError, SchemaError, ValueRangeError
from saiki.data.vocabulary import END, START, UNKNOWN, Vocabulary


def test_order_is_by_count_then_by_characters():
    made = Vocabulary.of([["b", "a", "b"], ["c", "a"]], specials=(UNKNOWN, START, END))
    assert made.tokens == ("<unk>", "<s>", "</s>", "a", "b", "c")
    assert len(made) == 6 and "b" in made and "z" not in made
    assert made.unknown == 0 and made.id("</s>") == 2


def test_unknown_tokens():
    made = Vocabulary.of([["a", "b"]])
    ids = made.encode(["b", "z", "a"])
    assert ids.dtype == np.int64 and ids.tolist() == [2, 0, 1]
    assert made.decode(ids) == ["b", "<unk>", "a"]
    closed = Vocabulary.of([["apple", "pear"]], specials=())
    assert closed.unknown is None
    with pytest.raises(LabelError) as caught:
        closed.encode(["pear", "appel"])
    assert str(caught.value) == (
        "token 'appel' at place 1 is not in the vocabulary, which has no <unk> to stand for it; known: "
        "'apple', 'pear'. Did you mean 'apple'?"
    )
    with pytest.raises(LabelError, match="unknown token 'zz'"):
        made.id("zz")


def test_size_and_count_limit():
    sequences = [["a"] * 5, ["b"] * 3, ["c"] * 2, ["d"]]
    assert Vocabulary.of(sequences, min_count=2).tokens == ("<unk>", "a", "b", "c")
    assert Vocabulary.of(sequences, max_size=3).tokens == ("<unk>", "a", "b")
    with pytest.raises(OptionError, match="1 tokens, such as 'd', are left out"):
        Vocabulary.of(sequences, min_count=2, specials=())
    with pytest.raises(ValueRangeError, match="max_size is 1, which the 1 special tokens fill alone"):
        Vocabulary.of(sequences, max_size=1)


def test_a_token_that_reads_like_a_special_one_is_it():
    made = Vocabulary.of([["the", "<unk>", "sat"]])
    assert made.tokens == ("<unk>", "sat", "the")
    assert made.encode(["<unk>"]).tolist() == [0]
    # without being special it is a token as any other
    assert Vocabulary.of([["<unk>"]], specials=()).unknown is None


def test_ids_outside_are_named():
    made = Vocabulary.of([["a", "b"]])
    for ids, place in ([0, 3], 1), ([-1], 0):
        with pytest.raises(LabelError, match=rf"id {ids[place]} at place {place} is outside.*ids 0 to 2"):
            made.decode(ids)
    with pytest.raises(DTypeError, match=r"ids are float64 of shape \(1,\)"):
        made.decode(np.array([0.5]))
    assert made.decode([]) == [] and made.encode([]).shape == (0,)


def test_a_text_is_no_sequence_of_tokens():
    with pytest.raises(DTypeError, match="sequence 0 is the text 'abc'"):
        Vocabulary.of(["abc"])
    with pytest.raises(DTypeError, match="tokens is the text 'abc'"):
        Vocabulary.of([["abc"]]).encode("abc")
    with pytest.raises(DTypeError, match="a token is 3"):
        Vocabulary.of([["a", 3]])
    with pytest.raises(LabelError, match="holds half of a surrogate pair"):
        Vocabulary(("\ud83d",))


@given(st.lists(st.lists(st.text(max_size=3), max_size=5), min_size=1), st.permutations(range(3)))
def test_everything_known_comes_back(sequences, order):
    specials = tuple((UNKNOWN, START, END)[place] for place in order)
    made = Vocabulary.of(sequences, specials=specials)
    for sequence in sequences:
        assert made.decode(made.encode(sequence)) == sequence
    again = Vocabulary.from_json(json.loads(json.dumps(made.to_json())))
    assert again == made and again.unknown == specials.index(UNKNOWN)


def test_bad_files():
    with pytest.raises(SchemaError, match="'a' stands twice"):
        Vocabulary.from_json({"tokens": ["a", "a"], "specials": []})
    with pytest.raises(SchemaError, match="'<unk>' is not among the tokens"):
        Vocabulary.from_json({"tokens": ["a"], "specials": ["<unk>"]})
    with pytest.raises(SchemaError, match="tokens"):
        Vocabulary.from_json({"tokens": ["a", 1], "specials": []})
    with pytest.raises(SchemaError, match="specials"):
        Vocabulary.from_json({"tokens": ["a"]})
