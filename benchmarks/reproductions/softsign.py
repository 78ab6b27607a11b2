"""Softsign against tanh: time, share of saturated units, loss.

Both run from -1 to 1 with slope 1 at 0; softsign's slope falls like 1/a², that of tanh like exp(-2a). A
unit is counted as saturated where its slope is below a tenth, and below a hundredth. Three networks on the
digits that come with scikit-learn (half to learn, half to test): five dense layers of 100 with weights
uniform in ±1/√(fan in), which is where Glorot & Bengio 2010 saw tanh saturate layer after layer; an Elman
network over the 8 rows; an LSTM over the 8 rows, with either function for candidate and output. And the
time of a layer forward and backward, 128 units, 32 sequences of 100 steps. `--quick`: one seed, three
epochs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import print_header, print_table
from benchmarks.reproductions.shared.epochs import CLASSES, epoch, halves
from benchmarks.reproductions.shared.labels import name_lines, plain_log
from benchmarks.reproductions.shared.options import picture_file
from benchmarks.reproductions.shared.runs import Kept, Run
from benchmarks.reproductions.shared.training import network
from saiki.core.activations import ACTIVATIONS
from saiki.core.ragged import Ragged
from saiki.core.random import generator
from saiki.learning import Momentum, RaggedSource, Updater, evaluate
from saiki.losses import CrossEntropy
from saiki.nn import GRU, LSTM, RNN, Dense, DenseConfig, LastConfig, LSTMConfig, RNNConfig, Stack

SEEDS = 2
EPOCHS, QUICK_EPOCHS = 25, 3
NAMES = ("tanh", "softsign")
NETWORKS = ("dense", "elman", "lstm")
RATES = {"dense": (0.03, 0.1), "elman": (0.03, 0.1), "lstm": (0.1, 0.3)}  # of momentum 0.9
SLOPES = (0.1, 0.01)
TIMED = {"elman": RNN, "gru": GRU, "lstm": LSTM}
REPEATS, QUICK_REPEATS = 40, 5


def arguments(parser: argparse.ArgumentParser) -> None:
    """`--seeds`."""
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"runs of each (default {SEEDS})")


def run(options: argparse.Namespace) -> dict[str, object]:
    """Train and time, print the tables, draw."""
    kept = Kept(options)
    epochs = QUICK_EPOCHS if options.quick else EPOCHS
    repeats = QUICK_REPEATS if options.quick else REPEATS
    seeds = range(1 if options.quick else options.seeds)
    found: dict[tuple[str, str], list[Run]] = {}
    for kind, name in product(NETWORKS, NAMES):
        at: dict[float, list[Run]] = {}
        for lr, seed in product(RATES[kind], seeds):
            settings = {"kind": kind, "activation": name, "seed": seed, "epochs": epochs, "lr": lr}
            title = f"{kind}, {name}, rate {lr:g}, seed {seed}"
            one = kept.run(title, settings, lambda s=settings: train(**s))  # type: ignore[misc]
            at.setdefault(lr, []).append(one)
        found[kind, name] = min(at.values(), key=lambda runs: _mean(runs, "train_loss"))
    clock = kept.run("time of a layer", {"repeats": repeats}, lambda: times(repeats))
    print_header("Softsign against tanh on 8 by 8 digits", kept.machine)
    head = ("", "", "rate", "loss, learned", "loss, test", "wrong, %", "slope < 0.1, %", "slope < 0.01, %")
    print_table(head, [_row(kind, name, runs) for (kind, name), runs in found.items()])
    print(f"\nmean of seeds; saturated: of all hidden units on the test half, after {epochs} epochs")
    print("each at the better of two rates by the loss on the learning half")
    print("\nA layer forward and backward, milliseconds, the fastest of the repeats")
    print_table(
        ("", *NAMES, "ratio"),
        [
            (cell, clock["ms"][cell]["tanh"], clock["ms"][cell]["softsign"], _ratio(clock["ms"][cell]))
            for cell in TIMED
        ],
    )
    file = picture_file(options)
    if file is not None:
        draw(found, file)
    summary = {
        f"{kind}, {name}": {
            "rate": runs[0]["settings"]["lr"],
            "wrong": _mean(runs, "wrong"),
            "train_loss": _mean(runs, "train_loss"),
            "test_loss": _mean(runs, "test_loss"),
            "saturated": [_mean_saturated(runs, k) for k in range(len(SLOPES))],
        }
        for (kind, name), runs in found.items()
    }
    return kept.content({"after": summary})


def _ratio(ms: dict[str, float]) -> float:
    return ms["softsign"] / ms["tanh"]


def _mean(runs: list[Run], what: str) -> float:
    return statistics.mean(each[what] for each in runs)


def _mean_saturated(runs: list[Run], k: int) -> float:
    return statistics.mean(statistics.mean(layer[k] for layer in each["saturated"][-1]) for each in runs)


def _row(kind: str, name: str, runs: list[Run]) -> tuple[object, ...]:
    return (
        kind,
        name,
        f"{runs[0]['settings']['lr']:g}",
        *(_mean(runs, what) for what in ("train_loss", "test_loss", "wrong")),
        *(100 * _mean_saturated(runs, k) for k in range(len(SLOPES))),
    )


def _built(kind: str, activation: str, seed: int) -> tuple[Stack, int]:
    """The network, and in how many steps it reads a digit."""
    if kind == "dense":
        lines = [LastConfig(), *[DenseConfig(size=100, activation=activation) for _ in range(5)]]
        lines.append(DenseConfig(size=CLASSES))
        net = network(lines, 64, CLASSES, seed)
        source = generator(seed, "uniform weights")
        with torch.no_grad():
            for layer in net.modules():
                if isinstance(layer, Dense):
                    bound = layer.input_size**-0.5
                    layer.weight.uniform_(-bound, bound, generator=source)
        return net, 1
    if kind == "elman":
        return network([RNNConfig(hidden_size=64, activation=activation), LastConfig()], 8, CLASSES, seed), 8
    cell = LSTMConfig(hidden_size=32, activation=activation, output_activation=activation)
    return network([cell, LastConfig()], 8, CLASSES, seed), 8


def train(kind: str, activation: str, seed: int, epochs: int, lr: float) -> Run:
    """Losses, and the share of saturated units of each layer, before training and after each epoch."""
    net, steps = _built(kind, activation, seed)
    learn, test = halves(seed, steps)
    loss = CrossEntropy()
    updater = Updater(Momentum(), net, lr=lr)
    saturated = [_saturated(net, kind, activation, test)]
    curve: list[list[float]] = []
    spent = 0.0
    for number in range(1, epochs + 1):
        began = time.process_time()
        value = epoch(net, loss, learn, updater, number=number, seed=seed, clip=1.0)
        spent += time.process_time() - began
        saturated.append(_saturated(net, kind, activation, test))
        curve.append([number, round(value, 5), round(evaluate(net, loss, test), 5)])
    batch = test.batch(torch.arange(len(test)))
    with torch.no_grad():
        said = net(batch.inputs)
    return {
        "train_loss": evaluate(net, loss, learn),
        "test_loss": evaluate(net, loss, test),
        "wrong": 100 * float((said.argmax(1) != batch.targets).float().mean()),
        "curve": curve,
        "saturated": saturated,
        "processor_seconds_an_epoch": round(spent / epochs, 4),
    }


def _saturated(net: Stack, kind: str, activation: str, source: RaggedSource) -> list[list[float]]:
    """For each hidden layer, the shares of its activations whose slope is below each of `SLOPES`."""
    x = source.batch(torch.arange(len(source))).inputs
    seen: list[torch.Tensor] = []
    with torch.no_grad():
        if kind == "lstm":
            layer = next(m for m in net.modules() if isinstance(m, LSTM))
            seen.append(layer(x, return_states=True)[2]["g_l0"].data)  # the candidate
        elif kind == "elman":
            layer = next(m for m in net.modules() if isinstance(m, RNN))
            seen.append(layer(x)[0].data)
        else:
            flow: Any = x
            for module in list(net.layers.values())[:-1]:
                flow = module(flow)
                if isinstance(module, Dense):
                    seen.append(flow.data if isinstance(flow, Ragged) else flow)
    slope = ACTIVATIONS[activation].derivative_from_output
    assert slope is not None
    return [[round(float((slope(y) < low).float().mean()), 5) for low in SLOPES] for y in seen]


def times(repeats: int) -> Run:
    """Milliseconds of a layer forward and backward, the two functions in turns."""
    x = torch.randn(100, 32, 128, generator=generator(0, "input"))
    found: dict[str, dict[str, float]] = {}
    for cell, kind in TIMED.items():
        options = {
            name: {"activation": name} | ({"output_activation": name} if cell == "lstm" else {})
            for name in NAMES
        }
        layers = {name: kind(128, 128, generator=generator(0), **options[name]) for name in NAMES}
        fastest = dict.fromkeys(NAMES, float("inf"))
        for _ in range(repeats):
            for name, layer in layers.items():
                began = time.perf_counter()
                layer(x)[0].sum().backward()
                fastest[name] = min(fastest[name], 1e3 * (time.perf_counter() - began))
        found[cell] = {name: round(value, 3) for name, value in fastest.items()}
    return {"ms": found}


def draw(found: dict[tuple[str, str], list[Run]], file: Path) -> None:
    """Above the loss on the test half, below the share of saturated units; a line a seed, dense: a layer."""
    from benchmarks.reproductions.shared.pictures import BLUE, ORANGE, panels, save

    colours = {"tanh": ORANGE, "softsign": BLUE}
    figure, axes = panels(2, len(NETWORKS), 3.9, 2.8)
    titles = {"dense": "Five dense layers", "elman": "Elman, 8 rows", "lstm": "LSTM, 8 rows"}
    for column, kind in enumerate(NETWORKS):
        above, below = axes[column], axes[len(NETWORKS) + column]
        losses, shares = [], []
        for name in NAMES:
            runs = found[kind, name]
            x = [row[0] for row in runs[0]["curve"]]
            for each in runs:
                above.plot(x, [row[2] for row in each["curve"]], color=colours[name], lw=1.3)
            last = statistics.mean(each["curve"][-1][2] for each in runs)
            losses.append((x[-1], last, name, colours[name]))
            layers = len(runs[0]["saturated"][0])
            for layer in range(layers):
                share = [
                    100 * statistics.mean(each["saturated"][t][layer][0] for each in runs)
                    for t in range(len(x) + 1)
                ]
                below.plot(range(len(share)), share, color=colours[name], lw=1.3, alpha=1 - 0.15 * layer)
                text = f"{name}, layer {layer + 1}" if layers > 1 else name
                shares.append((len(x), share[-1], text, colours[name]))
        plain_log(above)
        above.set_title(f"{titles[kind]}: loss on the test half")
        below.set_title("units with a slope below a tenth, %")
        below.set_xlabel("epoch")
        for ax, ends in ((above, losses), (below, shares)):
            ax.set_xlim(0, 1.45 * x[-1])
            ax.set_xticks([tick for tick in ax.get_xticks() if tick <= x[-1]])
            name_lines(ax, ends)
    save(figure, file)
