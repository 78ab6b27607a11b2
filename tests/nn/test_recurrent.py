"""The recurrent layers against torch.nn, against themselves batch by batch, and at their doors."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

import saiki.engine
from saiki.cells import Cell, Elman, State, all_cells
from saiki.core.errors import DTypeError, OptionError, SaikiWarning, ShapeError
from saiki.core.ragged import Ragged
from saiki.nn import GRU, LSTM, RNN, Jordan, Recurrent, generators

PAIRS = [(RNN, torch.nn.RNN), (LSTM, torch.nn.LSTM), (GRU, torch.nn.GRU)]
NAMES = ["rnn", "lstm", "gru"]
F64 = torch.float64


def tensors(state) -> tuple[Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)


def randomise(module: torch.nn.Module, rng: torch.Generator, scale: float = 0.5) -> None:
    """Every parameter random: with biases or peepholes at zero a wrong block order would pass unseen."""
    with torch.no_grad():
        for value in module.parameters():
            value.copy_(torch.randn(value.shape, generator=rng, dtype=value.dtype) * scale)


def ragged(lengths, size, rng, dtype=F64) -> Ragged:
    return Ragged.from_list([torch.randn(n, size, generator=rng, dtype=dtype) for n in lengths])


def torch_layer(family, rng, **options):
    module = family(3, 5, dtype=F64, **options)
    randomise(module, rng)
    return module


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=NAMES)
def test_outputs_and_gradients_agree_with_torch(
    ours, theirs, bias, batch_first, num_layers, bidirectional, rng
):
    """The same equations in float64: only rounding may separate them."""
    options = {
        "num_layers": num_layers,
        "bias": bias,
        "batch_first": batch_first,
        "bidirectional": bidirectional,
    }
    module = torch_layer(theirs, rng, **options)
    layer = ours.from_torch(module)
    x = torch.randn(4, 6, 3, generator=rng, dtype=F64)
    LD, B = num_layers * (1 + bidirectional), 4 if batch_first else 6
    hx = tuple(torch.randn(LD, B, 5, generator=rng, dtype=F64) for _ in layer.cell.states)
    hx = hx if len(hx) > 1 else hx[0]
    grads = []
    for net in (module, layer):
        leaf = x.clone().requires_grad_()
        out, state = net(leaf, hx)
        (out.sin().sum() + sum(s.cos().sum() for s in tensors(state))).backward()
        grads.append((out, *tensors(state), leaf.grad, net.weight_hh_l0.grad))
    for theirs_value, ours_value in zip(*grads):
        torch.testing.assert_close(ours_value, theirs_value, rtol=1e-12, atol=1e-12)
    back = layer.to_torch()
    torch.testing.assert_close(back(x, hx)[0], module(x, hx)[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=NAMES)
@pytest.mark.parametrize("enforce_sorted", [False, True])
def test_packed_agrees_with_torch(ours, theirs, enforce_sorted, rng):
    """A PackedSequence comes back packed alike, with the states in the user's order."""
    module = torch_layer(theirs, rng, num_layers=2, bidirectional=True)
    layer = ours.from_torch(module)
    lengths = [5, 4, 4, 1] if enforce_sorted else [4, 1, 5, 4]
    packed = pack_sequence(
        [torch.randn(n, 3, generator=rng, dtype=F64) for n in lengths], enforce_sorted=enforce_sorted
    )
    expected, their_state = module(packed)
    got, our_state = layer(packed)
    torch.testing.assert_close(got.data, expected.data, rtol=1e-12, atol=1e-12)
    assert torch.equal(got.batch_sizes, expected.batch_sizes)
    for name in ("sorted_indices", "unsorted_indices"):
        a, b = getattr(got, name), getattr(expected, name)
        assert (a is None and b is None) or torch.equal(a, b)
    for a, b in zip(tensors(our_state), tensors(their_state)):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    # padded against trimmed: what stands behind a sequence's end is never read
    padded, _ = pad_packed_sequence(got)
    alone, _ = layer(pad_packed_sequence(packed)[0][: lengths[0], 0])
    torch.testing.assert_close(padded[: lengths[0], 0], alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=NAMES)
