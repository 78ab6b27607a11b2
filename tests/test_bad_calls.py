"""No malformed call of a public function ends the process or answers from outside its buffers.

torch leaves argument checking to its caller: us. Every tensor below is a view into a larger
buffer full of `OUTSIDE`; a result that holds such a number has read past its argument. Calls run in children
forked from this warmed process, so that one that is killed is seen and named.
"""

from __future__ import annotations

import json
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from children import forked
from saiki import cells, core, engine, losses, metrics, nn
from saiki.core.errors import SaikiError, SaikiWarning
from saiki.core.ragged import Ragged

OUTSIDE = 7.7e30  # what lies around every argument; nothing inside comes near it
BEYOND = 1e29

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32]
DTYPES += [torch.uint8, torch.bool, torch.complex64]
SIZES = st.integers(0, 5)


@dataclass(frozen=True)
class Call:
    """One call: its words for the report, and the thing to do."""

    words: str
    do: Callable[[], object]


def shapes(low: int = 0, high: int = 4) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(SIZES, min_size=low, max_size=high).map(tuple)


def fill(shape: tuple[int, ...], dtype: torch.dtype, content: str, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-3, 6, shape, generator=generator).to(torch.float64) / 2
    if dtype.is_floating_point and values.numel():
        if content == "nan":
            values.view(-1)[0] = torch.nan
        if content == "inf":
            values.view(-1)[-1] = -torch.inf
    return values.to(dtype)


def surround(values: Tensor, layout: str) -> Tensor:
    """The same values as a view: contiguous, with a hole after every number, or transposed."""
    outside: Any = 99
    if values.dtype.is_floating_point:
        outside = min(OUTSIDE, torch.finfo(values.dtype).max)
    if layout == "strided":
        buffer = torch.full((*values.shape, 2), outside, dtype=values.dtype)
        view = buffer[..., 0]
    elif layout == "transposed" and values.ndim >= 2:
        buffer = torch.full((*values.shape[:-2], *values.shape[-2:][::-1]), outside, dtype=values.dtype)
        view = buffer.transpose(-1, -2)
    else:
        buffer = torch.full((values.numel() + 64,), outside, dtype=values.dtype)
        view = buffer[32 : 32 + values.numel()].view(values.shape)
    view.copy_(values)
    return view


@st.composite
def tensors(draw: st.DrawFn, shape: tuple[int, ...] | None = None, floats: bool = False) -> Tensor:
    """Any tensor; with `shape`, mostly of that shape and mostly float32, sometimes of another."""
    odd = draw(st.integers(0, 9)) == 0 if shape is not None else True
    sizes = draw(shapes()) if odd or shape is None else shape
    dtype = torch.float32 if floats and not odd else draw(st.sampled_from(DTYPES))
    content = draw(st.sampled_from(["plain", "plain", "nan", "inf"]))
    layout = draw(st.sampled_from(["contiguous", "strided", "transposed"]))
    return surround(fill(sizes, dtype, content, draw(st.integers(0, 99))), layout)


NUMBERS = st.one_of(st.integers(-3, 8), st.sampled_from([2**31, 2**62, -(2**62), 2**70]), st.none())
ODD = st.one_of(NUMBERS, st.floats(), st.text(max_size=3), st.just([]), st.just({}), st.just(object))


@st.composite
def length_arguments(draw: st.DrawFn) -> object:
    kind = draw(st.sampled_from(["list", "tensor", "float", "odd", "none", "array"]))
    values = draw(st.lists(st.one_of(st.integers(-2, 7), st.just(2**62)), max_size=6))
    if kind == "list":
        return values
    if kind == "tensor":
        return torch.tensor(values, dtype=torch.int64)
    if kind == "array":
        return np.array(values, dtype=np.int64)
    if kind == "float":
        return torch.tensor([float(v) for v in values]) * 0.5
    return None if kind == "none" else draw(ODD)


@st.composite
def packed(draw: st.DrawFn) -> PackedSequence:
    """A hand-made PackedSequence, most of them impossible."""
    sizes = torch.tensor(draw(st.lists(st.integers(-1, 4), max_size=5)), dtype=torch.int64)
    rows = int(sizes.clamp(min=0).sum()) if draw(st.booleans()) else draw(SIZES)
    data = draw(tensors(shape=(rows, 3), floats=True))
    index = st.one_of(st.none(), st.lists(st.integers(-2, 5), max_size=5).map(torch.tensor))
    order, back = draw(index), draw(index)
    if draw(st.booleans()):
        order = back = None
    elif back is None:
        back = order  # torch would invert a hand-made order itself, and stumble
    return PackedSequence(
        data,
        sizes,
        None if order is None else order.to(torch.int64),
        None if back is None else back.to(torch.int64),
    )


