"""A small fast wave, then a large slow one: error after the onset with and without forget gate.

The wave of amplitude 0.2 and period 8 gives way, at a step that differs from batch to batch (40 to 160),
to one of amplitude 1 and period 40; the network says the next value. What the cells have gathered from
the old wave is in the way of the new one, and a forget gate can throw it out. Measured on 200 new
sequences, with the onset where training had it (step 100) and where it never was (step 1,000): root mean
squared error over the first 10 steps after the onset, the next 30, and the second period of the new wave.
The clean wave obeys x_{t+1} = 2 cos ω · x_t - x_{t-1}, so a perfect answer is possible two steps after
the onset. No figure is published: the texts claim that the forget gate helps.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
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
from saiki.nn import LSTMConfig

LENGTH, ONSET, LATE_ONSET = 200, 100, 1_000
AFTER = 80  # steps that are looked at
SPANS = {"steps 1-10": (0, 10), "steps 11-40": (10, 40), "steps 41-80": (40, 80)}
TEST_SEED = 1997
KINDS = {"forget gate": True, "no forget gate": False}


def arguments(parser: argparse.ArgumentParser) -> None:
    """`--seeds`."""
    parser.add_argument("--seeds", type=int, default=5, help="networks of each (default 5)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train both kinds and look at the error after the onset."""
    kept = Kept(options)
    seeds = 1 if options.quick else options.seeds
    found: dict[str, list[Run]] = {}
    for kind, gate in KINDS.items():
        settings = {
            "forget_gate": gate,
            "hidden_size": 16,
            "batch": 32,
            "lr": 3e-3,
            "clip": 1.0,
            "updates": 200 if options.quick else 3_000,
            "every": 100 if options.quick else 250,
        }
        found[kind] = [
            kept.run(f"{kind} seed {seed}", {**settings, "seed": seed}, _trainer(settings, seed))
            for seed in range(seeds)
        ]
    title = "A small fast wave, then a large slow one: rms error after the onset, medians over seeds"
    print_header(title + (", --quick" if options.quick else ""), kept.machine)
    rows: list[tuple[object, ...]] = []
    for kind, runs in found.items():
        for where in ("onset 100", "onset 1000"):
            spans = [
                median([_rms(each["after"][where][low:high]) for each in runs])
                for low, high in SPANS.values()
            ]
            before = median([each["before"][where] for each in runs])
            cells = median([each["cell"][where] for each in runs])
            rows.append((f"{kind}, {where}", before, *spans, f"{cells:.2f}"))
    print_table(("", "before", *SPANS, "mean |c| before"), rows)
    seconds = sum(each["cpu_seconds"] for runs in found.values() for each in runs)
    print(f"\n{seconds:.0f} s; published: in words alone, that forgetting helps")
    file = picture_file(options)
    if file is not None:
        draw(found, file)
    return kept.content({"seeds": seeds, "published": None})


def _rms(squares: list[float]) -> float:
    return float(np.sqrt(np.mean(squares)))


def _trainer(settings: dict[str, Any], seed: int) -> Callable[[], Run]:
    def work() -> Run:
        line = LSTMConfig(hidden_size=settings["hidden_size"], forget_gate=settings["forget_gate"])
        net = network([line], 1, 1, seed)
        loss = get_loss("squared")
        test = batch_of(load("waves", n=200, length=LENGTH, onset=ONSET, seed=TEST_SEED))

        def measure() -> tuple[float, bool]:
            return float(loss(net(test.inputs).data, test.targets).mean()), False

        def batch(update: int) -> Any:  # noqa: ANN401
            own = data_seed(seed, update)
            onset = 40 + own % 121
            return batch_of(load("waves", n=settings["batch"], length=LENGTH, onset=onset, seed=own))

        went = learn(
            net,
            loss,
            batch,
            updates=settings["updates"],
            lr=settings["lr"],
            clip=settings["clip"],
            every=settings["every"],
            measure=measure,
        )
        said: dict[str, Any] = {"after": {}, "before": {}, "cell": {}}
        for where, onset in (("onset 100", ONSET), ("onset 1000", LATE_ONSET)):
            after, before, cell = _after(net, onset)
            said["after"][where] = after
            said["before"][where] = before
            said["cell"][where] = cell
        return {**said, "updates": went.updates, "parameters": parameters(net), "curve": short(went.curve)}

    return work


def _after(net: Any, onset: int) -> tuple[list[float], float, float]:  # noqa: ANN401
    """Squared error of each step after the onset, rms of the 50 before it, and mean |c| just before."""
    data = load("waves", n=200, length=onset + AFTER, onset=onset, seed=TEST_SEED)
    x = torch.tensor(np.stack(data.sequences), dtype=torch.float32).transpose(0, 1)  # (T, 200, 1)
    y = torch.tensor(np.stack(data.targets), dtype=torch.float32).T
    lstm, head = net.layers.values()
    with torch.no_grad():
        h, _, trace = lstm(x, return_states=True)
        off = (h @ head.weight.T + head.bias)[..., 0] - y  # (T, 200)
    squares = off.square().mean(dim=1)
    # the first value of the new wave is said at step onset - 1; nobody can know it
    after = [float(f"{value:.4g}") for value in squares[onset : onset + AFTER]]
    return (
        after,
        float(squares[onset - 51 : onset - 1].mean().sqrt()),
        float(trace["c_l0"][onset - 1].abs().mean()),
    )


def draw(found: dict[str, list[Run]], file: Path) -> None:
    """Error after the onset, step by step: a thin line a seed, the median thick."""
    from benchmarks.reproductions.shared.pictures import BLUE, ORANGE, at_end, panels, save

    figure, axes = panels(1, 2, 5.0, 3.4)
    for ax, where in zip(axes, ("onset 100", "onset 1000")):
        for (kind, runs), colour in zip(found.items(), (BLUE, ORANGE)):
            every = np.sqrt(np.array([each["after"][where] for each in runs]))
            steps = list(range(1, AFTER + 1))
            ax.plot(steps, every.T, color=colour, lw=0.6, alpha=0.5)
            ax.plot(steps, np.median(every, axis=0), color=colour, lw=1.8)
            at_end(ax, steps, list(np.median(every, axis=0)), kind, colour)
        ax.set_yscale("log")
        ax.set_xlim(0, AFTER * 1.32)
        ax.set_xticks(range(0, AFTER + 1, 20))
        ax.set_title(f"{where}{' (as in training)' if where == 'onset 100' else ' (never in training)'}")
        ax.set_xlabel("steps after the onset")
        ax.set_ylabel("rms error of the next value")
    save(figure, file)
