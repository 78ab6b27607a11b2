"""Gaps and categories of the sequence tasks: what the network reads, what is saved, what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from saiki import SequenceClassifier, SequenceRegressor, load
from saiki.core.errors import DataError, DTypeError, OptionError, SchemaError, ValueRangeError
from saiki.data import Categories
from saiki.models.sequence_features import Features, read_category
from saiki.nn import AttentionPoolConfig, EmbeddingConfig, LSTMConfig

QUICK = {"hidden_size": 4, "max_epochs": 2, "random_state": 0, "verbose": False}
NAN = np.nan


def long_frame(n: int = 24, seed: int = 0) -> pd.DataFrame:
    """Sequences whose kind is told by a colour and a number."""
    rng = np.random.default_rng(seed)
    rows = []
    for k in range(n):
        for t in range(int(rng.integers(3, 7))):
            colour = ("red", "green", "blue")[int(rng.integers(3))] if k % 2 else "red"
            rows.append((f"s{k}", t, rng.normal(), colour, int(rng.integers(2)), "up" if k % 2 else "down"))
    return pd.DataFrame(rows, columns=["who", "when", "x", "colour", "gear", "kind"])


def test_interpolation_and_masks_are_the_issues_sums():
    """By hand: mean 2, deviation √(2/3) of 1, 2, 3; the gap lies half way, or is 0 with a 0 beside it."""
    x = np.array([[1.0, 5.0], [NAN, 5.0], [3.0, 5.0], [2.0, 5.0]])
    z = np.sqrt(1.5)
    filled = Features.fit([x], "standard", missing="interpolate")
    np.testing.assert_allclose(filled.encode(x)[:, 0], [-z, 0, z, 0], atol=1e-15)
    assert filled.size == 2
    masked = Features.fit([x], "standard", missing="mask")
    np.testing.assert_allclose(masked.encode(x), [[-z, 0, 1], [0, 0, 0], [z, 0, 1], [0, 0, 1]], atol=1e-15)
    assert masked.size == 3, "only the feature that has gaps gets a channel"


def test_one_hot_and_codes_stand_behind_the_numbers():
    colour = Categories.fit("colour", ["red", "blue", "red"])
    gear = Categories.fit("gear", ["1", "2", "3"], "embed")
    x = np.array([[1.0, 10.0, 2.0], [0.0, 20.0, 0.0]])  # colour, a number, gear
    features = Features.fit([x], None, columns=["colour", "a", "gear"], categories=[colour, gear])
    np.testing.assert_array_equal(features.encode(x), [[10, 0, 1, 2], [20, 1, 0, 0]])
    np.testing.assert_array_equal(features.encode(x, embed=False), [[10, 0, 1, 0, 0, 1], [20, 1, 0, 1, 0, 0]])
    assert features.embeddings() == [EmbeddingConfig(num_embeddings=3, size=3, column=3)]


@pytest.mark.parametrize("encoding", ["one_hot", "embed"])
def test_a_category_is_detected_saved_and_read_back(encoding, tmp_path):
    frame = long_frame()
    model = SequenceClassifier(id="who", time="when", encoding=encoding, **QUICK).fit(frame, "kind")
    assert [c.column for c in model.categories_] == ["colour"]
    assert model.categories_[0].levels == ("blue", "green", "red")
    again = load(model.save(tmp_path / "m"))
    np.testing.assert_array_equal(again.predict_proba(frame), model.predict_proba(frame))
    assert again.categories_ == model.categories_
    with pytest.raises(
        DataError,
        match=r"column 'colour' holds 'gren' in row 2 of X, a level.*known: blue, green, red.*'green'",
    ):
        again.predict(frame.assign(colour=["red", "red", "gren", *["red"] * (len(frame) - 3)]))


def test_a_number_column_can_be_declared_a_category(tmp_path):
    frame = long_frame()
    model = SequenceRegressor(id="who", time="when", columns=["x", "gear"], categories=["gear"], **QUICK)
    model.fit(frame, np.arange(24.0))
    assert model.categories_[0].levels == ("0", "1")
    assert model.network_.input_size == 3
    np.testing.assert_array_equal(load(model.save(tmp_path / "m")).predict(frame), model.predict(frame))
    with pytest.raises(DataError, match="unknown column 'gaer'; did you mean 'gear'"):
        SequenceRegressor(id="who", categories=["gaer"]).fit(frame, np.arange(24.0))


def test_baselines_read_the_same_gaps_and_levels():
    frame = long_frame()
    frame.loc[5, "x"] = NAN
    model = SequenceClassifier(id="who", time="when", missing="mask", **QUICK).fit(frame, "kind")
    assert [row["name"] for row in model.baselines_][1] == "logistic regression on pooled features"
    assert all(np.isfinite(row["log_loss"]) for row in model.baselines_)


@pytest.mark.parametrize("missing", ["interpolate", "mask"])
def test_arrays_with_gaps_are_read_and_saved(missing, tmp_path):
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(6, 2)) for _ in range(20)]
    for k in range(0, 20, 3):
        X[k][2, 1] = NAN
    model = SequenceRegressor(missing=missing, **QUICK).fit(X, np.arange(20.0))
    again = load(model.save(tmp_path / "m"))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    X[1][3, 0] = np.inf
    with pytest.raises(ValueRangeError, match=r"X, sequence 1 is.*inf.*at step 3, feature 0"):
        again.predict(X)


def test_what_cannot_be_filled_is_refused():
    X = [np.ones((3, 2)) for _ in range(10)]
    y = np.arange(10.0)
    whole = SequenceRegressor(missing="mask", **QUICK).fit(X, y)
    gone = [np.array([[1.0, 2.0], [1.0, NAN]])]
    with pytest.raises(
        DataError, match="column 1 of sequence 0 of X has a missing value in step 1, but the tr"
    ):
        whole.predict(gone)
    X[0] = np.array([[1.0, NAN], [2.0, NAN]])
    with pytest.raises(DataError, match="column 1 of sequence 0 of X has no value at all"):
        SequenceRegressor(missing="interpolate", validation=None, **QUICK).fit(X, y)
    with pytest.raises(
        DTypeError, match=r"columns is 'x' but must be a list of names. Write columns=\['x'\]"
    ):
        SequenceRegressor(columns="x").fit(X, y)
    with pytest.raises(DTypeError, match="unit is int but must be text"):
        SequenceRegressor(unit=5).fit([np.ones((3, 2))] * 10, y)
    with pytest.raises(OptionError, match="missing='mast' is unknown"):
        SequenceRegressor(missing="mast").fit(X, y)
    with pytest.raises(OptionError, match="unknown encoding 'embedd'; did you mean 'embed'"):
        SequenceRegressor(encoding="embedd").fit(X, y)
    with pytest.raises(OptionError, match="embeds X as it is"):
        SequenceRegressor(
            missing="mask", network=[EmbeddingConfig(num_embeddings=3, size=2), LSTMConfig(hidden_size=2)]
        ).fit(X, y)
    with pytest.raises(DataError, match="'name' has 1,001 levels; at most 1,000 make sense"):
        read_category(np.array([f"n{k}" for k in range(1001)]), "name", "one_hot", "error")


def test_a_folder_whose_categories_do_not_fit_is_refused():
    features = Features.fit(
        [np.ones((2, 2))], None, columns=["a", "b"], categories=[Categories.fit("b", ["x"])]
    )
    stored = features.to_file()
    tensors = {f"scaler.{k}": v for k, v in features.scaler.tensors().items()}
    assert Features.restore(stored, None, tensors, 2, ["a", "b"]).size == features.size
    stored.coded[0] = 7
    with pytest.raises(SchemaError, match="the categories and masks do not fit 2 features"):
        Features.restore(stored, None, tensors, 2, ["a", "b"])


def test_rows_out_of_order_are_put_in_order_and_said(caplog):
    frame = long_frame()
    model = SequenceClassifier(id="who", time="when", **QUICK).fit(frame, "kind")
    caplog.clear()
    turned = frame.iloc[[1, 0, *range(2, len(frame))]]
    np.testing.assert_array_equal(model.predict_proba(turned), model.predict_proba(frame))
    assert "2 rows did not stand in the order of their times in column 'when'" in caplog.text


def test_attention_is_drawn_in_the_report():
    rng = np.random.default_rng(0)
    X, y = [rng.normal(size=(t, 2)) for t in rng.integers(3, 9, size=30)], np.arange(30.0)
    network = [LSTMConfig(hidden_size=4), ("looks", AttentionPoolConfig())]
    model = SequenceRegressor(network=network, unit="ppm", max_epochs=2, random_state=0, verbose=False).fit(
        X, y
    )
    (found,) = model.details_["attention"]
    assert found["layer"] == "looks" and len(found["weights"]) == 6
    assert all(sum(row) == pytest.approx(1, abs=1e-5) for row in found["weights"])
    page = model.report()
    assert "Attention over past steps" in page and "root mean squared error, ppm" in page
    assert "lstm (hidden_size 4), attention_pool" in page, "the settings show the layers in short"
    assert "<dt>hidden_size</dt>" not in page, "and no shorthand that the network replaced"
    plain = SequenceRegressor(**QUICK).fit(X, y)
    assert "attention" not in plain.details_ and "Attention over" not in plain.report()
    assert "this LSTM network" in plain.report()


def test_the_report_tells_classes_categories_and_gaps():
    frame = long_frame()
    frame.loc[5, "x"] = NAN
    model = SequenceClassifier(id="who", time="when", missing="mask", **QUICK).fit(frame, "kind")
    page = model.report()
    for said in (
        "classes</dt><dd>2<small>down, up",
        "category colour</dt><dd>3 levels<small>one-hot",
        "masked",
    ):
        assert said in page, said
