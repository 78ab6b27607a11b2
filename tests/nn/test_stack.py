"""Stacks: shapes followed at construction, the table, carried state, and the way to files and back."""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file

from saiki.core.errors import DTypeError, OptionError, SchemaError, ShapeError
from saiki.core.ragged import Ragged
from saiki.engine.dispatch import ENGINES
from saiki.nn import (
    LAYERS,
    LSTM,
    ActivationConfig,
    AttentionPoolConfig,
    CellConfig,
    ConvolutionConfig,
    Dense,
    DenseConfig,
    Dropout,
    DropoutConfig,
    ElementwiseLSTMConfig,
    EmbeddingConfig,
    GRUConfig,
    JordanConfig,
    Last,
    LastConfig,
    Layer,
    LayerNormConfig,
    LSTMConfig,
    MaxConfig,
    MeanConfig,
    RNNConfig,
    SegmentConfig,
    Stack,
    config_of,
    generators,
    layer_from_mapping,
    layer_to_mapping,
)

F64 = torch.float64
ONE_OF_EACH = {
    "rnn": RNNConfig(hidden_size=4, activation="softsign"),
    "jordan": JordanConfig(hidden_size=4, size=2, num_layers=2, bidirectional=True),
    "lstm": LSTMConfig(hidden_size=4, bidirectional=True, peepholes=True, learn_initial_state=True),
    "gru": GRUConfig(hidden_size=4, reset="before", num_layers=2, dropout=0.3, engine="reference"),
    "elementwise_lstm": ElementwiseLSTMConfig(hidden_size=4, num_layers=2, activation="softsign"),
    "recurrent": CellConfig(
        cell="elman", hidden_size=4, options={"activation": "relu"}, bidirectional=True, bias=False
    ),
    "embedding": EmbeddingConfig(num_embeddings=9, size=3, column=1, frozen=True),
    "dense": DenseConfig(size=4, activation="softmax", bias=False),
    "activation": ActivationConfig(activation="relu"),
    "dropout": DropoutConfig(p=0.25, locked=True),
    "layer_norm": LayerNormConfig(eps=1e-3),
    "segment": SegmentConfig(length=3),
    "convolution": ConvolutionConfig(size=4, kernel_size=3, stride=2, causal=True, bias=False),
    "last": LastConfig(both_ends=True),
    "mean": MeanConfig(),
    "max": MaxConfig(),
    "attention_pool": AttentionPoolConfig(size=3),
}


def batch(lengths, size, rng, dtype=torch.float32) -> Ragged:
    return Ragged.from_list([torch.randn(n, size, generator=rng, dtype=dtype) for n in lengths])


def test_the_table_people_know():
    """The sizes that every textbook prints for this network, and the printed table itself."""
    network = Stack.build(
        [
            EmbeddingConfig(num_embeddings=400_001, size=50),
            LSTMConfig(hidden_size=128),
            DropoutConfig(p=0.5),
            LSTMConfig(hidden_size=128),
            LastConfig(),
            DropoutConfig(p=0.5),
            DenseConfig(size=5),
            ActivationConfig(activation="softmax"),
        ],
        input_size=1,
        output_size=5,
        generator=torch.Generator().manual_seed(0),
    )
    summary = network.summary(steps=10)
    assert [row.parameters for row in summary.rows] == [0, 20_000_050, 91_648, 0, 131_584, 0, 0, 645, 0]
    assert (summary.total, summary.trainable, summary.non_trainable) == (20_223_927, 20_223_927, 0)
    network.layers["embedding"].requires_grad_(False)
    summary = network.summary(steps=10)
    assert (summary.total, summary.trainable, summary.non_trainable) == (20_223_927, 223_877, 20_000_050)
    assert str(summary) == (
        "Layer                  Output shape  Parameters\n"
        "───────────────────────────────────────────────\n"
        "input                  (B, 10)                0\n"
        "embedding (Embedding)  (B, 10, 50)   20,000,050\n"
        "lstm (LSTM)            (B, 10, 128)      91,648\n"
        "dropout (Dropout)      (B, 10, 128)           0\n"
        "lstm_2 (LSTM)          (B, 10, 128)     131,584\n"
        "last (Last)            (B, 128)               0\n"
        "dropout_2 (Dropout)    (B, 128)               0\n"
        "dense (Dense)          (B, 5)               645\n"
        "activation (softmax)   (B, 5)                 0\n"
        "───────────────────────────────────────────────\n"
        "Total parameters                     20,223,927\n"
        "Trainable                               223,877\n"
        "Non-trainable                        20,000,050"
    )


