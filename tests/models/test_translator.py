"""Translator: it learns, says what it looked at, keeps its vocabularies, and names what is wrong."""

from __future__ import annotations

import inspect
import json
import math
import pickle
import shutil
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import saiki
from saiki.core.errors import DTypeError, LabelError, LengthError, OptionError, SaikiError, SchemaError
from saiki.data import load
from saiki.data.tokens import Characters, SentencePiece, Whitespace
from saiki.learning import Observer
from saiki.models.translator import Translator
from saiki.models.translator_data import Pairs, PairSource, fit_codecs, split

QUICK = {"hidden_size": 8, "embedding_size": 4, "max_epochs": 2, "random_state": 0, "verbose": False}


@pytest.fixture(scope="module")
def words():
    """60 words over four letters, and their letters backwards, in capitals, with blanks between."""
    rng = np.random.default_rng(4)
    sources = sorted({"".join(rng.choice(list("abcd"), size=n)) for n in rng.integers(2, 5, 90)})[:60]
    return sources, [" ".join(word.upper()[::-1]) for word in sources]


@pytest.fixture(scope="module")
def model(words):
    """One that has learned them by heart."""
    return Translator(
        hidden_size=32,
        embedding_size=8,
        target_tokens="whitespace",
        validation=words,
        max_epochs=30,
        patience=None,
        batch_size=15,
        lr=0.02,
        training=saiki.Training(schedule="cosine"),
        random_state=1,
        verbose=False,
    ).fit(*words)


def test_it_learns_and_beats_the_simple_methods(model, words):
    assert model.predict(["abcd", "da"]) == ["D C B A", "A D"]
    assert model.metrics_ == model.evaluate(*words) and model.metrics_["exact"] == model.score(*words) > 0.9
    assert model.metrics_["token_error_rate"] < 0.05
    assert [row["name"] for row in model.baselines_][-1] == "token for token (IBM model 1)"
    letters = model.baselines_[-1]  # it knows the letters and no order: right for palindromes alone
    assert letters["exact"] < 0.5 < model.metrics_["exact"]
    assert letters["token_error_rate"] < max(row["token_error_rate"] for row in model.baselines_)


def test_attention_looks_backwards_along_the_word(model):
    best = model.translate(["abcd"], attention=True)[0][0]
    assert best.source == tuple("abcd") and best.tokens == ("D", "C", "B", "A", "</s>")
    assert best.attention.shape == (5, 4)
    np.testing.assert_allclose(best.attention.sum(axis=1), 1, atol=1e-5)
    assert best.score == pytest.approx(best.log_probability / 5)
    together = model.translate(["abcd", "dabca"], attention=True)[0][0]  # no weight on a neighbour's steps
    np.testing.assert_allclose(together.attention, best.attention, atol=1e-5)


def test_the_best_come_first_and_differ(model):
    found = model.translate(["abca"], n_best=3)[0]
    assert len({one.text for one in found}) == 3
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    greedy = model.translate(["abca"], beam=1)[0][0]
    assert greedy.score <= found[0].score + 1e-6
    assert greedy.score == pytest.approx(greedy.log_probability / len(greedy.tokens))
    total = model.translate(["abca"], n_best=2, normalisation=0.0)[0]
    assert [one.score for one in total] == [one.log_probability for one in total]


def test_draws_are_the_seed_s_and_cold_ones_are_greedy(model):
    assert model.sample(["abcd"], temperature=0)[0][0].text == model.translate(["abcd"], beam=1)[0][0].text
    hot = model.sample(["abcd"], count=8, temperature=3.0, random_state=5)[0]
    assert [one.text for one in hot] == [
        one.text for one in model.sample(["abcd"], count=8, temperature=3.0, random_state=5)[0]
    ]
    assert len({one.text for one in hot}) > 2
    narrow = model.sample(["abcd"], count=3, temperature=3.0, top_k=1)[0]
    assert len({one.text for one in narrow}) == 1


def test_batches_change_nothing(model, words, monkeypatch):
    whole = model.translate(words[0], n_best=2)
    monkeypatch.setattr("saiki.models.translator_decode.STEPS", 9)
    for one, other in zip(whole, model.translate(words[0], n_best=2)):
        assert [best.text for best in one] == [best.text for best in other]
        assert [best.score for best in one] == pytest.approx([best.score for best in other], abs=1e-5)


def test_what_it_never_saw_is_unknown_and_it_goes_on(model):
    answer = model.predict(["zz9"])[0]
    assert set(answer.split()) <= set("ABCD")
    assert model.translate(["ab" * 40], max_length=3)[0][0].tokens.__len__() <= 3


