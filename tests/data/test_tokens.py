"""Tokenizers and codecs: text comes apart, becomes numbers, and comes back."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saiki.core import extras
from saiki.core.errors import (
    DataError,
    DTypeError,
    ExtraError,
    LabelError,
    OptionError,
    SchemaError,
    UsageError,
)
from saiki.data.tokens import (
    Characters,
    SentencePiece,
    TextCodec,
    Whitespace,
    Words,
    get_tokenizer,
    require_texts,
)
from saiki.data.vocabulary import END, START, UNKNOWN

LINES = [
    "The dog is asleep under the table.",
    "A cat sits on the table and looks at the dog.",
    "Don't wake the dog, the cat is asleep too!",
] * 4


@pytest.fixture(scope="module")
def pieces():
    pytest.importorskip("sentencepiece")
    return {kind: SentencePiece(60, kind).fit(LINES) for kind in ("unigram", "bpe")}


def test_words():
    words = Words()
    assert words.split("Don't stop (it's 3.50 €), well-known 🙂!") == [
        "don't", "stop", "(", "it's", "3.50", "€", ")", ",", "well-known", "🙂", "!",
    ]  # fmt: skip
    assert words.join(["don't", "stop", "(", "now", ")", ",", "please", "."]) == "don't stop (now), please."
    assert words.split("cafe\u0301") == ["caf\u00e9"]  # composed first
    assert words.split("  \n") == [] and words.join([]) == ""
    assert Words(lower=False).split("The End") == ["The", "End"]
    assert Words(pattern=r"[a-z]*").split("ab 1 c") == ["ab", "c"]  # empty matches are no tokens
    with pytest.raises(OptionError, match="no regular expression"):
        Words(pattern="(")


def test_whitespace_and_characters():
    assert Whitespace().split("New  York\tCity\n") == ["New", "York", "City"]
    assert Whitespace(lower=True).split("New York") == ["new", "york"]
    assert Whitespace().join(["New", "York"]) == "New York"
    assert Characters().split("a b") == ["a", " ", "b"]
    assert Characters(lower=True).split("AB") == ["a", "b"]


@given(st.text())
def test_characters_give_the_text_back(text):
    assert Characters().join(Characters().split(text)) == text


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_sentencepiece_gives_the_text_back(pieces, kind):
    made = pieces[kind]
    for text in [*LINES, "A zebra  under 2 tables ", "", "ж 🙂"]:
        assert made.join(made.split(text)) == text
    assert len(made.split(LINES[0])) < 0.75 * len(LINES[0])
    assert len(made.pieces) <= 60
    assert SentencePiece(60, kind).fit(LINES).model == made.model  # the same text, the same pieces


def test_sentencepiece_limits(pieces):
    assert len(SentencePiece(5_000, "bpe").fit(["hello you"]).pieces) < 30
    assert len(SentencePiece(5_000, "unigram").fit(["hello you"]).pieces) < 30
    with pytest.raises(DataError, match="size=5 is too small: the texts have 7 different characters"):
        SentencePiece(5).fit(["hello you"])
    with pytest.raises(DataError, match="every text is empty"):
        SentencePiece(5).fit(["", "\n"])
    with pytest.raises(UsageError, match="has not learned yet"):
        SentencePiece(5).split("hello")
    with pytest.raises(OptionError, match="kind='wordpiece' is unknown"):
        SentencePiece(5, "wordpiece")


def test_sentencepiece_is_optional(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(extras.importlib, "import_module", absent)
    with pytest.raises(ExtraError, match=r"'sentencepiece' needs the package.*saiki\[text\]"):
        SentencePiece(60).fit(LINES)


def test_by_name():
    assert get_tokenizer("words") == Words() and get_tokenizer(Characters(lower=True)).lower
    with pytest.raises(OptionError, match="unknown tokenizer 'word'; did you mean 'words'"):
        get_tokenizer("word")
    with pytest.raises(DTypeError, match="must be a name or a Tokenizer"):
        get_tokenizer(3)


def test_texts_at_the_door():
    assert require_texts(np.array(["a", "b"])) == ["a", "b"]
    with pytest.raises(DTypeError, match=r"X is one text, 'hello', but must be a list of them. Use \[X\]"):
        require_texts("hello", "X")
    with pytest.raises(DTypeError, match=r"X\[1\] is nan \(float\) but must be a text. Fill in or drop"):
        require_texts(["a", float("nan")], "X")
    with pytest.raises(DTypeError, match=r"X\[0\] is 3 \(int\) but must be a text\.$"):
        require_texts([3], "X")
    with pytest.raises(DataError, match=r"X\[1\] holds half of a surrogate pair"):
        require_texts(["a", "\ud83d half"], "X")


def test_codec():
    codec = TextCodec.fit(LINES, "words", specials=(UNKNOWN, START, END))
    ids = codec.encode("The dog sits there.", start=True, end=True)
    assert ids[0] == 1 and ids[-1] == 2 and ids.dtype == np.int64
    assert codec.decode(ids) == "the dog sits <unk>."
    assert codec.encode("").tolist() == []
    plain = TextCodec.fit(["ab"], "characters", specials=())
    with pytest.raises(LabelError, match="token 'c' at place 2"):
        plain.encode("abc")
    with pytest.raises(LabelError, match="unknown token '</s>'"):
        plain.encode("ab", end=True)
    with pytest.raises(DTypeError, match="text is 3"):
        plain.encode(3)
    with pytest.raises(DataError, match="no token is left of 2 texts"):
        TextCodec.fit(["", " "])
    with pytest.raises(DataError, match="rarer than min_count=2"):
        TextCodec.fit(["once"], min_count=2)
    assert TextCodec.fit(LINES, max_size=4).vocabulary.tokens[0] == UNKNOWN


@pytest.mark.parametrize("tokenizer", [Words(lower=False, pattern=r"\S"), Whitespace(True), Characters()])
def test_codec_survives_the_folder(tokenizer):
    codec = TextCodec.fit(LINES, tokenizer)
    documents = {**codec.documents("source_"), "other.json": b"{}"}
    assert set(documents) == {"source_vocabulary.json", "other.json"}
    assert TextCodec.of_documents(documents, "source_") == codec


def test_sentencepiece_codec_survives_the_folder(pieces):
    codec = TextCodec.fit(LINES, SentencePiece(60, "bpe"))
    documents = codec.documents()
    assert set(documents) == {"vocabulary.json", "units.model"}
    again = TextCodec.of_documents(documents)
    assert again == codec
    assert again.decode(again.encode(LINES[1])) == LINES[1]
    with pytest.raises(SchemaError, match=r"units\.model is no sentencepiece model"):
        TextCodec.of_documents({**documents, "units.model": b"\0broken"})
    with pytest.raises(SchemaError, match=r"units\.model is missing"):
        TextCodec.of_documents({"vocabulary.json": documents["vocabulary.json"]})


def test_bad_folders():
    good = {"tokenizer": "words", "options": {"lower": True, "pattern": "a"}, "tokens": ["a"], "specials": []}
    for change, message in (
        ({"tokenizer": "word"}, "unknown tokenizer 'word'"),
        ({"options": {"lower": True, "pattern": "("}}, "no regular expression"),
        ({"options": {"lower": 1, "pattern": "a"}}, "lower"),
        ({"tokens": ["a", "a"]}, "stands twice"),
        ({"extra": 1}, "extra"),
    ):
        with pytest.raises(SchemaError, match=message):
            TextCodec.of_documents({"vocabulary.json": json.dumps({**good, **change}).encode()})
    with pytest.raises(SchemaError, match=r"vocabulary\.json is missing"):
        TextCodec.of_documents({})
