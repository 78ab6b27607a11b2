"""Properties over drawn batches, and calls that no one should make: a typed error or a right answer."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import PackedSequence

import saiki.engine
from children import survives
from saiki.cells import all_cells
from saiki.core.errors import SaikiError
from saiki.core.ragged import Ragged
from saiki.nn import (
    GRU,
    LSTM,
    RNN,
    ActivationConfig,
    AttentionPool,
    AttentionPoolConfig,
    Dense,
    DenseConfig,
    Dropout,
    Embedding,
    GRUConfig,
    Jordan,
    JordanConfig,
    Last,
    LastConfig,
    LayerNorm,
    LayerNormConfig,
    LSTMConfig,
    Max,
    MaxConfig,
    Mean,
    MeanConfig,
    Recurrent,
    RNNConfig,
    Segment,
    SegmentConfig,
    Stack,
)

F64 = torch.float64
QUIET = settings(deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ------------------------------------------------------------------ a sequence does not know its batch

NETWORKS = {
    "lstm last": [LSTMConfig(hidden_size=4, num_layers=2), LastConfig()],
    "both ends": [
        GRUConfig(hidden_size=3, bidirectional=True, learn_initial_state=True),
        LastConfig(both_ends=True),
    ],
    "jordan mean": [JordanConfig(hidden_size=4, size=2, bidirectional=True), MeanConfig()],
    "segments": [SegmentConfig(length=3), RNNConfig(hidden_size=4), LayerNormConfig(), MaxConfig()],
    "attention": [LSTMConfig(hidden_size=4, peepholes=True), AttentionPoolConfig(size=2)],
    "per step": [DenseConfig(size=3, activation="tanh"), GRUConfig(hidden_size=3, reset="before")],
}
lengths_of_batches = st.lists(st.integers(0, 7), min_size=1, max_size=6)


@pytest.mark.parametrize("engine", ["auto", "reference"])
@pytest.mark.parametrize("name", list(NETWORKS))
@given(lengths=lengths_of_batches, seed=st.integers(0, 99))
@settings(QUIET, max_examples=15)
def test_a_sequence_in_a_batch_equals_itself_alone(name, engine, lengths, seed):
    """Any lengths, any mates, NaN in the padding: 1e-12 in float64, 1e-6 in float32 on reference."""
    for dtype, rtol in ((F64, 1e-12), (torch.float32, 1e-6 if engine == "reference" else 1e-5)):
        network = Stack.build(NETWORKS[name], 2, 3, generator=seeded(seed), dtype=dtype).eval()
        source = seeded(seed + 1)
        parts = [torch.randn(n, 2, generator=source, dtype=dtype) for n in lengths]
        padded = torch.full((8, len(parts), 2), float("nan"), dtype=dtype)
        for b, rows in enumerate(parts):
            padded[: len(rows), b] = rows
        with saiki.engine.use(engine):
            together = network(Ragged.from_padded(padded, lengths))
            alone = [network(Ragged.from_list([rows])) for rows in parts]
        rows = together.to_list() if isinstance(together, Ragged) else list(together)
        for got, one in zip(rows, alone):
            expected = one.data if isinstance(one, Ragged) else one[0]
            torch.testing.assert_close(got, expected, rtol=rtol, atol=rtol)


@given(lengths=lengths_of_batches, data=st.data())
@settings(QUIET, max_examples=25)
def test_a_permuted_batch_gives_permuted_results(lengths, data):
    """Outputs, states and attention weights follow their sequences."""
    order = data.draw(st.permutations(range(len(lengths))))
    network = Stack.build(NETWORKS["attention"], 2, 3, generator=seeded(), dtype=F64)
    layer = LSTM(2, 3, num_layers=2, bidirectional=True, dtype=F64, generator=seeded())
    source = seeded(5)
    x = Ragged.from_list([torch.randn(n, 2, generator=source, dtype=F64) for n in lengths])
    y = x.select(torch.tensor(order))
    torch.testing.assert_close(network(y), network(x)[order], rtol=1e-12, atol=1e-12)
    for a, b in zip(layer(y)[1], layer(x)[1]):
        torch.testing.assert_close(a, b[:, order], rtol=1e-12, atol=1e-12)
    weights = [network.attention(batch)["attention_pool"].to_list() for batch in (y, x)]
    for j, b in enumerate(order):
        torch.testing.assert_close(weights[0][j], weights[1][b], rtol=1e-12, atol=1e-12)


# ------------------------------------------------------------------ malformed calls


DTYPES = [torch.float32] * 4 + [F64, torch.float16, torch.int64, torch.uint8, torch.bool, torch.complex64]


@st.composite
def any_tensor(draw, ranks=(0, 1, 2, 2, 3, 3, 3, 4)):
    """A tensor of any rank, size, type and stride, sometimes with NaN, infinity or huge numbers."""
    shape = draw(
        st.lists(st.sampled_from([0, 1, 2, 3, 3, 3, 4]), min_size=0, max_size=4).filter(
            lambda s: len(s) in ranks
        )
    )
    dtype = draw(st.sampled_from(DTYPES))
    base = torch.randn([2 * n for n in shape], generator=seeded(draw(st.integers(0, 9))))
    if draw(st.booleans()) and base.numel():
        base.view(-1)[draw(st.integers(0, base.numel() - 1))] = draw(
            st.sampled_from([float("nan"), float("inf"), 3e38, -7.0])
        )
    x = base.to(dtype)
    x = (
        x[tuple(slice(0, n) for n in shape)]
        if draw(st.booleans())
        else x[tuple(slice(None, None, 2) for _ in shape)]
    )
    if x.ndim > 1 and draw(st.booleans()):
        x = x.transpose(0, -1)
    return x


anything = st.one_of(
    any_tensor(),
    st.none(),
    st.just([1.0, 2.0]),
    st.just("x"),
    st.integers(),
    st.lists(any_tensor(), max_size=3).map(tuple),
)


@st.composite
def any_packed(draw):
    """A PackedSequence made by hand: sizes that rise, are zero, negative, huge, or do not add up."""
    rows = draw(st.integers(0, 6))
    size = st.one_of(st.integers(-1, 4), st.sampled_from([2**62, -(2**62)]))
    numbers = draw(st.lists(size, max_size=4))
    small = all(abs(n) < 9 for n in numbers) and draw(st.integers(0, 4)) == 0
    sizes = torch.tensor(numbers, dtype=torch.int32 if small else torch.int64)
    indices = draw(st.one_of(st.none(), st.lists(st.integers(-1, 4), max_size=4).map(torch.tensor)))
    try:
        return PackedSequence(
            torch.randn(rows, draw(st.sampled_from([3, 3, 3, 2])), generator=seeded()), sizes, indices
        )
    except (RuntimeError, IndexError, ValueError, TypeError):
        assume(False)  # torch's own constructor refuses it


def layers():
    return {
        "rnn": RNN(3, 4, num_layers=2, generator=seeded()),
        "jordan": Jordan(3, 4, output_size=2, bidirectional=True, generator=seeded()),
        "lstm": LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True, generator=seeded()),
        "gru": GRU(3, 4, learn_initial_state=True, generator=seeded()),
        "peepholes": LSTM(3, 4, peepholes=True, engine="reference", generator=seeded()),
    }


def answer_or_typed_error(call, names) -> object:
    """The answer, or None after a typed error that names the argument; any other error goes through."""
    try:
        return call()
    except SaikiError as error:
        if not any(name in str(error) for name in names):
            raise AssertionError(f"{error!r} names none of {names}") from error
        return None


def calls(max_examples: int):
    """One function that makes all the malformed calls of one kind."""
    quiet = settings(QUIET, max_examples=max_examples)
    modules = layers()
    row_layers = [
        Dense(3, 2, generator=seeded()),
        LayerNorm(3),
        Dropout(0.5, generator=seeded()),
        Dropout(0.5, locked=True, generator=seeded()),
        Embedding(5, 2, generator=seeded()),
        Embedding(5, 2, column=1, generator=seeded()),
        Last(),
        Last(both_ends=True),
        Mean(),
        Max(),
        AttentionPool(3, generator=seeded()),
        Segment(2),
    ]
    network = Stack.build(
        [LSTMConfig(hidden_size=4), LastConfig(), ActivationConfig(activation="tanh")],
        3,
        2,
        generator=seeded(),
    )

    @given(
        x=anything,
        hx=st.one_of(st.none(), st.none(), anything),
        name=st.sampled_from(list(modules)),
        fitting=st.booleans(),
    )
    @quiet
    def recurrent(x, hx, name, fitting):
        if fitting and isinstance(x, torch.Tensor) and x.ndim == 3:
            start = modules[name].initial_state(x.shape[0 if modules[name].batch_first else 1])
            hx = start if len(start) > 1 else start[0]
        result = answer_or_typed_error(lambda: modules[name](x, hx), ("input", "hx"))
        if result is not None:
            output, state = result
            assert output.shape[:-1] == x.shape[:-1]
            assert output.shape[-1] == modules[name].output_size
            if x.isfinite().all() and x.abs().lt(1e30).all() and (fitting or hx is None):
                assert output.isfinite().all()
                assert all(s.isfinite().all() for s in (state if isinstance(state, tuple) else (state,)))

    @given(packed=any_packed(), name=st.sampled_from(list(modules)))
    @quiet
    def from_packed(packed, name):
        result = answer_or_typed_error(lambda: modules[name](packed), ("input",))
        if result is not None:
            assert result[0].data.shape[0] == packed.data.shape[0] and result[0].data.isfinite().all()

    @given(
        x=any_tensor(ranks=(2, 3, 4)), lengths=st.one_of(st.none(), st.lists(st.integers(-1, 5), max_size=4))
    )
    @quiet
    def from_padded(x, lengths):
        ragged = answer_or_typed_error(lambda: Ragged.from_padded(x, lengths), ("x", "lengths"))
        if ragged is None:
            return
        for layer in (*row_layers, network, *modules.values()):
            result = answer_or_typed_error(lambda layer=layer: layer(ragged), ("x", "input", "id"))
            result = result[0] if isinstance(result, tuple) else result
            rows = result.data if isinstance(result, Ragged) else result
            if rows is not None and x.is_floating_point() and x.isfinite().all() and x.abs().lt(1e30).all():
                assert rows.isfinite().all()

    @given(x=anything, layer=st.sampled_from([*row_layers, network]))
    @quiet
    def rows(x, layer):
        answer_or_typed_error(lambda: layer(x), ("x", "id"))

    @given(state=st.one_of(anything, st.lists(anything, max_size=2).map(tuple)))
    @quiet
    def carried(state):
        x = Ragged.from_list([torch.zeros(2, 3), torch.zeros(0, 3)])
        answer_or_typed_error(lambda: network.run(x, state), ("state", "hx"))

    return {
        "recurrent": recurrent,
        "from_packed": from_packed,
        "from_padded": from_padded,
        "rows": rows,
        "carried": carried,
    }


KINDS = ["recurrent", "from_packed", "from_padded", "rows", "carried"]


@pytest.mark.parametrize("kind", KINDS)
def test_malformed_calls(kind):
    """A typed error naming the argument, or an answer of the right shape; the process lives."""
    survives(calls(300)[kind])


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_many_malformed_calls(kind):
    """10,000 in all."""
    survives(calls(2_000)[kind])


@pytest.mark.parametrize("cell", all_cells(), ids=lambda cell: cell.label)
def test_one_step_of_one_sequence(cell):
    """T = 1, B = 1: the layer is the cell's own step."""
    layer = Recurrent(cell, dtype=F64, generator=seeded())
    x = torch.randn(1, 1, 3, generator=seeded(1), dtype=F64)
    output, _ = layer(x)
    tensors = {name.removesuffix("_l0"): value for name, value in layer.named_parameters()}
    state = cell.step(cell.params(tensors), cell.initial_state(1, dtype=F64), x[0])
    torch.testing.assert_close(output[0], getattr(state, cell.output), rtol=1e-12, atol=1e-12)