def test_a_folder_gives_the_same_translator(model, words, tmp_path):
    folder = model.save(tmp_path / "m")
    names = {path.name for path in folder.iterdir()}
    assert {"source_vocabulary.json", "target_vocabulary.json", "report.html"} <= names
    again = saiki.load(folder)
    assert isinstance(again, Translator) and again.validation is None
    assert again.predict(words[0]) == model.predict(words[0])
    assert again.metrics_ == pytest.approx(model.metrics_) and again.get_params()["training"] is not None
    for one, other in zip(again.translate(["abcd"], n_best=3)[0], model.translate(["abcd"], n_best=3)[0]):
        assert one.score == pytest.approx(other.score)
    page = (folder / "report.html").read_text()
    for heading in (
        "Samples",
        "Where it looked",
        "Beside the simple methods",
        "token for token (IBM model 1)",
    ):
        assert heading in page


def test_a_vocabulary_that_does_not_fit_is_refused(model):
    documents = model._documents()
    assert set(documents) == {"source_vocabulary.json", "target_vocabulary.json"}
    other = Translator(**QUICK, validation=None).fit(["a", "b"], ["x", "y"])
    with pytest.raises(
        SchemaError, match=r"source_vocabulary.json has 5 tokens but the network was built for 3"
    ):
        other._restore_documents(documents)
    with pytest.raises(SchemaError, match=r"source_vocabulary.json is missing"):
        other._restore_documents({})
    content = json.loads(documents["target_vocabulary.json"])
    content["specials"] = []
    broken = {**documents, "target_vocabulary.json": json.dumps(content).encode()}
    with pytest.raises(SchemaError, match=r"lacks <s>"):
        model._restore_documents(broken)
    model._restore_documents(documents)


def test_the_textbook_network_for_sums():
    """12 symbols, H = 128: two LSTMs and a dense layer,

        4 · 128 · (12 + 128 + 1) + 4 · 128 · (128 + 128 + 1) + 12 · (128 + 1) = 205,324.

    The encoder's 12 are digits, plus and <unk>; the decoder's are digits, start and end.
    """
    sums = load("addition", n=60, seed=0)
    book = Translator(
        hidden_size=128,
        bidirectional=False,
        embedding_size=None,
        context="every_step",
        context_from="last",
        feed_previous=False,
        validation=None,
        max_epochs=1,
        random_state=0,
        verbose=False,
    ).fit(sums.X, sums.y)
    assert len(book.source_) == len(book.target_) == 12
    rows = {row.name: row.parameters for row in book.summary().rows}
    assert rows["encoder"] == 4 * 128 * (12 + 128 + 1) == 72_192
    assert rows["decoder"] == 4 * 128 * (128 + 128 + 1) == 131_584
    assert rows["head"] == 12 * (128 + 1) == 1_548
    assert book.summary().total == book.record_.parameters == 205_324


@pytest.mark.parametrize(
    "options",
    [
        {"context": "initial", "context_from": "mean", "cell": "gru"},
        {"context": "every_step", "bidirectional": False, "num_layers": 2, "dropout": 0.2},
        {"attention": "additive", "input_feeding": True},
        {"attention": "dot", "encoder_size": 4},
        {"scheduled_sampling": 0.5, "sampling_updates": 3, "smoothing": 0.1, "beam": 1},
    ],
    ids=lambda options: next(iter(options.values())),
)
def test_every_kind_trains_and_says_something(words, options, tmp_path, monkeypatch):
    monkeypatch.setattr(Translator, "report", lambda self: None)  # it is drawn in another test
    made = Translator(**{**QUICK, **options}, target_tokens="whitespace", baselines=False).fit(
        words[0][:20], words[1][:20]
    )
    assert math.isfinite(made.record_.epochs[-1].validation_loss) and set(made.metrics_) >= {"exact"}
    again = saiki.load(made.save(tmp_path / "m"))
    assert again.predict(words[0][:3]) == made.predict(words[0][:3])
    if made.context != "attention":
        with pytest.raises(OptionError, match="no weights to show: this translator has context="):
            made.translate(words[0][:1], attention=True)


