"""Language models and word lists brought to a transcriber's labels."""

from __future__ import annotations

import numpy as np
import pytest

from saiki.core.errors import DataError, DTypeError, LabelError, OptionError
from saiki.decoding import LabelNGram, NGram, WordNGram
from saiki.models.transcriber_decoder import beam, scorer, spelled
from saiki.models.transcripts import Labels

ARPA = """\\data\\
ngram 1={n}

\\1-grams:
{lines}
-0.5 </s>
-9 <s>

\\end\\
"""


def arpa(path, words):
    lines = "\n".join(f"{score} {word}" for word, score in words.items())
    path.write_text(ARPA.format(n=len(words) + 2, lines=lines))
    return path


@pytest.fixture
def letters() -> Labels:
    return Labels.learn(["ab ba", "abba"], "text", "characters")


def say(decoder, labels, *frames):
    """What a decoder makes of frames that are sure, or torn between tokens."""
    p = np.full((len(frames), len(labels) + 1), 1e-4)
    for row, tokens in zip(p, frames):
        for token in tokens:
            row[labels.tokens.index(token) if token != "_" else labels.blank] = 1.0
    found = decoder.decode([np.log(p / p.sum(axis=1, keepdims=True))])[0]
    return labels.answer(found[0].labels) if found else None


def test_a_model_over_words_and_one_over_letters_are_told_apart(letters, tmp_path):
    over_words = arpa(tmp_path / "w.arpa", {"ab": -0.2, "ba": -3.0})
    over_letters = arpa(tmp_path / "l.arpa", {"a": -0.2, "b": -3.0, "<space>": -0.3})
    assert isinstance(scorer(letters, over_words), WordNGram)
    found = scorer(letters, NGram.read(over_letters))
    assert isinstance(found, LabelNGram) and found.renamed == {" ": "<space>"}
    words = Labels.learn(["ab ba"], "text", "words")
    assert isinstance(scorer(words, over_words), LabelNGram)


def test_the_language_model_decides_where_the_sound_does_not(letters, tmp_path):
    for likely, other in (("ab", "ba"), ("ba", "ab")):
        file = arpa(tmp_path / f"{likely}.arpa", {likely: -0.1, other: -4.0})
        decoder = beam(letters, width=8, language=file, weight=1.0, bonus=0.0)
        assert say(decoder, letters, "ab", "_", "ab") == likely


def test_words_restrict_what_is_spelled(letters):
    decoder = beam(letters, width=8, weight=0.5, bonus=0.0, words=["ab", "abba"])
    assert say(decoder, letters, "ab", "_", "ab", "_", " ", "_", "a", "b") == "ab ab"
    lexicon = spelled(letters, ["ab"])
    assert lexicon.separator == letters.tokens.index(" ")
    assert spelled(Labels.learn(["ab"], "text", "characters"), ["ab"]).separator == -1


def test_what_is_no_language_model_is_named(letters, tmp_path):
    class Own:
        """As our LanguageModel gives itself."""

        def scorer(self, tokens):
            return arranged(tokens)

    def arranged(tokens):
        class Score:
            def score(self, prefix):
                return np.zeros(len(tokens))

        return Score()

    assert scorer(letters, Own()).score(()).shape == (4,)
    with pytest.raises(DTypeError, match="language is int but must be an ARPA file"):
        scorer(letters, 3)
    with pytest.raises(LabelError, match="none of the model's"):
        scorer(letters, arpa(tmp_path / "x.arpa", {"xyz": -1.0}))
    (tmp_path / "no.arpa").write_text("no model")
    with pytest.raises(DataError, match="no"):
        scorer(letters, tmp_path / "no.arpa")
    with pytest.raises(LabelError, match="xb"):
        spelled(letters, ["xb"])
    with pytest.raises(DTypeError, match="words is one text"):
        spelled(letters, "ab")
    with pytest.raises(OptionError, match="this model's labels are words"):
        spelled(Labels.learn(["ab ba"], "text", "words"), ["ab"])
