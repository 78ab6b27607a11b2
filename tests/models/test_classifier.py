"""SequenceClassifier: it learns, takes labels of any kind, a sequence or a step, and measures honestly."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits

from saiki import SequenceClassifier
from saiki.core.errors import LabelError, OptionError, ShapeError
from saiki.learning import Observer
from saiki.losses import CrossEntropy
from saiki.nn import EmbeddingConfig, GRUConfig, LastConfig, LSTMConfig, MeanConfig

QUICK = {"hidden_size": 6, "max_epochs": 3, "random_state": 0, "verbose": False}


def slopes(n: int = 30, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Ragged sequences (4 to 9 steps, 2 features) that rise (class 1) or fall (class 0)."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    X = []
    for label in y:
        t = np.linspace(-1, 1, rng.integers(4, 10))
        X.append(np.stack([(2 * label - 1) * t, rng.standard_normal(len(t))], axis=1))
    return X, y


def test_digits_read_row_by_row():
    digits = load_digits()
    model = SequenceClassifier(hidden_size=48, max_epochs=12, lr=0.01, random_state=0, verbose=False)
    held = np.arange(len(digits.target)) % 4 == 0
    model.fit(digits.images[~held], digits.target[~held])
    assert model.score(digits.images[held], digits.target[held]) >= 0.9
    assert model.metrics_["accuracy"] >= 0.9
    names = [row["name"] for row in model.baselines_]
    assert names == ["majority class", "softmax regression on pooled features"]
    assert set(model.baselines_[0]) == {"name", "accuracy", "f1", "log_loss"}


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["falls", "rises"]),
        np.array([False, True]),
        np.array([-3, 12]),
        np.array([0.0, 1.0]),
        np.array(["a", "b"], dtype=object),
        np.array([1, 2], dtype=np.uint8),
    ],
    ids=lambda labels: labels.dtype.name,
)
def test_labels_of_any_kind_come_back(labels, tmp_path):
    from saiki import load

    X, y = slopes()
    model = SequenceClassifier(**{**QUICK, "max_epochs": 25, "lr": 0.03}).fit(X, labels[y])
    np.testing.assert_array_equal(model.classes_, labels)
    found = model.predict(X)
    assert found.shape == (30,) and (found == labels[y]).mean() > 0.9
    probabilities = model.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(labels[probabilities.argmax(axis=1)], found)
    again = load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.predict(X), found)
    assert again.classes_.dtype.kind == model.classes_.dtype.kind.replace("u", "i")


def test_one_label_a_step():
    """Each step's class is the sign of the step before: what only a network with memory can say."""
    rng = np.random.default_rng(1)
    X = [rng.standard_normal((t, 1)) for t in rng.integers(3, 12, size=60)]
    y = [np.where(np.roll(x[:, 0], 1) > 0, "up", "down") for x in X]
    for labels in y:
        labels[0] = "down"
    model = SequenceClassifier(hidden_size=12, max_epochs=40, lr=0.03, random_state=0, verbose=False).fit(
        X, y
    )
    assert model.per_step_ and model.score(X, y) > 0.9
    found = model.predict(X)
    assert [len(f) for f in found] == [len(x) for x in X]
    assert [p.shape for p in model.predict_proba(X)[:2]] == [(len(x), 2) for x in X[:2]]
    assert model.transform(X)[0].shape == (len(X[0]), 12)
    best = max(row["accuracy"] for row in model.baselines_)
    assert model.metrics_["accuracy"] > best + 0.1, "a step's own feature says nothing of the step before"


def test_the_answer_does_not_depend_on_batch_mates():
    X, y = slopes()
    model = SequenceClassifier(**QUICK, dtype="float64").fit(X, y)
    together = model.predict_proba(X)
    alone = np.concatenate([model.predict_proba([x]) for x in X])
    np.testing.assert_allclose(together, alone, rtol=1e-12)


