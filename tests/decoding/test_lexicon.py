"""The lexicon's automaton against regular expressions, and what it refuses."""

from __future__ import annotations

import itertools
import re

import pytest

from saiki.core.errors import DTypeError, LabelError, OptionError
from saiki.decoding import Lexicon

TOKENS = ["<blank>", "a", "b", "c", " "]
LETTERS = "_abc "


def accepted(lexicon, labels_of, longest=6):
    return {
        text
        for n in range(longest + 1)
        for text in map("".join, itertools.product(labels_of, repeat=n))
        if lexicon.accepts([LETTERS.index(c) for c in text])
    }


def matching(pattern, letters, longest=6):
    return {
        text
        for n in range(longest + 1)
        for text in map("".join, itertools.product(letters, repeat=n))
        if re.fullmatch(pattern, text)
    }


@pytest.mark.parametrize("words", [["a"], ["a", "ab", "b"], ["ab", "abc", "ca"], ["aa", "aaa", "abab"]])
def test_the_automaton_accepts_what_the_expression_does(words):
    word = "(" + "|".join(words) + ")"
    spaced = Lexicon.of(words, TOKENS)
    assert accepted(spaced, "ab ") == matching(f" *({word} +)*{word}?", "ab ")
    joined = Lexicon.of(words, TOKENS, separator=None)
    assert accepted(joined, "abc") == matching(f"{word}*", "abc")
    single = Lexicon.of(words, TOKENS, separator=None, repeat=False)
    assert accepted(single, "abc") == set(words)


def test_states_know_their_words():
    lexicon = Lexicon.of(["ab", "a"], TOKENS)
    a = lexicon.step(0, 1)
    assert lexicon.words[lexicon.word[a]] == "a"
    assert lexicon.words[lexicon.word[lexicon.step(a, 2)]] == "ab"
    assert lexicon.step(a, 3) == -1 and lexicon.step(-1, 1) == -1
    assert lexicon.step(a, 4) == 0


def test_words_may_be_spelled_in_other_tokens():
    tokens = ["", "HH", "AH", "L", "OW", "|"]
    lexicon = Lexicon.of(
        {"hello": [["HH", "AH", "L", "OW"], ["HH", "L", "OW"]], "low": ["L", "OW"], "lo": ["L", "OW"]},
        tokens,
        separator="|",
    )
    assert lexicon.accepts([1, 2, 3, 4, 5, 3, 4]) and lexicon.accepts([1, 3, 4])
    assert not lexicon.accepts([1, 2, 3])
    assert lexicon.words == ("hello", "hello", "low")  # of words spelled alike, the first


def test_what_cannot_be_spelled_is_named():
    with pytest.raises(LabelError, match=r"the word 'ax' is spelled with 'x', which is none of the tokens"):
        Lexicon.of(["ab", "ax"], TOKENS)
    with pytest.raises(LabelError, match=r"the word 'a b' is spelled with ' ', which is the separator"):
        Lexicon.of(["a b"], TOKENS)
    with pytest.raises(LabelError, match="the word '' has an empty spelling"):
        Lexicon.of(["a", ""], TOKENS)
    with pytest.raises(LabelError, match=r"the separator '\|' is none of the 5 tokens"):
        Lexicon.of(["a"], TOKENS, separator="|")
    with pytest.raises(OptionError, match="the lexicon has no word"):
        Lexicon.of([], TOKENS)
    with pytest.raises(OptionError, match="repeat=False is for one word alone"):
        Lexicon.of(["a"], TOKENS, repeat=False)
    with pytest.raises(DTypeError, match="words is the text 'ab'"):
        Lexicon.of("ab", TOKENS)
    with pytest.raises(DTypeError, match=r"tokens\[1\] is 3"):
        Lexicon.of(["a"], ["a", 3])