def test_torch_checkpoints_load_and_go_back(ours, theirs, rng):
    """A state dict of torch's loads in place, also inside a larger module, and returns."""
    module = torch_layer(theirs, rng, num_layers=2, bidirectional=True)
    layer = ours(3, 5, num_layers=2, bidirectional=True, dtype=F64)
    outer = torch.nn.ModuleDict({"encoder": layer})
    theirs_state = {f"encoder.{k}": v for k, v in module.state_dict().items()}
    before = dict(theirs_state)
    outer.load_state_dict(theirs_state)
    assert theirs_state.keys() == before.keys()  # the caller's dict is not touched
    x = torch.randn(4, 2, 3, generator=rng, dtype=F64)
    torch.testing.assert_close(layer(x)[0], module(x)[0], rtol=1e-12, atol=1e-12)
    back = layer.to_torch()
    assert type(back) is theirs
    assert back.state_dict().keys() == module.state_dict().keys()
    H = 5
    if ours is GRU:  # the reset gate stands between the candidate's two biases
        assert torch.equal(back.bias_hh_l0[2 * H :], module.bias_hh_l0[2 * H :])
        assert not back.bias_hh_l0[: 2 * H].any()
    else:
        assert not back.bias_hh_l0.any()
        torch.testing.assert_close(back.bias_ih_l0, module.bias_ih_l0 + module.bias_hh_l0)


def test_torch_checkpoints_that_do_not_fit_are_refused(rng):
    """Other equations cannot take torch's numbers; the message says which option differs."""
    state = torch.nn.LSTM(3, 5).state_dict()
    with pytest.raises(RuntimeError, match=r"torch.nn.LSTM has peepholes=False, not True"):
        LSTM(3, 5, peepholes=True).load_state_dict(state)
    with pytest.raises(RuntimeError, match=r"torch.nn.GRU has reset='after', not 'before'"):
        GRU(3, 5, reset="before").load_state_dict(torch.nn.GRU(3, 5).state_dict())
    with pytest.raises(RuntimeError, match="proj_size"):
        LSTM(3, 5).load_state_dict(torch.nn.LSTM(3, 5, proj_size=2).state_dict())
    with pytest.raises(RuntimeError, match=r"is \(20, 4\) but must be \(20, 3\)"):
        LSTM(3, 5).load_state_dict(torch.nn.LSTM(4, 5).state_dict())
    with pytest.raises(DTypeError, match=r"must be a torch.nn.LSTM"):
        LSTM.from_torch(torch.nn.GRU(3, 5))
    with pytest.raises(OptionError, match="proj_size=2 is not supported"):
        LSTM.from_torch(torch.nn.LSTM(3, 5, proj_size=2))


def test_what_torch_has_not_is_said():
    """to_torch of a cell that torch has not got, proj_size, and learned initial states."""
    with pytest.raises(OptionError, match=r"LSTM has no counterpart in torch: .*coupled=False, not True"):
        LSTM(3, 5, coupled=True).to_torch()
    with pytest.raises(OptionError, match=r"torch.nn has no jordan layer"):
        Jordan(3, 5).to_torch()
    with pytest.raises(OptionError, match="no learned initial state"):
        GRU(3, 5, learn_initial_state=True).to_torch()
    for family in (RNN, LSTM, GRU):
        with pytest.raises(OptionError, match="proj_size=2 is not supported"):
            family(3, 5, proj_size=2)


