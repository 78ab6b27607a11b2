"""partial_fit: row by row as in blocks, saved in the middle, several streams, bad rows, options."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import saiki
from saiki import SequenceClassifier, SequenceRegressor
from saiki.core.errors import (
    DTypeError,
    LabelError,
    LengthError,
    NonFiniteError,
    OptionError,
    SaikiError,
    SchemaError,
    ShapeError,
    UsageError,
    ValueRangeError,
)
from saiki.core.ragged import Ragged
from saiki.learning import BPTT, TruncatedBPTT
from saiki.nn import DropoutConfig, EmbeddingConfig, GRUConfig, LastConfig, LSTMConfig

SMALL = {"hidden_size": 5, "random_state": 0, "verbose": False, "lr": 0.01}
RULES = {
    "every step": TruncatedBPTT(6, 1),
    "every four": TruncatedBPTT(4),
    "overlapping": TruncatedBPTT(7, 3),
    "rtrl": {"type": "rtrl", "approximation": "exact", "every": 2},
    "snap1": {"type": "rtrl", "approximation": "snap1", "every": 3},
}


def stream(T=23, F=2, seed=0):
    source = np.random.default_rng(seed)
    x = source.normal(3, 2, size=(T, F))
    return x, np.concatenate([[0.0], x[:-1, 0]]) * 10 - 4


def labels_of(y):
    return np.where(y > 26, "high", "low")


def weights(model):
    return {name: value.clone() for name, value in model.network_.state_dict().items()}


def carried(model):
    return {name: value.copy() for name, value in model._stream_tensors().items()}


def assert_same_model(one, two):
    for name, value in weights(one).items():
        assert torch.equal(value, weights(two)[name]), name
    mine, theirs = carried(one), carried(two)
    assert set(mine) == set(theirs)
    for name, value in mine.items():
        assert np.array_equal(value, theirs[name], equal_nan=True), name


# -------------------------------------------------------------------- the same bits however it is cut


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_rows_and_blocks_give_the_same_bits(rule):
    x, y = stream()
    whole = SequenceRegressor(rule=rule, **SMALL).partial_fit(x, y)
    for cuts in (range(1, 23), (5, 5, 9, 22)):
        parts = SequenceRegressor(rule=rule, **SMALL)
        for rows, targets in zip(np.split(x, cuts), np.split(y, cuts)):
            if len(rows):
                parts.partial_fit(rows, targets)
        assert_same_model(whole, parts)
    assert whole.stream_.rows == 23
    assert whole.stream_.updates == 23 // whole.stream_.every
    assert np.array_equal(whole.predict_stream(x[:3]), parts.predict_stream(x[:3]))


def test_a_classifier_and_its_classes():
    x, y = stream()
    labels = labels_of(y)
    whole = SequenceClassifier(**SMALL).partial_fit(x, labels, classes=["low", "high"])
    assert whole.classes_.tolist() == ["high", "low"]
    parts = SequenceClassifier(**SMALL)
    for k, (row, label) in enumerate(zip(x, labels)):
        parts.partial_fit(row[None], [label], classes=["low", "high"] if k % 2 == 0 else None)
    assert_same_model(whole, parts)
    said = whole.predict_stream(x[:4])
    chances = whole.predict_proba_stream(x[:4])
    assert said.shape == (4,) and set(said) <= {"high", "low"}
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    assert whole.stream_.rule == TruncatedBPTT(32, 1) and whole.rule is None
    assert "cut off after 32 steps, an update every step;" in whole.report()
    assert [update for update, _, _ in whole.record_.updates] == list(range(1, 24))


def test_several_streams_of_their_own_lengths():
    """Streams in one batch: fed step by step or at once; one that has ended keeps its state."""
    (x0, y0), (x1, y1) = stream(12, seed=1), stream(7, seed=2)
    rule = TruncatedBPTT(6, 2)
    whole = SequenceRegressor(rule=rule, **SMALL).partial_fit([x0, x1], [y0, y1])
    parts = SequenceRegressor(rule=rule, **SMALL)
    for t in range(12):
        parts.partial_fit([x0[t : t + 1], x1[t : t + 1]], [y0[t : t + 1], y1[t : t + 1]])
    assert_same_model(whole, parts)
    assert whole.stream_.state.tensors["steps"].tolist() == [12, 7]
    assert whole.stream_.waiting is None
    ragged = SequenceRegressor(rule=rule, **SMALL).partial_fit(
        Ragged.from_list([torch.from_numpy(x0), torch.from_numpy(x1)]), [y0, y1]
    )
    assert_same_model(whole, ragged)
    said = whole.predict_stream([x0[:2], x1[:0]])
    assert [len(part) for part in said] == [2, 0]


def test_a_stream_ends_alone_and_the_other_goes_on():
    (x0, y0), (x1, y1) = stream(9, seed=1), stream(9, seed=2)
    model = SequenceRegressor(rule=TruncatedBPTT(4), **SMALL).partial_fit([x0, x1], [y0, y1])
    assert model.stream_.waiting.inputs.lengths.tolist() == [1, 1]
    before = model.stream_.updates
    model.end_stream([0])
    assert model.stream_.updates == before + 1  # the row that waited
    assert model.stream_.state.tensors["steps"].tolist() == [0, 8]
    assert model.stream_.waiting.inputs.lengths.tolist() == [0, 1]
    model.end_stream()
    assert model.stream_.waiting is None and not model.stream_.state.tensors["state.lstm.c"].any()
    with pytest.raises(ShapeError, match="streams is \\[2\\] but there are streams 0 to 1"):
        model.end_stream([2])


def test_the_answer_moves_nothing_and_is_what_learning_meets():
    x, y = stream()
    model = SequenceRegressor(rule=TruncatedBPTT(6, 1), **SMALL).partial_fit(x[:20], y[:20])
    before, held = carried(model), weights(model)
    said = model.predict_stream(x[20:])
    assert np.array_equal(said[:1], model.predict_stream(x[20:21]))
    assert all(np.array_equal(before[name], value) for name, value in carried(model).items())
    assert all(torch.equal(held[name], value) for name, value in weights(model).items())
    truth = (y[20] - model.running_targets_.advance(y[20:21, None])[1].fixed(["y"]).center[0, 0]) / (
        model.running_targets_.advance(y[20:21, None])[1].fixed(["y"]).scale[0, 0]
    )
    z = (said[0] - model.target_scaler_.center[0, 0]) / model.target_scaler_.scale[0, 0]
    (update,) = model.stream_.learn(_batch(model, x[20:21], truth))
    assert update.loss == pytest.approx((z - truth) ** 2, rel=1e-4)


def _batch(model, rows, truth):
    from saiki.learning import Batch
    from saiki.models.sequence_rows import read_rows

    inputs, _ = model._stream_inputs(read_rows(rows))
    return Batch(Ragged.from_list(inputs), torch.tensor([[truth]], dtype=torch.float32), per_step=True)


def test_it_learns():
    x, y = stream(600)
    model = SequenceRegressor(cell="gru", rule=TruncatedBPTT(8, 4), **{**SMALL, "lr": 0.05})
    errors = []
    for t in range(0, 600, 4):
        if t:
            errors.append(np.abs(model.predict_stream(x[t : t + 4]) - y[t : t + 4]).mean())
        model.partial_fit(x[t : t + 4], y[t : t + 4])
    assert np.mean(errors[-30:]) < 0.5 * np.mean(errors[:30])
    whole = np.abs(model.predict([x])[0] - y)
    assert whole[300:].mean() < 0.6 * np.abs(y[300:] - y.mean()).mean()


# -------------------------------------------------------------------- after fit, and saved


def fitted(**more):
    x, y = stream(80)
    X = [x[:30], x[30:60], x[60:]]
    options = {**SMALL, "max_epochs": 3, "baselines": False, "validation": None, **more}
    return SequenceRegressor(**options).fit(X, [y[:30], y[30:60], y[60:]])


def test_a_fitted_model_goes_on_with_its_scaling():
    model = fitted()
    center = model.features_.scaler.center.copy()
    before = weights(model)
    x, y = stream(10, seed=5)
    model.partial_fit(x, y)
    assert model.running_ is None and model.running_targets_ is None
    assert np.array_equal(model.features_.scaler.center, center)
    assert any(not torch.equal(before[name], value) for name, value in weights(model).items())
    again = fitted()
    for row, target in zip(x, y):
        again.partial_fit(row[None], [target])
    assert_same_model(model, again)
    assert model.fit([x, x[:5]], [y, y[:5]]) is model and not hasattr(model, "stream_")


def test_a_fitted_models_first_answer_is_predicts():
    model = fitted()
    x, _ = stream(12, seed=5)
    np.testing.assert_allclose(model.predict_stream(x), model.predict([x])[0], rtol=1e-5)


@pytest.mark.parametrize("rule", ["overlapping", "rtrl"])
def test_saved_in_the_middle_and_restored_bit_for_bit(tmp_path, rule):
    x, y = stream()
    network = [LSTMConfig(hidden_size=4), DropoutConfig(p=0.3), GRUConfig(hidden_size=3)]
    model = SequenceRegressor(network=network, rule=RULES[rule], **SMALL).partial_fit(x[:11], y[:11])
    model.save(tmp_path / "m")
    again = saiki.load(tmp_path / "m")
    assert_same_model(model, again)
    for one in (model, again):
        one.partial_fit(x[11:], y[11:])
    assert_same_model(model, again)
    assert np.array_equal(model.predict_stream(x[:2]), again.predict_stream(x[:2]))
    assert "rows learned from a stream" in (tmp_path / "m" / "report.html").read_text()


def test_saved_after_fit_and_in_the_middle(tmp_path):
    x, y = stream(9, seed=5)
    model = fitted(rule=TruncatedBPTT(4)).partial_fit(x, y)
    model.save(tmp_path / "m")
    again = saiki.load(tmp_path / "m")
    assert_same_model(model, again)
    assert again.stream_.waiting.inputs.N == 1
    page = (tmp_path / "m" / "report.html").read_text()
    assert "as it was fitted; 9\N{NO-BREAK SPACE}rows of a stream came after" in page


def test_a_stream_file_that_was_changed(tmp_path):
    x, y = stream(9)
    model = SequenceRegressor(rule=TruncatedBPTT(4), **SMALL).partial_fit(x, y)
    good = carried(model)
    for change, says in (
        ({"rows": None}, "'rows' is missing"),
        ({"streams": np.array([0])}, "streams must be one whole number"),
        ({"rule/steps": np.array([1, 2])}, "rule/steps is"),
        ({"rule/state.lstm.h": None}, "rule/state.lstm.h is missing"),
        ({"rule/more": np.zeros(1)}, "rule/more is none of this rule's"),
        ({"other": np.zeros(1)}, "'other' is none of a stream's"),
        ({"waiting/lengths": np.array([3])}, "not as many as their lengths say"),
        ({"running/inputs/count": np.array([1.0])}, "running scaler's count"),
        ({"optimizer/nothing/exp_avg": np.zeros(1)}, "belongs to no parameter"),
    ):
        bad = {name: value for name, value in {**good, **change}.items() if value is not None}
        with pytest.raises(SchemaError, match=says):
            copy.deepcopy(model)._restore_stream(bad)


# -------------------------------------------------------------------- what must not be


def bad_rows():
    x, y = stream(3, seed=9)
    nan, inf = x.copy(), x.copy()
    nan[1, 0], inf[2, 1] = np.nan, np.inf
    return {
        "NaN": ((nan, y), ValueRangeError, "row 1 holds NaN in feature 0\\. .*stream stands where it stood"),
        "inf": ((inf, y), ValueRangeError, "row 2 holds infinity"),
        "width": ((x[:, :1], y), ShapeError, "row has 1 features.*expecting 2 features.*width cannot change"),
        "y NaN": ((x, np.array([0, np.nan, 1])), ValueRangeError, "y contains NaN or infinity in row 1"),
        "y short": ((x, y[:2]), LengthError, "y has 2 rows but X has 3"),
        "y wide": ((x, np.stack([y, y], 1)), ShapeError, "y has 2 outputs a row but"),
        "no y": ((x, None), LengthError, "requires y to be passed"),
        "text": ((np.full((3, 2), "a"), y), DTypeError, "must be numbers"),
        "streams": (([x, x], [y, y]), UsageError, "rows of 2 streams came"),
        "one row": ((x[0], y[:1]), ShapeError, r"X\[None\] if it is one row"),
    }


@pytest.mark.parametrize("case", bad_rows())
def test_bad_rows_leave_everything_as_it_was(case):
    (rows, targets), kind, says = bad_rows()[case]
    x, y = stream()
    rule = TruncatedBPTT(6, 2)
    clean = SequenceRegressor(rule=rule, **SMALL).partial_fit(x[:9], y[:9])
    model = SequenceRegressor(rule=rule, **SMALL).partial_fit(x[:9], y[:9])
    with pytest.raises(kind, match=f"(?s){says}"):
        model.partial_fit(rows, targets)
    assert_same_model(model, clean)
    for one in (model, clean):
        one.partial_fit(x[9:], y[9:])
    assert_same_model(model, clean)


def test_a_loss_that_explodes_inside_a_block_puts_everything_back():
    """The first updates of the block were fine; they are taken back with the bad one."""
    x, y = stream()
    network = [LSTMConfig(hidden_size=4), DropoutConfig(p=0.3)]
    model = fitted(network=network, rule=TruncatedBPTT(2), hidden_size=5)
    model.partial_fit(x[:5], y[:5])
    twin = copy.deepcopy(model)
    wild = y[5:13].copy()
    wild[6] = 1e38  # its square is beyond float32
    with pytest.raises(NonFiniteError, match=r"the loss of update .* nothing of these rows was learned"):
        model.partial_fit(x[5:13], wild)
    assert_same_model(model, twin)
    for one in (model, twin):
        one.partial_fit(x[5:], y[5:])
    assert_same_model(model, twin)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rule": "bptt"}, "rule is BPTT, which forgets everything between two calls"),
        ({"rule": BPTT()}, "rule is BPTT"),
        ({"bidirectional": True}, "bidirectional.*future is not there yet"),
        ({"bidirectional": True, "rule": {"type": "rtrl"}}, "bidirectional.*future is not there yet"),
        ({"network": [GRUConfig(hidden_size=3), LastConfig()]}, "answers once a sequence"),
        ({"hidden_size": "auto"}, "hidden_size='auto' counts the training values"),
        ({"missing": "interpolate"}, "needs the value behind a gap"),
        ({"training": saiki.learning.Training(schedule="cosine")}, "counted in parts of the whole run"),
        ({"training": saiki.learning.Training(schedule="plateau")}, "waits for validation errors"),
        ({"loss": "squard"}, "did you mean 'squared'"),
        ({"scaling": "standrd"}, "scaling is 'standrd'"),
    ],
)
def test_options_that_a_stream_cannot_have(options, says):
    x, y = stream()
    model = SequenceRegressor(**{**SMALL, **options})
    with pytest.raises(OptionError, match=f"(?s){says}"):
        model.partial_fit(x, y)
    assert not hasattr(model, "network_") and not hasattr(model, "n_features_in_")
    with pytest.raises(saiki.models.base.NotFittedError):
        model.predict_stream(x)


def test_schedules_that_need_no_end_are_taken():
    x, y = stream()
    training = saiki.learning.Training(
        schedule={"type": "warmup", "steps": 4}, clip_value=0.1, clip_norm=None
    )
    model = SequenceRegressor(training=training, **SMALL).partial_fit(x[:2], y[:2])
    assert model.stream_.updates == 2


def test_a_model_of_one_answer_a_sequence_refuses():
    x, _ = stream(80)
    model = SequenceRegressor(max_epochs=1, validation=None, **SMALL).fit([x[:40], x[40:]], [1.0, 2.0])
    for call in (lambda: model.partial_fit(x, x[:, 0]), lambda: model.predict_stream(x)):
        with pytest.raises(UsageError, match="answers once a sequence"):
            call()


def test_classes_as_scikit_learn_has_them():
    x, y = stream()
    with pytest.raises(LabelError, match="classes must be passed on the first call to partial_fit"):
        SequenceClassifier(**SMALL).partial_fit(x, labels_of(y))
    with pytest.raises(OptionError, match="class_weight='balanced' counts the labels"):
        SequenceClassifier(class_weight="balanced", **SMALL).partial_fit(
            x, labels_of(y), classes=["low", "high"]
        )
    model = SequenceClassifier(**SMALL).partial_fit(x, labels_of(y), classes=["low", "high"])
    with pytest.raises(LabelError, match="is not the same as on last call"):
        model.partial_fit(x, labels_of(y), classes=["low", "middle"])
    with pytest.raises(LabelError, match="'up' is not among the classes"):
        model.partial_fit(x[:1], ["up"])
    with pytest.raises(LabelError, match="row 1, but every row needs a label"):
        model.partial_fit(x[:2], np.array(["low", None], dtype=object))


# -------------------------------------------------------------------- inputs of other kinds


def test_gaps_are_masked_where_asked():
    x, y = stream()
    holed, hidden = x.copy(), y.copy()
    holed[4:6, 0] = np.nan
    hidden[7:9] = np.nan
    whole = SequenceRegressor(missing="mask", rule=TruncatedBPTT(6, 2), **SMALL).partial_fit(holed, hidden)
    parts = SequenceRegressor(missing="mask", rule=TruncatedBPTT(6, 2), **SMALL)
    for t in range(len(x)):
        parts.partial_fit(holed[t : t + 1], hidden[t : t + 1])
    assert_same_model(whole, parts)
    assert whole.network_.input_size == 4  # two numbers, two flags
    assert whole.running_.count.tolist() == [21, 23] and whole.running_targets_.count.tolist() == [21]


def test_frames_keep_their_columns(tmp_path):
    import pandas as pd

    x, y = stream()
    frame = pd.DataFrame(x, columns=["a", "b"])
    model = SequenceRegressor(**SMALL).partial_fit(frame[:9], y[:9])
    plain = SequenceRegressor(**SMALL).partial_fit(x[:9], y[:9])
    model.partial_fit(frame[9:][["b", "a"]], y[9:])  # by name, whatever the order
    plain.partial_fit(x[9:], y[9:])
    assert_same_model(model, plain)
    assert model.feature_names_ == ("a", "b")
    with pytest.raises(SaikiError, match="lacks a column that this model reads"):
        model.partial_fit(frame[["a"]], y)


def test_ids_for_an_embedding():
    ids = np.random.default_rng(0).integers(0, 5, size=(20, 1))
    network = [EmbeddingConfig(num_embeddings=5, size=3), GRUConfig(hidden_size=4)]
    whole = SequenceClassifier(network=network, rule=TruncatedBPTT(5, 2), **SMALL)
    parts = SequenceClassifier(network=network, rule=TruncatedBPTT(5, 2), **SMALL)
    y = np.concatenate([[0], ids[:-1, 0]])
    whole.partial_fit(ids, y, classes=range(5))
    for t in range(20):
        parts.partial_fit(ids[t : t + 1], y[t : t + 1], classes=range(5) if t == 0 else None)
    assert_same_model(whole, parts)


def test_several_outputs_and_spreads():
    x, y = stream()
    both = np.stack([y, -y], axis=1)
    model = SequenceRegressor(loss="gaussian", **SMALL).partial_fit(x, both)
    assert model.predict_stream(x[:3]).shape == (3, 2)
    column = SequenceRegressor(**SMALL).partial_fit(x, y[:, None])
    assert column.predict_stream(x[:3]).shape == (3, 1)
