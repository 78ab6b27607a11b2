"""Language models and lexica in the beam, against exhaustive search and the plain twin."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from all_paths import exhaustive, random_rows, same_readings
from test_ngram import random_model

from saiki import engine
from saiki.core.errors import DTypeError, LabelError, OptionError, ShapeError, ValueRangeError
from saiki.decoding import Fusion, LabelNGram, Lexicon, NGram, PrefixBeam, WordNGram

EVERYTHING = 4096
TOKENS = ["", "a", "b", " "]


class Table:
    """A model of our own: random log-probabilities that depend on the last two labels."""

    def __init__(self, K=4, seed=3):
        self.values = np.log(np.random.default_rng(seed).dirichlet(np.ones(K), size=(K + 1, K + 1)))
        self.asked = []

    def score(self, prefix):
        self.asked.append(tuple(prefix))
        padded = [-1, -1, *prefix]
        return self.values[padded[-2], padded[-1]]


class WithEnd(Table):
    def end(self, prefix):
        return -0.3 * len(prefix) ** 2


class Batched(WithEnd):
    def score_batch(self, prefixes):
        return torch.as_tensor(np.stack([self.score(p) for p in prefixes]))


@pytest.fixture
def label_model(tmp_path):
    return LabelNGram(NGram.read(random_model(tmp_path, 1, order=3, V=5)[0]), TOKENS, {" ": "<unk>"})


@pytest.fixture
def word_model(tmp_path):
    text = """\\data\\
ngram 1=6
ngram 2=4

\\1-grams:
-99 <s> -0.2
-1.2 </s>
-0.6 a -0.3
-0.9 ab -0.1
-1.1 b -0.4
-2.5 <unk>

\\2-grams:
-0.2 <s> ab
-0.4 ab b
-0.3 b </s>
-0.1 a a

