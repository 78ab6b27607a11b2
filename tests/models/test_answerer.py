"""Answerer: answers out of a memory, what it looked at, saved, resumed, and what it refuses."""

from __future__ import annotations

import inspect
import json
from dataclasses import fields

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from saiki import load
from saiki.core.errors import (
    DataError,
    DTypeError,
    LabelError,
    LengthError,
    OptionError,
    SchemaError,
    UsageError,
)
from saiki.core.schema import seal
from saiki.data.worlds import Story, worlds
from saiki.insight.figures_memory import hops
from saiki.learning import Observer, Training
from saiki.models.answerer import Answerer

QUICK = {"size": 8, "max_epochs": 2, "random_state": 0, "verbose": False, "baselines": False}


@pytest.fixture(scope="module")
def stories():
    return worlds(300, 1, length=(2, 5), seed=1)


@pytest.fixture(scope="module")
def fitted(stories):
    return Answerer(size=16, max_epochs=25, lr=0.02, random_state=0, verbose=False, baselines=False).fit(
        stories
    )


@pytest.fixture(scope="module")
def folder(fitted, tmp_path_factory):
    return fitted.save(tmp_path_factory.mktemp("models") / "m")


def test_one_fact_is_learned_and_looked_at(fitted):
    new = worlds(200, 1, length=(2, 5), seed=2)
    # 300 stories are few; the 1,000 of `benchmarks.reproductions.worlds` give more
    assert fitted.score(new) == fitted.evaluate(new)["accuracy"] > 0.9
    looked = fitted.attention(new)
    top = [weights[-1].argmax() for weights in looked]
    assert np.mean([place in story.support for place, story in zip(top, new)]) > 0.8
    assert all(weights.shape == (3, len(story.sentences)) for weights, story in zip(looked, new))
    assert fitted.details_["support"] > 0.8
    np.testing.assert_allclose(fitted.predict_proba(new).sum(axis=1), 1, rtol=1e-9)


def test_forms_of_a_story(fitted):
    sentences = ["Anna went to the attic.", "Bela moved to the office."]
    asked = ["Where is Anna?"]
    by_list = fitted.predict_proba([sentences], asked)
    np.testing.assert_array_equal(fitted.predict_proba([" ".join(sentences)], asked), by_list)
    np.testing.assert_array_equal(fitted.predict_proba(["\n".join(sentences)], np.array(asked)), by_list)
    story = Story(tuple(sentences), asked[0], "")
    np.testing.assert_array_equal(fitted.predict_proba([story]), by_list)
    assert fitted.predict([sentences], asked).tolist() == ["attic"]
    # without a sentence there is nothing to look at, and still an answer
    assert fitted.attention([[]], asked)[0].shape == (3, 0)
    assert fitted.predict([[]], asked)[0] in fitted.classes_