def test_pieces_of_words_are_saved_with_the_model(tmp_path, monkeypatch):
    monkeypatch.setattr(Translator, "report", lambda self: None)
    pytest.importorskip("sentencepiece")
    sources = ["a man rides a horse", "a dog runs", "two men ride", "the man runs"] * 3
    targets = ["ein mann reitet", "ein hund läuft", "zwei männer reiten", "der mann läuft"] * 3
    pieces = {"type": "sentencepiece", "size": 30, "kind": "bpe"}
    made = Translator(
        **QUICK, source_tokens=pieces, target_tokens=SentencePiece(30, "bpe"), validation=None
    ).fit(sources, targets)
    folder = made.save(tmp_path / "m")
    assert (folder / "source_units.model").is_file() and (folder / "target_units.model").is_file()
    again = saiki.load(folder)
    assert again.source_.tokenizer.split("a dog") == made.source_.tokenizer.split("a dog")
    assert again.predict(["a dog runs"]) == made.predict(["a dog runs"])
    assert again.target_tokens == {"type": "sentencepiece", "size": 30, "kind": "bpe"}


def test_all_answers_of_a_source_stay_on_one_side():
    X = [f"w{k}" for k in range(20)] * 2
    train, held = split(Pairs.of(X, [f"{k}" for k in range(40)]), 0.25, seed=0)
    assert len(train) == 15 and len(held) == 5 and not set(train.sources) & set(held.sources)
    assert all(len(answers) == 2 for answers in [*train.answers, *held.answers])
    assert len(train.flat()[0]) == 30


def test_bleu_is_left_out_and_said_so_where_sacrebleu_is_not_there(model, words, monkeypatch, caplog):
    from saiki.models import translator_measure

    translator_measure._has_sacrebleu.cache_clear()
    monkeypatch.setattr(translator_measure, "find_spec", lambda name: None)
    with caplog.at_level("INFO", logger="saiki"):
        assert "bleu" not in model.evaluate(words[0][:3], words[1][:3])
    assert "pip install 'saiki[text]'" in caplog.text
    translator_measure._has_sacrebleu.cache_clear()


def test_any_right_answer_counts(model):
    said = model.predict(["abcd"])[0]
    assert model.evaluate(["abcd", "abcd"], ["X", said])["exact"] == 1.0
    assert model.evaluate(["abcd"], [["X", said]])["token_error_rate"] == 0.0


def test_unknown_is_in_the_target_only_where_it_is_needed():
    pairs = Pairs.of(["a", "b", "a b"], ["x", "y", "x y"])
    tokens = (Whitespace(), Whitespace())
    _, plain = fit_codecs(pairs, None, tokens, (None, None), 1)
    assert plain.vocabulary.tokens == ("<s>", "</s>", "x", "y")
    _, strange = fit_codecs(pairs, Pairs.of(["c"], ["z"]), tokens, (None, None), 1)
    assert strange.vocabulary.unknown is not None
    source, small = fit_codecs(pairs, None, tokens, (2, 4), 1)
    assert len(source) == 2 and small.vocabulary.tokens == ("<unk>", "<s>", "</s>", "x")
    made = Translator(
        **QUICK, source_tokens="whitespace", target_tokens="whitespace", target_size=4, validation=None
    )
    assert "<unk>" not in " ".join(made.fit(pairs.sources * 4, ["x", "y", "x y"] * 4).predict(["a", "b"]))


def test_an_unknown_target_is_not_learned_and_does_not_decide_the_loss():
    tokens = (Whitespace(), Whitespace())
    train, held = Pairs.of(["a", "b"], ["x", "y"]), Pairs.of(["a"], ["z x"])
    codecs = fit_codecs(train, held, tokens, (None, None), 1)
    batch = PairSource(held, codecs).batch(torch.tensor([0]))
    assert codecs[1].vocabulary.decode(batch.targets.numpy()) == ["<unk>", "x", "</s>"]
    assert batch.mask.tolist() == [False, True, True]
    assert (
        PairSource(train, fit_codecs(train, None, tokens, (None, None), 1)).batch(torch.tensor([0])).mask
        is None
    )


