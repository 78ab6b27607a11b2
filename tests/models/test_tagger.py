"""SequenceTagger: it learns from words and characters, measures honestly, and comes back from its folder."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from saiki import load
from saiki.core.errors import DTypeError, LabelError, LengthError, OptionError, SchemaError, ShapeError
from saiki.learning import Training
from saiki.models import SequenceTagger
from saiki.models.tagger_input import SentenceSource
from saiki.models.tagger_network import CharacterConvolution, CharacterLSTM, answer
from saiki.nn import GRUConfig, LastConfig

QUICK = {
    "hidden_size": 12,
    "word_size": 12,
    "character_size": 12,
    "random_state": 0,
    "verbose": False,
    "dropout": 0.0,
    "lr": 0.02,
}
SHORT = {**QUICK, "max_epochs": 2}
STEMS = ["cat", "dog", "bird", "tree", "house", "stone", "river", "lamp", "door", "wolf"]


def phrases(n: int = 100, seed: int = 0) -> tuple[list[list[str]], list[list[str]], list[str]]:
    """Orders such as "take the two cats": what is taken is a span, what is left none; the verb labels it."""
    rng = np.random.default_rng(seed)
    X, y, labels = [], [], []
    for _ in range(n):
        verb = ["take", "leave"][int(rng.integers(2))]
        stem = STEMS[int(rng.integers(len(STEMS)))]
        words, tags = [verb], ["O"]
        for _ in range(int(rng.integers(1, 3))):
            count = int(rng.integers(3))
            words += ["the", "two", "red"][: count + 1]
            tags += ["O", "B-thing", "I-thing"][: count + 1]
            words.append(f"{stem}s")
            tags.append("I-thing" if count else "B-thing")
        X.append(words)
        y.append(tags if verb == "take" else ["O"] * len(words))
        labels.append(verb.upper())
    return X, y, labels


X, Y, LABELS = phrases()


@pytest.fixture(scope="module")
def fitted():
    """Learned on spans and labels, with everything on."""
    return SequenceTagger(**QUICK, max_epochs=10, batch_size=8, validation=0.2).fit(X, Y, LABELS)


def test_it_learns_spans_and_labels_and_says_so(fitted):
    figures = fitted.metrics_
    assert figures["accuracy"] > 0.95 and figures["span_f1"] > 0.9 and figures["label_accuracy"] == 1.0
    assert set(figures) >= {"span_precision", "span_recall", "sentence_accuracy"}
    names = [row["name"] for row in fitted.baselines_]
    assert names == ["most frequent tag of the word", "logistic regression on the words"]
    assert fitted.baselines_[0]["span_f1"] < figures["span_f1"]  # the same word is taken here and left there
    fresh, truth, labels = phrases(20, seed=1)
    assert fitted.evaluate(fresh, truth, labels)["span_f1"] > 0.9
    assert fitted.score(fresh, truth) == pytest.approx(fitted.evaluate(fresh, truth)["accuracy"])
    assert fitted.predict_labels(fresh) == labels
    assert fitted.tags_[0] == "O" and set(fitted.labels_) == {"TAKE", "LEAVE"}


def test_answers_have_the_form_of_the_sentences(fitted):
    some = ["take the two cats", ["leave", "rivers"]]
    tags = fitted.predict(some)
    assert [len(line) for line in tags] == [4, 2] and all(type(tag) is str for line in tags for tag in line)
    assert fitted.predict([sentence.split() for sentence in some[:1]]) == tags[:1]
    for p, words in zip(fitted.predict_proba(some), (4, 2)):
        assert p.shape == (words, 3)
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
    alone = [fitted.predict([sentence])[0] for sentence in some]
    assert alone == tags  # batch mates change nothing


def test_the_chain_decodes_the_best_path(fitted):
    """The path that comes out has the highest probability of all 3^4."""
    sentence = X[0][:4]
    with torch.no_grad():
        batch = SentenceSource([sentence], fitted.codes_).batch(torch.arange(1))
        table = answer(fitted.network_(batch.inputs), fitted.shape_).tags.data
    K = range(len(fitted.tags_))

    def score(path: tuple[int, ...]) -> float:
        return sum(float(table[t, i, j]) for t, (i, j) in enumerate(zip((0, *path[:-1]), path)))

    best = max(itertools.product(K, repeat=len(sentence)), key=score)
    assert fitted.predict([sentence])[0] == [fitted.tags_[k] for k in best]


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        ({"crf": False}, True),
        ({"characters": "convolution"}, False),
        ({"characters": None, "crf": False}, False),
        ({"network": [GRUConfig(hidden_size=6)], "dtype": "float64"}, True),
    ],
)
def test_every_form_is_saved_and_comes_back(options, labels, tmp_path, monkeypatch):
    monkeypatch.setattr(SequenceTagger, "report", lambda self: None)  # its pictures take seconds
    given = LABELS if labels else None
    model = SequenceTagger(**{**SHORT, **options}).fit(X, Y, given)
    again = load(model.save(tmp_path / "model"))
    assert again.predict(X[:5]) == model.predict(X[:5])
    for mine, theirs in zip(model.predict_proba(X[:3]), again.predict_proba(X[:3])):
        np.testing.assert_array_equal(mine, theirs)
    assert again.metrics_ == model.metrics_ and again.tags_ == model.tags_ and again.labels_ == model.labels_
    assert str(again.summary(4)) == str(model.summary(4))
    if not labels:
        with pytest.raises(OptionError, match="fitted without labels"):
            again.predict_labels(X[:1])


def test_the_report_has_its_own_section(fitted):
    page = fitted.report()
    assert "Labels of sentences" in page and "conlleval" in page and "F1 of spans" in page
    for said in ("Tag by tag", "Spans by kind", "Who was taken for whom", "Sentences", "Inside"):
        assert f"<h2>{said}</h2>" in page, said


def test_characters_tell_what_words_do_not():
    """The tag is in the ending alone, and no word of the test was seen: only its characters help."""
    letters = "abcdefghij"
    rng = np.random.default_rng(3)
    stems = ["".join(rng.choice(list(letters), 4)) for _ in range(90)]
    words = [[stem + ("ing" if k % 2 else "ed")] for k, stem in enumerate(stems)]
    tags = [["NOW" if k % 2 else "PAST"] for k in range(90)]
    whole = {**QUICK, "validation": None, "patience": None, "max_epochs": 12, "batch_size": 8}
    for reader in ("lstm", "convolution"):
        model = SequenceTagger(**whole, characters=reader).fit(words[:60], tags[:60])
        assert model.score(words[60:], tags[60:]) == 1.0
        assert model.evaluate(words[60:], tags[60:])["unknown_accuracy"] == 1.0
    blind = SequenceTagger(**whole, characters=None).fit(words[:60], tags[:60])
    assert blind.score(words[60:], tags[60:]) < 0.8


@pytest.mark.parametrize("kind", [CharacterLSTM, CharacterConvolution])
def test_a_word_is_read_alike_whatever_stands_beside_it(kind, rng):
    from saiki import Ragged

    reader = kind(9, 6, generator=rng, dtype=torch.float64, device=None)
    forms = [torch.randint(9, (n,), generator=rng) for n in (5, 1, 3, 8)]
    together = reader(Ragged.from_list(forms))
    assert together.shape == (4, 6)
    for form, vector in zip(forms, together):
        torch.testing.assert_close(reader(Ragged.from_list([form]))[0], vector, rtol=1e-12, atol=1e-12)


def test_a_batch_spells_each_word_once(fitted):
    batch = SentenceSource([["red", "cats", "red"], ["cats"]], fitted.codes_).batch(torch.tensor([1, 0]))
    assert batch.inputs.forms.B == 2 and batch.inputs.B == 2
    assert batch.weights.tolist() == [1.0, 3.0]  # a sentence weighs as many as it has words
    spelled = [fitted.codes_.characters.decode(form.tolist()) for form in batch.inputs.forms.to_list()]
    rows = [spelled[k] for k in batch.inputs.place.tolist()]
    lengths = batch.inputs.words.with_data(torch.tensor([len(row) for row in rows]))
    assert [line.tolist() for line in lengths.to_list()] == [[4], [3, 4, 3]]


def test_rare_words_are_hidden_while_learning():
    model = SequenceTagger(**SHORT, unknown=1.0).fit(
        [["a", "b"], ["a", "a"], ["a", "c"]] * 4, [["X", "Y"]] * 12
    )
    share = dict(zip(model.codes_.words.tokens, model.network_.get_buffer("unknown").tolist()))
    seen = dict.fromkeys("abc", 0)
    for k in range(12):
        if k not in held_out(model, 12):
            for word in (["a", "b"], ["a", "a"], ["a", "c"])[k % 3]:
                seen[word] += 1
    assert share == pytest.approx({"<unk>": 0.0, **{w: 1 / (n + 1) for w, n in seen.items()}})


def held_out(model: SequenceTagger, n: int) -> set[int]:
    from saiki.data import split_sequences

    return set(split_sequences(n, model.validation, seed=model.seed_)[1].tolist())


def test_the_seed_decides_and_a_stopped_run_goes_on(tmp_path):
    dropped = {**QUICK, "dropout": 0.3, "patience": None}
    whole = SequenceTagger(**dropped, max_epochs=3).fit(X, Y, LABELS, checkpoint=tmp_path / "a")

    class Stop(Exception):
        pass

    from saiki.learning import Observer

    class After(Observer):
        def on_checkpoint(self, event):
            if event.update > 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SequenceTagger(**dropped, max_epochs=3).fit(
            X, Y, LABELS, checkpoint=tmp_path / "b", observers=[After()]
        )
    assert load(tmp_path / "b").predict(X[:2])  # what is there already answers
    resumed = SequenceTagger(**dropped, max_epochs=3).fit(
        X, Y, LABELS, checkpoint=tmp_path / "b", resume=True
    )
    for mine, theirs in zip(whole.network_.state_dict().values(), resumed.network_.state_dict().values()):
        assert torch.equal(mine, theirs)


def test_refit_measures_before_it_trains_on_everything():
    model = SequenceTagger(**SHORT, training=Training(refit="all")).fit(X, Y)
    assert model.metrics_ and any("before it was trained again" in note for note in model.record_.notes)


def test_validation_given_by_the_user_and_its_labels():
    held = phrases(10, seed=2)
    model = SequenceTagger(**SHORT, validation=held).fit(X, Y, LABELS)
    assert model.details_["splits"][1] == {
        "name": "validation",
        "sentences": 10,
        "words": sum(map(len, held[0])),
    }
    with pytest.raises(OptionError, match="labels were given for training but not for validation"):
        SequenceTagger(**SHORT, validation=held[:2]).fit(X, Y, LABELS)
    with pytest.raises(LabelError, match=r"the tag 'NEW' in sentence 0 is not among the 3 tags"):
        SequenceTagger(**SHORT, validation=([["a"]], [["NEW"]])).fit(X, Y)
    assert model.evaluate([["a", "b"]], [["NEW", "O"]])["accuracy"] <= 0.5  # unseen there: a mistake


def test_scikit_learn_clones_and_searches():
    model = SequenceTagger(**SHORT, training=Training(clip_norm=2.0))
    assert clone(model).get_params()["training__clip_norm"] == 2.0
    shares = cross_val_score(model, X[:20], Y[:20], cv=2, error_score="raise")
    assert shares.shape == (2,) and np.isfinite(shares).all()
    weighted = SequenceTagger(**SHORT).fit(X, Y, sample_weight=np.arange(len(X)))
    assert weighted.score(X, Y, sample_weight=np.ones(len(X))) == pytest.approx(weighted.score(X, Y))
    found = SequenceTagger(**SHORT).lr_range(X, Y, LABELS, steps=12)
    assert found.suggested is None or found.suggested > 0


def test_spans_are_not_counted_where_tags_mark_none():
    model = SequenceTagger(**SHORT).fit(X, [["B" if tag == "O" else "C" for tag in line] for line in Y])
    assert "span_f1" not in model.metrics_ and "by_span" not in model.details_


@pytest.mark.parametrize(
    ("x", "y", "labels", "error", "said"),
    [
        ("take cats", [["O", "O"]], None, DTypeError, "X is one text, 'take cats', but must be a list"),
        ([], [], None, ShapeError, "X holds no sentence"),
        ([["a"], []], [["O"], []], None, LengthError, "sentence 1 of X is empty"),
        (["a", " "], [["O"], ["O"]], None, LengthError, "sentence 1 of X is empty"),
        ([["a", 3]], [["O", "O"]], None, DTypeError, r"word 1 of X\[0\] is 3 \(int\) but must be text"),
        ([["a", ""]], [["O", "O"]], None, LengthError, r"word 1 of X\[0\] is empty"),
        ([["a"], None], [["O"], ["O"]], None, DTypeError, r"X\[1\] is None \(NoneType\)"),
        ([["\ud800"]], [["O"]], None, LabelError, "half of a surrogate pair"),
        (3, [["O"]], None, DTypeError, "X is int but must be a list of sentences"),
        ([["a", "b"]], [["O"]], None, LabelError, r"sentence 0 has 2 words but y\[0\] has 1 tags"),
        ([["a"]], [["O"], ["O"]], None, LabelError, "y has tags for 2 sentences but X has 1"),
        ([["a"]], None, None, LabelError, "requires y to be passed"),
        ([["a"]] * 4, [["O"]] * 4, None, LabelError, r"y has one tag only \('O'\)"),
        ([["a"]] * 4, [["O"], ["P"]] * 2, ["x"] * 4, LabelError, r"labels has one label only \('x'\)"),
        ([["a"]] * 4, [["O"], ["P"]] * 2, ["x"], LabelError, "labels has 1 entries but X has 4 sentences"),
        ([["a"]] * 4, [["O"], ["P"]] * 2, [1, 2, 1, 2], DTypeError, r"labels\[0\] is 1 \(int\)"),
        ([["a"]], [["O"]], None, LengthError, "n_samples=1 sentence, too few"),
        ([["a"]] * 300, [[f"T{k}"] for k in range(300)], None, OptionError, "y has 300 different tags"),
    ],
)
def test_what_cannot_be_learned_is_named(x, y, labels, error, said):
    with pytest.raises(error, match=said):
        SequenceTagger(**SHORT).fit(x, y, labels)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"characters": "lsmt"}, OptionError, "did you mean 'lstm'"),
        ({"character_size": 7}, OptionError, "character_size is 7 but must be even"),
        ({"word_size": 0}, ValueError, "word_size is 0"),
        ({"unknown": -1}, ValueError, "unknown is -1"),
        ({"crf": 1}, DTypeError, "crf is 1"),
        ({"validation": 1.5}, OptionError, "validation is 1.5"),
        ({"validation": (1,)}, OptionError, "validation is a tuple of 1"),
        ({"network": [GRUConfig(hidden_size=3), LastConfig()]}, ShapeError, "network pools over time"),
        ({"training": Training(rule="rtrl")}, OptionError, "TaggerNetwork"),
    ],
)
def test_bad_options_are_named(options, error, said):
    with pytest.raises(error, match=said):
        SequenceTagger(**{**SHORT, **options}).fit(X, Y)


def test_a_vocabulary_that_does_not_fit_is_refused(fitted, tmp_path):
    documents = fitted._documents()
    broken = {"vocabulary.json": documents["vocabulary.json"].replace(b'"red",\n', b"")}
    with pytest.raises(SchemaError, match="but the network was made for"):
        fitted._restore_documents(broken)
    with pytest.raises(SchemaError, match=r"vocabulary.json is missing"):
        fitted._restore_documents({})
    assert fitted.predict(X[:1])