def test_peephole_and_gru_sizes():
    """The other sizes of the same layer: peepholes, both GRUs."""
    sizes = {
        LSTMConfig(hidden_size=128, peepholes=True): 92_032,
        GRUConfig(hidden_size=128, reset="before"): 68_736,
        GRUConfig(hidden_size=128): 68_864,
    }
    for config, size in sizes.items():
        assert Stack.build([config], 50).summary().total == size


def test_letters_stand_for_unknown_steps(rng):
    """Without `steps` the table shows T, and what becomes of it."""
    network = Stack.build([SegmentConfig(length=24), GRUConfig(hidden_size=8)], 7, 3, generator=rng)
    assert [row.shape_text for row in network.summary().rows] == [
        "(B, T, 7)",
        "(B, ⌈T/24⌉, 168)",
        "(B, ⌈T/24⌉, 8)",
        "(B, ⌈T/24⌉, 3)",
    ]
    assert network.summary(steps=49).rows[1].shape == ("B", 3, 168)


@pytest.mark.parametrize("name", list(LAYERS))
def test_every_layer_says_its_width_and_survives_its_mapping(name, rng):
    """Config, module and mapping agree; the shape that comes out is the one announced."""
    config = ONE_OF_EACH[name]
    network = Stack.build([config], 4, generator=rng)
    module = network.layers[name]
    assert config_of(module) == config
    assert layer_from_mapping(layer_to_mapping(config)) == config
    assert layer_from_mapping(layer_to_mapping(config, "own")) == ("own", config)
    assert network.output_size == config.output_size(4)
    assert Stack([module], input_size=4).output_size == config.output_size(4)
    x = batch([3, 1], 4, rng)
    x = x.with_data(
        torch.cat([x.data[:, :1], torch.ones(4, 1), x.data[:, 2:]], dim=1)
    )  # column 1 may hold ids
    out = network(x)
    rows = out.data if isinstance(out, Ragged) else out
    assert rows.shape[-1] == config.output_size(4)
    assert network.pooled == config.pools == isinstance(out, torch.Tensor)


def test_a_network_survives_files(rng, tmp_path):
    """Written as tables and tensors, rebuilt, the same output bit for bit."""
    lines = [
        SegmentConfig(length=2),
        ("encoder", LSTMConfig(hidden_size=5, bidirectional=True)),
        DropoutConfig(p=0.2),
        GRUConfig(hidden_size=4),
        AttentionPoolConfig(),
        LayerNormConfig(),
    ]
    network = Stack.build(lines, 3, 2, generator=rng).eval()
    tables = network.to_config()
    assert [table["name"] for table in tables][1] == "encoder" and tables[-1]["name"] == "head"
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    again = Stack.build(tables, 3).eval()
    again.load_state_dict(load_file(tmp_path / "model.safetensors"))
    x = batch([5, 0, 2], 3, rng)
    assert torch.equal(network(x), again(x))
    assert "layers.encoder.weight_ih_l0_reverse" in network.state_dict()


def test_building_is_a_function_of_the_generator(rng):
    """The same seed gives the same bits; torch's global generator is left alone."""
    lines = [LSTMConfig(hidden_size=4, num_layers=2), DropoutConfig(), LastConfig(), DenseConfig(size=3)]
    outside = torch.get_rng_state()
    one, two = (Stack.build(lines, 2, 1 + 2, generator=torch.Generator().manual_seed(3)) for _ in "ab")
    assert torch.equal(torch.get_rng_state(), outside)
    assert all(
        torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    )
    x = batch([4, 2], 2, rng)
    assert torch.equal(one(x), two(x))  # in training mode: the masks are the same too


