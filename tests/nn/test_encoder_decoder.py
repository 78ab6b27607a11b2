"""Encoder and decoder: the equations by hand, steps against whole sequences, kernels against reference."""

import pytest
import torch
from torch.autograd import gradcheck
from torch.func import functional_call

from saiki.cells import Cell, State
from saiki.cells.base import affine
from saiki.core.errors import DTypeError, LengthError, OptionError, ShapeError, ValueRangeError
from saiki.core.ragged import Ragged
from saiki.nn import generators
from saiki.nn.encoder_decoder import EncoderDecoder, EncoderDecoderConfig, EncoderDecoderInput
from saiki.nn.one_hot import OneHot

F64 = torch.float64
SOURCES = [[1, 2, 3], [4], [], [2, 2, 5, 1]]  # an empty one among them
TARGETS = [[3, 4], [5, 6, 7], [2], []]
KINDS = {
    "attention": {},
    "additive": {"score": "additive", "attention_size": 3, "cell": "gru", "num_layers": 2},
    "dot": {"score": "dot", "encoder_size": 3, "cell": "elman"},
    "feeding": {"input_feeding": True},
    "feeding deep": {"input_feeding": True, "num_layers": 2, "cell": "gru", "score": "additive"},
    "initial": {"context": "initial", "cell": "jordan"},
    "initial mean": {"context": "initial", "summary": "mean", "num_layers": 2},
    "every step": {"context": "every_step", "summary": "last"},
    "textbook": {
        "context": "every_step",
        "feed_previous": False,
        "embedding_size": None,
        "bidirectional": False,
    },
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def network(kind, rng, **options) -> EncoderDecoder:
    given = {"hidden_size": 6, "embedding_size": 4, **KINDS[kind], **options}
    config = EncoderDecoderConfig(source_size=7, target_size=9, **given)
    made = EncoderDecoder(config, generator=rng, dtype=F64)
    for parameter in made.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=rng, dtype=F64)
    return made


def problem():
    return EncoderDecoderInput.of(SOURCES, TARGETS, start=0, end=1)


