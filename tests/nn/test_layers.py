"""Embedding, Dense, Activation, Dropout, LayerNorm, pooling over time and Segment."""

from __future__ import annotations

import pytest
import torch

from saiki.core.errors import DTypeError, OptionError, ShapeError, ValueRangeError
from saiki.core.ragged import Ragged
from saiki.nn import (
    Activation,
    AttentionPool,
    Dense,
    Dropout,
    Embedding,
    Last,
    LayerNorm,
    Max,
    Mean,
    Segment,
    generators,
)

F64 = torch.float64
LENGTHS = (3, 0, 5, 1)


def parts_of(rng, lengths=LENGTHS, size=4):
    return [torch.randn(n, size, generator=rng, dtype=F64) for n in lengths]


def pools(rng):
    attention = AttentionPool(4, 3, generator=rng, dtype=F64)
    with torch.no_grad():
        attention.bias.copy_(torch.randn(3, generator=rng, dtype=F64))
    return {
        "last": Last(),
        "ends": Last(both_ends=True),
        "mean": Mean(),
        "max": Max(),
        "attention": attention,
    }


POOLS = ["last", "ends", "mean", "max", "attention"]


def test_pooling_says_what_it_computes(rng):
    """Against the plain formula on each sequence by itself; zeros for a sequence without steps."""
    parts, layers = parts_of(rng), pools(rng)
    attention = layers["attention"]

    def weighted(rows):
        scores = torch.tanh(rows @ attention.weight.T + attention.bias) @ attention.query
        return torch.softmax(scores, 0) @ rows

    oracle = {
        "last": lambda rows: rows[-1],
        "ends": lambda rows: torch.cat([rows[-1, :2], rows[0, 2:]]),
        "mean": lambda rows: rows.mean(0),
        "max": lambda rows: rows.amax(0),
        "attention": weighted,
    }
    for name, layer in layers.items():
        got = layer(Ragged.from_list(parts))
        for b, rows in enumerate(parts):
            expected = oracle[name](rows) if len(rows) else torch.zeros(4, dtype=F64)
            torch.testing.assert_close(got[b], expected, rtol=1e-12, atol=1e-12, msg=f"{name}, sequence {b}")


@pytest.mark.parametrize("name", POOLS)
def test_pooling_gradients(name, rng):
    """By finite differences, parameters included."""
    layer = pools(rng)[name]
    template = Ragged.from_list(parts_of(rng))
    names = [key for key, _ in layer.named_parameters()]
    values = [value.detach().clone().requires_grad_() for value in layer.parameters()]

    def pooled(data, *params):
        return torch.func.functional_call(layer, dict(zip(names, params)), (template.with_data(data),))

    assert torch.autograd.gradcheck(pooled, (template.data.clone().requires_grad_(), *values))


@pytest.mark.parametrize("name", [*POOLS, "segment", "locked"])
def test_nan_stays_in_its_sequence(name, rng):
    """Outputs and input gradients of the others are the same bits."""
    layer = {**pools(rng), "segment": Segment(2), "locked": Dropout(0.5, locked=True, generator=rng)}[name]
    parts = parts_of(rng)
    poisoned = [part.clone() for part in parts]
    poisoned[2][0, 0] = float("nan")
    sources = generators(layer)
    start = {key: source.get_state() for key, source in sources.items()}
    results = []
    for sequences in (parts, poisoned):
        for key, source in sources.items():
            source.set_state(start[key])
        leaves = [part.clone().requires_grad_() for part in sequences]
        out = layer(Ragged.from_list(leaves))
        rows = out.to_list() if isinstance(out, Ragged) else list(out)
        torch.cat([row.reshape(-1) for row in rows]).sin().sum().backward()
        results.append((rows, [leaf.grad for leaf in leaves]))
    for b in (0, 1, 3):
        assert torch.equal(results[0][0][b], results[1][0][b])
        assert torch.equal(results[0][1][b], results[1][1][b])