@pytest.mark.parametrize(("memory", "sharing"), [("key_value", "adjacent"), ("sentences", "layer")])
def test_saved_and_loaded(stories, tmp_path, memory, sharing, monkeypatch):
    monkeypatch.setattr(Answerer, "report", lambda self: "<html></html>")  # its own test draws it
    options = {"memory": memory, "sharing": sharing, "hops": 2, "time": 0, "position": False}
    model = Answerer(**QUICK, **options).fit(stories)
    model.save(tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.reader_ == model.reader_ and again.get_params() == {
        **model.get_params(), "training": again.training
    }  # fmt: skip
    np.testing.assert_array_equal(again.predict_proba(stories), model.predict_proba(stories))
    np.testing.assert_array_equal(
        clone(again).fit(stories).predict_proba(stories), model.predict_proba(stories)
    )


def test_report_draws_the_hops(folder):
    page = (folder / "report.html").read_text()
    for said in ("What each hop looked at", "hop 3", "A point marks a sentence", "supporting sentences"):
        assert said in page
    assert "<script>" not in hops("t", "c", ["<script>"], [[1.0]], question="q?", said="a").svg


def test_baselines(stories):
    model = Answerer(**{**QUICK, "baselines": True}).fit(stories[:60])
    assert [row["name"] for row in model.baselines_] == [
        "most frequent answer",
        "softmax regression on tf-idf of tokens",
        "LSTM of 64 units reading the whole story",
    ]
    assert all({"accuracy", "log_loss"} <= set(row) for row in model.baselines_)


class Stop(Observer):
    """Ends the run at its first validation."""

    def on_validation(self, event):
        raise KeyboardInterrupt


def test_resumed_run_is_the_same(stories, tmp_path):
    options = {**QUICK, "max_epochs": 3}
    whole = Answerer(**options).fit(stories)
    half = Answerer(**options)
    with pytest.raises(KeyboardInterrupt):
        half.fit(stories, checkpoint=tmp_path / "c", every_minutes=1e-9, observers=[Stop()])
    assert load(tmp_path / "c").reader_ == whole.reader_
    half.fit(stories, checkpoint=tmp_path / "c", resume=True)
    np.testing.assert_array_equal(half.predict_proba(stories), whole.predict_proba(stories))


def test_answers_of_several_words():
    sentences = [[f"box {k} holds the {c} ball."] for k in range(10) for c in ("red", "blue")]
    answers = ["a red ball", "Blue"] * 10
    model = Answerer(**{**QUICK, "max_epochs": 20}, validation=None).fit(
        sentences, ["what is in the box?"] * 20, answers
    )
    assert set(model.classes_) == {"a red ball", "Blue"}
    assert model.score(sentences, ["what is in the box?"] * 20, answers) == 1.0
    both = [Story(("It is so.",), "Is it?", answer) for answer in ("yes", "Yes", "no") * 3]
    assert len(set(Answerer(**QUICK, validation=None).fit(both).reader_.answer_ids())) == 3


def test_options_on_file():
    assert {f.name for f in fields(Answerer.OptionsFile)} == set(Answerer().get_params(deep=False))
    arguments = {name: object() for name in inspect.signature(Answerer.__init__).parameters if name != "self"}
    assert vars(Answerer(**arguments)) == arguments


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (("Anna went.", ["Q?"], ["a"]), DTypeError, "stories is str but must be a list of stories"),
        (([], None, None), LengthError, "stories is empty"),
        (([["A b."]], None, None), LengthError, "questions are missing"),
        (([["A b."]], ["Q?"], None), LabelError, "answers is None"),
        (([["A b."]], ["Q?", "Q?"], ["a"]), LengthError, "questions has 2 entries but there are 1 stories"),
        (([["A b."]], [" "], ["a"]), DataError, "the question of story 0 is empty"),
        (([["A b."]], ["Q?"], [""]), LabelError, "the answer of story 0 is empty"),
        (([["A b."], [3]], ["Q?"] * 2, ["a", "b"]), DTypeError, r"story 1\[0\] is 3 \(int\) but"),
        (([["A b."]] * 2, ["Q?"] * 2, ["a"] * 2), LabelError, "every answer is 'a', so there is nothing"),
        (([Story(("A b.",), "Q?", "a")], ["Q?"], None), UsageError, "the stories hold their questions"),
    ],
)  # fmt: skip
def test_bad_stories_get_one_sentence(given, error, said):
    with pytest.raises(error, match=said):
        Answerer(**QUICK, validation=None).fit(*given)


def test_bad_options_are_named(stories):
    for option, value, error, said in (
        ("memory", "words", OptionError, "unknown memory 'words'"),
        ("sharing", "none", OptionError, "unknown sharing 'none'"),
        ("hops", 0, ValueError, "hops is 0"),
        ("tokens", "word", OptionError, "unknown tokenizer 'word'; did you mean 'words'"),
        ("validation", 2.0, OptionError, "validation is 2.0 but must be a share"),
        ("validation", (1, 2), OptionError, "validation is a tuple of 2"),
        ("training", Training(refit="all"), OptionError, "refit='all', which an answerer does not know"),
    ):
        with pytest.raises(error, match=said):
            Answerer(**{**QUICK, option: value}).fit(stories)
    with pytest.raises(NotFittedError):
        Answerer().predict(stories)
    other = [Story(("A b.",), "Q?", "somewhere")]
    with pytest.raises(LabelError, match="the answer 'somewhere' of story 0 is not among"):
        Answerer(**QUICK, validation=(other,)).fit(stories)


def test_a_changed_folder_is_refused(folder, tmp_path):
    import shutil

    shutil.copytree(folder, tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    config = json.loads(path.read_text())
    config["fitted"]["words"][0] += 1
    config.pop("sha256")
    path.write_text(json.dumps(seal(config)))
    with pytest.raises(SchemaError, match="the words of the answers are others"):
        load(tmp_path / "m")