@st.composite
def raggeds(draw: st.DrawFn) -> Ragged:
    lengths = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    width = draw(st.integers(1, 4))
    return Ragged.from_list([draw(tensors(shape=(n, width), floats=True)) for n in lengths])


@st.composite
def sequence_arguments(draw: st.DrawFn) -> object:
    kind = draw(st.sampled_from(["tensor", "any", "packed", "ragged", "odd"]))
    if kind == "tensor":
        return draw(tensors(shape=(draw(SIZES), draw(SIZES), 3), floats=True))
    if kind == "packed":
        return draw(packed())
    if kind == "ragged":
        try:
            return draw(raggeds())
        except SaikiError:
            return None
    return draw(ODD) if kind == "odd" else draw(tensors())


@st.composite
def ragged_calls(draw: st.DrawFn) -> Call:
    name = draw(st.sampled_from(["of", "from_padded", "from_list", "from_packed", "select", "with_data"]))
    if name == "of":
        x, lengths, first = draw(sequence_arguments()), draw(length_arguments()), draw(st.booleans())
        return Call(f"Ragged.of({x!r}, {lengths!r})", lambda: out(Ragged.of(x, lengths, batch_first=first)))
    if name == "from_padded":
        x, lengths, first = draw(tensors()), draw(length_arguments()), draw(st.booleans())
        return Call(
            f"Ragged.from_padded({x!r}, {lengths!r})", lambda: out(Ragged.from_padded(x, lengths, first))
        )
    if name == "from_list":
        items = draw(st.lists(st.one_of(tensors(), ODD), max_size=4))
        return Call(f"Ragged.from_list({items!r})", lambda: out(Ragged.from_list(items)))
    if name == "from_packed":
        p = draw(packed())
        return Call(f"Ragged.from_packed({p!r})", lambda: out(Ragged.from_packed(p)))
    indices = draw(length_arguments())
    base = Ragged.from_list([torch.ones(n, 2) for n in (3, 0, 1)])
    if name == "select":
        return Call(f"Ragged.select({indices!r})", lambda: out(base.select(indices)))
    data = draw(tensors())
    return Call(f"Ragged.with_data({data!r})", lambda: out(base.with_data(data)))


def out(x: Ragged) -> list[Any]:
    """Everything a batch gives back."""
    return [x.data, x.to_list(), x.to_padded(), x.row_sequence, x.last_rows, x.reversal, x.restore()]


LAYERS = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU, "Jordan": nn.Jordan}


@st.composite
def layer_calls(draw: st.DrawFn) -> Call:
    name = draw(st.sampled_from(sorted(LAYERS)))
    options: dict[str, Any] = {
        "num_layers": draw(st.sampled_from([1, 2])),
        "bidirectional": draw(st.booleans()),
        "engine": draw(st.sampled_from([None, "reference", "torch_fused", "cpu", "nonsense"])),
        "return_states": draw(st.booleans()),
    }
    directions = options["num_layers"] * (2 if options["bidirectional"] else 1)
    if draw(st.integers(0, 5)) == 0:
        keys = ["num_layers", "dropout", "bias", *(["proj_size"] if name != "Jordan" else [])]
        options[draw(st.sampled_from(keys))] = draw(ODD)
    if name == "Jordan":
        options["output_size"] = draw(st.sampled_from([1, 2]))
    width = draw(st.one_of(st.just(3), st.just(3), ODD))
    x, hx = draw(sequence_arguments()), None
    if draw(st.booleans()):
        state = draw(tensors(shape=(directions, draw(SIZES), 4), floats=True))
        hx = draw(st.sampled_from([state, (state, state), (state,), [state, None], "h"]))
    frozen = draw(st.booleans())

    def do() -> object:
        layer = LAYERS[name](width, 4, **options)
        layer.requires_grad_(not frozen)
        return layer(x, hx)

    return Call(f"nn.{name}({width!r}, 4, **{options!r})({x!r}, {hx!r})", do)


