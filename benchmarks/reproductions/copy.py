"""Copy memory: ten of eight symbols to be repeated after T blank steps: tanh Elman, LSTM and GRU.

Without memory the best loss is 10 ln 8 / (T + 20) nats a step. Each update draws new sequences; a run
ends when the loss on 500 others is a hundredth of that, or with the last update it may make. At T = 1000
Bai (2018) publishes losses that are the memoryless one for all three; `--long` runs that length alone.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
from saiki.nn import GRUConfig, LSTMConfig, RNNConfig

CELLS = {"elman": RNNConfig, "lstm": LSTMConfig, "gru": GRUConfig}
BAI = {
    "elman": 0.0202,
    "lstm": 0.0204,
    "gru": 0.0197,
}  # T = 1000, one layer of 50 LSTM units (16,000 weights)
LONG = 1000
TEST_SEED = 1997


def arguments(parser: argparse.ArgumentParser) -> None:
    """`--long`, `--seeds`."""
    parser.add_argument("--long", action="store_true", help="T = 1000 alone")
    parser.add_argument("--seeds", type=int, default=2, help="runs of each (default 2)")


def memoryless(T: int) -> float:
    """The loss, in nats a step, of one who knows when to speak and guesses what."""
    return 10 * math.log(8) / (T + 20)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train every cell on every length."""
    kept = Kept(options)
    lengths = (LONG,) if options.long else (10, 30)
    seeds = options.seeds
    if options.quick:
        lengths, seeds = (10,), 1
    found: dict[tuple[int, str], list[Run]] = {}
    for T in lengths:
        for cell in CELLS:
            settings = recipe(cell, T, options.quick)
            found[T, cell] = [
                kept.run(f"T={T} {cell} seed {seed}", {**settings, "seed": seed}, _trainer(settings, seed))
                for seed in range(seeds)
            ]
    title = "Copy memory: nats a step on 500 new sequences, medians over seeds"
    print_header(title + (", --quick" if options.quick else ""), kept.machine)
    rows: list[tuple[object, ...]] = [
        (
            f"T={T} {cell}",
            f"{median([each['loss'] for each in runs]):.2g}",
            f"{memoryless(T):.4f}",
            f"{BAI[cell]:.4f}" if T == LONG else "",
            f"{100 * median([each['recalled'] for each in runs]):.1f} %",
            f"{sum(each['solved'] is not None for each in runs)} of {len(runs)}",
            f"{median([each['updates'] for each in runs]):,.0f}",
            f"{median([each['cpu_seconds'] for each in runs]):.0f}",
        )
        for (T, cell), runs in found.items()
    ]
    print_table(("", "loss", "no memory", "published", "symbols right", "solved", "updates", "s"), rows)
    print("\npublished: Bai 2018, T = 1000. One in eight symbols is right without memory.")
    file = picture_file(options)
    if file is not None:
        draw(found, file)
    return kept.content(
        {
            "seeds": seeds,
            "no_memory": {str(T): memoryless(T) for T in lengths},
            "published": {"Bai 2018, T=1000, nats a step": BAI},
        }
    )


def recipe(cell: str, T: int, quick: bool) -> dict[str, Any]:
    """All that decides a run but its seed."""
    return {
        "cell": cell,
        "T": T,
        "hidden_size": 50,
        "batch": 32,
        "lr": 3e-3,
        "clip": 1.0,
        "updates": 300 if quick else (1_500 if T == LONG else 6_000),
        "every": 100 if quick else 250,
    }


def _trainer(settings: dict[str, Any], seed: int) -> Callable[[], Run]:
    def work() -> Run:
        T = settings["T"]
        net = network([CELLS[settings["cell"]](hidden_size=settings["hidden_size"])], 10, 9, seed)
        loss = get_loss("cross_entropy")
        test = batch_of(load("copy_memory", n=500, T=T, seed=TEST_SEED))
        told: dict[str, float] = {}

        def measure() -> tuple[float, bool]:
            rows = net(test.inputs).data
            told["loss"] = float(loss(rows, test.targets).mean())
            spoken = test.targets > 0
            right = rows[spoken].argmax(dim=1) == test.targets[spoken]
            told["recalled"] = float(right.float().mean())
            return told["loss"], told["loss"] < memoryless(T) / 100

        went = learn(
            net,
            loss,
            lambda update: batch_of(
                load("copy_memory", n=settings["batch"], T=T, seed=data_seed(seed, update))
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
            "parameters": parameters(net),
            "curve": short(went.curve),
        }

    return work


def draw(found: dict[tuple[int, str], list[Run]], file: Path) -> None:
    """A panel a length; every seed a thin line."""
    from benchmarks.reproductions.shared.pictures import CELLS as COLOURS
    from benchmarks.reproductions.shared.pictures import End, at_ends, level, panels, save

    lengths = list(dict.fromkeys(T for T, _ in found))
    figure, axes = panels(1, len(lengths), 4.4, 3.2)
    for ax, T in zip(axes, lengths):
        ends = []
        for cell, colour in COLOURS.items():
            for k, each in enumerate(found[T, cell]):
                x, y = [u / 1000 for u, _ in each["curve"]], [v for _, v in each["curve"]]
                ax.plot(x, y, color=colour, lw=1.2, alpha=0.85)
                ax.plot(x[-1], y[-1], "o", color=colour, ms=3)
                if k == 0:
                    ends.append(End(x[-1], y[-1], cell, colour))
        level(ax, memoryless(T), f"without memory, {memoryless(T):.4f}")
        ax.set_yscale("log")
        ax.set_title(f"Copy after T = {T}")
        ax.set_xlabel("updates, thousands")
        ax.set_ylabel("nats a step, new sequences")
        ax.set_xlim(left=0)
        ax.margins(x=0.12)
        at_ends(ax, ends)
    save(figure, file)
