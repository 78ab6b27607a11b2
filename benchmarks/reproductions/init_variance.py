"""Activation variance by layer at the start (too small, LeCun, Glorot, too big), and the loss after training.

Ten dense tanh layers that narrow from 256 to 24 units, on the digits that come with scikit-learn (half to
learn, half to test), because with equal widths LeCun and Glorot are the same: Var w = 1/fan_in against
2/(fan_in + fan_out). Too small is the standard deviation 0.01 whatever the width, too big is three times
LeCun's. For each layer the variance of its activations and of the gradient with respect to them over units
and digits, before any update. To first order a layer multiplies the one by fan_in Var w and the other, on
its way back, by fan_out Var w. Then the loss after training with momentum, at the better of two rates by
the loss on the learning half. `--quick`: one seed, one rate, two epochs.
"""

from __future__ import annotations

import argparse
import math
import statistics
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.common import print_header, print_table
from benchmarks.reproductions.shared.epochs import CLASSES, epoch, halves
from benchmarks.reproductions.shared.labels import name_lines, plain_log
from benchmarks.reproductions.shared.options import picture_file
from benchmarks.reproductions.shared.runs import Kept, Run
from benchmarks.reproductions.shared.training import network
from saiki.core.initialisers import initialise
from saiki.core.random import generator
from saiki.learning import Momentum, Updater, evaluate
from saiki.losses import CrossEntropy
from saiki.nn import Dense, DenseConfig, LastConfig, Stack

SEEDS = 3
EPOCHS, QUICK_EPOCHS = 20, 2
RATES = (0.01, 0.03)
WIDTHS = (256, 224, 192, 160, 128, 96, 72, 48, 32, 24)
INPUTS = 64
SCHEMES = ("too small", "LeCun", "Glorot", "too big")
SMALL, BIG = 0.01, 3.0  # a standard deviation; times LeCun's
CHANCE = math.log(CLASSES)


def deviation(scheme: str, fan_in: int, fan_out: int) -> float:
    """The standard deviation of a weight."""
    return {
        "too small": SMALL,
        "LeCun": fan_in**-0.5,
        "Glorot": (2 / (fan_in + fan_out)) ** 0.5,
        "too big": BIG * fan_in**-0.5,
    }[scheme]


def arguments(parser: argparse.ArgumentParser) -> None:
    """`--seeds`."""
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"runs of each (default {SEEDS})")


def run(options: argparse.Namespace) -> dict[str, object]:
    """Measure, train, print the tables, draw."""
    kept = Kept(options)
    epochs = QUICK_EPOCHS if options.quick else EPOCHS
    seeds = range(1 if options.quick else options.seeds)
    rates = RATES[:1] if options.quick else RATES
    start: dict[str, list[Run]] = {}
    after: dict[str, dict[float, list[Run]]] = {}
    for scheme in SCHEMES:
        for seed in seeds:
            settings = {"scheme": scheme, "seed": seed, "widths": WIDTHS}
            start.setdefault(scheme, []).append(
                kept.run(
                    f"{scheme}, at the start, seed {seed}", settings, lambda s=scheme, k=seed: measure(s, k)
                )  # type: ignore[misc]
            )
            for rate in rates:
                after.setdefault(scheme, {}).setdefault(rate, []).append(
                    kept.run(
                        f"{scheme}, rate {rate:g}, seed {seed}",
                        {**settings, "rate": rate, "epochs": epochs},
                        lambda s=scheme, k=seed, r=rate: train(s, k, r, epochs),  # type: ignore[misc]
                    )
                )
    print_header("Ten tanh layers on 8 by 8 digits: variance by layer at the start", kept.machine)
    for what, title in (
        ("activation", "of the activations"),
        ("gradient", "of the gradient by the activations"),
    ):
        print(title)
        head = ("", *(f"{k + 1} ({width})" for k, width in enumerate(WIDTHS)))
        print_table(head, [(s, *(f"{v:.1e}" for v in _mean(start[s], what))) for s in SCHEMES])
        print()
    best = {scheme: min(after[scheme], key=lambda rate: _final(after[scheme][rate], 1)) for scheme in SCHEMES}
    print(f"after {epochs} epochs at the best of the rates {', '.join(f'{rate:g}' for rate in rates)}")
    print_table(
        ("", "loss, learned", "loss, test", "wrong, %", "rate"),
        [
            (
                scheme,
                _final(after[scheme][best[scheme]], 1),
                _final(after[scheme][best[scheme]], 2),
                statistics.mean(each["wrong"] for each in after[scheme][best[scheme]]),
                f"{best[scheme]:g}",
            )
            for scheme in SCHEMES
        ],
    )
    print(f"mean of seeds {', '.join(map(str, seeds))}; guessing has the loss ln 10 = {CHANCE:.3f}")
    file = picture_file(options)
    if file is not None:
        draw(start, {scheme: after[scheme][best[scheme]] for scheme in SCHEMES}, file)
    summary = {
        scheme: {
            "activation": _mean(start[scheme], "activation"),
            "gradient": _mean(start[scheme], "gradient"),
            "rate": best[scheme],
            "loss": _final(after[scheme][best[scheme]], 1),
            "test_loss": _final(after[scheme][best[scheme]], 2),
        }
        for scheme in SCHEMES
    }
    return kept.content({"schemes": summary})