@pytest.mark.parametrize("cell", all_cells(), ids=lambda cell: cell.label)
@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_a_sequence_alone_equals_itself_in_a_batch(cell, engine, rng):
    """Two layers, two directions, an empty sequence among the others, states included."""
    layer = Recurrent(
        cell, num_layers=2, bidirectional=True, dtype=F64, learn_initial_state=True, generator=rng
    )
    randomise(layer, rng)
    x = ragged([3, 0, 5, 1, 5], 3, rng)
    with saiki.engine.use(engine):
        out, state = layer(x)
        for b, rows in enumerate(x.to_list()):
            alone, alone_state = layer(rows)
            torch.testing.assert_close(out.to_list()[b], alone, rtol=1e-12, atol=1e-12)
            for s, a in zip(tensors(state), tensors(alone_state)):
                torch.testing.assert_close(s[:, b], a, rtol=1e-12, atol=1e-12)
    for s, start in zip(tensors(state), layer.initial_state(5)):
        assert torch.equal(s[:, 1], start[:, 1])  # no step: the final state is the initial one


@pytest.mark.parametrize("cell", all_cells(), ids=lambda cell: cell.label)
def test_nan_stays_in_its_sequence(cell, rng):
    """Outputs and input gradients of the others are the same bits, on both engines."""
    layer = Recurrent(cell, num_layers=2, bidirectional=True, dtype=F64, generator=rng)
    parts = [torch.randn(n, 3, generator=rng, dtype=F64) for n in (4, 2, 5, 0, 3)]
    poisoned = [part.clone() for part in parts]
    poisoned[2][1, 0] = float("nan")
    for engine in ("auto", "reference"):
        results = []
        for sequences in (parts, poisoned):
            leaves = [part.clone().requires_grad_() for part in sequences]
            with saiki.engine.use(engine):
                out, _ = layer(Ragged.from_list(leaves))
            pieces = out.to_list()
            torch.cat(pieces).sin().sum().backward()
            results.append(([piece.detach() for piece in pieces], [leaf.grad for leaf in leaves]))
        for b in (0, 1, 3, 4):
            assert torch.equal(results[0][0][b], results[1][0][b]), f"output {b} on {engine}"
            assert torch.equal(results[0][1][b], results[1][1][b]), f"input gradient {b} on {engine}"
        assert results[1][0][2].isnan().any()


