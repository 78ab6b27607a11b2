"""Convolution over time: against torch.nn.Conv1d sequence by sequence, sizes, ends, gradients, configs."""

from __future__ import annotations

import pytest
import torch

from saiki.core.errors import DTypeError, OptionError, ShapeError, ValueRangeError
from saiki.core.ragged import Ragged
from saiki.nn import (
    Convolution,
    ConvolutionConfig,
    GRUConfig,
    LastConfig,
    Stack,
    config_of,
    layer_from_mapping,
    layer_to_mapping,
)

F64 = torch.float64
OPTIONS = {
    "plain": {},
    "strided": {"stride": 2},
    "dilated": {"dilation": 3, "stride": 2},
    "even": {"kernel_size": 4},
    "causal": {"causal": True, "stride": 3},
    "no padding": {"padding": 0},
    "much padding": {"padding": 4, "stride": 2, "dilation": 2},
    "one wide": {"kernel_size": 1, "bias": False},
}


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(3)


def layer(rng, **options) -> Convolution:
    made = Convolution(3, 5, **{"kernel_size": 3, **options}, generator=rng, dtype=F64)
    if made.bias is not None:
        torch.nn.init.uniform_(
            made.bias, 0.5, 1.5, generator=rng
        )  # a bias of zero hides mistakes at the ends
    return made


def parts_of(rng, lengths=(5, 0, 1, 9, 9, 2, 4)) -> list[torch.Tensor]:
    return [torch.randn(n, 3, generator=rng, dtype=F64) for n in lengths]


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_it_is_torchs_convolution_of_each_sequence(options, rng):
    made = layer(rng, **options)
    parts = parts_of(rng)
    found = made(Ragged.from_list(parts)).to_list()
    for part, rows in zip(parts, found):
        wanted = torch.zeros(0, 5, dtype=F64)
        padded = torch.nn.functional.pad(part.T, made.ends)
        if len(part) and padded.shape[1] > made.dilation * (made.kernel_size - 1):
            wanted = torch.nn.functional.conv1d(
                padded[None], made.weight, made.bias, stride=made.stride, dilation=made.dilation
            )[0].T
        assert rows.shape == wanted.shape == (made.steps(len(part)), 5)
        torch.testing.assert_close(rows, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("W", "k", "S", "P", "wanted"), [(5, 3, 1, 0, 3), (5, 3, 2, 0, 2), (9, 3, 1, 3, 13), (9, 3, 2, 3, 7)]
)
def test_the_sizes_of_the_textbook(W, k, S, P, wanted):
    assert Convolution(1, 1, k, stride=S, padding=P).steps(W) == wanted


def test_it_is_a_correlation_and_not_flipped():
    made = Convolution(1, 1, 3, padding=0, bias=False, dtype=F64)
    made.weight.data = torch.tensor([[[1.0, 10.0, 100.0]]], dtype=F64)
    x = Ragged.from_list([torch.tensor([[1.0], [2], [3], [4]], dtype=F64)])
    assert made(x).data.reshape(-1).tolist() == [321.0, 432.0]


def test_a_causal_one_sees_no_later_step(rng):
    made = layer(rng, kernel_size=4, dilation=2, causal=True)
    x = torch.randn(8, 3, generator=rng, dtype=F64).requires_grad_()
    for step, row in enumerate(made(Ragged.from_list([x])).to_list()[0]):
        (reached,) = torch.autograd.grad(row.sum(), x, retain_graph=True)
        seen = reached.abs().sum(dim=1).nonzero()[:, 0].tolist()
        assert seen == [t for t in range(step % 2, step + 1, 2) if t > step - 8]


def test_left_alone_the_ends_keep_a_step_for_every_stride():
    for k in range(1, 6):
        for S in range(1, 4):
            for causal in (False, True):
                made = Convolution(1, 1, k, stride=S, causal=causal)
                assert [made.steps(T) for T in range(8)] == [-(-T // S) for T in range(8)]


def test_gradients(rng):
    made = layer(rng, stride=2, dilation=2)
    template = Ragged.from_list(parts_of(rng, (4, 0, 1, 3)))

    def run(data, weight, bias):
        named = {"weight": weight, "bias": bias}
        return torch.func.functional_call(made, named, (template.with_data(data),)).data

    data = template.data.clone().requires_grad_()
    assert torch.autograd.gradcheck(run, (data, made.weight, made.bias))


def test_nan_stays_in_its_sequence(rng):
    made, parts = layer(rng, kernel_size=5), parts_of(rng)
    poisoned = [part.clone() for part in parts]
    poisoned[3][0, 0] = float("nan")
    clean, other = (made(Ragged.from_list(p)).to_list() for p in (parts, poisoned))
    for b in (0, 1, 2, 4, 5, 6):
        assert torch.equal(clean[b], other[b])
    assert other[3][:3].isnan().all() and not other[3][3:].isnan().any()


@pytest.mark.parametrize("lengths", [(0,), (0, 0), (1,)])
def test_nothing_and_one(lengths, rng):
    made = layer(rng)
    assert made(Ragged.from_list(parts_of(rng, lengths))).lengths.tolist() == list(lengths)
    assert made(Ragged.from_padded(torch.zeros(3, 0, 3, dtype=F64))).B == 0


def test_config_there_and_back(rng):
    config = ConvolutionConfig(size=4, kernel_size=5, stride=2, dilation=2, padding=1, bias=False)
    made = config.build(3, rng)
    assert config_of(made) == config and layer_from_mapping(layer_to_mapping(config, "front")) == (
        "front",
        config,
    )


def test_in_a_stack_the_summary_counts_steps(rng):
    network = Stack.build(
        [ConvolutionConfig(size=4, kernel_size=3, stride=2), GRUConfig(hidden_size=5), LastConfig()],
        3,
        2,
        generator=rng,
    )
    assert [row.shape for row in network.summary(9).rows][1:3] == [("B", 5, 4), ("B", 5, 5)]
    assert "(B, ⌈T/2⌉, 4)" in str(network.summary())
    assert "(B, T − 2, 1)" in str(
        Stack.build([ConvolutionConfig(size=1, kernel_size=3, padding=0)], 1).summary()
    )
    assert network(Ragged.from_list(parts_of(rng)).to(dtype=torch.float32)).shape == (7, 2)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: Convolution(3, 4, 0), ValueRangeError, "kernel_size is 0"),
        (lambda: Convolution(3, 4, 3, stride=0), ValueRangeError, "stride is 0"),
        (lambda: Convolution(3, 4, 3, causal=True, padding=1), OptionError, "causal=True pads the start"),
        (lambda: ConvolutionConfig(size=4, kernel_size=3, causal=True, padding=1), OptionError, "causal"),
        (lambda: Convolution(3, 4, 3)(torch.zeros(2, 3)), DTypeError, "Convolution works over time"),
        (
            lambda: Convolution(3, 4, 3)(Ragged.from_list([torch.zeros(2, 2)])),
            ShapeError,
            "2 features a step but Convolution was built for 3",
        ),
    ],
)
def test_what_does_not_fit_is_named(call, error, said):
    with pytest.raises(error, match=said):
        call()
