"""Ragged batches: every form in and out, the packed layout against torch's, malformed input refused."""

from __future__ import annotations

import copy
import random

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence, pad_packed_sequence

from children import forked
from saiki.core.errors import (
    DataError,
    DTypeError,
    LengthError,
    OptionError,
    SaikiError,
    ShapeError,
    ValueRangeError,
)
from saiki.core.ragged import Ragged

F64 = torch.float64
LENGTHS = [3, 0, 1, 2, 3, 0, 5]
# lengths of a batch; features of a step; zero of each included
lengths_lists = st.lists(st.integers(0, 6), min_size=1, max_size=7)
feature_shapes = st.sampled_from([(), (1,), (3,), (2, 3), (0,)])
torchs_shapes = st.sampled_from([(), (1,), (3,), (2, 3)])  # torch packs nothing without features
relaxed = settings(max_examples=60, deadline=None)


def sequences(lengths, features=(3,), dtype=F64):
    """Sequences whose every number is unlike any other, so that a wrong row cannot pass."""
    made, count = [], 0
    for length in lengths:
        size = length * int(np.prod(features))
        made.append((torch.arange(count, count + size, dtype=dtype) + 0.5).reshape(length, *features))
        count += size
    return made


def assert_same_list(got, expected):
    assert len(got) == len(expected)
    for i, (one, other) in enumerate(zip(got, expected)):
        torch.testing.assert_close(
            torch.as_tensor(one), torch.as_tensor(other), rtol=0, atol=0, msg=f"sequence {i}"
        )


# -------------------------------------------------------------------- the layout


def test_the_example_of_the_docstring():
    ragged = Ragged.from_list(
        [torch.tensor([0.0, 1, 2]), torch.zeros(0), torch.tensor([20.0]), torch.tensor([30.0, 31])]
    )
    assert ragged.order.tolist() == [0, 3, 2, 1] and ragged.batch_sizes.tolist() == [3, 2, 1]
    assert ragged.data.tolist() == [0, 30, 20, 1, 31, 2]
    assert ragged.lengths.tolist() == [3, 0, 1, 2]
    assert (ragged.B, ragged.T, ragged.N, ragged.live, len(ragged)) == (4, 3, 6, 3, 4)
    assert ragged.row_sequence.tolist() == [0, 3, 2, 0, 3, 0] and ragged.row_step.tolist() == [
        0,
        0,
        0,
        1,
        1,
        2,
    ]
    assert ragged.reversal.tolist() == [5, 4, 2, 3, 1, 0] and ragged.last_rows.tolist() == [5, -1, 2, 4]
    assert ragged.feature_shape == () and ragged.form == "list" and "B=4, T=3, N=6" in repr(ragged)


@relaxed
@given(lengths_lists, torchs_shapes)
def test_the_layout_is_torchs_for_the_sequences_that_are_not_empty(lengths, features):
    made = sequences(lengths, features)
    ragged = Ragged.from_list(made)
    alive = [sequence for sequence in made if len(sequence)]
    assert ragged.live == len(alive) and sum(lengths) == ragged.N and max(lengths) == ragged.T
    if alive:
        theirs = pack_sequence(alive, enforce_sorted=False)
        assert torch.equal(ragged.data, theirs.data) and torch.equal(ragged.batch_sizes, theirs.batch_sizes)
        kept = torch.tensor([b for b, length in enumerate(lengths) if length])
        assert torch.equal(ragged.order[: ragged.live], kept[theirs.sorted_indices])
    assert ragged.batch_sizes.dtype == ragged.lengths.dtype == ragged.order.dtype == torch.int64


# -------------------------------------------------------------------- round trips


@relaxed
@given(lengths_lists, feature_shapes)
def test_round_trip_of_a_list(lengths, features):
    made = sequences(lengths, features)
    assert_same_list(Ragged.of(made).restore(), made)
    arrays = [sequence.numpy() for sequence in made]
    back = Ragged.of(arrays).restore()
    assert all(isinstance(array, np.ndarray) for array in back)
    assert_same_list(back, made)


@relaxed
@given(lengths_lists, feature_shapes, st.booleans(), st.integers(0, 3), st.booleans())
def test_round_trip_of_a_padded_array(lengths, features, batch_first, surplus, numpy):
    made = sequences(lengths, features)
    T = max(lengths) + surplus
    padded = torch.zeros(T, len(lengths), *features, dtype=F64)
    for b, sequence in enumerate(made):
        padded[: len(sequence), b] = sequence
    came = padded.transpose(0, 1).contiguous() if batch_first else padded
    hostile = came.clone()  # what stands in the padding is never looked at
    mask = torch.arange(T)[:, None] >= torch.tensor(lengths)
    hostile[mask.T if batch_first else mask] = float("nan")
    ragged = Ragged.of(hostile.numpy() if numpy else hostile, lengths, batch_first=batch_first)
    assert ragged.form == "padded" and torch.isfinite(ragged.data).all()
    assert_same_list(ragged.to_list(), made)
    back, back_lengths = ragged.restore()
    assert isinstance(back, np.ndarray) == numpy and isinstance(back_lengths, np.ndarray) == numpy
    torch.testing.assert_close(torch.as_tensor(back), came, rtol=0, atol=0)
    assert torch.as_tensor(back_lengths).tolist() == lengths
    if max(lengths) and 0 not in features:
        theirs, _ = pad_packed_sequence(
            pack_padded_sequence(came, [max(n, 1) for n in lengths], batch_first, False), batch_first
        )
        keep = ~mask[: max(lengths)]
        ours = ragged.to_padded(batch_first)
        assert torch.equal(ours[keep.T if batch_first else keep], theirs[keep.T if batch_first else keep])