def test_the_backward_direction_starts_at_each_end(rng):
    """Its half equals a forward layer with the same weights over the reversed sequence."""
    layer = GRU(3, 4, bidirectional=True, dtype=F64, generator=rng)
    randomise(layer, rng)
    plain = GRU(3, 4, dtype=F64)
    plain.load_state_dict(
        {k.removesuffix("_reverse"): v for k, v in layer.state_dict().items() if k.endswith("_reverse")}
    )
    x = ragged([2, 5, 0, 3], 3, rng)
    out, state = layer(x)
    mirrored, last = plain(x.reversed())
    torch.testing.assert_close(out.data[:, 4:], mirrored.reversed().data, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state[1], last[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("family", [RNN, Jordan, LSTM, GRU])
def test_every_form_gives_the_same_numbers(family, rng):
    """Dense, batch first, packed, nested, ragged, strided: the same rows."""
    layer = family(3, 4, num_layers=2, dtype=F64, generator=rng)
    first = copy.deepcopy(layer)
    first.batch_first = True
    x = torch.randn(5, 2, 3, generator=rng, dtype=F64)
    expected, _ = layer(x)
    parts = [x[:, 0], x[:, 1]]
    assert torch.equal(first(x.transpose(0, 1))[0].transpose(0, 1), expected)
    assert torch.equal(layer(Ragged.from_padded(x))[0].to_padded(), expected)
    assert torch.equal(pad_packed_sequence(layer(pack_sequence(parts))[0])[0], expected)
    nested = torch.nested.nested_tensor(parts, layout=torch.jagged)
    assert torch.equal(layer(nested)[0].unbind()[1], expected[:, 1])
    strided = torch.randn(10, 2, 6, generator=rng, dtype=F64)
    strided[::2, :, ::2] = x
    assert torch.equal(layer(strided[::2, :, ::2])[0], expected)
    one, state = layer(x[:, 1])
    torch.testing.assert_close(one, expected[:, 1], rtol=1e-12, atol=1e-12)
    assert all(s.shape == (2, 4) for s in tensors(state))


@pytest.mark.parametrize("shape", [(0, 3, 3), (4, 0, 3), (0, 0, 3), (1, 1, 3), (0, 3)])
@pytest.mark.parametrize("family", [RNN, Jordan, LSTM, GRU])
def test_no_steps_or_no_sequences(family, shape, rng):
    """Empty batches are answered, not crashed on; the state is then the initial one."""
    layer = family(3, 4, num_layers=2, bidirectional=True, generator=rng)
    out, state = layer(torch.zeros(shape))
    assert out.shape == (*shape[:-1], 8)
    if shape[0] == 0:
        assert all(not s.any() for s in tensors(state))


def test_states_and_gates_come_on_request(rng):
    """The trace holds every c_t and gate by name, in the form of the output, and h = o ∘ tanh(c)."""
    layer = LSTM(3, 4, num_layers=2, bidirectional=True, dtype=F64, generator=rng)
    x = ragged([3, 0, 2], 3, rng)
    out, (h, c), trace = layer(x, return_states=True)
    assert {"c_l0", "i_l1_reverse", "f_l0", "g_l0", "o_l1", "h_l1"} <= trace.keys()
    forward = trace["o_l1"].data * torch.tanh(trace["c_l1"].data)
    torch.testing.assert_close(out.data[:, :4], forward, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(trace["c_l1"].to_list()[2][-1], c[2, 2], rtol=1e-12, atol=1e-12)
    assert torch.equal(h[2, 2], trace["h_l1"].to_list()[2][-1])
    always = LSTM(3, 4, return_states=True, generator=rng)
    assert len(always(torch.zeros(2, 1, 3))) == 3
    jordan = Jordan(3, 4, output_size=2, generator=rng, dtype=F64)
    y, (h, _), trace = jordan(x, return_states=True)
    assert y.feature_shape == (2,) and trace["h_l0"].feature_shape == (4,) and h.shape == (1, 3, 4)


def test_initial_states_are_learned(rng):
    """One parameter a state, layer and direction, broadcast over the batch; gradients reach it."""
    layer = LSTM(3, 4, num_layers=2, bidirectional=True, learn_initial_state=True, dtype=F64, generator=rng)
    names = {name for name, _ in layer.named_parameters() if "0_l" in name}
    assert names == {f"{s}0_l{k}{d}" for s in "hc" for k in (0, 1) for d in ("", "_reverse")}
    randomise(layer, rng)
    x = ragged([3, 2], 3, rng)
    out, _ = layer(x)
    given, _ = layer(x, tuple(s.clone() for s in layer.initial_state(2)))
    assert torch.equal(out.data, given.data)
    out.data.sum().backward()
    assert all(layer.get_parameter(name).grad.abs().sum() > 0 for name in names)


def test_gradcheck_through_a_ragged_bidirectional_layer(rng):
    """Inputs, initial states and every parameter, by finite differences."""
    layer = GRU(2, 3, num_layers=2, bidirectional=True, dtype=F64, generator=rng)
    randomise(layer, rng)
    template = ragged([3, 0, 2], 2, rng)
    names = [name for name, _ in layer.named_parameters()]
    values = [p.detach().clone().requires_grad_() for _, p in layer.named_parameters()]
    hx = torch.randn(4, 3, 3, generator=rng, dtype=F64, requires_grad=True)

    def outputs(data, h, *params):
        out, state = torch.func.functional_call(
            layer, dict(zip(names, params)), (template.with_data(data), h)
        )
        return out.data, state

    assert torch.autograd.gradcheck(outputs, (template.data.requires_grad_(), hx, *values))


def test_dropout_between_layers_comes_from_the_layers_generator(rng):
    """The same generator state gives the same masks; torch's own is not touched."""
    layer = LSTM(3, 6, num_layers=2, dropout=0.5, generator=rng)
    x = torch.randn(4, 2, 3, generator=rng)
    source = generators(layer)[""]
    state, outside = source.get_state(), torch.get_rng_state()
    first = layer(x)[0]
    second = layer(x)[0]
    source.set_state(state)
    assert torch.equal(layer(x)[0], first)
    assert not torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), outside)
    layer.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])
    with pytest.warns(SaikiWarning, match="num_layers=1 has nothing between"):
        LSTM(3, 6, dropout=0.5)


