"""LanguageModel: reading, learning, figures, writing, and the smallest and the wrong text."""

from __future__ import annotations

import inspect
import logging
import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from sklearn.base import clone

import saiki
from saiki.core.errors import DataError, DTypeError, LabelError, LengthError, OptionError, SaikiError
from saiki.data.tokens import Whitespace, Words
from saiki.learning import Training
from saiki.models.language_model import LanguageModel
from saiki.models.language_model_sampling import entropy, tempered
from saiki.models.language_model_text import part, streams
from saiki.nn import GRUConfig, LastConfig

TEXT = "the cat sat on the mat.\nthe dog sat on the log.\n" * 16
QUICK = {
    "hidden_size": 12,
    "num_layers": 1,
    "max_epochs": 2,
    "window": 16,
    "batch_size": 4,
    "random_state": 0,
    "verbose": False,
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def characters(one_thread):
    return LanguageModel(**{**QUICK, "max_epochs": 6, "lr": 0.03}).fit(TEXT)


@pytest.fixture(scope="module")
def words(one_thread):
    return LanguageModel(tokenizer="whitespace", **QUICK).fit(TEXT)


# ---- reading ----------------------------------------------------------------------------------------------


def test_streams_say_each_token_once_and_read_the_one_before():
    ids = np.arange(1, 12)
    read, said = streams(ids, 0, 3)
    assert [len(s) for s in said] == [4, 4, 3]
    assert torch.cat(said).tolist() == list(range(1, 12))
    assert torch.cat(read).tolist() == list(range(11))


def test_a_text_is_parted_at_a_line_or_a_blank():
    assert part(["aa", "bb", "cc", "dd"], 0.25) == (["aa", "bb", "cc"], ["dd"])
    assert part(["one two three four"], 0.25) == (["one two three "], ["four"])
    with pytest.raises(LengthError, match="the text has 1 characters, too few"):
        part(["a"], 0.1)


def test_lines_of_words_end_in_a_token(words):
    assert words.form_ == "lines"
    assert words.vocabulary_.tokens[:2] == ("<unk>", "</s>")
    corpus = words._corpus("the cat\nsat on\n")
    assert words.vocabulary_.decode(corpus.ids) == ["the", "cat", "</s>", "sat", "on", "</s>"]
    assert (corpus.characters, corpus.unknown) == (15, 0)
    assert words.evaluate("the zebra\n")["unknown"] == pytest.approx(1 / 3)


def test_rare_words_become_the_unknown_one():
    text = "a b a b a b a b once a b\n" * 1 + "a b a b\n" * 20
    model = LanguageModel(tokenizer="words", **QUICK).fit(text)
    assert "once" not in model.vocabulary_
    assert "once" in LanguageModel(tokenizer="words", min_count=1, **QUICK).fit(text).vocabulary_
    written = LanguageModel(tokenizer="whitespace", **QUICK).fit(text.replace("once", "<unk>"))
    assert len(written.vocabulary_) == 4, "a text with <unk> of its own keeps what comes once"


# ---- learning ---------------------------------------------------------------------------------------------


def test_it_learns_and_its_figures_agree(characters):
    figures = characters.evaluate(TEXT)
    assert figures["perplexity"] < 4 < len(characters.vocabulary_)
    assert figures["loss"] == pytest.approx(math.log(figures["perplexity"]))
    assert figures["bits_per_character"] == pytest.approx(figures["loss"] / math.log(2))
    assert figures["loss"] == pytest.approx(-characters.log_probabilities(TEXT).mean())
    names = [row["name"] for row in characters.baselines_]
    assert names == ["unigrams", "Kneser-Ney 7-grams"]
    assert characters.metrics_["loss"] < characters.baselines_[0]["loss"]


def test_a_token_has_the_probability_that_score_gave_it(characters):
    found = characters.log_probabilities("the c")
    each = [characters.score("the c"[:k])[characters.vocabulary_.id("the c"[k])] for k in range(5)]
    np.testing.assert_allclose(found, each, rtol=1e-5, atol=1e-6)
    assert np.exp(characters.score("the ")).sum() == pytest.approx(1, rel=1e-6)
    ids = characters.codec_.encode("the ")
    np.testing.assert_array_equal(characters.score(ids), characters.score("the "))
    best = characters.vocabulary_.tokens[int(characters.score("the ").argmax())]
    assert characters.predict(["the ", "s"])[0] == best
    with pytest.raises(LabelError, match="id 99 at place 0"):
        characters.score([99])


def test_the_seed_decides_every_bit_and_a_killed_run_goes_on(tmp_path):
    whole = LanguageModel(**QUICK).fit(TEXT)
    np.testing.assert_array_equal(LanguageModel(**QUICK).fit(TEXT).score("th"), whole.score("th"))

    cut = LanguageModel(**QUICK)
    step = saiki.learning.optimisers.Updater.step
    made = []

    def counted(self, *arguments):
        if len(made) == 25:
            raise KeyboardInterrupt
        made.append(1)
        step(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saiki.learning.optimisers.Updater, "step", counted)
        with pytest.raises(KeyboardInterrupt):
            cut.fit(TEXT, checkpoint=tmp_path / "run")
    half = saiki.load(tmp_path / "run")
    assert half.score("th").shape == whole.score("th").shape
    resumed = LanguageModel(**QUICK).fit(TEXT, checkpoint=tmp_path / "run", resume=True)
    np.testing.assert_array_equal(resumed.score("th"), whole.score("th"))


@pytest.mark.parametrize(
    "options",
    [
        {"softmax": "adaptive"},
        {"softmax": {"type": "sampled", "samples": 8}},
        {"tied": False, "embedding_size": 5},
        {"network": [GRUConfig(hidden_size=7)], "cell": "lstm"},
        {"cell": "elman", "dropout": 0.0, "dtype": "float64"},
        {"initial": 0.1, "validation": TEXT[:100]},
        {"validation": None, "patience": None},
        {"tokenizer": Words(lower=False), "vocabulary_size": 6},
    ],
    ids=str,
)
def test_options_learn_and_come_back_from_a_folder(tmp_path, monkeypatch, options):
    monkeypatch.setattr(LanguageModel, "report", lambda self: None)  # drawing takes longer than all the rest
    model = LanguageModel(**{**QUICK, **options}).fit(TEXT)
    again = saiki.load(model.save(tmp_path / "m"))
    assert type(again) is LanguageModel
    np.testing.assert_array_equal(again.score("the "), model.score("the "))
    assert again.generate("the", 9, random_state=1) == model.generate("the", 9, random_state=1)
    assert again.evaluate(TEXT) == model.evaluate(TEXT)
    assert again._options() == {**model._options(), "validation": again._options()["validation"]}


def test_tied_weights_are_stored_once(tmp_path, monkeypatch, characters):
    monkeypatch.setattr(LanguageModel, "report", lambda self: None)
    assert characters.network_.layers["softmax"].tied
    names = [name for name, _ in characters.network_.named_parameters()]
    assert "layers.softmax.weight" not in names
    again = saiki.load(characters.save(tmp_path / "m"))
    assert again.network_.layers["softmax"].table is again.network_.layers["embedding"].weight


def test_divergence_is_a_message(caplog):
    options = {**QUICK, "lr": 1e3, "training": Training(optimizer="sgd", clip_norm=10.0), "max_epochs": 3}
    with caplog.at_level(logging.WARNING, "saiki"):
        model = LanguageModel(**options).fit(TEXT)
    said = " ".join(record.message for record in caplog.records)
    assert "Learning diverged at update" in said and "lr is 1000: try 2.5e+02" in said
    assert "worse than one that says all" in said
    assert any("Learning diverged at update" in note for note in model.record_.notes)


# ---- writing ----------------------------------------------------------------------------------------------


def test_temperature_by_hand():
    """0.7, 0.2, 0.1 at ½, 1 and 2; entropies worked out with pencil and paper."""
    log_p = np.log([[0.7, 0.2, 0.1]])
    np.testing.assert_allclose(np.exp(tempered(log_p, 0.5))[0], [0.90741, 0.07407, 0.01852], atol=5e-6)
    np.testing.assert_allclose(np.exp(tempered(log_p, 2.0))[0], [0.52288, 0.27949, 0.19763], atol=5e-6)
    entropies = [float(entropy(tempered(log_p, t))[0]) for t in (0.5, 1.0, 2.0)]
    np.testing.assert_allclose(entropies, [0.35483, 0.80182, 1.01576], atol=5e-6)
    assert np.exp(tempered(log_p, 0.0)).tolist() == [[1, 0, 0]]
    np.testing.assert_allclose(np.exp(tempered(log_p, 1.0, 2))[0], [7 / 9, 2 / 9, 0])


def test_temperature_shows_in_entropy_and_text(characters):
    bits = [row["bits"] for row in characters.details_["entropy"]]
    assert bits == sorted(bits) and bits[-1] > 2 * bits[0]
    greedy = [characters.generate("the ", 30, temperature=0, random_state=seed) for seed in (0, 1)]
    assert greedy[0] == greedy[1] and len(greedy[0]) == 30
    hot = [characters.generate("the ", 30, temperature=1.5, random_state=seed) for seed in (0, 0, 1)]
    assert hot[0] == hot[1] != hot[2]
    assert characters.generate("the ", 30, temperature=5.0, top_k=1) == greedy[0]
    assert characters.generate("the ", 0) == ""
    together = characters.generate(["the ", "a", "the dog sat"], 20, temperature=0)
    assert together[0] == greedy[0][:20] and together[2] == characters.generate(
        "the dog sat", 20, temperature=0
    )


def test_the_unknown_token_is_never_written(words):
    text = words.generate("zebra zebra", 60, temperature=3.0, random_state=0)
    assert "<unk>" not in text and "</s>" not in text and "\n" in text
    assert words.generate("the", 1, temperature=0)[0] == " "
    assert words.generate("the ", 1, temperature=0)[0] != " "


def test_documents_end():
    model = LanguageModel(**{**QUICK, "lr": 0.03, "max_epochs": 6}).fit(["abc"] * 40)
    assert model.form_ == "documents"
    assert model.generate("", 50, temperature=0) == "abc"
    with pytest.raises(DTypeError, match="X is one text but the model was fitted on a list of texts"):
        model.evaluate("abc")


def test_a_beam_asks_it_prefix_by_prefix(characters):
    tokens = ["_", "t", "h", "e", " ", "X"]
    scorer = characters.scorer(tokens)
    found = scorer.score_batch([(), (1,), (1, 2), (3, 4)])
    assert found.shape == (4, 6)
    for row, text in zip(found, ("", "t", "th", "e ")):
        plain = characters.score(text)
        wanted = [plain[characters.vocabulary_.id(t)] for t in tokens[1:5]]
        np.testing.assert_allclose(row[1:5], wanted, rtol=1e-5, atol=1e-6)
        assert row[0] == row[5] == -np.inf
    np.testing.assert_allclose(scorer.score((1, 2)), found[2])
    mixed = scorer.score_batch([(3, 4, 1), (1, 2, 3), (1, 1), (2,), (1, 2, 3, 4)])  # from three batches
    for row, text in zip(mixed, ("e t", "the", "tt", "h", "the ")):
        wanted = [characters.score(text)[characters.vocabulary_.id(t)] for t in tokens[1:5]]
        np.testing.assert_allclose(row[1:5], wanted, rtol=1e-5, atol=1e-6)
    assert scorer.end((1,)) == 0.0
    with pytest.raises(LabelError, match="label 5 stands for no token"):
        scorer.score((5,))
    with pytest.raises(LabelError, match="knows none of the 2 tokens"):
        characters.scorer(["X", "Y"])


# ---- the smallest, and the wrong --------------------------------------------------------------------------


@pytest.mark.parametrize("tokenizer", ["characters", "words", "whitespace"])
@pytest.mark.parametrize("text", ["ab ab ab", "a b", "hello there", "x\ny", "aaaaaaaaaa aaaa\n\n\naaaa"])
def test_the_smallest_texts_are_learned(text, tokenizer):
    model = LanguageModel(tokenizer=tokenizer, **QUICK).fit(text)
    assert np.isfinite(list(model.evaluate(text).values())).all()
    assert isinstance(model.generate(text, 5, random_state=0), str)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("", DataError, "X is empty: there is no text to read"),
        (" \n ", DataError, "X is empty"),
        ("a", LengthError, "too few"),
        (b"text", DTypeError, "X is bytes but must be text"),
        (None, DTypeError, "X is None but must be a list of texts"),
        ([1, 2], DTypeError, r"X\[0\] is 1"),
        ([], DataError, "X is empty"),
        (np.array(3), DTypeError, "X is 3 but must be a list of texts"),
        ("\ud800abc", DataError, "half of a surrogate pair"),
    ],
)
def test_what_is_no_text_is_named(text, error, said):
    with pytest.raises(error, match=said):
        LanguageModel(**QUICK).fit(text)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("cell", "lstn", "did you mean 'lstm'"),
        ("hidden_size", 0, "hidden_size is 0"),
        ("hidden_size", "auto", "hidden_size is 'auto'"),
        ("window", 0, "window is 0"),
        ("batch_size", "all", "batch_size is 'all'"),
        ("softmax", "adaptiv", "did you mean 'adaptive'"),
        ("softmax", {"type": "sampled", "sample": 3}, "did you mean 'samples'"),
        ("softmax", 3, "softmax is 3"),
        ("tokenizer", "chars", "tokenizer"),
        ("min_count", "most", "min_count is 'most'"),
        ("validation", 1.5, "validation is 1.5"),
        ("validation", ["a list"], "validation is a list of texts but X is one text"),
        ("initial", -1, "initial is -1"),
        ("tied", "yes", "tied is 'yes'"),
        ("embedding_size", 0, "embedding_size is 0"),
        ("vocabulary_size", 1, "vocabulary_size is 1"),
        ("network", [], "network is an empty list"),
        ("network", [LastConfig()], "pools over time"),
        ("training", Training(refit="all"), "refit='all'"),
    ],
)
def test_bad_options_are_named_before_training(option, value, said):
    model = LanguageModel(**{**QUICK, option: value})
    with pytest.raises(SaikiError, match=said):
        model.fit(TEXT)
    assert not hasattr(model, "network_")