@relaxed
@given(st.integers(0, 4), st.integers(0, 4), st.booleans())
def test_round_trip_of_a_dense_array(T, B, batch_first):
    x = torch.rand((B, T, 2) if batch_first else (T, B, 2), dtype=F64)
    ragged = Ragged.of(x, batch_first=batch_first)
    assert ragged.form == "dense" and ragged.lengths.tolist() == [T] * B
    assert torch.equal(ragged.restore(), x)
    if T and B and not batch_first:  # nothing is moved: the rows are a view of the array that came
        assert ragged.data.data_ptr() == x.data_ptr()
    if T and B:
        assert ragged.to_padded().data_ptr() == ragged.data.data_ptr()
    longer = ragged.to_padded(steps=T + 2, padding=9.0)
    assert torch.equal(longer[: ragged.T], ragged.to_padded()) and (longer[T:] == 9).all()


@relaxed
@given(st.lists(st.integers(1, 6), min_size=1, max_size=7), torchs_shapes, st.booleans())
def test_round_trip_of_a_packed_sequence(lengths, features, in_order):
    if in_order:
        lengths = sorted(lengths, reverse=True)
    made = sequences(lengths, features)
    packed = pack_sequence(made, enforce_sorted=in_order)
    ragged = Ragged.of(packed)
    assert ragged.lengths.tolist() == lengths
    assert_same_list(ragged.to_list(), made)
    back = ragged.restore()
    assert torch.equal(back.data, packed.data) and torch.equal(back.batch_sizes, packed.batch_sizes)
    for mine, theirs in zip(back[2:], packed[2:]):
        assert (mine is None) == (theirs is None) and (mine is None or torch.equal(mine, theirs))
    fresh = Ragged.of(made).to_packed()
    want = pack_sequence(made, enforce_sorted=False)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(fresh, want))


def test_a_packed_sequence_in_an_order_of_its_own_is_honoured():
    """sorted_indices among equal lengths may be any permutation; ours must follow it, not sort again."""
    packed = pack_padded_sequence(torch.arange(6.0).reshape(2, 3, 1), [2, 2, 2], enforce_sorted=False)
    turned = PackedSequence(packed.data, packed.batch_sizes, torch.tensor([2, 0, 1]), torch.tensor([1, 2, 0]))
    padded, _ = pad_packed_sequence(turned)
    ragged = Ragged.of(turned)
    assert ragged.order.tolist() == [2, 0, 1] and torch.equal(ragged.to_padded(), padded)
    assert torch.equal(ragged.restore().sorted_indices, turned.sorted_indices)


@relaxed
@given(lengths_lists, st.sampled_from([(1,), (3,), (2, 3)]))
def test_round_trip_of_a_jagged_nested_tensor(lengths, features):
    made = sequences(lengths, features)
    values = torch.cat(made)
    offsets = torch.tensor([0, *np.cumsum(lengths).tolist()])
    ragged = Ragged.of(torch.nested.nested_tensor_from_jagged(values, offsets))
    assert ragged.form == "nested"
    assert_same_list(ragged.to_list(), made)
    back = ragged.restore()
    assert back.is_nested and back.layout is torch.jagged
    assert torch.equal(back.values(), values) and torch.equal(back.offsets(), offsets)


def test_a_jagged_nested_tensor_with_holes():
    values = torch.arange(10.0)[:, None]
    nested = torch.nested.nested_tensor_from_jagged(
        values, torch.tensor([0, 4, 10]), lengths=torch.tensor([2, 3])
    )
    assert [part[:, 0].tolist() for part in Ragged.of(nested).to_list()] == [[0, 1], [4, 5, 6]]