@pytest.mark.parametrize("family", [RNN, Jordan, LSTM, GRU])
def test_building_is_a_function_of_the_generator(family):
    """Twice the same seed, bit for bit; torch's global generator is left alone."""
    outside = torch.get_rng_state()
    one, two = (
        family(3, 5, num_layers=2, bidirectional=True, generator=torch.Generator().manual_seed(7))
        for _ in "ab"
    )
    family(3, 5)
    assert torch.equal(torch.get_rng_state(), outside)
    assert all(
        torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    )
    assert torch.equal(one.generator.get_state(), two.generator.get_state())


def test_state_dicts_survive_safetensors(rng, tmp_path):
    """Names as torch names them, values bit for bit."""
    layer = LSTM(
        3, 5, num_layers=2, bidirectional=True, peepholes=True, learn_initial_state=True, generator=rng
    )
    names = set(layer.state_dict())
    assert {"weight_ih_l0", "weight_hh_l1_reverse", "bias_l0", "weight_ph_l0_reverse", "c0_l1"} <= names
    assert (
        "bias_hn_l0" in GRU(3, 5).state_dict() and "bias_hn_l0" not in GRU(3, 5, reset="before").state_dict()
    )
    save_file(layer.state_dict(), tmp_path / "layer.safetensors")
    other = LSTM(3, 5, num_layers=2, bidirectional=True, peepholes=True, learn_initial_state=True)
    other.load_state_dict(load_file(tmp_path / "layer.safetensors"))
    x = torch.randn(4, 2, 3, generator=rng)
    assert torch.equal(layer(x)[0], other(x)[0])


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda m: m([1, 2]), DTypeError, "input is a list but LSTM takes a tensor"),
        (lambda m: m(torch.zeros(3)), ShapeError, r"input is \(3,\) but must be \(T, B, I\)"),
        (lambda m: m(torch.zeros(4, 2, 5)), ShapeError, r"must be \(T, B, I\) = \(T, B, 3\).*input_size=3"),
        (lambda m: m(torch.zeros(4, 3, 9)), ShapeError, "looks channels-first"),
        (
            lambda m: m(torch.zeros(4, 2, 3, dtype=F64)),
            DTypeError,
            "input holds torch.float64 but the weights",
        ),
        (lambda m: m(torch.zeros(4, 2, 3, dtype=torch.int64)), DTypeError, "must hold floating numbers"),
        (lambda m: m(torch.zeros(4, 2, 3, device="meta")), ValueError, "input is on meta but the weights"),
        (lambda m: m(torch.zeros(4, 2, 3).to_sparse()), DTypeError, "must be a plain dense one"),
        (lambda m: m(torch.zeros(4, 2, 3), torch.zeros(1, 2, 5)), DTypeError, r"a tuple of tensors \(h, c\)"),
        (lambda m: m(torch.zeros(4, 2, 3), (torch.zeros(1, 2, 5),)), ShapeError, "hx has 1 tensors"),
        (
            lambda m: m(torch.zeros(4, 2, 3), (torch.zeros(1, 2, 5), torch.zeros(1, 3, 5))),
            ShapeError,
            r"hx.c is \(1, 3, 5\) but must be \(num_layers·D, B, H\) = \(1, 2, 5\)",
        ),
        (
            lambda m: m(torch.zeros(4, 3), (torch.zeros(1, 1, 5), torch.zeros(1, 5))),
            ShapeError,
            r"hx.h is \(1, 1, 5\) but must be \(num_layers·D, H\) = \(1, 5\)",
        ),
        (
            lambda m: m(torch.zeros(4, 2, 3), (torch.zeros(1, 2, 5, dtype=F64), torch.zeros(1, 2, 5))),
            DTypeError,
            "hx.h holds torch.float64",
        ),
        (lambda m: m(Ragged.from_list([torch.zeros(2)])), ShapeError, r"must be \(N, I\)"),
        (lambda m: m(torch.zeros(4, 2, 3), return_states=1), DTypeError, "return_states is 1"),
    ],
)
def test_calls_are_checked_at_the_door(call, error, text):
    """What came, what was expected, and why."""
    with pytest.raises(error, match=text):
        call(LSTM(3, 5))