@pytest.mark.parametrize("cell", ["elman", "jordan", "lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_every_cell_by_name(cell, bidirectional):
    X, y = slopes()
    model = SequenceClassifier(
        **QUICK, cell=cell, num_layers=2, bidirectional=bidirectional, dropout=0.2
    ).fit(X, y)
    assert np.isfinite(model.predict_proba(X)).all()
    types = [layer.type for layer in model.layers_]
    name = "rnn" if cell == "elman" else cell
    assert types == [name, "dropout", name, "dropout", "last"]
    assert model.layers_[-1].both_ends is bidirectional


def test_two_directions_read_each_its_own_end():
    """The head sees the forward state of the last step and the backward state of the first."""
    X, y = slopes()
    model = SequenceClassifier(**QUICK, bidirectional=True).fit(X, y)
    reversed_halves = model.transform([x[::-1] for x in X])
    assert model.transform(X).shape == (30, 12)
    assert not np.allclose(reversed_halves, model.transform(X))


def test_a_network_of_ones_own():
    X, y = slopes()
    network = [
        {"type": "gru", "hidden_size": 5, "reset": "before", "name": "encoder"},
        LSTMConfig(hidden_size=4, peepholes=True),
        ("pool", MeanConfig()),
    ]
    model = SequenceClassifier(**QUICK, network=network).fit(X, y)
    assert list(model.network_.layers) == ["encoder", "lstm", "pool", "head"]
    assert model.transform(X).shape == (30, 4)
    assert "encoder" in str(model.summary(steps=9))


def test_tokens_through_an_embedding():
    rng = np.random.default_rng(0)
    X = [rng.integers(0, 20, size=rng.integers(2, 8)) for _ in range(40)]
    y = np.array([int((x == 3).any()) for x in X])
    network = [EmbeddingConfig(num_embeddings=20, size=4), GRUConfig(hidden_size=6), LastConfig()]
    model = SequenceClassifier(**QUICK, network=network).fit(X, y)
    assert model.predict(X).shape == (40,)
    with pytest.raises(TypeError, match="an embedding reads whole numbers"):
        model.predict([[0.5, 1.0]])


def test_pooling_must_agree_with_y():
    X, y = slopes()
    with pytest.raises(
        ShapeError, match=r"one output a step, but y has one row a sequence.*Add LastConfig\(\)"
    ):
        SequenceClassifier(**QUICK, network=[GRUConfig(hidden_size=3)]).fit(X, y)
    per_step = [np.full(len(x), label) for x, label in zip(X, y)]
    with pytest.raises(ShapeError, match="pools over time, but y has one row a step"):
        SequenceClassifier(**QUICK, network=[GRUConfig(hidden_size=3), LastConfig()]).fit(X, per_step)


def test_one_class_only_is_an_error():
    X, _ = slopes()
    with pytest.raises(LabelError, match=r"y has one class only .*Give sequences of at least two classes"):
        SequenceClassifier(**QUICK).fit(X, np.zeros(30, int))


def test_numbers_that_are_no_labels_are_an_error():
    X, _ = slopes()
    with pytest.raises(LabelError, match=r"y does not hold labels.*SequenceRegressor"):
        SequenceClassifier(**QUICK).fit(X, np.linspace(0, 1, 30))


@pytest.mark.parametrize("validation", [0.2, 0.5])
def test_the_split_keeps_every_class_in_proportion(validation):
    X, _ = slopes(40)
    y = np.array([0] * 30 + [1] * 10)
    model = SequenceClassifier(**QUICK, validation=validation).fit(X, y)
    matrix = np.array(model.details_["confusion"])
    np.testing.assert_array_equal(matrix.sum(axis=1), [30 * validation, 10 * validation])


def test_validation_given_or_none():
    X, y = slopes()
    given = SequenceClassifier(**QUICK, validation=(X[:6], y[:6])).fit(X[6:], y[6:])
    assert [s["sequences"] for s in given.details_["splits"]] == [24, 6]
    none = SequenceClassifier(**QUICK, validation=None, patience=None).fit(X, y)
    assert none.metrics_ == {} and none.baselines_ == [] and len(none.record_.epochs) == 3
    with pytest.raises(LabelError, match="the label 7 is not among the classes of the training part: 0, 1"):
        SequenceClassifier(**QUICK, validation=(X[:2], [0, 7])).fit(X, y)
    with pytest.raises(LabelError, match="every class has a single sequence"):
        SequenceClassifier(**QUICK).fit(X[:2], y[:2])


def test_scaling_is_learned_on_the_training_rows_alone():
    X, y = slopes()
    odd = [x + 1e6 for x in X[:6]]
    model = SequenceClassifier(**QUICK, validation=(odd, y[:6])).fit(X[6:], y[6:])
    rows = np.concatenate(X[6:])
    np.testing.assert_allclose(model.features_.scaler.center[0], rows.mean(axis=0))
    np.testing.assert_allclose(model.features_.scaler.scale[0], rows.std(axis=0))
    plain = SequenceClassifier(**QUICK, scaling=None).fit(X, y)
    np.testing.assert_array_equal(plain.features_.scaler.scale, [[1.0, 1.0]])


class _Losses(Observer):
    """Keeps the training loss of each update."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_update(self, event) -> None:
        self.seen.append(event.loss)


def _losses(X, y, **options) -> list[float]:
    weights = options.pop("sample_weight", None)
    watcher = _Losses()
    model = SequenceClassifier(
        **{**QUICK, "validation": None, "patience": None, "batch_size": "all", "dtype": "float64", **options}
    )
    model.fit(X, y, sample_weight=weights, observers=[watcher])
    return watcher.seen


def test_weight_two_is_the_sequence_twice():
    X, y = slopes(10)
    weights = np.ones(10)
    weights[[2, 5]] = 2
    twice = _losses([*X, X[2], X[5]], np.append(y, [y[2], y[5]]), scaling=None)
    np.testing.assert_allclose(_losses(X, y, sample_weight=weights, scaling=None), twice, rtol=1e-9)


def test_class_weight_balanced_weighs_classes_alike():
    X, _ = slopes(12)
    y = np.array([0] * 9 + [1] * 3)
    balanced = SequenceClassifier(**QUICK, class_weight="balanced", validation=None, patience=None).fit(X, y)
    np.testing.assert_allclose(balanced.class_weight_, [12 / 18, 12 / 6])
    by_hand = _losses(X, y, class_weight={0: 12 / 18, 1: 12 / 6})
    np.testing.assert_allclose(by_hand, _losses(X, y, class_weight="balanced"))
    weights = np.where(y == 0, 12 / 18, 12 / 6)
    np.testing.assert_allclose(by_hand, _losses(X, y, sample_weight=weights), rtol=1e-9)


def test_a_loss_of_ones_own_equals_the_named_one():
    X, y = slopes(12)

    def mine(logits, classes):
        return torch.nn.functional.cross_entropy(logits, classes, reduction="none")

    named = _losses(X, y)
    np.testing.assert_allclose(_losses(X, y, loss=mine), named, rtol=1e-9)
    np.testing.assert_allclose(_losses(X, y, loss=CrossEntropy()), named, rtol=1e-12)
    weighted = _losses(X, y, class_weight={0: 2.0})
    np.testing.assert_allclose(_losses(X, y, loss=mine, class_weight={0: 2.0}), weighted, rtol=1e-9)


def test_a_loss_that_takes_the_mean_is_explained():
    X, y = slopes(12)
    with pytest.raises(ShapeError, match="must give one value a row"):
        SequenceClassifier(**QUICK, loss=torch.nn.functional.cross_entropy).fit(X, y)


def test_hidden_size_auto_and_the_note():
    X, y = slopes()
    model = SequenceClassifier(**{**QUICK, "hidden_size": "auto"}).fit(X, y)
    values = sum(len(x) for x in X) * 2
    assert model.size_.values <= values and model.record_.parameters == model.size_.parameters
    assert f"{model.size_.parameters:,} parameters for" in model.parameter_note_
    assert model.parameter_note_ in model.record_.notes
    large = SequenceClassifier(**{**QUICK, "hidden_size": 64}).fit(X, y)
    assert "More parameters than values" in large.parameter_note_


def test_a_frame_in_and_rows_back():
    X, y = slopes(12)
    frame = pd.concat(
        pd.DataFrame(
            {"who": f"s{i}", "t": np.arange(len(x)), "a": x[:, 0], "b": x[:, 1], "kind": "fr"[label]}
        )
        for i, (x, label) in enumerate(zip(X, y))
    )
    model = SequenceClassifier(
        **{**QUICK, "max_epochs": 30, "lr": 0.03}, id="who", time="t", columns=["a", "b"]
    )
    model.fit(frame, "kind")
    assert model.feature_names_ == ("a", "b") and model.classes_.tolist() == ["f", "r"]
    assert model.score(frame, "kind") > 0.9
    assert model.predict(frame.drop(columns="kind")).shape == (12,)
    with pytest.raises(ValueError, match="X lacks a column that this model reads: unknown column 'b'"):
        model.predict(frame.drop(columns="b"))
    plain = SequenceClassifier(**QUICK, id="who", time="t").fit(frame, "kind")
    assert plain.feature_names_ == ("a", "b"), "the target named by y is no feature"


def test_channels_first_is_explained_at_fit_and_predict():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((10, 3, 40)), np.arange(10) % 2
    with pytest.raises(ShapeError, match="looks channels-first"):
        SequenceClassifier(**QUICK).fit(X, y)
    model = SequenceClassifier(**QUICK, layout="channels_first").fit(X, y)
    assert model.n_features_in_ == 3
    other = SequenceClassifier(**QUICK).fit(X.transpose(0, 2, 1), y)
    np.testing.assert_array_equal(model.predict_proba(X), other.predict_proba(X.transpose(0, 2, 1)))
    with pytest.raises(ShapeError, match="looks channels-first, 3 features over 5 steps"):
        other.predict(X[:, :, :5])


def test_lengths_cut_padding_off():
    X, y = slopes(12)
    lengths = [len(x) for x in X]
    padded = np.full((12, max(lengths), 2), np.nan)
    for i, x in enumerate(X):
        padded[i, : len(x)] = x
    model = SequenceClassifier(**QUICK).fit(padded, y, lengths=lengths)
    as_list = SequenceClassifier(**QUICK).fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(padded, lengths), as_list.predict_proba(X))
    assert model.score(padded, y, lengths=lengths) == as_list.score(X, y)


def test_baselines_win_where_the_network_is_no_use():
    """One update of one unit: the simple model is better, and the figures say so."""
    X, y = slopes(40)
    model = SequenceClassifier(hidden_size=1, max_epochs=1, lr=1e-4, random_state=0, verbose=False).fit(X, y)
    logistic = model.baselines_[1]
    assert logistic["name"] == "logistic regression on pooled features"
    assert logistic["log_loss"] < model.metrics_["log_loss"]
    assert "A simple method won" in model.report() or "Level" in model.report()


def test_unknown_quantity_of_the_loss_is_offered():
    X, y = slopes(8)
    with pytest.raises(
        OptionError, match="unknown loss of a classifier 'crossentropy'; did you mean 'cross_entropy'"
    ):
        SequenceClassifier(**QUICK, loss="crossentropy").fit(X, y)