def frame_parts(lengths, generator):
    """A shuffled long table and, for each id in order of first appearance, its rows in order of time."""
    ids = np.repeat([f"s{b}" for b in range(len(lengths))], lengths)
    time = np.concatenate([np.arange(n) for n in lengths]) if sum(lengths) else np.zeros(0, dtype=int)
    shuffled = generator.permutation(len(ids))
    values = np.arange(len(ids)) + 0.25
    return {"id": ids[shuffled], "day": time[shuffled], "x": values[shuffled], "y": -values[shuffled]}


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow"])
@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_round_trip_of_a_long_frame(kind, lengths, seed):
    parts = frame_parts(lengths, np.random.default_rng(seed))
    index = np.random.default_rng(seed).integers(
        0, 3, len(parts["id"])
    )  # repeated labels: rows go by position
    frame = {
        "pandas": lambda: pd.DataFrame(
            {**parts, "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(parts["day"], "D")}, index=index
        ),
        "polars": lambda: pl.DataFrame(parts),
        "pyarrow": lambda: pa.table(parts),
    }[kind]()
    before = copy.deepcopy(frame)
    ragged = Ragged.from_frame(frame, id="id", time="day")
    first_seen = list(dict.fromkeys(parts["id"].tolist()))
    assert len(first_seen) == ragged.B and ragged.feature_shape == (2,)
    for name, sequence in zip(first_seen, ragged.to_list()):
        rows = np.flatnonzero(parts["id"] == name)
        rows = rows[np.argsort(parts["day"][rows])]
        assert sequence[:, 0].tolist() == parts["x"][rows].tolist() and torch.equal(
            sequence[:, 0], -sequence[:, 1]
        )
    back = ragged.restore()
    assert type(back) is type(frame)
    doubled = ragged.map(lambda rows: 2 * rows[:, 0]).to_frame()
    if kind == "pandas":
        pd.testing.assert_frame_equal(back, before)
        assert doubled.columns.tolist() == ["id", "day", "output_0"]
        assert (doubled["output_0"].to_numpy() == 2 * parts["x"]).all() and (
            doubled.index == frame.index
        ).all()
    else:
        assert back.equals(before)
        assert doubled["output_0"].to_numpy().tolist() == (2 * parts["x"]).tolist()


def test_a_frame_keeps_its_column_order_and_takes_the_columns_named():
    frame = pd.DataFrame({"x": [1, 2], "when": [2, 1], "note": ["a", "b"], "who": [7, 7]})
    ragged = Ragged.from_frame(frame, id="who", time="when", columns=["x"])
    assert ragged.dtype == torch.int64 and ragged.data[:, 0].tolist() == [2, 1]
    pd.testing.assert_frame_equal(ragged.restore(), frame[["x", "when", "who"]])
    assert (
        Ragged.from_frame(frame, id="who", time="when", columns=["x"], dtype=torch.float32).dtype
        == torch.float32
    )


def test_missing_numbers_of_a_frame_become_nan():
    frame = pl.DataFrame({"id": [1, 1, 1], "t": [1, 2, 3], "x": [1, None, 3], "up": [True, False, True]})
    ragged = Ragged.from_frame(frame, id="id", time="t")
    assert torch.equal(torch.isnan(ragged.data[:, 0]), torch.tensor([False, True, False]))
    assert ragged.data[:, 1].tolist() == [1, 0, 1]


TABLE = {"id": ["a", "a", "b"], "t": [1, 2, 1], "x": [1.0, 2.0, 3.0]}


@pytest.mark.parametrize(
    ("change", "options", "kind", r"message"),
    [
        ({}, {"id": "idd"}, DataError, r"unknown column 'idd'; did you mean 'id'\?"),
        ({}, {"columns": ["z"]}, DataError, r"unknown column 'z'"),
        ({}, {"time": "id"}, DataError, r"named twice"),
        ({}, {"columns": []}, DataError, r"steps hold nothing"),
        ({"t": [1, 1, 1]}, {}, DataError, r"rows 0 and 1 both have id 'a' and t 1"),
        ({"t": [1, None, 1]}, {}, DataError, r"column 't' has no value in row 1"),
        ({"id": ["a", "a", None]}, {}, DataError, r"column 'id' has no value in row 2"),
        ({"x": ["1", "2", "3"]}, {}, DTypeError, r"column 'x' holds String but a feature must be numbers"),
        ({"id": [], "t": [], "x": []}, {}, DataError, r"no rows"),
    ],
)
@pytest.mark.parametrize("kind_of_frame", [pd.DataFrame, pl.DataFrame])
def test_a_bad_frame_is_refused(kind_of_frame, change, options, kind, message):
    frame = kind_of_frame({**TABLE, **change})
    with pytest.raises(kind, match=message):
        Ragged.from_frame(frame, **{"id": "id", "time": "t", **options})


def test_what_is_no_frame_is_refused():
    with pytest.raises(DTypeError, match=r"frame is dict but must be a table"):
        Ragged.from_frame(TABLE, id="id", time="t")
    with pytest.raises(DTypeError, match=r"frame is LazyFrame but must be a table in memory"):
        Ragged.from_frame(pl.LazyFrame(TABLE), id="id", time="t")
    with pytest.raises(DTypeError, match=r"x is a table \(DataFrame\).*Use Ragged.from_frame"):
        Ragged.of(pd.DataFrame(TABLE))
    with pytest.raises(OptionError, match=r"came as 'list', not as a table"):
        Ragged.of([[1.0]]).to_frame()
    mixed = pd.DataFrame({"id": [1, 1], "t": [1, "b"], "x": [1, 2]})
    with pytest.raises(DataError, match=r"column 't' mixes values"):
        Ragged.from_frame(mixed, id="id", time="t")


# -------------------------------------------------------------------- properties of the operations


@relaxed
@given(lengths_lists, st.randoms(use_true_random=False))
def test_permuting_the_batch_permutes_what_comes_out(lengths, random):
    made = sequences(lengths)
    order = list(range(len(lengths)))
    random.shuffle(order)
    plain, turned = Ragged.of(made), Ragged.of([made[b] for b in order])
    chosen = plain.select(order)
    assert torch.equal(chosen.data, turned.data) and torch.equal(chosen.lengths, turned.lengths)
    assert torch.equal(plain.sequence_sum(plain.data)[order], turned.sequence_sum(turned.data))
    assert torch.equal(plain.last()[order], turned.last())
    assert torch.equal(plain.to_padded()[:, order], turned.to_padded())


@relaxed
@given(lengths_lists, feature_shapes)
def test_reversal_reverses_each_sequence_and_is_its_own_inverse(lengths, features):
    made = sequences(lengths, features)
    ragged = Ragged.of(made)
    assert_same_list(ragged.reversed().to_list(), [sequence.flip(0) for sequence in made])
    assert torch.equal(ragged.reversal[ragged.reversal], torch.arange(ragged.N))


@relaxed
@given(lengths_lists, feature_shapes)
def test_sums_and_last_rows(lengths, features):
    made = sequences(lengths, features)
    ragged = Ragged.of(made)
    assert torch.equal(ragged.sequence_sum(ragged.data), torch.stack([sequence.sum(0) for sequence in made]))
    assert ragged.sequence_sum(torch.ones(ragged.N, dtype=torch.bool)).tolist() == lengths
    for b, sequence in enumerate(made):
        row = int(ragged.last_rows[b])
        assert (row == -1) == (len(sequence) == 0)
        if row >= 0:
            assert torch.equal(ragged.data[row], sequence[-1])
            assert ragged.row_sequence[row] == b and ragged.row_step[row] == len(sequence) - 1
    want = [sequence[-1] if len(sequence) else torch.full(features, 7.0, dtype=F64) for sequence in made]
    assert_same_list(list(ragged.last(padding=7.0)), want)


@relaxed
@given(lengths_lists, st.data())
def test_select_takes_sequences_again_and_none(lengths, data):
    made = sequences(lengths)
    chosen = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=9))
    picked = Ragged.of(made).select(chosen)
    assert len(chosen) == picked.B and picked.feature_shape == (3,)
    assert_same_list(picked.to_list(), [made[b] for b in chosen])


