"""Marked and unmarked inputs: how far the input gate opens on each.

Each step brings a number, and one in ten is marked; to be said is the last marked one. The weight that
lets in what is marked would let in the rest, too: the input weight conflict (Hochreiter & Schmidhuber
1997), for which the input gate was made. Measured on 500 new sequences: the mean of i_t over units and
steps, on marked and on unmarked steps, before training and after; the unit that tells them apart best;
the squared error beside that of always answering 0 and of a tanh Elman network with as many units. No
figure is published.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks.common import print_header, print_table
from benchmarks.reproductions.shared.options import picture_file
from benchmarks.reproductions.shared.runs import Kept, Run
from benchmarks.reproductions.shared.training import (
    batch_of,
    data_seed,
    learn,
    median,
    network,
    parameters,
    short,
)
from saiki.data import load
from saiki.losses import get_loss
from saiki.nn import LSTMConfig, RNNConfig

T, SHARE, TEST_SEED = 50, 0.1, 1997
LINES = {
    "lstm": LSTMConfig(hidden_size=8),
    "lstm without forget gate": LSTMConfig(hidden_size=8, forget_gate=False),
    "elman": RNNConfig(hidden_size=8),
}
BINS = 40


def arguments(parser: argparse.ArgumentParser) -> None:
    """`--seeds`."""
    parser.add_argument("--seeds", type=int, default=5, help="networks of each (default 5)")


def constant() -> float:
    """The squared error of always answering 0: 1/3 wherever there was a mark."""
    return float(np.mean(1 - (1 - SHARE) ** np.arange(1, T + 1))) / 3


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train, and look at the gates."""
    kept = Kept(options)
    seeds = 1 if options.quick else options.seeds
    found: dict[str, list[Run]] = {}
    for name in LINES:
        settings = {
            "network": name,
            "hidden_size": 8,
            "T": T,
            "share": SHARE,
            "batch": 32,
            "lr": 5e-3,
            "clip": 1.0,
            "updates": 300 if options.quick else 6_000,
            "every": 100 if options.quick else 500,
        }
        found[name] = [
            kept.run(f"{name} seed {seed}", {**settings, "seed": seed}, _trainer(settings, seed))
            for seed in range(seeds)
        ]
    title = "The last marked number: error, and the mean opening of the input gate, medians over seeds"
    print_header(title + (", --quick" if options.quick else ""), kept.machine)
    rows: list[tuple[object, ...]] = [("always 0", f"{constant():.4f}", "", "", "", "", "", "", "")]
    for name, runs in found.items():
        gates = [
            runs_of(runs, when, which) for when in ("before", "after") for which in ("marked", "unmarked")
        ]
        best = [runs_of(runs, "after", which) for which in ("best marked", "best unmarked")]
        seconds = f"{median([each['cpu_seconds'] for each in runs]):.0f}"
        rows.append((name, f"{median([each['error'] for each in runs]):.2g}", *gates, *best, seconds))
    head = (
        "",
        "error",
        "marked at first",
        "unmarked",
        "marked after",
        "unmarked",
        "best unit: marked",
        "unmarked",
        "s",
    )
    print_table(head, rows)
    print("\npublished: in words alone, that the input gate learns to keep out what does not matter")
    file = picture_file(options)
    if file is not None:
        draw(found, file)
    return kept.content({"seeds": seeds, "always_zero": constant(), "published": None})


def runs_of(runs: list[Run], when: str, which: str) -> object:
    """The median over seeds of one mean opening; nothing where there is no gate."""
    values = [each[when][which] for each in runs if each[when] is not None]
    return median(values) if values else ""


def _trainer(settings: dict[str, Any], seed: int) -> Callable[[], Run]:
    def work() -> Run:
        net = network([LINES[settings["network"]]], 2, 1, seed)
        loss = get_loss("squared")
        test = batch_of(load("marked", n=500, T=T, share=SHARE, seed=TEST_SEED))

        def measure() -> tuple[float, bool]:
            return float(loss(net(test.inputs).data, test.targets).mean()), False

        before = _openings(net, test.inputs)
        went = learn(
            net,
            loss,
            lambda update: batch_of(
                load("marked", n=settings["batch"], T=T, share=SHARE, seed=data_seed(seed, update))
            ),
            updates=settings["updates"],
            lr=settings["lr"],
            clip=settings["clip"],
            every=settings["every"],
            measure=measure,
        )
        return {
            "error": went.curve[-1][1],
            "before": before,
            "after": _openings(net, test.inputs),
            "updates": went.updates,
            "parameters": parameters(net),
            "curve": short(went.curve),
        }

    return work


def _openings(net: Any, inputs: Any) -> dict[str, Any] | None:  # noqa: ANN401
    """Mean i_t on marked and unmarked steps, of all units and of the unit that tells them apart best."""
    layer = next(iter(net.layers.values()))
    trace = layer(inputs, return_states=True)[2]
    if "i_l0" not in trace:
        return None
    gate: Tensor = trace["i_l0"].data.detach()  # (N, H)
    on = inputs.data[:, 1] == 1
    marked, unmarked = gate[on], gate[~on]
    apart = (marked.mean(dim=0) - unmarked.mean(dim=0)).abs()
    best = int(apart.argmax())
    return {
        "marked": float(marked.mean()),
        "unmarked": float(unmarked.mean()),
        "best marked": float(marked[:, best].mean()),
        "best unmarked": float(unmarked[:, best].mean()),
        "histogram": {
            name: [int(count) for count in np.histogram(part[:, best], bins=BINS, range=(0, 1))[0]]
            for name, part in (("marked", marked), ("unmarked", unmarked))
        },
    }


def draw(found: dict[str, list[Run]], file: Path) -> None:
    """How far the gate that tells best opens, before and after, all seeds together."""
    from benchmarks.reproductions.shared.pictures import BLUE, ORANGE, panels, save

    names = [name for name, runs in found.items() if runs[0]["after"] is not None]
    figure, axes = panels(len(names), 2, 4.6, 2.5)
    edges = np.linspace(0, 1, BINS + 1)
    places = [(name, when) for name in names for when in ("before", "after")]
    for ax, (name, when) in zip(axes, places):
        tops = []
        for which, colour in (("unmarked", BLUE), ("marked", ORANGE)):
            counts = np.sum([each[when]["histogram"][which] for each in found[name]], axis=0)
            shares = counts / counts.sum()
            ax.stairs(shares, edges, color=colour, lw=1.4, fill=False)
            ax.stairs(shares, edges, color=colour, alpha=0.15, fill=True)
            mean = median([each[when][f"best {which}"] for each in found[name]])
            tops.append((which, colour, mean))
        for k, (which, colour, mean) in enumerate(tops):
            ax.text(
                0.5,
                0.9 - 0.11 * k,
                f"{which}: mean {mean:.2f}",
                color=colour,
                transform=ax.transAxes,
                ha="center",
            )
        ax.set_title(f"{name}, {when} training")
        ax.set_xlim(0, 1)
        ax.set_ylim(0, 1.35 * ax.get_ylim()[1])
        ax.set_xlabel("input gate i_t of the unit that tells best")
        ax.set_ylabel("share of steps")
    save(figure, file)