@pytest.mark.parametrize(
    ("build", "error", "text"),
    [
        (lambda: LSTM(0, 5), ValueError, "input_size is 0"),
        (lambda: LSTM(3, 2.5), DTypeError, "hidden_size is 2.5"),
        (lambda: LSTM(3, 10**9), ValueError, "hidden_size"),
        (lambda: LSTM(3, 5, num_layers=0), ValueError, "num_layers is 0"),
        (lambda: LSTM(3, 5, 2, dropout=1.5), ValueError, "dropout is 1.5"),
        (lambda: LSTM(3, 5, bidirectional="yes"), DTypeError, "bidirectional"),
        (lambda: LSTM(3, 5, dtype=torch.int64), DTypeError, "parameters need a floating one"),
        (lambda: GRU(3, 5, reset="befor"), OptionError, "did you mean 'before'"),
        (lambda: RNN(3, 5, nonlinearity="tan"), OptionError, "did you mean 'tanh'"),
        (lambda: RNN(3, 5, nonlinearity="relu", activation="tanh"), OptionError, "are one option"),
        (lambda: LSTM(3, 5, engine="torch_fuse"), OptionError, "did you mean 'torch_fused'"),
        (lambda: Recurrent("lstm"), DTypeError, "must be a cell"),
    ],
)
def test_constructors_are_checked(build, error, text):
    """A wrong option is named, with the nearest right one."""
    with pytest.raises(error, match=text):
        build()


def test_a_lying_packed_sequence_is_refused():
    """torch reads out of bounds here; the layer does not get that far."""
    packed = torch.nn.utils.rnn.PackedSequence(torch.zeros(4, 3), torch.tensor([2, 0, 2]))
    with pytest.raises(ValueError, match="batch_sizes"):
        LSTM(3, 5)(packed)


@dataclass(frozen=True, kw_only=True)
class Leaky(Cell):
    """A user's own cell: h = h/2 + tanh(W x + R h + b)/2."""

    name = "leaky"

    def step(self, params, state, x):
        a = x @ params.weight_ih.T + state.h @ params.weight_hh.T + params.bias
        return State(0.5 * state.h + 0.5 * torch.tanh(a))


def test_a_cell_of_ones_own_and_an_activation_of_ones_own(rng):
    """Both run on the reference engine, stacked and in two directions."""
    x = ragged([3, 1], 3, rng)
    own = Recurrent(Leaky(3, 4), num_layers=2, bidirectional=True, dtype=F64, generator=rng)
    assert own(x)[0].feature_shape == (8,)
    named = RNN(3, 4, dtype=F64, generator=torch.Generator().manual_seed(1))
    called = RNN(3, 4, dtype=F64, activation=torch.tanh, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(named(x)[0].data, called(x)[0].data, rtol=1e-12, atol=1e-12)
    with pytest.raises(OptionError, match="no counterpart"):
        called.to_torch()
    assert isinstance(Recurrent(Elman(3, 4)).to_torch(), torch.nn.RNN)


def test_a_layer_is_copied_with_its_generator(rng):
    """deepcopy keeps weights and masks: a trainer keeps the best network so."""
    layer = LSTM(3, 4, num_layers=2, dropout=0.5, generator=rng)
    twin = copy.deepcopy(layer)
    x = torch.randn(4, 2, 3, generator=rng)
    assert torch.equal(layer(x)[0], twin(x)[0])
    assert "LSTM(3, 4, num_layers=2, dropout=0.5)" in repr(layer)