def test_select_keeps_the_form_where_it_can():
    made = sequences(LENGTHS)
    padded = Ragged.of(made).to_padded(steps=9)
    back, lengths = Ragged.from_padded(padded, LENGTHS).select([0, 2]).restore()
    assert back.shape == (9, 2, 3) and lengths.tolist() == [3, 1]
    packed = pack_sequence([made[0], made[2]], enforce_sorted=True)
    assert Ragged.of(packed).select([1, 0]).restore().sorted_indices.tolist() == [1, 0]
    frame = pd.DataFrame({"id": [1, 1, 2], "t": [1, 2, 1], "x": [1.0, 2, 3]})
    assert Ragged.from_frame(frame, id="id", time="t").select([1]).form == "list"


@relaxed
@given(lengths_lists, st.integers(0, 6), st.integers(0, 6), st.data())
def test_between_takes_the_same_steps_as_slices_do(lengths, start, stop, data):
    own = torch.tensor([data.draw(st.integers(0, 6)) for _ in lengths], dtype=torch.int64)
    made = sequences(lengths)
    ragged = Ragged.of(made)
    for low, high in ((start, stop), (start, None), (0, stop), (own, None), (0, own)):
        cut = ragged.between(low, high)
        firsts = torch.as_tensor(low).expand(len(lengths)).tolist()
        ends = [None] * len(lengths) if high is None else torch.as_tensor(high).expand(len(lengths)).tolist()
        assert_same_list(cut.to_list(), [x[a:b] for x, a, b in zip(made, firsts, ends)])


@relaxed
@given(lengths_lists, st.integers(0, 7))
def test_a_batch_cut_in_two_is_put_together_again(lengths, at):
    ragged = Ragged.of(sequences(lengths))
    again = ragged.between(0, at).followed_by(ragged.between(at))
    assert torch.equal(again.lengths, ragged.lengths)
    assert_same_list(again.to_list(), ragged.to_list())


def test_followed_by_refuses_other_sequences():
    ragged = Ragged.of(sequences(LENGTHS))
    with pytest.raises(LengthError, match="other has 1 sequences but must have"):
        ragged.followed_by(ragged.select([0]))
    with pytest.raises(ShapeError, match="each step of other is 1 features"):
        ragged.followed_by(ragged.map(lambda rows: rows[:, :1]))


