"""The adding problem: T = 100, 200 and 400, and the form of 1997 (T = 100): tanh Elman, LSTM and GRU.

    unit    values in [0, 1], target X1 + X2: always answering 1 has squared error 1/6 (texts quote 0.1767)
    1997    values in [-1, 1], target 0.5 + (X1 + X2)/4: always answering 0.5 has 1/24; both numbers stand in
            the first half, so LSTM and GRU start with a gate that keeps (bias 4; with the usual 1 or 0
            neither left the constant answer in 8,000 updates)

Each update draws new sequences. A run ends when its error on 2,560 others is below 0.003 of the constant
answer's (0.0005 in the unit form), or with the last update it may make. Beside it stands how many of the
2,560 are off by more than 0.04: the paper of 1997 allows three. `--long` runs T = 600 (Bai 2018) instead,
into a file of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

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
from saiki.nn import GRUConfig, LastConfig, LSTMConfig, RNNConfig

CELLS = {"elman": RNNConfig, "lstm": LSTMConfig, "gru": GRUConfig}
CONSTANT = {"unit": 1 / 6, "1997": 1 / 24}
SOLVED = 0.003
UPDATES = {100: 8_000, 200: 8_000, 400: 10_000, 600: 10_000}
TEST_SEED = 1997
# Bai, Kolter & Koltun 2018: T = 600, squared error; Hochreiter & Schmidhuber 1997: sequences until the stop,
# means of ten trials (their T is the shortest length).
BAI = {"elman": 0.177, "lstm": 0.164, "gru": 5.3e-5}
HOCHREITER = {100: 74_000, 500: 209_000, 1000: 853_000}


def arguments(parser: argparse.ArgumentParser) -> None:
    """`--long`, `--seeds`, `--kept`."""
    parser.add_argument("--long", action="store_true", help="T = 600 alone")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each (default 3)")
    parser.add_argument("--kept", action="store_true", help="run nothing: print and draw what FILE has")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train every cell on every length and form."""
    kept = Kept(options)
    jobs = [("unit", 600)] if options.long else [("unit", 100), ("unit", 200), ("unit", 400), ("1997", 100)]
    seeds = options.seeds
    if options.quick:
        jobs, seeds = [("unit", 50), ("1997", 50)], 1
    found: dict[tuple[str, int, str], list[Run]] = {}
    for form, T in jobs:
        for cell in CELLS:
            settings = recipe(cell, T, form, options.quick)
            found[form, T, cell] = [
                kept.run(
                    f"{form} T={T} {cell} seed {seed}", {**settings, "seed": seed}, _trainer(settings, seed)
                )
                for seed in range(seeds)
                if not options.kept or f"{form} T={T} {cell} seed {seed}" in kept.runs
            ]
    found = {key: runs for key, runs in found.items() if runs}
    title = "The adding problem: squared error on 2,560 new sequences, medians over seeds"
    print_header(title + (", --quick" if options.quick else ""), kept.machine)
    rows: list[tuple[object, ...]] = []
    for (form, T, cell), runs in found.items():
        rows.append(
            (
                f"{form} T={T} {cell}",
                f"{_median(runs, 'error'):.2g}",
                f"{max(run['error'] for run in runs):.2g}",
                f"{CONSTANT[form]:.4f}",
                _published(form, T, cell),
                f"{sum(run['solved'] is not None for run in runs)} of {len(runs)}",
                f"{_median(runs, 'sequences'):,.0f}",
                f"{_median(runs, 'wrong'):,.0f}" if form == "1997" else "",
                f"{_median(runs, 'cpu_seconds'):.0f}",
            )
        )
    head = ("", "error", "worst", "constant", "published", "solved", "sequences", "wrong of 2,560", "s")
    print_table(head, rows)
    print("\npublished: squared error at T = 600 (Bai 2018); sequences until the stop (Hochreiter 1997)")
    file = picture_file(options)
    if file is not None:
        draw(found, file)
    return kept.content(
        {
            "seeds": seeds,
            "constant": CONSTANT,
            "published": {"Bai 2018, T=600, squared error": BAI, "Hochreiter 1997, sequences": HOCHREITER},
        }
    )