@pytest.mark.parametrize("name", [*POOLS, "segment"])
@pytest.mark.parametrize("lengths", [(0,), (0, 0), (1,), (4,)])
def test_pooling_of_nothing_and_of_one(name, lengths, rng):
    """B = 1, T = 1, and batches in which no sequence has a step."""
    layer = {**pools(rng), "segment": Segment(3)}[name]
    parts = parts_of(rng, lengths)
    out = layer(Ragged.from_list(parts))
    if name == "segment":
        assert out.lengths.tolist() == [-(-n // 3) for n in lengths]
    else:
        assert out.shape == (len(lengths), 4)
        assert [bool(row.any()) for row in out] == [n > 0 for n in lengths]
    nobody = Ragged.from_padded(torch.zeros(3, 0, 4, dtype=F64))
    assert (layer(nobody).B if name == "segment" else len(layer(nobody))) == 0


def test_attention_weights(rng):
    """One a step, positive, summing to one a sequence; huge scores do no harm."""
    layer = AttentionPool(4, generator=rng, dtype=F64)
    x = Ragged.from_list(parts_of(rng))
    pooled, weights = layer(x, return_weights=True)
    assert torch.equal(pooled, layer(x))
    assert (weights.data > 0).all() and weights.feature_shape == ()
    torch.testing.assert_close(weights.sequence_sum(weights.data), torch.tensor([1.0, 0, 1, 1], dtype=F64))
    with torch.no_grad():
        layer.query.mul_(1e6)
    assert layer(x).isfinite().all()
    with torch.no_grad():
        layer.query.zero_()
    torch.testing.assert_close(layer(x), Mean()(x))  # equal scores: the mean


@pytest.mark.parametrize("both_ends", [False, True])
def test_attention_from_the_last_step(rng, both_ends):
    """Against the formula on each sequence by itself, gradients included; the last step comes first."""
    parts = parts_of(rng)
    layer = AttentionPool(4, 3, last=True, both_ends=both_ends, generator=rng, dtype=F64)
    with torch.no_grad():
        layer.bias.copy_(torch.randn(3, generator=rng, dtype=F64))
    assert layer.width(4) == 8
    for rows, found in zip(parts, layer(Ragged.from_list(parts))):
        if not len(rows):
            assert not found.any()
            continue
        end = torch.cat([rows[-1, :2], rows[0, 2:]]) if both_ends else rows[-1]
        scores = torch.tanh(rows @ layer.weight.T + layer.weight_last @ end + layer.bias) @ layer.query
        torch.testing.assert_close(found, torch.cat([end, torch.softmax(scores, 0) @ rows]))
    template = Ragged.from_list(parts)
    data = template.data.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda data: layer(template.with_data(data)), (data,))
    with torch.no_grad():
        layer.weight_last.zero_()
    plain = AttentionPool(4, 3, generator=rng, dtype=F64)
    with torch.no_grad():
        for name, value in plain.named_parameters():
            value.copy_(getattr(layer, name))
    torch.testing.assert_close(layer(template)[:, 4:], plain(template))


def test_segments(rng):
    """Oldest first in a piece; the incomplete oldest piece repeats the sequence's first row."""
    x = Ragged.from_list([torch.arange(5.0)[:, None], torch.zeros(0, 1), torch.arange(10.0, 14.0)[:, None]])
    pieces = Segment(2)(x).to_list()
    assert pieces[0].tolist() == [[0, 0], [1, 2], [3, 4]]
    assert pieces[1].shape == (0, 2)
    assert pieces[2].tolist() == [[10, 11], [12, 13]]
    rows = torch.randn(6, 3, generator=rng)
    assert torch.equal(Segment(3)(Ragged.from_list([rows])).data, rows.reshape(2, 9))
    template = Ragged.from_list(parts_of(rng))
    data = template.data.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda d: Segment(2)(template.with_data(d)).data, (data,))