def test_cut_dense_batches_are_padded():
    assert Ragged.of(torch.zeros(4, 3, 2)).between(1, torch.tensor([2, 4, 3])).form == "padded"


@pytest.mark.parametrize(
    ("indices", "kind", r"message"),
    [
        ([7], LengthError, r"indices\[0\] is 7 but the batch has sequences 0 to 6"),
        ([0, -1], LengthError, r"indices\[1\] is -1"),
        ([0.5], DTypeError, r"whole numbers"),
        ([True] * 7, DTypeError, r"whole numbers"),
        ([[0]], ShapeError, r"must be a vector"),
        ("0", DTypeError, r"indices is '0'"),
    ],
)
def test_select_refuses(indices, kind, message):
    with pytest.raises(kind, match=message):
        Ragged.of(sequences(LENGTHS)).select(indices)


def test_with_data_keeps_the_sequences_and_the_form():
    ragged = Ragged.from_padded(torch.rand(5, 2, 3), [2, 5])
    other = ragged.with_data(torch.arange(7.0))
    assert (
        other.feature_shape == () and other.restore()[0].shape == (5, 2) and other.lengths is ragged.lengths
    )
    assert ragged.map(torch.neg).data.equal(-ragged.data)
    with pytest.raises(ShapeError, match=r"data is \(6,\) but must have the N = 7 rows"):
        ragged.with_data(torch.zeros(6))
    with pytest.raises(ShapeError, match=r"per_row is \(\) but"):
        ragged.sequence_sum(torch.tensor(1.0))
    with pytest.raises(DTypeError, match=r"data is list"):
        ragged.with_data([0.0] * 7)


def test_to_changes_type_and_device():
    ragged = Ragged.of(sequences(LENGTHS))
    assert ragged.to(dtype=torch.float32).dtype == torch.float32 and ragged.to(dtype=F64) is ragged
    away = ragged.to("meta")
    assert (
        away.device.type == "meta"
        and away.lengths.device.type == "cpu"
        and away.reversal.device.type == "meta"
    )
    assert ragged.map(lambda x: x * torch.ones((), requires_grad=True)).detach().data.requires_grad is False


def test_every_operation_is_differentiable(rng):
    """gradcheck in float64 through each way in and out; lengths with zeros, ties and one of 1."""
    made = [torch.rand(n, 2, dtype=F64, generator=rng, requires_grad=True) for n in (2, 0, 1, 3, 2)]
    padded = torch.rand(4, 5, 2, dtype=F64, generator=rng, requires_grad=True)
    weights = torch.rand(8, 1, dtype=F64, generator=rng)
    outs = {
        "list": lambda r: torch.cat(r.to_list()),
        "padded": lambda r: r.to_padded(batch_first=True),
        "nested": lambda r: r.to_nested().values(),
        "packed": lambda r: r.select([0, 2, 3, 4]).to_packed().data,
        "reversed": lambda r: r.reversed().data,
        "select": lambda r: r.select([4, 4, 1, 0]).data,
        "sum": lambda r: r.sequence_sum(r.data * weights),
        "last": lambda r: r.last(),
        "to": lambda r: r.to(dtype=F64).data,
    }
    for out in outs.values():
        assert torch.autograd.gradcheck(lambda *s, out=out: out(Ragged.from_list(list(s))), made)
        assert torch.autograd.gradcheck(
            lambda x, out=out: out(Ragged.from_padded(x, [2, 0, 1, 3, 2])), padded
        )
    packed = pack_sequence([made[0], made[2], made[3]], enforce_sorted=False)
    assert torch.autograd.gradcheck(
        lambda x: torch.cat(Ragged.of(PackedSequence(x, *packed[1:])).to_list()),
        packed.data.detach().requires_grad_(),
    )


def test_nan_in_one_sequence_stays_there():
    made = sequences([2, 3, 1])
    made[1][0] = float("nan")
    ragged = Ragged.of(made)
    assert torch.isnan(ragged.sequence_sum(ragged.data)).any(1).tolist() == [False, True, False]


# -------------------------------------------------------------------- inputs of every odd kind