def by_hand(net: EncoderDecoder, source: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:
    """One sequence, as the module's docstring writes it."""
    config = net.config
    annotations = net.stack(Ragged.from_list([source])).data
    half = annotations.shape[1] // 2
    if len(source) == 0:
        s = torch.zeros(net.stack.output_size, dtype=F64)
    elif config.summary == "mean":
        s = annotations.mean(0)
    elif config.summary == "both_ends":
        s = torch.cat((annotations[-1, :half], annotations[0, half:]))
    else:
        s = annotations[-1]
    layers = net.decoder.cells
    sizes = layers[0].state_sizes
    if net.bridge is None:
        z = [[torch.zeros(1, size, dtype=F64) for size in sizes] for _ in layers]
    else:
        start = torch.tanh(net.bridge.weight @ s + net.bridge.bias).split(list(sizes) * len(layers))
        z = [[part[None] for part in start[k * len(sizes) :][: len(sizes)]] for k in range(len(layers))]
    o = torch.zeros(config.hidden_size, dtype=F64)
    logits = []
    for token in previous:
        u = []
        if config.feed_previous:
            u.append(
                torch.eye(9, dtype=F64)[token]
                if config.embedding_size is None
                else net.embedding.weight[token]
            )
        if config.context == "every_step":
            u.append(s)
        if config.input_feeding:
            u.append(o)
        x = torch.cat(u)[None]
        for k, cell in enumerate(layers):
            params = cell.params(
                {name: getattr(net.decoder, f"{name}_l{k}") for name in cell.parameter_shapes()}
            )
            z[k] = cell.step(params, cell.state_type(*z[k]), x)
            x = getattr(z[k], cell.output)
        o = x[0]
        if config.context == "attention":
            one = Ragged.from_list([x])
            context = net.attention.attend(one, Ragged.from_list([annotations]))[0].data[0]
            o = torch.tanh(net.combine.weight @ torch.cat((context, o)) + net.combine.bias)
        logits.append(net.head.weight @ o + net.head.bias)
    return torch.stack(logits)


@each_kind
def test_it_is_the_equations(kind, rng):
    """A ragged batch against one sequence at a time, written out."""
    net = network(kind, rng)
    inputs, wanted = problem()
    out = net(inputs)
    assert out.feature_shape == (9,) and torch.equal(out.lengths, wanted.lengths)
    for source, previous, got in zip(inputs.source.to_list(), inputs.previous.to_list(), out.to_list()):
        torch.testing.assert_close(got, by_hand(net, source, previous), rtol=1e-10, atol=1e-12)


@each_kind
@pytest.mark.parametrize("engine", ["cpu", "reference"])
def test_steps_give_what_whole_sequences_give(kind, engine, rng):
    """The native kernels' step and the reference's, from the same weights."""
    plain = network(kind, rng)
    net = EncoderDecoder(
        EncoderDecoderConfig(
            source_size=7,
            target_size=9,
            **{"hidden_size": 6, "embedding_size": 4, **KINDS[kind], "engine": engine},
        ),
        dtype=F64,
    )
    net.load_state_dict(plain.state_dict())
    inputs, _ = problem()
    wanted = plain(inputs).to_padded(batch_first=True)
    state = net.start(inputs.source)
    assert (state.steps.sessions is None) == (engine == "reference")
    for t in range(inputs.previous.T):
        live = inputs.previous.lengths > t
        logits, state = net.step(inputs.previous.to_padded(batch_first=True)[:, t], state)
        torch.testing.assert_close(logits[live], wanted[live, t], rtol=1e-10, atol=1e-12)
        if net.attention is not None:
            torch.testing.assert_close(
                state.attention.sum(-1), (inputs.source.lengths > 0).double(), rtol=0, atol=1e-12
            )


@each_kind
def test_derivatives_are_right(kind, rng):
    small = {"hidden_size": 2, "embedding_size": None if kind == "textbook" else 2}
    if kind == "dot":
        small["encoder_size"] = 1
    net = network(kind, rng, **small)
    inputs, wanted = EncoderDecoderInput.of([[1, 2], [3]], [[2, 3], [4]], start=0, end=1)
    names = [name for name, _ in net.named_parameters()]

    def loss(*values):
        out = functional_call(net, dict(zip(names, values)), (inputs,)).data
        return torch.nn.functional.cross_entropy(out, wanted.data)

    values = tuple(p.detach().clone().requires_grad_() for p in net.parameters())
    assert gradcheck(loss, values, fast_mode=True)  # along one direction: every entry at once


def test_training_by_steps_and_at_once_agree(rng):
    """With the weights of the fed o_{t-1} at zero, input feeding is the same network."""
    fed, plain = network("feeding", rng), network("attention", rng)
    own = fed.state_dict()
    weights = {name: own[name] for name in plain.state_dict()}
    weights["decoder.weight_ih_l0"] = own["decoder.weight_ih_l0"][:, :4].clone()
    plain.load_state_dict(weights)
    with torch.no_grad():
        fed.decoder.weight_ih_l0[:, 4:] = 0
    inputs, _ = problem()
    for net in (fed, plain):
        net(inputs).data.square().sum().backward()
    torch.testing.assert_close(fed(inputs).data, plain(inputs).data, rtol=1e-10, atol=1e-12)
    for name, parameter in plain.named_parameters():
        theirs = fed.get_parameter(name).grad
        theirs = theirs[:, :4] if name == "decoder.weight_ih_l0" else theirs
        torch.testing.assert_close(parameter.grad, theirs, rtol=1e-9, atol=1e-11, msg=name)


@pytest.mark.parametrize(
    "options",
    [
        {"cell": "lstm", "cell_options": {"peepholes": True}},
        {"cell": "lstm", "cell_options": {"coupled": True, "bias": False}},
        {"cell": "lstm", "cell_options": {"forget_gate": False}},
        {"cell": "gru", "num_layers": 2, "dropout": 0.4},
        {"cell": "gru", "cell_options": {"bias": False}},
        {"cell": "gru", "cell_options": {"reset": "before"}},
        {"cell": "elman", "cell_options": {"activation": "softsign"}},
        {"cell": "elementwise_lstm"},
        {"cell": "jordan"},
    ],
    ids=str,
)
def test_weight_gradients_taken_at_the_end_are_those_of_every_step(options, rng):
    """The loop of input feeding beside the same on the reference engine, which knows nothing of it."""
    inputs, wanted = problem()
    gradients = {}
    for engine in (None, "reference"):
        rng.manual_seed(4)
        net = network("feeding", rng, engine=engine, **options)
        if net.decoder.bias:
            net.decoder.bias_l0.data.normal_(generator=rng)  # a zero bias would hide where it is added
        net.stack.layers["embedding"].weight.requires_grad_(False)
        net.get_parameter("combine.bias").requires_grad_(False)
        loss = torch.nn.functional.cross_entropy(net(inputs).data, wanted.data)
        loss.backward()
        gradients[engine] = {name: p.grad for name, p in net.named_parameters() if p.requires_grad}
        assert all(g is not None for g in gradients[engine].values())
    for name, gradient in gradients[None].items():
        torch.testing.assert_close(gradient, gradients["reference"][name], rtol=1e-9, atol=1e-12, msg=name)


def test_nothing_to_write_gives_nothing(rng):
    empty = Ragged.from_list([torch.zeros(0, dtype=torch.int64)] * 2)
    source = Ragged.from_list([torch.tensor([1, 2]), torch.tensor([3])])
    for kind in ("attention", "feeding"):
        out = network(kind, rng)(EncoderDecoderInput(source, empty))
        assert out.data.shape == (0, 9) and out.B == 2


def test_the_textbooks_addition_network_has_its_parameters():
    """12 symbols, H = 128: 4·128·(12 + 128 + 1) + 4·128·(128 + 128 + 1) + 12·128 + 12 = 205,324."""
    config = EncoderDecoderConfig(
        source_size=12,
        target_size=12,
        hidden_size=128,
        embedding_size=None,
        bidirectional=False,
        context="every_step",
        feed_previous=False,
    )
    summary = EncoderDecoder(config).summary(7)
    assert [row.parameters for row in summary.rows if row.parameters] == [72_192, 131_584, 1_548]
    assert (summary.total, summary.trainable) == (205_324, 205_324)
    assert "encoder (LSTM)    (B, 7, 128)       72,192" in str(summary)


def test_how_the_context_is_given_shows_in_the_network():
    """Once, at every step, or looked up: other inputs, other starts, other parts."""
    shape = {"source_size": 5, "target_size": 5, "hidden_size": 4, "embedding_size": 3}
    nets = {
        c: EncoderDecoder(EncoderDecoderConfig(**shape, context=c))
        for c in ("initial", "every_step", "attention")
    }
    assert {c: net.decoder.input_size for c, net in nets.items()} == {
        "initial": 3,
        "every_step": 3 + 8,
        "attention": 3,
    }
    assert {c: net.bridge is None for c, net in nets.items()} == {
        "initial": False,
        "every_step": True,
        "attention": False,
    }
    assert {c: net.attention is None for c, net in nets.items()} == {
        "initial": True,
        "every_step": True,
        "attention": False,
    }
    source = Ragged.from_list([torch.tensor([1, 2])])
    starts = {c: net.start(source) for c, net in nets.items()}
    assert not starts["every_step"].layers[0][0].any() and starts["initial"].layers[0][0].any()
    assert starts["every_step"].whole.shape == (1, 8) and starts["initial"].whole is None


@pytest.mark.parametrize("kind", ["attention", "feeding"])
def test_alignments_are_each_targets_own(kind, rng):
    net = network(kind, rng)
    inputs, _ = problem()
    found = net.alignments(inputs)
    assert [tuple(one.shape) for one in found] == [(3, 3), (4, 1), (2, 0), (1, 4)]
    for one, source in zip(found, SOURCES):
        torch.testing.assert_close(one.sum(-1), torch.full((len(one),), float(len(source) > 0), dtype=F64))
    with pytest.raises(OptionError, match=r"no weights to show.*context='initial'"):
        network("initial", rng).alignments(inputs)


def test_dropout_is_off_in_evaluation_and_when_decoding(rng):
    net = network("feeding deep", rng, dropout=0.5)
    inputs, _ = problem()
    net.eval()
    quiet = net(inputs).data
    torch.testing.assert_close(net(inputs).data, quiet)
    net.train()
    assert not torch.allclose(net(inputs).data, quiet)
    logits, _ = net.step(torch.zeros(4, dtype=torch.int64), net.start(inputs.source))
    assert net.training and net.stack.training
    first = net.eval()(inputs).to_padded(batch_first=True)[:, 0]
    torch.testing.assert_close(logits, first, rtol=1e-10, atol=1e-12)


def test_generators_give_the_masks_back(rng):
    net = network("feeding deep", rng, dropout=0.5)
    inputs, _ = problem()
    kept = {name: g.get_state() for name, g in generators(net).items()}
    one = net(inputs).data
    for name, g in generators(net).items():
        g.set_state(kept[name])
    assert torch.equal(net(inputs).data, one)


def test_scheduled_sampling_reads_its_own_symbols(rng):
    """With probability 1 the decoder reads its own best guesses, found step by step."""
    net = network("attention", rng, scheduled_sampling=1.0)
    inputs, _ = problem()
    mixed = net._mixed(net._encode(inputs.source), inputs.previous).to_list()
    for b, read in enumerate(mixed):
        state = net.start(inputs.source.select([b]))
        token = torch.tensor([0])
        for t in range(len(read)):
            assert int(read[t]) == int(token)
            logits, state = net.step(token, state)
            token = logits.argmax(-1)
    net.eval()
    torch.testing.assert_close(net(inputs).data, by_hand_all(net, inputs), rtol=1e-10, atol=1e-12)


def by_hand_all(net, inputs):
    rows = [by_hand(net, s, p) for s, p in zip(inputs.source.to_list(), inputs.previous.to_list())]
    return Ragged.from_list(rows).data


def test_scheduled_sampling_rises_with_the_batches(rng):
    net = network("attention", rng, scheduled_sampling=0.5, sampling_updates=4)
    inputs, _ = problem()
    seen = []
    for _ in range(6):
        seen.append(net.sampling)
        net(inputs)
    assert seen == [0.0, 0.125, 0.25, 0.375, 0.5, 0.5]
    net.eval()(inputs)
    assert int(net.batches) == 6 and int(net.state_dict()["batches"]) == 6
    assert network("attention", rng).sampling == 0.0


class Leaky(Cell):
    """A cell of one's own: half of the old state stays."""

    name = "leaky"

    def step(self, params, state, x):
        return State(h=0.5 * state.h + 0.5 * torch.tanh(affine(params, state.h, x)))


@pytest.mark.parametrize("kind", ["attention", "feeding"])
def test_a_cell_of_ones_own_trains_and_decodes(kind, rng):
    net = network(kind, rng, cell=Leaky)
    inputs, _ = problem()
    out = net(inputs)
    torch.testing.assert_close(out.data, by_hand_all(net, inputs), rtol=1e-10, atol=1e-12)
    out.data.sum().backward()
    assert net.decoder.weight_hh_l0.grad.any()
    state = net.start(inputs.source)
    assert state.steps.sessions is None  # no kernel has it
    logits, _ = net.step(torch.zeros(4, dtype=torch.int64), state)
    torch.testing.assert_close(logits, out.to_padded(batch_first=True)[:, 0], rtol=1e-10, atol=1e-12)


@each_kind
def test_sources_without_a_step_are_answered_all_the_same(kind, rng):
    net = network(kind, rng)
    inputs = EncoderDecoderInput.of([[], []], [[2, 3], [4]], start=0, end=1)[0]
    out = net(inputs)
    torch.testing.assert_close(out.data, by_hand_all(net, inputs), rtol=1e-10, atol=1e-12)
    out.data.square().sum().backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in net.parameters())