@pytest.mark.parametrize(
    ("lines", "sizes", "names"),
    [
        ([LSTMConfig(hidden_size=5), LastConfig()], (5, 5), ["lstm", "last", "head"]),
        ([LSTMConfig(hidden_size=5), LastConfig(), DenseConfig(size=5)], (5, 5), ["lstm", "last", "dense"]),
        (
            [LastConfig(), DenseConfig(size=5), ActivationConfig(activation="softmax")],
            (2, 5),
            ["last", "dense", "activation"],
        ),
        (
            [LastConfig(), DenseConfig(size=8), ActivationConfig(activation="relu")],
            (2, 5),
            ["last", "dense", "activation", "head"],
        ),
        ([("head", MeanConfig())], (2, 5), ["head", "head_2"]),
    ],
)
def test_the_head_is_added_unless_it_is_there(lines, sizes, names):
    """A width that happens to fit is no head: an LSTM's output cannot leave (-1, 1)."""
    network = Stack.build(lines, *sizes)
    assert list(network.layers) == names
    assert network.output_size == sizes[1]


def test_state_is_carried_from_chunk_to_chunk(rng):
    """A sequence in chunks, empty ones among them, equals the whole; the state is a value."""
    network = Stack.build(
        [LSTMConfig(hidden_size=4, num_layers=2), GRUConfig(hidden_size=3), JordanConfig(hidden_size=3)],
        2,
        5,
        generator=rng,
        dtype=F64,
    )
    sequences = [torch.randn(n, 2, generator=rng, dtype=F64) for n in (6, 2, 5)]
    whole = network(Ragged.from_list(sequences)).to_list()
    state, pieces = None, [[] for _ in sequences]
    for start, stop in ((0, 2), (2, 3), (3, 6)):
        out, state = network.run(Ragged.from_list([rows[start:stop] for rows in sequences]), state)
        for b, piece in enumerate(out.to_list()):
            pieces[b].append(piece)
    for b, piece in enumerate(pieces):
        torch.testing.assert_close(torch.cat(piece), whole[b], rtol=1e-12, atol=1e-12)
    again = network.run(Ragged.from_list([rows[:2] for rows in sequences]), network.initial_state(3))[1]
    assert [tuple(t.shape for t in part) for part in again] == [
        ((2, 3, 4), (2, 3, 4)),
        ((1, 3, 3),),
        ((1, 3, 3), (1, 3, 3)),
    ]


def test_state_that_does_not_fit_is_refused(rng):
    """Wrong kinds, numbers, batch sizes; and a direction that comes from the future."""
    network = Stack.build([LSTMConfig(hidden_size=4)], 2, generator=rng)
    x = batch([3, 2], 2, rng)
    with pytest.raises(DTypeError, match="state is a tensor"):
        network.run(x, torch.zeros(1, 2, 4))
    with pytest.raises(ShapeError, match="state has 2 parts but the network has 1"):
        network.run(x, network.initial_state(2) * 2)
    with pytest.raises(ShapeError, match=r"hx.h is \(1, 3, 4\)"):
        network.run(x, network.initial_state(3))
    both = Stack.build([LSTMConfig(hidden_size=4, bidirectional=True)], 2)
    both.run(x)
    with pytest.raises(OptionError, match="layer 'lstm' is bidirectional"):
        both.run(x, both.initial_state(2))


def test_hidden_is_what_goes_into_the_head(rng):
    """With a softmax behind the head, with no Dense at all, and its width announced."""
    network = Stack.build(
        [GRUConfig(hidden_size=4), LastConfig(), DenseConfig(size=3), ActivationConfig(activation="softmax")],
        2,
        generator=rng,
    )
    x = batch([3, 0, 2], 2, rng)
    hidden = network.hidden(x)
    assert hidden.shape == (3, 4) and network.hidden_size == 4
    expected = torch.softmax(network.layers["dense"](hidden), -1)
    assert torch.equal(network(x), expected)
    bare = Stack.build([GRUConfig(hidden_size=4)], 2, generator=rng)
    assert torch.equal(bare.hidden(x).data, bare(x).data) and bare.hidden_size == 4