def recipe(cell: str, T: int, form: str, quick: bool) -> dict[str, Any]:
    """All that decides a run but its seed."""
    return {
        "cell": cell,
        "T": T,
        "form": form,
        "hidden_size": 32,
        "batch": 32,
        "lr": 2e-3,
        "clip": 1.0,
        "forget_bias": _forget_bias(cell, form),
        "updates": 300 if quick else UPDATES[T],
        "every": 100 if quick else 250,
    }


def _forget_bias(cell: str, form: str) -> float | None:
    """Where the bias of the gate that keeps the state starts: LSTM f, GRU z; None: where it usually does."""
    if cell == "elman":
        return None
    if (
        form == "1997"
    ):  # both numbers come at least T/2 steps before the end: σ(1)^50 would be 1e-7 of the gradient
        return 4.0
    return 1.0 if cell == "lstm" else None


def _trainer(settings: dict[str, Any], seed: int) -> Callable[[], Run]:
    def work() -> Run:
        form, T = settings["form"], settings["T"]
        net = network(
            [CELLS[settings["cell"]](hidden_size=settings["hidden_size"]), LastConfig()], 2, 1, seed
        )
        if settings["forget_bias"] is not None:  # f of i f g o, z of r z n: the second block
            H = settings["hidden_size"]
            layer: Any = next(iter(net.layers.values()))
            with torch.no_grad():
                layer.bias_l0[H : 2 * H] = settings["forget_bias"]
        test = batch_of(load("adding", n=2560, T=T, form=form, seed=TEST_SEED))
        told: dict[str, float] = {}

        def measure() -> tuple[float, bool]:
            off = (net(test.inputs) - test.targets).abs()
            told["error"] = float(off.square().mean())
            told["wrong"] = int((off > 0.04).sum())
            return told["error"], told["error"] < SOLVED * CONSTANT[form]

        went = learn(
            net,
            get_loss("squared"),
            lambda update: batch_of(
                load("adding", n=settings["batch"], T=T, form=form, seed=data_seed(seed, update))
            ),
            updates=settings["updates"],
            lr=settings["lr"],
            clip=settings["clip"],
            every=settings["every"],
            measure=measure,
        )
        return {
            **told,
            "solved": went.solved,
            "updates": went.updates,
            "sequences": went.updates * settings["batch"],
            "parameters": parameters(net),
            "curve": short(went.curve),
        }

    return work


def _median(runs: list[Run], name: str) -> float:
    return median([run[name] for run in runs])


def _published(form: str, T: int, cell: str) -> str:
    if form == "unit":
        return f"{BAI[cell]:.2g}" if T == 600 else ""
    return f"{HOCHREITER[T]:,} sequences" if cell == "lstm" and T in HOCHREITER else ""


def draw(found: dict[tuple[str, int, str], list[Run]], file: Path) -> None:
    """A panel a form and length; every seed a thin line."""
    from benchmarks.reproductions.shared.pictures import CELLS as COLOURS
    from benchmarks.reproductions.shared.pictures import End, at_ends, level, panels, save

    jobs = list(dict.fromkeys((form, T) for form, T, _ in found))
    figure, axes = panels(-(-len(jobs) // 2), min(len(jobs), 2), 4.6, 3.0)
    for ax in axes[len(jobs) :]:
        ax.axis("off")
    for ax, (form, T) in zip(axes, jobs):
        ends = []
        for cell, colour in COLOURS.items():
            for k, run in enumerate(found.get((form, T, cell), [])):
                x = [update / 1000 for update, _ in run["curve"]]
                y = [error for _, error in run["curve"]]
                ax.plot(x, y, color=colour, lw=1.2, alpha=0.85)
                ax.plot(x[-1], y[-1], "o", color=colour, ms=3)
                if k == 0:
                    ends.append(End(x[-1], y[-1], cell, colour))
        level(ax, CONSTANT[form], f"a constant answer, {CONSTANT[form]:.4f}")
        ax.set_yscale("log")
        ax.set_title(f"{'values in [0, 1]' if form == 'unit' else 'the form of 1997'}, T = {T}")
        ax.set_xlabel("updates, thousands")
        ax.set_ylabel("squared error, new sequences")
        ax.set_xlim(left=0)
        ax.margins(x=0.12)
        at_ends(ax, ends)
    save(figure, file)