@st.composite
def small_layer_calls(draw: st.DrawFn) -> Call:
    x = draw(sequence_arguments())
    make = draw(
        st.sampled_from(
            [
                ("Embedding", lambda: nn.Embedding(5, 2)),
                ("Dense", lambda: nn.Dense(3, 2)),
                ("Dropout", lambda: nn.Dropout(0.5, locked=True)),
                ("LayerNorm", lambda: nn.LayerNorm(3)),
                ("Last", nn.Last),
                ("Mean", nn.Mean),
                ("Max", nn.Max),
                ("AttentionPool", lambda: nn.AttentionPool(3)),
                ("Segment", lambda: nn.Segment(2)),
                ("Stack", lambda: nn.Stack.build([nn.GRUConfig(hidden_size=2), nn.LastConfig()], 3, 2)),
            ]
        )
    )
    return Call(f"nn.{make[0]}(…)({x!r})", lambda: make[1]()(x))


@st.composite
def config_calls(draw: st.DrawFn) -> Call:
    kinds = [*nn.LAYERS, "nonsense"]
    keys = ["hidden_size", "size", "p", "length", "num_layers", "activation", "cell", "options", "zzz"]
    line = {"type": draw(st.one_of(st.sampled_from(kinds), ODD))}
    line.update(draw(st.dictionaries(st.sampled_from(keys), ODD, max_size=3)))
    width, head = draw(st.one_of(st.just(3), ODD)), draw(st.one_of(st.just(2), ODD))

    def do() -> object:
        return str(nn.Stack.build([nn.layer_from_mapping(line)], width, head).summary(4))

    # a size that would truly be allocated is not malformed
    big = any(
        isinstance(v, int) and not isinstance(v, bool) and v > 10**6 for v in [*line.values(), width, head]
    )
    return Call(f"Stack.build([{line!r}], {width!r}, {head!r})", (lambda: None) if big else do)


@st.composite
def engine_calls(draw: st.DrawFn) -> Call:
    cell = draw(
        st.sampled_from(
            [cells.Elman(3, 4), cells.LSTM(3, 4, peepholes=True), cells.GRU(3, 4), cells.LSTM(3, 4)]
        )
    )
    params = cell.initial_parameters(torch.Generator().manual_seed(1))
    if draw(st.booleans()):
        params[draw(st.sampled_from(sorted(params)))] = draw(tensors(floats=True))
    sizes = draw(length_arguments())
    data = draw(tensors(shape=(draw(SIZES), 3), floats=True))
    state = [draw(tensors(shape=(draw(SIZES), 4), floats=True)) for _ in cell.states]
    direction = draw(st.sampled_from(["forward", "reverse", "sideways"]))
    which = draw(st.sampled_from([None, "reference", "torch_fused", "cpu"]))

    def do() -> object:
        runs = engine.run(cell, [params], data, sizes, [state], [direction], engine=which)  # type: ignore
        return [[run.output, list(run.state)] for run in runs]

    return Call(
        f"engine.run({cell!r}, …, {data!r}, {sizes!r}, {state!r}, {direction!r}, engine={which!r})", do
    )


@st.composite
def loss_calls(draw: st.DrawFn) -> Call:
    name = draw(st.sampled_from(["squared", "absolute", "huber", "cross_entropy", "gaussian", "quantile"]))
    rows = draw(SIZES)
    outputs = draw(tensors(shape=(rows, draw(SIZES)), floats=True))
    targets = draw(st.one_of(tensors(), tensors(shape=(rows,), floats=True)))
    if name == "cross_entropy" and draw(st.booleans()):
        labels = draw(st.lists(st.one_of(st.integers(-3, 6), st.just(2**40)), min_size=rows, max_size=rows))
        targets = torch.tensor(labels, dtype=torch.int64)
    mask = draw(st.one_of(st.none(), tensors()))
    function = getattr(losses, name)
    extra = {"quantiles": draw(st.lists(st.floats(), max_size=3))} if name == "quantile" else {}
    return Call(
        f"losses.{name}({outputs!r}, {targets!r}, mask={mask!r}, {extra!r})",
        lambda: function(outputs, targets, mask=mask, **extra),
    )


@st.composite
def metric_calls(draw: st.DrawFn) -> Call:
    name = draw(st.sampled_from(["mae", "mse", "rmse", "smape", "accuracy", "r2"]))
    truth, answer = draw(tensors()), draw(tensors())
    pair = [a.to(torch.float32).numpy() if a.dtype == torch.bfloat16 else a.numpy() for a in (truth, answer)]
    return Call(f"metrics.{name}({pair!r})", lambda: getattr(metrics, name)(*pair))