def test_attention_weights_are_returned(rng):
    """By the layer's name, one weight a step, each sequence summing to one."""
    network = Stack.build([GRUConfig(hidden_size=4), ("look", AttentionPoolConfig())], 2, 3, generator=rng)
    weights = network.attention(batch([3, 0, 2], 2, rng))["look"]
    assert [len(part) for part in weights.to_list()] == [3, 0, 2]
    torch.testing.assert_close(weights.sequence_sum(weights.data), torch.tensor([1.0, 0.0, 1.0]))


def test_a_networks_dropout_starts_again_from_saved_states(rng):
    """Every mask of a network comes from `generators`, by layer."""
    network = Stack.build(
        [LSTMConfig(hidden_size=6, num_layers=2, dropout=0.5), DropoutConfig(locked=True), LastConfig()],
        2,
        3,
        generator=rng,
    )
    x = batch([4, 3], 2, rng)
    saved = {name: source.get_state() for name, source in generators(network).items()}
    assert set(saved) == {"layers.lstm", "layers.dropout"}
    first = network(x)
    assert not torch.equal(network(x), first)
    for name, source in generators(network).items():
        source.set_state(saved[name])
    assert torch.equal(network(x), first)
    assert not torch.equal(saved["layers.lstm"], saved["layers.dropout"])


class Doubled(Layer):
    """A user's own layer."""

    def forward(self, x):
        return x.map(lambda rows: torch.cat([rows, rows], dim=-1))

    def width(self, input_size):
        return 2 * input_size


def test_built_modules_make_a_stack(rng):
    """Named or not, ours or the user's; what has no config says so."""
    network = Stack(
        [("twice", Doubled()), LSTM(4, 5, generator=rng), Dropout(0.1), Last(), Dense(5, 2, generator=rng)],
        input_size=2,
    )
    assert list(network.layers) == ["twice", "lstm", "dropout", "last", "dense"]
    assert network(batch([3, 1], 2, rng)).shape == (2, 2)
    with pytest.raises(OptionError, match="Doubled has no layer config"):
        network.to_config()
    plain = Stack([LSTM(4, 5), Last()])
    assert (plain.input_size, plain.output_size, plain.pooled) == (4, 5, True)
    assert [line["type"] for line in plain.to_config()] == ["lstm", "last"]
    assert Stack([Dense(2, 2, activation=torch.sin)]).to_config()[0]["activation"]["custom"] == "sin"
    twin = copy.deepcopy(plain)
    x = batch([3, 1], 4, rng)
    assert torch.equal(twin(x), plain(x))