def test_embedding_looks_up(rng):
    """(N,) and (N, 1), integers and whole floats, and one column of a row of measurements."""
    layer = Embedding(7, 3, generator=rng)
    ids = [torch.tensor([1, 6, 0]), torch.tensor([], dtype=torch.int64), torch.tensor([5])]
    x = Ragged.from_list(ids)
    out = layer(x).to_list()
    assert torch.equal(out[0], layer.weight[ids[0]]) and out[1].shape == (0, 3)
    for other in (x.map(lambda d: d[:, None]), x.map(lambda d: d[:, None].float()), x.map(lambda d: d.int())):
        assert torch.equal(layer(other).data, layer(x).data)
    mixed = Ragged.from_list([torch.tensor([[0.5, 2.0, 9.5]])])
    column = Embedding(7, 3, column=1, generator=rng)
    assert torch.equal(column(mixed).data[0], torch.cat([torch.tensor([0.5, 9.5]), column.weight[2]]))
    assert Embedding(7, 3, frozen=True).frozen and not layer.frozen


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        ([[0, 1], [2, 7]], r"id 7 at sequence 1, step 1 is not a whole number in \[0, 7\)"),
        ([[0], [], [3, -1]], "id -1 at sequence 2, step 1"),
        ([[0.0, 1.5]], "id 1.5 at sequence 0, step 1"),
        ([[float("nan")]], "id nan at sequence 0, step 0"),
    ],
)
def test_an_id_out_of_range_names_its_sequence_and_step(ids, text):
    """torch reads past its table or raises without saying where."""
    with pytest.raises(ValueRangeError, match=text):
        Embedding(7, 3)(Ragged.from_list([torch.tensor(row) for row in ids]))


