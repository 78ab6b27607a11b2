"""X in all its forms, y told by its shape, and one clear sentence for each thing that is wrong with them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

from saiki import Ragged
from saiki.core.errors import (
    DataError,
    DTypeError,
    LabelError,
    LengthError,
    OptionError,
    ShapeError,
    ValueRangeError,
)
from saiki.data import read_table
from saiki.models.sequence_input import Frame, read_sequences
from saiki.models.sequence_targets import as_found, read_targets, read_weights

LENGTHS = (3, 1, 4)
PARTS = [np.arange(2.0 * t).reshape(t, 2) + 10 * i for i, t in enumerate(LENGTHS)]


def padded(value: float = np.nan) -> np.ndarray:
    out = np.full((3, 4, 2), value)
    for i, part in enumerate(PARTS):
        out[i, : len(part)] = part
    return out


def long_frame() -> pd.DataFrame:
    rows = [
        {"who": f"s{i}", "when": t, "a": row[0], "b": row[1]}
        for i, part in enumerate(PARTS)
        for t, row in enumerate(part)
    ]
    return pd.DataFrame(rows)


def objects(parts: list[np.ndarray]) -> np.ndarray:
    out = np.empty(len(parts), dtype=object)
    out[:] = parts
    return out


FORMS = {
    "list": lambda: (PARTS, {}),
    "tuple of lists": lambda: (tuple(p.tolist() for p in PARTS), {}),
    "object array": lambda: (objects(PARTS), {}),
    "list of tensors": lambda: ([torch.from_numpy(p) for p in PARTS], {}),
    "padded array": lambda: (padded(), {"lengths": LENGTHS}),
    "padded tensor": lambda: (torch.from_numpy(padded()), {"lengths": torch.tensor(LENGTHS)}),
    "channels first": lambda: (
        padded().transpose(0, 2, 1),
        {"lengths": LENGTHS, "layout": "channels_first"},
    ),
    "Ragged": lambda: (Ragged.from_list(PARTS), {}),
    "PackedSequence": lambda: (
        pack_sequence([torch.from_numpy(p) for p in PARTS], enforce_sorted=False),
        {},
    ),
    "nested": lambda: (
        torch.nested.nested_tensor([torch.from_numpy(p) for p in PARTS], layout=torch.jagged),
        {},
    ),
    "pandas": lambda: (long_frame(), {"frame": Frame(id="who", time="when")}),
    "pandas, rows shuffled": lambda: (
        long_frame().iloc[[0, 3, 7, 6, 2, 1, 4, 5]],
        {"frame": Frame(id="who", time="when")},
    ),
    "polars": lambda: (pl.from_pandas(long_frame()), {"frame": Frame(id="who", time="when")}),
    "table": lambda: (read_table(long_frame(), id="who", time="when"), {}),
    "pandas without time": lambda: (long_frame().drop(columns="when"), {"frame": Frame(id="who")}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_reads_the_same_sequences(form):
    X, options = FORMS[form]()
    read = read_sequences(X, **options)
    assert len(read) == 3 and read.features == 2
    np.testing.assert_array_equal(read.lengths, LENGTHS)
    for came, wanted in zip(read.arrays, PARTS):
        np.testing.assert_array_equal(came, wanted)


def test_two_axes_are_sequences_of_one_feature():
    read = read_sequences(np.arange(6.0).reshape(2, 3))
    assert (len(read), read.features) == (2, 1)
    np.testing.assert_array_equal(read.arrays[1], [[3.0], [4.0], [5.0]])
    same = read_sequences([[0.0, 1.0, 2.0], [3.0, 4.0]])
    assert (same.features, same.lengths.tolist()) == (1, [3, 2])


def test_an_empty_sequence_takes_the_width_of_the_others():
    read = read_sequences([np.zeros((2, 3)), [], np.zeros((0, 3))])
    assert [a.shape for a in read.arrays] == [(2, 3), (0, 3), (0, 3)]


def test_non_contiguous_and_read_only_arrays_are_read():
    base = np.arange(48.0).reshape(2, 4, 6)[:, ::-1, ::2]
    base.setflags(write=False)
    np.testing.assert_array_equal(read_sequences(base).arrays[1], base[1])


@pytest.mark.parametrize(
    ("X", "options", "error", "said"),
    [
        (
            np.zeros((4, 3, 40)),
            {},
            ShapeError,
            r"looks channels-first.*layout='channels_first' turns it round",
        ),
        (
            np.zeros((4, 3, 5)),
            {"features": 3},
            ShapeError,
            r"looks channels-first, 3 features over 5 steps",
        ),
        (
            [np.zeros((3, 5)), np.zeros((3, 8))],
            {},
            ShapeError,
            "sequence 1 of X has 8 features but the first has 5.*transpose each",
        ),
        ([np.zeros((3, 8))], {"features": 3}, ShapeError, "expecting 3 features.*channels first: transpose"),
        (np.zeros((2, 5)), {"features": 5}, ShapeError, r"put it in a list: \[X\]"),
        (np.zeros((2, 5, 4)), {"features": 3}, ShapeError, "X has 4 features, but this model is expecting 3"),
        (np.zeros(5), {}, ShapeError, "Expected 2D or 3D array, got 1D array instead"),
        (np.zeros((2, 3, 4, 5)), {}, ShapeError, "got 4D array instead"),
        (np.float64(3.0), {}, DTypeError, "X is float64 but must be sequences"),
        ([1.0, 2.0], {}, ShapeError, "X is a list of numbers"),
        ([], {}, LengthError, r"Found array with 0 sample\(s\)"),
        (np.zeros((0, 3)), {}, LengthError, r"Found array with 0 sample\(s\)"),
        (
            np.zeros((3, 0)),
            {},
            LengthError,
            r"0 feature\(s\) \(shape=\(3, 0\)\).*all 3 sequences of X are empty",
        ),
        (np.zeros((3, 2, 0)), {"layout": "steps_first"}, ShapeError, r"0 feature\(s\)"),
        (None, {}, DTypeError, "X is NoneType but must be sequences"),
        ("file.csv", {}, DTypeError, "X is str but must be sequences"),
        (object(), {}, DTypeError, "X is object but must be sequences"),
        ([["a", "b"]], {}, DTypeError, "sequence 0 of X holds text but must hold numbers"),
        ([[object()]], {}, DTypeError, "sequence 0 of X holds object: argument must be a string or a number"),
        ([[[1.0, 2.0], [3.0]]], {}, ShapeError, "sequence 0 of X"),
        (np.zeros((2, 3), dtype=complex), {}, ValueRangeError, "Complex data not supported"),
        (np.array([[np.inf, 1.0]]), {}, ValueRangeError, "X, sequence 0 is infinite at step 0, feature 0"),
        (np.array([[1.0, np.nan, 2.0]]), {}, ValueRangeError, r"X, sequence 0 is NaN \(missing\) at step 1"),
        (padded(), {}, ValueRangeError, "sequence 0 .*padded with NaN from step 3 on.*lengths="),
        (padded(), {"lengths": (3, 1)}, ShapeError, r"lengths is \(2,\) but must be \(B,\) = \(3,\)"),
        (padded(), {"lengths": (3, 1, 9)}, LengthError, r"lengths\[2\] is 9"),
        (padded(), {"lengths": (3, 1, -1)}, LengthError, r"lengths\[2\] is -1"),
        (PARTS, {"lengths": LENGTHS}, LengthError, "a list of sequences, which have their own lengths"),
        (np.zeros((2, 3)), {"layout": "ntf"}, OptionError, "unknown layout 'ntf'"),
    ],
)
def test_bad_X_is_one_clear_sentence(X, options, error, said):
    with pytest.raises(error, match=said):
        read_sequences(X, **options)


def test_few_steps_of_many_features_are_read_when_said():
    assert read_sequences(np.zeros((4, 5, 100)), layout="steps_first").features == 100
    assert read_sequences([np.zeros((5, 100))] * 4).features == 100, "a list is (T, F) by definition"


def test_a_sparse_matrix_is_refused():
    from scipy.sparse import csr_matrix

    with pytest.raises(DTypeError, match="sparse input is not supported"):
        read_sequences(csr_matrix(np.eye(3)))


@pytest.mark.parametrize(
    ("change", "frame", "said"),
    [
        (lambda f: f, Frame(), "no id column is named.*Give id=, one of: who, when, a, b"),
        (lambda f: f, Frame(id="whom"), "unknown column 'whom'; did you mean 'who'"),
        (lambda f: f, Frame(id="who", time="wen"), "unknown column 'wen'; did you mean 'when'"),
        (lambda f: f, Frame(id="who", columns=["a", "c"]), "unknown column 'c'"),
        (lambda f: f.iloc[:0], Frame(id="who"), "header but no rows"),
        (
            lambda f: f.assign(a=["red", *map(str, f.a[1:])]),
            Frame(id="who", time="when"),
            "column 'a' holds 'red' in row 0 of X, but a feature is a number",
        ),
        (
            lambda f: f.assign(a=["red", None, *["blue"] * (len(f) - 2)]),
            Frame(id="who", time="when"),
            "category column 'a' has 1 missing cell, the first in row 1.*cannot be interpolated",
        ),
        (
            lambda f: f.assign(a=np.nan),
            Frame(id="who", time="when"),
            "column 'a' is missing.*in row 0 of X.*missing='interpolate'",
        ),
        (lambda f: f.assign(b=np.inf), Frame(id="who", time="when"), "column 'b' is infinite.*in row 0 of X"),
        (lambda f: f.assign(when=1), Frame(id="who", time="when"), "the time 1 twice for who='s0'"),
        (lambda f: f.assign(when="soon"), Frame(id="who", time="when"), "'when'.*cannot be read as times"),
        (lambda f: f.assign(who=[None] * len(f)), Frame(id="who"), "'who'.*has no id in row 0"),
        (lambda f: f[["who", "when"]], Frame(id="who", time="when"), "no feature column beside"),
    ],
)
def test_bad_frames_are_one_clear_sentence(change, frame, said):
    with pytest.raises(DataError, match=said):
        read_sequences(change(long_frame()), frame=frame)


def test_a_predict_frame_that_lacks_a_column_names_it():
    with pytest.raises(DataError, match="X lacks a column that this model reads: unknown column 'b'"):
        read_sequences(
            long_frame().drop(columns="b"), frame=Frame(id="who", time="when"), columns=("a", "b"), features=2
        )


# ---- y ---------------------------------------------------------------------------------------------------

X3 = read_sequences(PARTS)
X8 = read_sequences(np.zeros((3, 8)))


@pytest.mark.parametrize(
    ("y", "sequences", "labels", "per_step", "shape"),
    [
        ([0, 1, 0], X3, True, False, (3,)),
        (np.array(["a", "b", "a"]), X3, True, False, (3,)),
        (pd.Series([True, False, True]), X3, True, False, (3,)),
        (torch.tensor([0, 1, 0]), X3, True, False, (3,)),
        ([[0, 1, 1], [0], [1, 1, 0, 0]], X3, True, True, (8,)),
        ([np.array(list("abc")), ["a"], list("abba")], X3, True, True, (8,)),
        (np.arange(8) % 2, X3, True, True, (8,)),
        (np.zeros((3, 8), int), X8, True, True, (24,)),
        ([0.5, 1.5, 2.5], X3, False, False, (3,)),
        (np.zeros((3, 2)), X3, False, False, (3, 2)),
        (np.zeros((8, 2)), X3, False, True, (8, 2)),
        ([np.zeros((t, 2)) for t in LENGTHS], X3, False, True, (8, 2)),
        (Ragged.from_list([np.zeros((t, 1)) for t in LENGTHS]), X3, False, True, (8, 1)),
        (np.zeros((3, 8, 2)), X8, False, True, (24, 2)),
        ([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], X3, False, False, (3, 2)),
    ],
)
def test_y_is_told_by_its_shape(y, sequences, labels, per_step, shape):
    targets = read_targets(y, sequences, labels=labels)
    assert (targets.per_step, targets.values.shape) == (per_step, shape)


@pytest.mark.parametrize(
    ("y", "sequences", "labels", "error", "said"),
    [
        ([0, 1], X3, True, LabelError, r"y has 2 rows but X has 3 sequences \(8 steps in all\)"),
        ([0.1] * 5, X3, False, LengthError, "y has 5 rows but X has 3 sequences"),
        (
            [[0, 1], [0], [1, 1, 0, 0]],
            X3,
            True,
            LabelError,
            "entry 0 of y has 2 rows but sequence 0 has 3 steps",
        ),
        ([[0, 1, 1], [0]], X3, True, LabelError, "y has 2 entries but X has 3 sequences"),
        (None, X3, True, LabelError, "requires y to be passed, but the target y is None"),
        (None, X3, False, LengthError, "requires y to be passed"),
        (
            [0, np.nan, 1],
            X3,
            True,
            LabelError,
            "y contains NaN or None: 1 labels are missing, the first in row 1",
        ),
        (["a", None, "b"], X3, True, LabelError, "1 labels are missing"),
        ([0, "a", 1], X3, True, LabelError, "y mixes labels of several types"),
        ([0.0, np.inf, 1.0], X3, False, ValueRangeError, "y is infinite at row 1"),
        (["a", "b", "c"], X3, False, DTypeError, "must hold numbers"),
        (np.zeros((3, 0)), X3, False, ShapeError, "has no output column"),
        (
            np.zeros((3, 8)),
            X8,
            False,
            OptionError,
            "8 outputs a sequence, or one number for each of the 8 steps",
        ),
        (
            np.zeros((3, 5, 2)),
            X8,
            False,
            LengthError,
            "read as one row a step, but X has 3 sequences of 8 steps",
        ),
        ("label", X3, True, DTypeError, "y is str but must be an array"),
        (np.zeros((2, 3), int), X3, True, LabelError, "y has 2 rows"),
        (3, X3, True, DTypeError, "y is int but must be an array"),
    ],
)
def test_bad_y_is_one_clear_sentence(y, sequences, labels, error, said):
    with pytest.raises(error, match=said):
        read_targets(y, sequences, labels=labels)


def test_per_step_settles_what_the_shape_leaves_open():
    y = np.zeros((3, 8))
    assert read_targets(y, X8, labels=False, per_step=True).values.shape == (24,)
    assert read_targets(y, X8, labels=False, per_step=False).values.shape == (3, 8)
    with pytest.raises(LabelError, match="per_step=False asks for one"):
        read_targets([[0, 1, 1], [0], [1, 1, 0, 0]], X3, labels=True, per_step=False)


def test_a_frame_column_is_one_label_a_sequence_where_each_holds_one():
    frame = long_frame().assign(kind=["x"] * 3 + ["y"] + ["x"] * 4, mood=list("abaabbab"))
    options = {"columns": ["a", "b"], "id": "who", "time": "when"}
    per_sequence = read_sequences(frame, frame=Frame(**options, target=("kind",)))
    targets = read_targets("kind", per_sequence, labels=True)
    assert (targets.per_step, targets.values.tolist()) == (False, ["x", "y", "x"])
    per_step = read_sequences(frame, frame=Frame(**options, target=("mood",)))
    targets = read_targets("mood", per_step, labels=True)
    assert (targets.per_step, "".join(targets.values)) == (True, "abaabbab")
    with pytest.raises(DataError, match="unknown column 'kid'; did you mean 'kind'"):
        read_sequences(frame, frame=Frame(**options, target=("kid",)))


def test_long_targets_of_a_frame_follow_its_rows():
    order = [7, 2, 0, 5, 1, 3, 6, 4]
    frame = long_frame().iloc[order]
    sequences = read_sequences(frame, frame=Frame(id="who", time="when"))
    y = frame["a"].to_numpy() * 2
    targets = read_targets(y, sequences, labels=False)
    np.testing.assert_array_equal(targets.values, np.concatenate([a[:, 0] for a in sequences.arrays]) * 2)
    np.testing.assert_array_equal(as_found(targets.values, sequences, True), y)


def test_predictions_go_back_as_X_came():
    rows = np.arange(8)
    assert [part.tolist() for part in as_found(rows, X3, True)] == [[0, 1, 2], [3], [4, 5, 6, 7]]
    assert as_found(np.arange(24), X8, True).shape == (3, 8)
    assert as_found(np.arange(3), X3, False).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("weight", "error", "said"),
    [
        ([1.0, 2.0], ShapeError, r"sample_weight.shape == \(2,\), expected \(3,\)"),
        ([1.0, -1.0, 1.0], ValueRangeError, "sample_weight of sequence 1 is negative"),
        ([1.0, np.nan, 1.0], ValueRangeError, "sample_weight is NaN"),
        ([0, 0, 0], ValueRangeError, "zero for every sequence"),
        (["a", "b", "c"], DTypeError, "cannot be read as numbers"),
    ],
)
def test_bad_weights_are_one_clear_sentence(weight, error, said):
    with pytest.raises(error, match=said):
        read_weights(weight, 3)


def test_labels_of_bytes_are_refused():
    with pytest.raises(LabelError, match=r"y holds bytes, but a label is text.*Decode them"):
        read_targets(np.array([b"up", b"down", b"up"]), X3, labels=True)