@st.composite
def core_calls(draw: st.DrawFn) -> Call:
    if draw(st.booleans()):
        rule = draw(st.one_of(st.sampled_from(sorted(core.INITIALISERS)), ODD))
        shape = draw(st.one_of(shapes(0, 3), ODD))
        return Call(
            f"initialise({rule!r}, {shape!r})",
            lambda: core.initialise(rule, shape, torch.Generator().manual_seed(0)),
        )
    name, x = draw(st.one_of(st.sampled_from(sorted(core.ACTIVATIONS)), ODD)), draw(tensors(floats=True))
    return Call(f"get_activation({name!r})", lambda: core.get_activation(name).name + str(x.dtype))


CALLS = st.one_of(
    ragged_calls(),
    layer_calls(),
    small_layer_calls(),
    config_calls(),
    engine_calls(),
    loss_calls(),
    metric_calls(),
    core_calls(),
)


def leaves(value: object) -> Iterator[object]:
    if isinstance(value, (Ragged, PackedSequence)):
        yield value.data
    elif isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def judge(call: Call) -> str:
    """Empty where the call gave a typed error or an answer from its own buffers; otherwise what was wrong."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SaikiWarning)  # the suite turns them into errors
            result = call.do()
    except SaikiError as error:
        return "" if len(error.message) > 15 else f"{type(error).__name__} says too little: {error.message!r}"
    except MemoryError:
        return "asked for more memory than there is"
    except Exception as error:
        return f"untyped {type(error).__name__}: {error}"
    for leaf in leaves(result):
        if isinstance(leaf, np.ndarray) and leaf.dtype.kind in "fiu":
            leaf = torch.from_numpy(leaf.astype(np.float64))
        if isinstance(leaf, Tensor) and not leaf.is_nested:
            plain = leaf.detach()
            plain = (torch.view_as_real(plain) if plain.is_complex() else plain).to(torch.float64).abs()
            if bool(((plain >= BEYOND) & plain.isfinite()).any()):
                return "a number from outside its buffers"
            if leaf.requires_grad and leaf.numel() and leaf.is_floating_point():
                leaf.sum().backward(retain_graph=True)
        elif isinstance(leaf, float) and BEYOND <= abs(leaf) < float("inf"):
            return "a number from outside its buffers"
    return ""


def in_a_child(calls: list[Call]) -> str:
    """Run the calls in a forked child; the first complaint, or the signal that ended it."""

    def work(say: Callable[[str], None]) -> None:
        for number, call in enumerate(calls):
            say(f"{json.dumps([number, judge(call)])}\n")

    said, ended = forked(work)
    verdicts = [json.loads(line) for line in said.splitlines() if line.startswith("[")]
    for number, complaint in verdicts:
        if complaint:
            return f"{complaint}\n  in {calls[number].words}"
    if len(verdicts) < len(calls):
        return f"the process ended with {ended or said}\n  in {calls[len(verdicts)].words}"
    return ""


RULES = settings(
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # the failing call is named by itself: nothing to shrink
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


def test_the_judge_sees_a_killed_process_an_untyped_error_and_a_foreign_number() -> None:
    """The test of the test: each of the three failures must be noticed."""
    crash = Call("crash", lambda: os.kill(os.getpid(), signal.SIGSEGV))
    assert "SIGSEGV\n  in crash" in in_a_child([Call("fine", lambda: torch.ones(2)), crash])
    assert "untyped ZeroDivisionError" in in_a_child([Call("divide", lambda: 1 // 0)])
    view = surround(torch.ones(3), "strided")
    assert in_a_child([Call("inside", lambda: view)]) == ""
    foreign = Call("outside", lambda: torch.as_strided(view, (6,), (1,)))
    assert "outside its buffers" in in_a_child([foreign])


@settings(RULES, max_examples=60)
@given(st.lists(CALLS, min_size=15, max_size=20))
def test_malformed_calls_are_typed_errors_or_right_answers(calls: list[Call]) -> None:
    assert in_a_child(calls) == ""


@pytest.mark.long
@settings(RULES, max_examples=600)
@given(st.lists(CALLS, min_size=17, max_size=20))
def test_ten_thousand_malformed_calls(calls: list[Call]) -> None:
    assert in_a_child(calls) == ""