def test_lists_of_every_kind():
    assert Ragged.of([[1, 2], [3]]).dtype == torch.int64
    assert Ragged.of([[1, 2], [3.5]]).dtype == F64
    mixed = Ragged.of([np.zeros((2, 3), np.float32), torch.zeros(1, 3, dtype=F64)])
    assert mixed.dtype == F64 and isinstance(mixed.restore()[0], torch.Tensor)
    assert Ragged.from_list([np.zeros((2, 3))], dtype=torch.float32).dtype == torch.float32
    with_empty = Ragged.of([[], np.ones((2, 3), dtype=np.float32)])
    assert with_empty.lengths.tolist() == [0, 2] and with_empty.dtype == torch.float32
    assert with_empty.restore()[0].shape == (0, 3)
    nothing = Ragged.of([[], []])
    assert (nothing.N, nothing.T, nothing.live) == (0, 0, 0) and nothing.to_padded().shape == (0, 2)
    assert nothing.reversal.tolist() == [] and nothing.last_rows.tolist() == [-1, -1]
    strided = np.arange(24.0).reshape(4, 6)[::-1, ::2]
    assert Ragged.of([strided]).restore()[0].tolist() == strided.tolist()
    holder = np.empty(2, dtype=object)
    holder[:] = [np.zeros((1, 2)), np.zeros((3, 2))]
    assert Ragged.of(holder).lengths.tolist() == [1, 3]
    ragged = Ragged.of([[1.0]])
    assert Ragged.of(ragged) is ragged and Ragged.of(((1.0, 2.0), (3.0,))).B == 2


def test_non_contiguous_and_expanded_tensors():
    x = torch.arange(48.0).reshape(2, 4, 6).permute(1, 0, 2)[:, :, ::2]
    assert torch.equal(Ragged.of(x, [3, 4]).restore()[0][:3], x[:3])
    assert Ragged.of(torch.ones(1, 1, 2).expand(3, 4, 2)).data.shape == (12, 2)


@pytest.mark.parametrize(
    ("x", "kind", r"message"),
    [
        ([], ShapeError, r"x is an empty list"),
        ([1.0, 2.0], ShapeError, r"x\[0\] is a single number"),
        (
            [np.zeros((2, 3)), np.zeros((2, 4))],
            ShapeError,
            r"x\[1\] is \(2, 4\), each step 4 features, but x\[0\]",
        ),
        ([np.zeros((0, 5)), np.zeros((2, 4))], ShapeError, r"x\[1\] is \(2, 4\)"),
        ([np.zeros(3), np.zeros((2, 4))], ShapeError, r"x\[1\].*each step 4 features.*a single number"),
        ([np.zeros(3), np.array(["a"])], DTypeError, r"x\[1\] holds text"),
        ([np.zeros(3), np.array([None])], DTypeError, r"x\[1\] holds Python objects"),
        ([np.zeros(3), "abc"], DTypeError, r"x\[1\] is 'abc'"),
        ([np.zeros(3), None], DTypeError, r"x\[1\] is None"),
        ([np.zeros(3), np.zeros(3, dtype=complex)], DTypeError, r"x\[1\] holds complex"),
        ([np.zeros(3), np.zeros(3, dtype="M8[s]")], DTypeError, r"x\[1\] holds dates"),
        ([np.zeros(3), [[1], [2, 3]]], ShapeError, r"x\[1\] cannot be read"),
        (
            [torch.zeros(3), torch.zeros(3, device="meta")],
            ValueRangeError,
            r"x\[1\] is on meta but x\[0\] on cpu",
        ),
        ([torch.zeros(3), torch.zeros(3).to_sparse()], DTypeError, r"x\[1\] is a sparse"),
        (np.zeros(3), ShapeError, r"x is \(3,\) but a padded batch is"),
        (np.array(3.0), ShapeError, r"x is \(\)"),
        (np.zeros((2, 3), dtype=object), DTypeError, r"x holds Python objects"),
        (np.array([["a"]]), DTypeError, r"x holds text"),
        (None, DTypeError, r"x is NoneType but must hold sequences"),
        ("abc", DTypeError, r"x is str"),
        (3.0, DTypeError, r"x is float"),
        ({"a": 1}, DTypeError, r"x is dict"),
        (iter([[1.0]]), DTypeError, r"must hold sequences"),
        (torch.zeros(2, 3).to_sparse(), DTypeError, r"sparse"),
        (torch.zeros(2, 3, dtype=torch.complex64), DTypeError, r"complex64"),
    ],
)
def test_malformed_batches_are_refused(x, kind, message):
    with pytest.raises(kind, match=message):
        Ragged.of(x)


def test_the_argument_is_named_as_the_caller_says():
    with pytest.raises(ShapeError, match=r"X_train\[1\] is"):
        Ragged.of([np.zeros((2, 3)), np.zeros((2, 4))], name="X_train")
    with pytest.raises(OptionError, match=r"lengths were given, but x is a list, which has its own"):
        Ragged.of([[1.0]], [1])
    with pytest.raises(LengthError, match=r"lengths\[1\] is 9 but sequence 1 must have between 0 and 5"):
        Ragged.of(np.zeros((5, 2, 3)), [1, 9])
    with pytest.raises(ShapeError, match=r"ragged in axis 2"):
        Ragged.of(torch.nested.nested_tensor([torch.zeros(2, 3)], layout=torch.jagged).transpose(1, 2))
    with pytest.raises(LengthError, match=r"offsets that leave its 3 rows"):
        Ragged.of(torch.nested.nested_tensor_from_jagged(torch.zeros(3, 1), torch.tensor([0, 2, 9])))
    for method in (Ragged.from_packed, Ragged.from_nested, Ragged.from_list):
        with pytest.raises(DTypeError, match=r"x is Tensor but must be"):
            method(torch.zeros(2, 2))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_strided_nested_tensor_is_refused():
    with pytest.raises(DTypeError, match=r"must be a nested tensor of layout torch.jagged"):
        Ragged.of(torch.nested.nested_tensor([torch.zeros(2)]))