def test_init_only_stores_and_the_file_has_every_argument():
    arguments = {
        name: object() for name in inspect.signature(Translator.__init__).parameters if name != "self"
    }
    assert vars(Translator(**arguments)) == arguments
    assert {field.name for field in fields(Translator.OptionsFile)} == set(
        Translator().get_params(deep=False)
    )
    assert clone(Translator(source_tokens=Characters(lower=True))).source_tokens == Characters(lower=True)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("cell", "lstn", "unknown cell 'lstn'; did you mean 'lstm'"),
        ("context", "attentoin", "unknown context 'attentoin'; did you mean 'attention'"),
        ("attention", "bahdanau", "unknown score 'bahdanau'"),
        ("source_tokens", "word", "unknown tokenizer 'word'; did you mean 'words'"),
        ("target_tokens", {"type": "words", "lwer": True}, "lwer"),
        ("target_tokens", {"size": 3}, "target_tokens has no 'type'"),
        ("target_tokens", 3, "target_tokens is int but must be a tokenizer's name"),
        ("bleu", "14a", "unknown BLEU tokenization '14a'"),
        ("beam", 0, "beam is 0 but must be a whole number between 1 and 1000"),
        ("normalisation", -1.0, "normalisation is -1.0"),
        ("smoothing", 1.0, "smoothing is 1.0"),
        ("min_count", 0, "min_count is 0"),
        ("validation", 2, "validation is 2 but must be a share between 0 and 1, .X, y. or None"),
        ("max_length", 1.5, "max_length is 1.5"),
        ("hidden_size", "auto", "hidden_size is 'auto' but must be a whole number"),
        ("input_feeding", "yes", "input_feeding is 'yes'"),
    ],
)
def test_bad_options_are_named_before_training(words, option, value, said):
    made = Translator(**{**QUICK, option: value})
    with pytest.raises((ValueError, TypeError), match=said):
        made.fit(*words)
    assert not hasattr(made, "network_")


@pytest.mark.parametrize(
    ("X", "y", "error", "said"),
    [
        (["a", ""], ["x", "y"], LengthError, r"X\[1\] is an empty text"),
        (["a"], ["x", "y"], LengthError, "X has 1 texts but y has 2"),
        (["a", "b"], None, DTypeError, "y is NoneType"),
        (["a"], ["x"], SaikiError, "a single source, too few to keep a share"),
        (["a", "b", "c"], ["x", "</s>", "z"], LabelError, "has the token </s>, which marks where a target"),
        (["…", "a", "b"], ["x", "y", "z"], LengthError, "a text of X, '…', has no token as words cut it"),
    ],
)
def test_bad_pairs_are_one_sentence(X, y, error, said):
    tokens = {"type": "words", "pattern": r"\w+"}
    with pytest.raises(error, match=said):
        Translator(**QUICK, source_tokens=tokens, target_tokens="whitespace", validation=0.4).fit(X, y)


def test_one_text_is_no_list(model):
    with pytest.raises(DTypeError, match=r"X is one text, 'abcd', but must be a list of them. Use \[X\]"):
        model.predict("abcd")
    with pytest.raises(ValueError, match="is not fitted yet"):
        Translator().predict(["a"])


@settings(max_examples=15)
@given(X=st.lists(st.text(max_size=6), max_size=5) | st.lists(st.integers() | st.none()) | st.text())
def test_any_text_is_translated_or_refused(model, X):
    if isinstance(X, str) or not X or any(not isinstance(one, str) or not one.strip() for one in X):
        with pytest.raises((LengthError, DTypeError)):
            model.predict(X)
    else:
        found = model.predict(X)
        assert len(found) == len(X) and all(isinstance(text, str) for text in found)


def test_a_run_that_was_stopped_ends_in_the_same_bits(words, tmp_path, monkeypatch):
    """Dropout and scheduled sampling draw on; a copy of the checkpoints half-way is the run that stopped."""
    monkeypatch.setattr(Translator, "_judge", lambda *_: None)
    options = {**QUICK, "max_epochs": 4, "dropout": 0.3, "scheduled_sampling": 0.5, "sampling_updates": 9}

    class Copies(Observer):
        def on_epoch(self, entry):
            if entry.epoch == 3:
                shutil.copytree(tmp_path / "whole", tmp_path / "half")

    whole = Translator(**options).fit(*words, checkpoint=tmp_path / "whole", observers=[Copies()])
    half = Translator(**options).fit(*words, checkpoint=tmp_path / "half", resume=True)
    assert [epoch.epoch for epoch in half.record_.epochs] == [1, 2, 3, 4]
    for (name, one), other in zip(whole.network_.state_dict().items(), half.network_.state_dict().values()):
        assert torch.equal(one, other), name
    unfinished = saiki.load(tmp_path / "half")  # its newest checkpoint, vocabularies and all
    assert unfinished.predict(["ab"]) == half.predict(["ab"])


def test_searches_and_processes_take_it(words):
    search = GridSearchCV(Translator(**QUICK, validation=None), {"attention": ["dot", "general"]}, cv=2)
    search.set_params(estimator__encoder_size=4, error_score="raise").fit(words[0][:12], words[1][:12])
    assert len(search.cv_results_["params"]) == 2
    best = search.best_estimator_
    assert pickle.loads(pickle.dumps(best)).predict(words[0][:3]) == best.predict(words[0][:3])