def test_the_input_reads_and_gives_what_teacher_forcing_needs():
    inputs, wanted = problem()
    assert [p.tolist() for p in inputs.previous.to_list()] == [[0, 3, 4], [0, 5, 6, 7], [0, 2], [0]]
    assert [w.tolist() for w in wanted.to_list()] == [[3, 4, 1], [5, 6, 7, 1], [2, 1], [1]]
    assert inputs.B == 4 and inputs.steps is inputs.source
    assert inputs.sequence_sum(torch.ones(wanted.N)).tolist() == [3, 4, 2, 1]
    some = inputs.select(torch.tensor([3, 1]))
    assert [s.tolist() for s in some.source.to_list()] == [[2, 2, 5, 1], [4]]
    assert inputs.to("cpu").source.data is inputs.source.data


def test_what_does_not_fit_is_said(rng):
    shape = {"source_size": 5, "target_size": 5}
    with pytest.raises(OptionError, match=r"context='initial'.*context='every_step'"):
        EncoderDecoderConfig(**shape, context="initial", feed_previous=False)
    with pytest.raises(OptionError, match=r"input_feeding=True needs context='attention'"):
        EncoderDecoderConfig(**shape, context="initial", input_feeding=True)
    with pytest.raises(OptionError, match=r"attention_size=3 needs score='additive'; 'general' has no units"):
        EncoderDecoderConfig(**shape, attention_size=3)
    with pytest.raises(OptionError, match=r"both_ends.*Take summary='last'"):
        EncoderDecoderConfig(**shape, bidirectional=False, summary="both_ends")
    with pytest.raises(OptionError, match=r"did you mean 'every_step'"):
        EncoderDecoderConfig(**shape, context="every-step")
    with pytest.raises(OptionError, match=r"option of the cell 'lstm' 'peephole'; did you mean 'peepholes'"):
        EncoderDecoderConfig(**shape, cell_options={"peephole": True})
    with pytest.raises(ShapeError, match=r"score='dot'.*half as many units"):
        EncoderDecoder(EncoderDecoderConfig(**shape, score="dot"))
    with pytest.raises(
        DTypeError, match=r"targets\[1\] is a tensor \(1,\) of torch.float.* but must be .*ids"
    ):
        EncoderDecoderInput.of([[1], [1]], [[2], [2.5]], start=0, end=1)
    with pytest.raises(LengthError, match=r"there are 1 sources but 2 targets"):
        EncoderDecoderInput.of([[1]], [[2], [2]], start=0, end=1)
    net = network("attention", rng)
    with pytest.raises(DTypeError, match=r"inputs is a Ragged of .* but must be an EncoderDecoderInput"):
        net(Ragged.from_list([torch.tensor([1])]))
    with pytest.raises(LengthError, match=r"1 sources but 2 sequences for the decoder"):
        EncoderDecoderInput(Ragged.from_list([torch.tensor([1])]), Ragged.from_list([torch.tensor([1])] * 2))
    with pytest.raises(ValueRangeError, match=r"id 7 at sequence 1, step 0"):
        net(EncoderDecoderInput.of([[1], [7]], [[2], [2]], start=0, end=1)[0])
    with pytest.raises(ShapeError, match=r"2 symbols for a state of 1 rows"):
        net.step(torch.tensor([0, 0]), net.start(Ragged.from_list([torch.tensor([1])])))
    with pytest.raises(ValueRangeError, match=r"tokens holds 9 to 9 but the symbols .* run from 0 to 8"):
        net.step(torch.tensor([9]), net.start(Ragged.from_list([torch.tensor([1])])))


def test_unit_vectors():
    layer = OneHot(4, dtype=F64)
    out = layer(Ragged.from_list([torch.tensor([3, 0]), torch.tensor([1])]))
    assert torch.equal(torch.cat(out.to_list()), torch.eye(4, dtype=F64)[[3, 0, 1]])
    assert layer.width(1) == 4 and layer.float()(torch.tensor([2])).dtype == torch.float32
    assert not layer.state_dict()
    with pytest.raises(ValueRangeError, match=r"holds the id 4 but ids run from 0 to 3"):
        layer(torch.tensor([1, 4]))
    with pytest.raises(DTypeError, match=r"OneHot takes integer ids"):
        layer(torch.zeros(2))