def test_a_rule_that_carries_the_state_gives_the_same_gradient_at_once_and_forward():
    """Real-time recurrent learning, which never looks back, on one window; dropout would part the two."""
    few = {"hidden_size": 4, "dropout": 0.0, "dtype": "float64", "max_epochs": 1, "window": 200}
    options = {**QUICK, **few}
    sgd, forward = Training(optimizer="sgd"), Training(optimizer="sgd", rule="rtrl")
    back = LanguageModel(**options, tied=False, training=sgd).fit(TEXT[:150])
    model = LanguageModel(**options, training=forward).fit(TEXT[:150])
    np.testing.assert_allclose(model.score("the"), back.score("the"), rtol=1e-9)
    with pytest.raises(OptionError, match="RTRL finds the gradient layer by layer, and tied weights"):
        LanguageModel(**options, tied=True, training=forward).fit(TEXT)


def test_what_is_asked_wrongly_is_named(characters):
    with pytest.raises(DTypeError, match=r"prompt\[1\] is 3"):
        characters.generate(["a", 3])
    with pytest.raises(DTypeError, match="X is one text"):
        characters.predict("a")
    with pytest.raises(SaikiError, match="temperature is -1"):
        characters.generate("a", temperature=-1)
    with pytest.raises(DTypeError, match="ids are float64"):
        characters.score([0.5])
    assert characters.generate([]) == [] and characters.predict([]) == []
    assert len(characters.generate("\u4e16", 4, random_state=0)) == 4, "an unknown character is read as <unk>"


def test_options_that_do_not_go_together():
    with pytest.raises(OptionError, match="tied=True makes every word vector a row"):
        LanguageModel(**QUICK, tied=True, softmax="adaptive").fit(TEXT)
    with pytest.raises(SaikiError, match="has 17 vectors of 5, but to be tied it must have 17 of 12"):
        LanguageModel(**QUICK, tied=True, embedding_size=5).fit(TEXT)


def test_scikit_learns_parameter_rules():
    given = {
        name: object() for name in inspect.signature(LanguageModel.__init__).parameters if name != "self"
    }
    assert vars(LanguageModel(**given)) == given
    assert {f.name for f in fields(LanguageModel.OptionsFile)} == set(LanguageModel().get_params(deep=False))
    copy = clone(LanguageModel(tokenizer=Whitespace(lower=True), training=Training(clip_norm=0.5)))
    assert copy.tokenizer == Whitespace(lower=True) and copy.training == Training(clip_norm=0.5)
    with pytest.raises(ValueError, match="not fitted yet"):
        LanguageModel().generate("a")