def _mean(runs: list[Run], what: str) -> list[float]:
    return [statistics.mean(values) for values in zip(*(each[what] for each in runs))]


def _final(runs: list[Run], column: int) -> float:
    return statistics.mean(each["curve"][-1][column] for each in runs)


def _built(scheme: str, seed: int) -> Stack:
    lines = [LastConfig(), *(DenseConfig(size=width, activation="tanh") for width in WIDTHS)]
    lines.append(DenseConfig(size=CLASSES))
    net = network(lines, INPUTS, CLASSES, seed)
    source = generator(seed, scheme)
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, Dense):
                unit = initialise("lecun_normal", layer.weight.shape, source) * layer.input_size**0.5
                layer.weight.copy_(unit * deviation(scheme, layer.input_size, layer.size))
    return net


def measure(scheme: str, seed: int) -> Run:
    """Variance of each layer's activations, and of the gradient of the summed loss by them."""
    net = _built(scheme, seed)
    learn, _ = halves(seed, 1)
    batch = learn.batch(torch.arange(len(learn)))
    flow, seen = batch.inputs, []
    for layer in net.layers.values():
        flow = layer(flow)
        if isinstance(layer, Dense):
            seen.append(flow)
    hidden: list[Tensor] = seen[:-1]
    gradients = torch.autograd.grad(CrossEntropy()(seen[-1], batch.targets).sum(), hidden)
    return {
        "activation": [float(y.detach().var()) for y in hidden],
        "gradient": [float(g.var()) for g in gradients],
    }


def train(scheme: str, seed: int, rate: float, epochs: int) -> Run:
    """The curve: epoch, loss while learning, loss on the test half."""
    net = _built(scheme, seed)
    learn, test = halves(seed, 1)
    loss = CrossEntropy()
    updater = Updater(Momentum(), net, lr=rate)
    curve: list[list[float]] = []
    for number in range(1, epochs + 1):
        value = epoch(net, loss, learn, updater, number=number, seed=seed, clip=1.0)
        curve.append([number, round(value, 5), round(evaluate(net, loss, test), 5)])
    batch = test.batch(torch.arange(len(test)))
    with torch.no_grad():
        said = net(batch.inputs)
    assert isinstance(said, Tensor)
    return {"curve": curve, "wrong": 100 * float((said.argmax(1) != batch.targets).float().mean())}


def draw(start: dict[str, list[Run]], after: dict[str, list[Run]], file: Path) -> None:
    """Activations, gradients, loss: a line a seed."""
    from benchmarks.reproductions.shared.pictures import (
        BLUE,
        GREEN,
        ORANGE,
        PURPLE,
        level,
        panels,
        save,
    )

    colours = dict(zip(SCHEMES, (PURPLE, BLUE, GREEN, ORANGE)))
    figure, (left, middle, right) = panels(1, 3, 4.2, 3.4)
    layers = list(range(1, len(WIDTHS) + 1))
    for scheme in SCHEMES:
        for ax, what in ((left, "activation"), (middle, "gradient")):
            for each in start[scheme]:
                ax.plot(layers, each[what], color=colours[scheme], lw=1.2, marker=".", ms=4)
        for each in after[scheme]:
            right.plot(*zip(*[row[:2] for row in each["curve"]]), color=colours[scheme], lw=1.2)
    left.set_title("Variance of the activations, at the start")
    middle.set_title("Variance of the gradient by them")
    right.set_title("Loss while learning; dashed: guessing")
    for ax in (left, middle):
        ax.set_xlabel("layer")
        ax.set_xlim(0.5, 13)
        ax.set_xticks(layers)
        ax.set_yscale("log")
    plain_log(right)
    epochs = after[SCHEMES[0]][0]["curve"][-1][0]
    right.set_xlabel("epoch")
    right.set_xlim(0, 1.5 * epochs)
    right.set_xticks([tick for tick in right.get_xticks() if tick <= epochs])
    level(right, CHANCE, "")
    for ax, what in ((left, "activation"), (middle, "gradient")):
        name_lines(ax, [(layers[-1], start[s][0][what][-1], s, colours[s]) for s in SCHEMES])
    ends = []
    for scheme in SCHEMES:
        rate = after[scheme][0]["settings"]["rate"]
        ends.append((epochs, _final(after[scheme], 1), f"{scheme} (rate {rate:g})", colours[scheme]))
    name_lines(right, ends)
    save(figure, file)