def test_dense_activation_and_norm(rng):
    """Against the formula, on a Ragged and on the rows behind a pooling layer."""
    x = Ragged.from_list(parts_of(rng))
    dense = Dense(4, 3, activation="softmax", generator=rng, dtype=F64)
    expected = torch.softmax(x.data @ dense.weight.T + dense.bias, -1)
    torch.testing.assert_close(dense(x).data, expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(dense(x.data), dense(x).data)
    assert Dense(4, 3, bias=False).bias is None
    norm = LayerNorm(4, dtype=F64)
    with torch.no_grad():
        norm.gain.copy_(torch.randn(4, generator=rng, dtype=F64))
        norm.bias.copy_(torch.randn(4, generator=rng, dtype=F64))
    mean, var = x.data.mean(-1, keepdim=True), x.data.var(-1, unbiased=False, keepdim=True)
    by_hand = norm.gain * (x.data - mean) / torch.sqrt(var + 1e-5) + norm.bias
    torch.testing.assert_close(norm(x).data, by_hand, rtol=1e-12, atol=1e-12)
    assert torch.equal(Activation("relu")(x).data, x.data.clamp(min=0))
    assert torch.equal(Activation(torch.sin)(x).data, x.data.sin())


def test_dropout_rescales_and_stops_in_eval(rng):
    """A share p of zeros, the rest times 1/(1 - p); p = 0 and p = 1; identity in eval."""
    x = Ragged.from_list([torch.ones(5_000, 4)])
    layer = Dropout(0.25, generator=rng)
    out = layer(x).data
    assert out.unique().tolist() == pytest.approx([0.0, 4 / 3])
    # 20,000 draws: five standard deviations of the share are 5·√(p(1 - p)/20,000) = 0.0153
    assert abs(float((out == 0).float().mean()) - 0.25) < 0.0153
    assert not Dropout(1.0)(x).data.any()
    assert Dropout(0.0)(x) is x
    assert layer.eval()(x) is x


def test_a_locked_mask_is_constant_over_time(rng):
    """One mask a sequence, different from sequence to sequence, whatever the order of the batch inside."""
    layer = Dropout(0.5, locked=True, generator=rng)
    out = layer(Ragged.from_list([torch.ones(n, 32) for n in (3, 7, 0, 5)])).to_list()
    for rows in (out[0], out[1], out[3]):
        assert torch.equal(rows, rows[:1].expand_as(rows))
        assert 0 < int((rows[0] == 0).sum()) < 32
    assert not torch.equal(out[0][0], out[1][0])


@pytest.mark.parametrize("locked", [False, True])
def test_dropout_is_a_function_of_its_generator(locked, rng):
    """State in, the same mask out; the global generator neither read nor moved."""
    layer = Dropout(0.5, locked=locked, generator=rng)
    x = Ragged.from_list(parts_of(rng))
    outside = torch.get_rng_state()
    state = generators(layer)[""].get_state()
    first = layer(x).data
    assert not torch.equal(layer(x).data, first)
    layer.generator.set_state(state)
    assert torch.equal(layer(x).data, first)
    assert torch.equal(torch.get_rng_state(), outside)


def test_strided_rows_give_the_same_numbers(rng):
    """Non-contiguous input to every layer of a step."""
    rows = torch.randn(8, 6, generator=rng, dtype=F64)[::2, ::2]
    for layer in (Dense(3, 2, dtype=F64), LayerNorm(3, dtype=F64), Activation("softmax")):
        assert torch.equal(layer(rows), layer(rows.contiguous()))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: Dense(4, 3)([1.0]), DTypeError, "x is a list but Dense takes a Ragged or a tensor"),
        (
            lambda: Dense(4, 3)(torch.zeros(2, 5)),
            ShapeError,
            "x has 5 features a step but Dense was built for 4",
        ),
        (lambda: Dense(4, 3)(torch.tensor(1.0)), ShapeError, r"takes \(..., F\)"),
        (
            lambda: Dense(4, 3)(torch.zeros(2, 4, dtype=F64)),
            DTypeError,
            "x holds torch.float64 but the weights",
        ),
        (lambda: Dense(4, 3)(torch.zeros(2, 4, dtype=torch.int32)), DTypeError, "must hold floating"),
        (lambda: Dense(4, 3)(torch.zeros(2, 4, device="meta")), ValueRangeError, "x is on meta"),
        (lambda: Dense(4, 0), ValueRangeError, "size is 0"),
        (lambda: Dense(4, 3, activation="tan"), OptionError, "did you mean 'tanh'"),
        (lambda: Dense(4, 3, activation=3), OptionError, "must be a name or a function"),
        (lambda: Dropout(-0.1), ValueRangeError, "p is -0.1"),
        (lambda: Dropout("half"), DTypeError, "p is 'half'"),
        (lambda: LayerNorm(4, eps=0.0), ValueRangeError, "eps is 0.0"),
        (lambda: Last()(torch.zeros(3, 2)), DTypeError, "Last works over time and takes a Ragged"),
        (lambda: Mean()(Ragged.from_list([torch.zeros(2)])), ShapeError, "one row of features a step"),
        (lambda: Max()(Ragged.from_list([torch.zeros(2, 1, dtype=torch.int64)])), DTypeError, "floating"),
        (lambda: Segment(0), ValueRangeError, "length is 0"),
        (lambda: Embedding(5, 2)(torch.zeros(3, 2, dtype=torch.int64)), ShapeError, "one id a step"),
        (lambda: Embedding(5, 2)(torch.ones(3, 1, dtype=torch.bool)), DTypeError, "takes integers"),
        (lambda: Embedding(5, 2, column=3)(torch.zeros(3, 2)), ShapeError, "columns count from 0"),
        (lambda: Embedding(10**9, 2), ValueRangeError, "num_embeddings"),
        (lambda: Dense(4, 3, dtype=torch.int8), DTypeError, "parameters need a floating one"),
    ],
)
def test_layers_are_checked_at_the_door(call, error, text):
    """What came, what was expected."""
    with pytest.raises(error, match=text):
        call()