@pytest.mark.parametrize(
    ("build", "error", "text"),
    [
        (
            lambda: Stack([LSTM(2, 5), Dense(4, 3)]),
            ShapeError,
            r"network line 2 \(dense\): was built for 4 features",
        ),
        (
            lambda: Stack([LSTM(2, 5), Last(), ("second", LSTM(5, 5))]),
            OptionError,
            r"network line 3 \(lstm 'second'\) works over time",
        ),
        (lambda: Stack([torch.nn.Linear(2, 3)]), DTypeError, "a Linear, which does not take a Ragged"),
        (lambda: Stack([Dropout(0.1)]), ShapeError, "no layer says how many features"),
        (lambda: Stack([Doubled(), LSTM(3, 4)], input_size=2), ShapeError, "built for 3 features but gets 4"),
        (lambda: Stack.build([], 2), OptionError, "the network has no layers"),
        (lambda: Stack.build("lstm", 2), DTypeError, "network is a str"),
        (lambda: Stack.build([LSTMConfig], 2), DTypeError, "network line 1 is a "),
        (lambda: Stack.build([LastConfig()], 0), ValueError, "input_size is 0"),
        (
            lambda: Stack.build([LastConfig(), GRUConfig(hidden_size=3)], 2),
            OptionError,
            "network line 2.*over time",
        ),
        (
            lambda: Stack.build([GRUConfig(hidden_size=3), EmbeddingConfig(num_embeddings=5, size=2)], 2),
            ShapeError,
            r"network line 2 \(embedding\): takes one id a step but gets 3 features",
        ),
        (
            lambda: Stack.build([LastConfig(), ("out", DenseConfig(size=4))], 2, 3),
            ShapeError,
            r"network line 2 \(dense 'out'\): has 4 outputs but the task needs 3",
        ),
        (
            lambda: Stack.build([("a", LastConfig()), ("a", DropoutConfig())], 2),
            OptionError,
            "network line 2: the name 'a' comes twice",
        ),
        (lambda: Stack.build([("a.b", LastConfig())], 2), OptionError, "must be text of letters"),
        (lambda: Stack.build([("forward", LastConfig())], 2), OptionError, "taken by torch's modules"),
        (
            lambda: Stack.build([{"type": "lstm", "hiden_size": 3}], 2),
            SchemaError,
            "network line 1: unknown key 'hiden_size'; did you mean 'hidden_size'",
        ),
        (
            lambda: Stack.build([{"type": "lstn"}], 2),
            SchemaError,
            "unknown layer type 'lstn'; did you mean 'lstm'",
        ),
        (lambda: Stack.build([{"hidden_size": 3}], 2), SchemaError, "type is missing"),
        (lambda: Stack.build([{"type": "lstm", "hidden_size": 10**9}], 2), SchemaError, "hidden_size"),
        (lambda: Stack.build([{"type": "lstm", "hidden_size": True}], 2), SchemaError, "hidden_size"),
        (
            lambda: Stack.build([{"type": "dense", "size": 3, "activation": "relo"}], 2),
            SchemaError,
            "did you mean 'relu'",
        ),
        (lambda: Stack.build([{"type": "gru", "hidden_size": 3, "reset": "never"}], 2), SchemaError, "reset"),
        (lambda: Stack.build([{"type": "last", "name": 3}], 2), SchemaError, "name is a int"),
        (lambda: LSTMConfig(hidden_size=0), ValueError, "hidden_size is 0"),
        (lambda: LSTMConfig(hidden_size=2.5), DTypeError, "hidden_size is 2.5"),
        (lambda: LSTMConfig(hidden_size=4, bidirectional=1), DTypeError, "bidirectional is 1"),
        (lambda: LSTMConfig(hidden_size=4, coupled=True, forget_gate=False), OptionError, "coupled=True"),
        (lambda: LSTMConfig(hidden_size=4, engine="fast"), OptionError, "unknown engine 'fast'"),
        (lambda: GRUConfig(hidden_size=4, reset="befor"), OptionError, "did you mean 'before'"),
        (lambda: DropoutConfig(p=1.5), ValueError, "p is 1.5"),
        (lambda: DropoutConfig(p=float("nan")), ValueError, "p is nan"),
        (lambda: RNNConfig(hidden_size=4, activation="softmax"), OptionError, "unknown activation 'softmax'"),
    ],
)
def test_what_does_not_fit_names_its_line(build, error, text):
    """Built from configs, tables or modules: the line, what came, what was expected."""
    with pytest.raises(error, match=text):
        build()


def test_only_a_ragged_goes_in(rng):
    """A bare tensor does not say which axis is time."""
    network = Stack.build([LSTMConfig(hidden_size=3)], 2, generator=rng)
    with pytest.raises(DTypeError, match="a Stack works over time and takes a Ragged"):
        network(torch.zeros(4, 2, 2))
    with pytest.raises(ShapeError, match="input_size=2"):
        network(batch([3], 5, rng))


def test_a_layer_of_ones_own_reads_from_a_mapping():
    """Only a type that the caller gave is known beside the built-in ones."""
    table = {"type": "mine"}
    with pytest.raises(SchemaError, match="unknown layer type 'mine'"):
        layer_from_mapping(table)
    assert layer_from_mapping(table, extra={"mine": MeanConfig}) == MeanConfig()


def test_configs_know_every_engine():
    """The names that a file may hold are those that there are."""
    for engine in ("auto", *ENGINES):
        assert Stack.build([LSTMConfig(hidden_size=2, engine=engine)], 2).layers["lstm"].engine == engine
