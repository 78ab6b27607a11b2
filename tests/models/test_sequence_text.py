"""Texts into SequenceClassifier: vocabulary and vectors learned on the training part, saved, restored."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

from saiki import SequenceClassifier, load
from saiki.core.errors import (
    DataError,
    DTypeError,
    LabelError,
    LengthError,
    ModelFolderError,
    OptionError,
    SchemaError,
    UsageError,
)
from saiki.core.schema import seal
from saiki.data import load as load_data
from saiki.data.tokens import Characters, TextCodec
from saiki.learning import Observer
from saiki.models.sequence_text import Text, as_text
from saiki.nn import Embedding

QUICK = {"hidden_size": 6, "max_epochs": 2, "random_state": 0, "verbose": False}
GOOD = ["a fine day", "fine and good", "what a good day", "good good fine"]
BAD = ["a bad night", "bad and cold", "what a cold night", "cold cold bad"]


@pytest.fixture(scope="module")
def texts():
    """48 texts of two classes, told by any of their words but four."""
    rng = np.random.default_rng(0)
    X, y = [], []
    for _ in range(24):
        for kind, words in (("up", GOOD), ("down", BAD)):
            first, second = rng.choice(words, 2)
            X.append(f"{first} , {second}")
            y.append(kind)
    return X, y


@pytest.fixture(scope="module")
def fitted(texts):
    return SequenceClassifier(
        text="words", hidden_size=8, max_epochs=12, lr=0.02, random_state=0, verbose=False
    ).fit(*texts)


def test_learns_words(fitted, texts):
    assert fitted.metrics_["accuracy"] == 1.0
    assert fitted.predict(["a good day", "bad cold"]).tolist() == ["up", "down"]
    shares = fitted.predict_proba(["fine"])
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-12)
    assert [row["name"] for row in fitted.baselines_] == [
        "majority class",
        "logistic regression on tf-idf of tokens",
    ]
    assert fitted.baselines_[1]["accuracy"] == 1.0
    assert fitted.score(*texts) == fitted.evaluate(*texts)["accuracy"] == 1.0
    assert fitted.transform(["fine day", "bad"]).shape == (2, 8)


def test_vocabulary_is_of_the_training_part_alone():
    X = [f"word{i} shared" for i in range(40)]
    y = [i % 2 for i in range(40)]
    model = SequenceClassifier(text="words", validation=0.25, **QUICK).fit(X, y)
    assert len(model.codec_) == 30 + 2  # the words of 30 texts, "shared" and <unk>
    assert model.text_.unseen == 0.5
    given = SequenceClassifier(text="words", validation=(["new words"], [1]), **QUICK).fit(X, y)
    assert len(given.codec_) == 40 + 2 and given.text_.unseen == 1.0


def test_a_row_does_not_depend_on_the_others(fitted):
    alone = fitted.predict_proba(["what a good night"])
    among = fitted.predict_proba(["bad", "what a good night", "a bad cold night and more of it , yes"])
    np.testing.assert_allclose(among[1], alone[0], rtol=1e-6)


@pytest.fixture(scope="module")
def folder(fitted, tmp_path_factory):
    return fitted.save(tmp_path_factory.mktemp("models") / "m")


def test_saved_and_loaded(fitted, folder, texts):
    again = load(folder)
    assert again.codec_ == fitted.codec_ and again.text_ == fitted.text_
    np.testing.assert_array_equal(again.predict_proba(texts[0]), fitted.predict_proba(texts[0]))
    page = (folder / "report.html").read_text()
    assert "One label a text, read as words" in page
    assert "Texts and answers" in page and "Confusion matrix" in page and "vocabulary" in page


@pytest.mark.parametrize(
    "tokenizer", ["characters", Characters(lower=True), {"name": "sentencepiece", "size": 40, "kind": "bpe"}]
)
def test_other_tokenizers(texts, tokenizer):
    if isinstance(tokenizer, dict):
        pytest.importorskip("sentencepiece")
    model = SequenceClassifier(text={"tokenizer": tokenizer, "size": 5} if isinstance(tokenizer, dict)
                               else Text(tokenizer=tokenizer, size=5), **QUICK).fit(*texts)  # fmt: skip
    assert ("units.model" in model._documents()) == isinstance(tokenizer, dict)
    assert TextCodec.of_documents(model._documents()) == model.codec_
    again = clone(model).fit(*texts)
    np.testing.assert_array_equal(again.predict_proba(texts[0]), model.predict_proba(texts[0]))


class Stop(Observer):
    """Ends the run at its first checkpoint after an update."""

    def on_validation(self, event):
        raise KeyboardInterrupt


def test_resumed_run_is_the_same(texts, tmp_path):
    options = {**QUICK, "max_epochs": 3}
    whole = SequenceClassifier(text="words", **options).fit(*texts)
    half = SequenceClassifier(text="words", **options)
    with pytest.raises(KeyboardInterrupt):
        half.fit(*texts, checkpoint=tmp_path / "c", every_minutes=1e-9, observers=[Stop()])
    assert load(tmp_path / "c").codec_ == whole.codec_
    half.fit(*texts, checkpoint=tmp_path / "c", resume=True)
    np.testing.assert_array_equal(half.predict_proba(texts[0]), whole.predict_proba(texts[0]))


def test_table_with_a_text_column(fitted, texts):
    frame = pd.DataFrame({"message": texts[0], "mood": texts[1], "n": range(48)})
    model = SequenceClassifier(text=Text(column="message"), hidden_size=8, max_epochs=12, lr=0.02,
                               random_state=0, verbose=False).fit(frame, "mood")  # fmt: skip
    np.testing.assert_array_equal(model.predict_proba(frame), fitted.predict_proba(texts[0]))
    assert model.score(frame, "mood") == 1.0
    with pytest.raises(DataError, match=r"text names a column that X does not have.*did you mean 'message'"):
        SequenceClassifier(text=Text(column="mesage"), **QUICK).fit(frame, "mood")
    with pytest.raises(DataError, match="no column was named that holds the texts"):
        SequenceClassifier(text="words", **QUICK).fit(frame, "mood")
    with pytest.raises(DTypeError, match=r"column 'n' of X\[0\] is 0 \(int\) but must be a text"):
        SequenceClassifier(text=Text(column="n"), **QUICK).fit(frame, "mood")


@pytest.fixture
def vectors(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text(
        "the 9 9 9\nGood 7 7 7\ngood 1 0 0\nfine 0.9 0.1 0\nnice 1 0.1 0\nbad -1 0 0\ncold -0.9 0.1 0\n"
        "awful -1 0.1 0\nday 0 0 1\nnight 0 0 -1\n"
    )
    return path


@pytest.mark.parametrize("tune", [True, False])
def test_pretrained_vectors(texts, vectors, tune):
    model = SequenceClassifier(text=Text(vectors=vectors, tune=tune, more=10), **QUICK).fit(*texts)
    vocabulary = model.codec_.vocabulary
    layer = next(iter(model.network_.layers.values()))
    assert isinstance(layer, Embedding) and layer.weight.shape == (len(vocabulary), 3)
    row = layer.weight[vocabulary.id("good")]
    assert torch.equal(row, torch.tensor([1.0, 0, 0])) != tune
    assert model.text_.found == 10  # the file's ten words: six of the texts and four more
    if not tune:
        # a word that no training text has is understood by its vector
        near, far = model.predict_proba(["nice", "awful"])[:, 1]
        assert abs(near - model.predict_proba(["fine"])[0, 1]) < abs(near - far)
        assert not layer.weight.requires_grad
        assert sum(p.numel() for p in model.network_.parameters() if p.requires_grad) == (
            model.record_.parameters
        )


def test_unknown_words_start_at_the_mean(texts, vectors):
    model = SequenceClassifier(text=Text(vectors=vectors, tune=False), **QUICK).fit(*texts)
    vocabulary, layer = model.codec_.vocabulary, next(iter(model.network_.layers.values()))
    known = [vocabulary.id(word) for word in ("good", "fine", "bad", "cold", "day", "night")]
    torch.testing.assert_close(layer.weight[0], layer.weight[known].mean(dim=0))
    assert not layer.weight[vocabulary.id("what")].any()
    drawn = SequenceClassifier(text=Text(size=50), **{**QUICK, "lr": 1e-9}).fit(*texts)
    weight = next(iter(drawn.network_.layers.values())).weight
    assert not weight[0].detach().abs().max() > 1e-6 and 0.08 < weight[1:].std().item() < 0.12


@pytest.mark.parametrize(
    ("X", "error", "said"),
    [
        (["good", ""], DataError, "text 1 of X is empty: '' holds no token. Leave such texts out"),
        (["good", " \n"], DataError, r"text 1 of X is empty: ' \\n' holds no token"),
        (["good", None], DTypeError, r"X\[1\] is None \(NoneType\) but must be a text. Fill in or drop"),
        ("good", DTypeError, r"X is one text, 'good', but must be a list of them. Use \[X\]"),
        ([], LengthError, "X holds no text"),
        ([3], DTypeError, r"X\[0\] is 3 \(int\) but must be a text\.$"),
    ],
)
def test_bad_texts_get_one_sentence(fitted, X, error, said):
    with pytest.raises(error, match=said):
        fitted.predict(X)
    with pytest.raises(error, match=said):
        SequenceClassifier(text="words", **QUICK).fit(X, ["up"] * len(X))


def test_bad_options_are_named(texts, tmp_path):
    for option, value, error, said in (
        ("text", "word", OptionError, "unknown tokenizer 'word'; did you mean 'words'"),
        ("text", 3, DTypeError, "text is int but must be a tokenizer's name"),
        ("text", {"sise": 3}, SchemaError, "sise.*did you mean 'size'"),
        ("text", {"vectors": str(tmp_path / "absent")}, DataError, "there is no file"),
        ("id", "a", OptionError, "id='a' is for sequences of numbers, but text= says that X holds texts"),
        ("missing", "mask", OptionError, "missing='mask' makes no sense for texts"),
        ("per_step", True, OptionError, "per_step=True makes no sense for texts"),
    ):
        with pytest.raises(error, match=said):
            SequenceClassifier(**{**QUICK, "text": "words", option: value}).fit(*texts)
    with pytest.raises(OptionError, match="tune=False needs vectors="):
        Text(tune=False)
    (tmp_path / "other.txt").write_text("xyz 1 2\n")
    with pytest.raises(DataError, match=r"none of the .* tokens of the texts is in"):
        SequenceClassifier(text=Text(vectors=tmp_path / "other.txt"), **QUICK).fit(*texts)
    with pytest.raises(OptionError, match=r"size is 5 but the vectors of .* have 2 numbers"):
        SequenceClassifier(text=Text(vectors=tmp_path / "other.txt", size=5), **QUICK).fit(*texts)
    with pytest.raises(OptionError, match="lengths came with texts"):
        SequenceClassifier(text="words", **QUICK).fit(*texts, lengths=[1] * 48)
    with pytest.raises(UsageError, match="does not learn from a stream of rows"):
        SequenceClassifier(text="words").partial_fit(["a"], ["up"], classes=["up", "down"])
    with pytest.raises(LabelError, match="inconsistent numbers of samples"):
        SequenceClassifier(text="words", **QUICK).fit(texts[0], texts[1][:-1])


def test_text_as_json():
    for text in (Text(), Text(tokenizer=Characters(lower=True), min_count=2, size=9, column="c")):
        assert as_text(json.loads(json.dumps(text.to_mapping()))) == text
    assert as_text("words") == Text() and as_text(None) is None


def test_broken_folders_are_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m" / "vocabulary.json").unlink()
    with pytest.raises(ModelFolderError, match=r"vocabulary\.json"):
        load(tmp_path / "m")
    shutil.copytree(folder, tmp_path / "n")
    config = json.loads((tmp_path / "n" / "config.json").read_text())
    del config["files"]["vocabulary.json"]
    config.pop("sha256")
    (tmp_path / "n" / "config.json").write_text(json.dumps(seal(config)))
    with pytest.raises(SchemaError, match=r"vocabulary\.json is missing"):
        load(tmp_path / "n")


def test_emoji_example():
    """A few epochs on the built-in sentences leave chance (0.2) well behind."""
    data = load_data("emoji")
    model = SequenceClassifier(text="words", hidden_size=32, max_epochs=4, random_state=0, verbose=False).fit(
        data.X, data.y
    )
    assert model.metrics_["accuracy"] > 0.3
    assert set(model.classes_) == set(data.classes)