def test_an_empty_sequence_does_not_fit_a_packed_sequence():
    with pytest.raises(
        LengthError, match=r"sequence 1 is empty, and a PackedSequence cannot hold.*Use to_padded"
    ):
        Ragged.of(sequences([2, 0, 1])).to_packed()
    with pytest.raises(LengthError, match=r"no sequence"):
        Ragged.of(sequences([2])).select([]).to_packed()
    with pytest.raises(LengthError, match=r"steps is 2 but the longest sequence has 3"):
        Ragged.of(sequences([3])).to_padded(steps=2)


def packed_parts(**changes):
    """A PackedSequence of lengths 3, 1, 2 with parts replaced, made past torch's own constructor."""
    good = pack_sequence(sequences([3, 1, 2]), enforce_sorted=False)
    parts = {name: getattr(good, name) for name in PackedSequence._fields}
    return tuple.__new__(PackedSequence, tuple({**parts, **changes}.values()))


def ints(*values, **options):
    return torch.tensor(values, dtype=torch.int64, **options)


@pytest.mark.parametrize(
    ("changes", "kind", r"message"),
    [
        (
            {"batch_sizes": ints(3, 0, 3)},
            LengthError,
            r"x.batch_sizes\[1\] is 0 but must be between 1 and the 6 rows",
        ),
        ({"batch_sizes": ints(3, 3, 0)}, LengthError, r"batch_sizes\[2\] is 0"),
        ({"batch_sizes": ints(1, 2, 3)}, LengthError, r"batch_sizes\[1\] is 2, more than 1 a step before"),
        ({"batch_sizes": ints(3, 4, -1)}, LengthError, r"batch_sizes\[2\] is -1"),
        ({"batch_sizes": ints(3, 2)}, LengthError, r"adds up to 5 but x.data has 6 rows"),
        ({"batch_sizes": ints(3, 2, 2)}, LengthError, r"adds up to 7"),
        ({"batch_sizes": ints(2**62, 2**62, 2**62)}, LengthError, r"batch_sizes\[0\] is 4611686018427387904"),
        ({"batch_sizes": ints()}, LengthError, r"batch_sizes is empty"),
        (
            {"batch_sizes": torch.tensor([3, 2, 1], dtype=torch.int32)},
            DTypeError,
            r"int32 but must hold torch.int64",
        ),
        ({"batch_sizes": torch.tensor([3.0, 2, float("nan")])}, DTypeError, r"float32"),
        ({"batch_sizes": ints(3, 2, 1)[None]}, ShapeError, r"must have 1 axes"),
        ({"batch_sizes": [3, 2, 1]}, DTypeError, r"batch_sizes is list"),
        ({"batch_sizes": None}, DTypeError, r"batch_sizes is NoneType"),
        (
            {"batch_sizes": ints(3, 2, 1, device="meta")},
            ValueRangeError,
            r"batch_sizes is on meta but must be on cpu",
        ),
        ({"sorted_indices": ints(0, 1)}, ShapeError, r"sorted_indices is \(2,\) but must be \(B,\) = \(3,\)"),
        ({"sorted_indices": ints(0, 0, 1)}, ValueRangeError, r"sorted_indices is no permutation of 0 to 2"),
        ({"sorted_indices": ints(0, 1, 3)}, ValueRangeError, r"no permutation"),
        ({"sorted_indices": ints(-1, 1, 0)}, ValueRangeError, r"no permutation"),
        ({"sorted_indices": ints(0, 1, 2)}, ValueRangeError, r"unsorted_indices is not the inverse"),
        ({"sorted_indices": ints(0, 2, 1, device="meta")}, ValueRangeError, r"sorted_indices is on meta"),
        ({"sorted_indices": torch.tensor([0.0, 2, 1])}, DTypeError, r"sorted_indices holds torch.float32"),
        ({"sorted_indices": "012"}, DTypeError, r"sorted_indices is str"),
        ({"sorted_indices": None}, ValueRangeError, r"unsorted_indices is not the inverse"),
        ({"unsorted_indices": ints(0, 1, 5)}, ValueRangeError, r"unsorted_indices is no permutation"),
        ({"unsorted_indices": ints(0, 1, 2)}, ValueRangeError, r"not the inverse"),
        ({"data": torch.zeros(5, 3)}, LengthError, r"adds up to 6 but x.data has 5 rows"),
        ({"data": torch.zeros(())}, ShapeError, r"x.data is a single number"),
        ({"data": [1.0]}, DTypeError, r"x.data is list"),
        ({"data": None}, DTypeError, r"x.data is NoneType"),
        ({"data": torch.zeros(6, 3).to_sparse()}, DTypeError, r"x.data is a sparse"),
        (
            {"data": torch.zeros(0, 3)},
            LengthError,
            r"batch_sizes\[0\] is 3 but must be between 1 and the 0 rows",
        ),
    ],
)
def test_a_hand_made_packed_sequence_is_refused(changes, kind, message):
    with pytest.raises(kind, match=message):
        Ragged.of(packed_parts(**changes))