\\end\\
"""
    path = tmp_path / "words.arpa"
    path.write_text(text)
    return NGram.read(path)


def fused(labels, total, model, weight, bonus):
    """The score by its definition."""
    if isinstance(model, WordNGram):
        words = "".join(TOKENS[k] for k in labels).split()
        told = model.model.log_probability_of(words)
        return total + weight * told + bonus * len(words)
    told = sum(float(model.score(labels[:n])[labels[n]]) for n in range(len(labels)))
    if hasattr(model, "end"):
        told += model.end(labels)
    return total + weight * told + bonus * len(labels)


def check_against_everything(rows, model, weight, bonus, lexicon=None):
    truth = {
        labels: fused(labels, exact.total, model, weight, bonus)
        for labels, exact in exhaustive(rows).items()
        if lexicon is None or lexicon.accepts(labels)
    }
    ranked = sorted(truth.items(), key=lambda item: -item[1])
    beam = PrefixBeam(
        width=EVERYTHING, best=EVERYTHING, language=Fusion(model, weight, bonus), lexicon=lexicon
    )
    found = beam.decode([rows])[0]
    assert len(found) == len(ranked)
    for hypothesis, (labels, score) in zip(found, ranked):
        assert hypothesis.labels == labels
        assert hypothesis.score == pytest.approx(score, abs=1e-9)


@pytest.mark.parametrize("kind", [Table, WithEnd, Batched])
@pytest.mark.parametrize(("weight", "bonus"), [(0.7, 0.0), (1.5, 0.8), (0.0, -0.5)])
def test_any_model_with_score(search, rng, kind, weight, bonus):
    check_against_everything(random_rows(rng, 5, 4), kind(), weight, bonus)


@pytest.mark.parametrize(("weight", "bonus"), [(0.5, 0.0), (2.0, 1.0), (0.0, 0.3)])
def test_an_ngram_over_labels(search, rng, label_model, weight, bonus):
    check_against_everything(random_rows(rng, 5, 4), label_model, weight, bonus)


@pytest.mark.parametrize(("weight", "bonus"), [(0.5, 1.5), (2.0, 0.0)])
def test_an_ngram_over_words(search, rng, word_model, weight, bonus):
    model = WordNGram.of(word_model, TOKENS)
    check_against_everything(random_rows(rng, 6, 4), model, weight, bonus)


def test_an_ngram_over_words_within_a_lexicon(search, rng, word_model):
    model = WordNGram.of(word_model, TOKENS)
    lexicon = Lexicon.of(["a", "ab", "bb"], TOKENS)  # "bb" is <unk> to the model
    check_against_everything(random_rows(rng, 6, 4), model, 0.8, 0.5, lexicon)


@pytest.mark.parametrize("separator", [" ", None])
def test_a_lexicon_alone(search, rng, separator):
    rows = random_rows(rng, 6, 4)
    lexicon = Lexicon.of(["a", "ab", "bba"], TOKENS, separator=separator)
    truth = exhaustive(rows)
    allowed = sorted(
        ((labels, exact.total) for labels, exact in truth.items() if lexicon.accepts(labels)),
        key=lambda item: -item[1],
    )
    found = PrefixBeam(width=EVERYTHING, best=EVERYTHING, lexicon=lexicon).decode([rows])[0]
    assert [h.labels for h in found] == [labels for labels, _ in allowed]
    assert [h.score for h in found] == pytest.approx([total for _, total in allowed])


@pytest.mark.parametrize("width", [1, 4, 15])
@pytest.mark.parametrize("which", ["labels", "words", "outside", "lexicon"])
def test_both_searches_agree(rng, tmp_path, label_model, word_model, width, which):
    pytest.importorskip("saiki._native", reason="the native extension was not built")
    words = WordNGram.of(word_model, TOKENS)
    language = {
        "labels": Fusion(label_model, 0.9, 0.6),
        "words": Fusion(words, 0.6, 1.2),
        "outside": Fusion(Batched(), 0.8, 0.4),
        "lexicon": Fusion(words, 0.6, 1.2),
    }[which]
    lexicon = Lexicon.of(["ab", "b", "ba"], TOKENS) if which == "lexicon" else None
    beam = PrefixBeam(width=width, best=width, language=language, lexicon=lexicon, blank_skip=0.75)
    batch = [random_rows(rng, T, 4) for T in (22, 0, 3, 13)]
    ours = beam.decode(batch)
    with engine.use("reference"):
        same_readings(ours, beam.decode(batch))


def test_chunks_equal_the_whole(search, rng, word_model):
    rows = random_rows(rng, 18, 4)
    for model in (WordNGram.of(word_model, TOKENS), WithEnd()):
        beam = PrefixBeam(width=6, best=6, language=Fusion(model, 0.5, 1.0))
        session = beam.start()
        for part in rows.split([5, 1, 12]):
            session.advance([part])
            session.hypotheses(final=False)
        assert session.hypotheses() == beam.decode([rows])


def test_a_model_is_asked_once_for_each_prefix(search, rng):
    model = Table()
    PrefixBeam(width=3, language=Fusion(model)).decode([random_rows(rng, 10, 4)])
    assert model.asked[0] == ()
    assert all(len(prefix) <= 10 for prefix in model.asked)
    skipped = Table()
    blanks = torch.log(torch.tensor([[0.97, 0.01, 0.01, 0.01]], dtype=torch.float64)).expand(10, 4)
    PrefixBeam(width=3, language=Fusion(skipped), blank_skip=0.9).decode([blanks])
    assert skipped.asked == []  # a frame that is skipped asks nothing


def test_a_language_model_turns_the_answer(search):
    """The network prefers "ab" a little; the model knows that "a a" is what is said."""
    rows = torch.log(
        torch.tensor(
            [[0.02, 0.96, 0.01, 0.01], [0.01, 0.01, 0.5, 0.48], [0.02, 0.6, 0.36, 0.02]], dtype=torch.float64
        )
    )
    assert PrefixBeam().decode([rows])[0][0].text(TOKENS) == "aba"

    class Says:
        def score(self, prefix):
            return np.log([0.1, 0.4, 0.02, 0.48])

    assert PrefixBeam(language=Fusion(Says(), 1.0)).decode([rows])[0][0].text(TOKENS) == "a a"


def test_a_beam_goes_through_a_pickle(search, rng, word_model):
    """To worker processes, say."""
    model = WordNGram.of(word_model, TOKENS)
    beam = PrefixBeam(language=Fusion(model, 0.5, 1.0), lexicon=model.spelling)
    rows = [random_rows(rng, 8, 4)]
    before = beam.decode(rows)
    assert pickle.loads(pickle.dumps(beam)).decode(rows) == before


def test_what_a_model_answers_is_checked(search, rng):
    class Wrong:
        def __init__(self, value):
            self.value = value

        def score(self, prefix):
            return self.value

    rows = [random_rows(rng, 4, 4)]
    for value, error, said in (
        (np.zeros(3), ShapeError, r"score\(prefix\) gave \(3,\) but must give \(4,\)"),
        (np.array([0, np.nan, 0, 0]), ValueRangeError, r"gave NaN or \+inf for \(\)"),
        (np.array([0, np.inf, 0, 0]), ValueRangeError, r"gave NaN or \+inf for \(\)"),
    ):
        with pytest.raises(error, match=said):
            PrefixBeam(language=Fusion(Wrong(value))).decode(rows)


def test_a_model_that_fails_stops_the_search(search, rng):
    class Fails(Table):
        def score(self, prefix):
            if len(prefix) > 1:
                raise KeyError("no more")
            return super().score(prefix)

    session = PrefixBeam(language=Fusion(Fails())).start()
    rows = [random_rows(rng, 6, 4)]
    with pytest.raises(KeyError, match="no more"):
        session.advance(rows)
    if search == "native":
        with pytest.raises(RuntimeError, match="cut off by an error"):
            session.advance(rows)


def test_a_model_cannot_call_the_search_it_serves(rng):
    pytest.importorskip("saiki._native", reason="the native extension was not built")

    class Calls(Table):
        def score(self, prefix):
            session.hypotheses()
            return super().score(prefix)

    session = PrefixBeam(language=Fusion(Calls())).start()
    with pytest.raises(RuntimeError, match="at work in another call"):
        session.advance([random_rows(rng, 3, 4)])


def test_what_does_not_belong_together(label_model, word_model, rng):
    rows = [random_rows(rng, 3, 5)]
    with pytest.raises(ShapeError, match="was given 4 tokens but there are 5 classes"):
        PrefixBeam(language=Fusion(label_model)).decode(rows)
    with pytest.raises(ShapeError, match="the lexicon was given 6 tokens but there are 5 classes"):
        PrefixBeam(lexicon=Lexicon.of(["e"], ["", "a", "b", "c", " ", "e"])).decode(rows)
    with pytest.raises(LabelError, match="spells words with class 1, which is the blank"):
        PrefixBeam(blank=1, lexicon=Lexicon.of(["a"], [*TOKENS, "c"])).decode(rows)
    with pytest.raises(LabelError, match=r"knows none of the 3 tokens; its words begin with '<s>'"):
        LabelNGram(word_model, ["", "x", "y"])
    with pytest.raises(LabelError, match="none of the model's 6 words can be spelled"):
        WordNGram.of(word_model, ["", "x", " "])
    with pytest.raises(OptionError, match="the spelling has no separator"):
        WordNGram(word_model, Lexicon.of(["a"], TOKENS, separator=None))
    with pytest.raises(DTypeError, match=r"model is an NGram, which knows words but not the classes"):
        Fusion(word_model)
    with pytest.raises(DTypeError, match=r"model is int but must have a method score"):
        Fusion(3)
    with pytest.raises(ValueRangeError, match="weight is -1"):
        Fusion(label_model, -1)
    with pytest.raises(ValueRangeError, match="bonus is nan"):
        Fusion(label_model, 1, math.nan)