def test_what_a_packed_sequence_says_later_does_not_matter():
    packed = pack_sequence(sequences([3, 1, 2]), enforce_sorted=False)
    ragged = Ragged.of(packed)
    packed.batch_sizes[1] = 99
    packed.sorted_indices[0] = 99
    assert ragged.batch_sizes.tolist() == [3, 2, 1] and ragged.order.tolist() == [0, 2, 1]
    ragged.to_packed().batch_sizes[0] = 99
    assert ragged.batch_sizes.tolist() == [3, 2, 1]
    assert_same_list(ragged.to_list(), sequences([3, 1, 2]))


# -------------------------------------------------------------------- malformed calls in a child process


def odd_values(random):
    """One value of a kind that a caller might hand over by mistake, or by malice."""
    size = lambda: random.choice([0, 1, 2, 3, 7])
    dtype = random.choice(
        [torch.float32, F64, torch.int64, torch.int32, torch.bool, torch.uint8, torch.complex64]
    )
    tensor = torch.ones([size() for _ in range(random.randrange(5))], dtype=dtype)
    makers = [
        lambda: tensor,
        lambda: tensor.numpy(),
        lambda: tensor.transpose(0, -1) if tensor.ndim else tensor,
        lambda: torch.ones(1, 1).expand(size(), size()),
        lambda: torch.full((size(), size(), 2), float("nan")),
        lambda: [
            random.choice([-1, 0, 1, 2, 3, 2**40, 2**63, 1.5, float("nan"), None, "a"]) for _ in range(size())
        ],
        lambda: ints(*[random.choice([-(2**63), -1, 0, 1, 2, 3, 2**62]) for _ in range(size())]),
        lambda: [np.ones((size(), random.choice([2, 2, 2, 3]))) for _ in range(size())],
        lambda: np.array([None, "a", 3.0], dtype=object),
        lambda: random.choice([None, "abc", b"x", 3, -1, 2.5, float("inf"), {}, {1: 2}, True]),
        lambda: tensor.to_sparse() if tensor.ndim else tensor,
        lambda: tensor.to("meta"),
    ]
    return random.choice(makers)()


def malformed_call(random):
    """One call of a public method with odd arguments; the batch it is called on is well formed."""
    good = Ragged.of(sequences(random.choices([0, 1, 2, 4], k=random.randrange(1, 5)), (2,)))
    odd = lambda: odd_values(random)
    parts = {name: odd() for name in PackedSequence._fields if random.random() < 0.4}
    call = random.choice(
        [
            lambda: Ragged.of(
                odd(), odd() if random.random() < 0.5 else None, batch_first=random.random() < 0.5
            ),
            lambda: Ragged.from_padded(torch.ones(3, 2, 2), odd()),
            lambda: Ragged.from_list(odd()),
            lambda: Ragged.of([odd(), odd()]),
            lambda: Ragged.of(packed_parts(**parts)),
            lambda: Ragged.of(packed_parts(batch_sizes=ints(*[random.randrange(-1, 5) for _ in range(3)]))),
            lambda: Ragged.from_nested(odd()),
            lambda: good.select(odd()),
            lambda: good.with_data(odd()),
            lambda: good.sequence_sum(odd()),
            lambda: good.to_padded(steps=odd()),
        ]
    )
    result = call()
    if isinstance(result, Ragged) and result.device.type == "cpu":
        assert int(result.lengths.sum()) == result.N == int(result.batch_sizes.sum())
        result.restore()
        result.reversed().to_list()
        result.sequence_sum(torch.ones(result.N))


@pytest.mark.parametrize("count", [1500, pytest.param(10_000, marks=pytest.mark.long)])
def test_no_malformed_call_ends_the_process(count):
    """Each call in a child forked from this warmed process ends in a typed error or a right answer."""

    def work(say):
        refused = 0
        for k in range(count):
            try:
                malformed_call(random.Random(1_000_003 + k))
            except SaikiError:
                refused += 1
            except BaseException as error:
                say(f"call {k}: {type(error).__name__}: {error}\n"[:500])
        say(f"refused {refused}")

    said, ended = forked(work)
    assert not ended and said.startswith("refused "), f"{ended}: {said}"
    refused = int(said.rsplit("refused ", 1)[1])
    assert 0.3 * count < refused < count  # the calls are odd enough to be refused, and not all of them are
