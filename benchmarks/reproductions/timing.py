"""Timing that wants peepholes (Gers 2002): to measure a gap, and to beat time, with and without them.

    measure     two spikes, 49 or 50 steps apart (and 19 or 20); to be said when the second comes: which
    generate    nothing comes in; to be said: a beat on every F-th step, silence on the others, for ever

The paper finds that measuring needs no peepholes and that generating does: the gates must see the counter
in the cell while the output gate hides it. Its errors are cut where they leave a cell, so that gates
learn nothing of what they saw through h a step ago. `full` is the whole gradient of BPTT; `cut` keeps the
paths through c and the peepholes alone (RTRL, approximation "eprop"), nearest to the paper's, which cuts
the peepholes' too. A measuring network has learned when it tells 1,000 new pairs apart without a mistake;
a generating one when it keeps the beat, from its first step on, over ten times the record of ten beats
that it learned from.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
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
from saiki.core.ragged import Ragged
from saiki.data import load
from saiki.learning import BPTT, RTRL, Batch, LearningRule
from saiki.losses import get_loss
from saiki.nn import LastConfig, LSTMConfig, Stack

KINDS = {"peepholes": True, "no peepholes": False}
RULES: dict[str, LearningRule] = {"full": BPTT(), "cut": RTRL(approximation="eprop")}
TEST_SEED = 1997
JOBS = (
    ("measure", 19, "full"),
    ("measure", 19, "cut"),
    ("measure", 49, "full"),
    ("generate", 10, "full"),
    ("generate", 10, "cut"),
)
UPDATES = 4_000
BEATS = 10  # in the record; the test has ten times as many
PUBLISHED = {
    "measure": "solved with and without",
    "generate": "needs peepholes",
}


class Job(NamedTuple):
    """What is learned, how, by whom."""

    form: str
    gap: int
    gradient: str
    kind: str


def arguments(parser: argparse.ArgumentParser) -> None:
    """`--seeds`."""
    parser.add_argument("--seeds", type=int, default=5, help="networks of each (default 5)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train every kind by every rule."""
    kept = Kept(options)
    seeds = 1 if options.quick else options.seeds
    jobs = JOBS[:2] + JOBS[-2:] if options.quick else JOBS
    found: dict[Job, list[Run]] = {}
    for job in (Job(*each, kind) for each in jobs for kind in KINDS):
        settings = {
            "form": job.form,
            "gap": job.gap,
            "gradient": job.gradient,
            "peepholes": KINDS[job.kind],
            "hidden_size": 4,
            "batch": 32 if job.form == "measure" else 1,
            "lr": 1e-2,
            "clip": 1.0,
            "updates": 100 if options.quick else UPDATES,
            "every": 100,
        }
        name = f"{job.form} {job.gap}, {job.gradient} gradient, {job.kind}"
        found[job] = [
            kept.run(f"{name}, seed {seed}", {**settings, "seed": seed}, _trainer(settings, seed))
            for seed in range(seeds)
        ]
    title = "Timing: who learns it, and after how many updates (medians over seeds)"
    print_header(title + (", --quick" if options.quick else ""), kept.machine)
    rows: list[tuple[object, ...]] = []
    for job, runs in found.items():
        form, gap, gradient, kind = job
        solved = [each["solved"] for each in runs if each["solved"] is not None]
        rows.append(
            (
                f"{form} {gap}{f' or {gap + 1}' if form == 'measure' else ''}, {gradient} gradient, {kind}",
                f"{len(solved)} of {len(runs)}",
                f"{median(solved):,.0f}" if solved else "",
                f"{100 * median([each['right'] for each in runs]):.1f} %",
                f"{median([each['beats'] for each in runs]):.0f}" if form == "generate" else "",
                f"{median([each['cpu_seconds'] for each in runs]):.0f}",
                PUBLISHED[form],
            )
        )
    head = ("", "learned", "updates", "right", "beats kept", "s", "published (Gers 2002)")
    print_table(head, rows)
    print("\nright: of pairs, or of steps; beats kept: until the first wrong step, of 100")
    file = picture_file(options)
    if file is not None:
        draw(found, file)
    return kept.content({"seeds": seeds, "published": PUBLISHED})


def _trainer(settings: dict[str, Any], seed: int) -> Callable[[], Run]:
    def work() -> Run:
        form, gap = settings["form"], settings["gap"]
        measuring = form == "measure"
        cells = LSTMConfig(hidden_size=settings["hidden_size"], peepholes=settings["peepholes"])
        net = network([cells, LastConfig()] if measuring else [cells], 1, 2, seed)
        told: dict[str, Any] = {}
        test = _pairs(gap, 1_000, TEST_SEED) if measuring else _beats(gap, 10 * BEATS)
        record = None if measuring else _beats(gap, BEATS)

        def measure() -> tuple[float, bool]:
            out = net(test.inputs)
            right = (out.data if isinstance(out, Ragged) else out).argmax(dim=1) == test.targets
            told["right"] = float(right.float().mean())
            told["beats"] = None if measuring else int(right.int().cumprod(0).sum()) // gap
            return told["right"], bool(right.all())

        went = learn(
            net,
            get_loss("cross_entropy"),
            lambda update: record or _pairs(gap, settings["batch"], data_seed(seed, update)),
            updates=settings["updates"],
            lr=settings["lr"],
            clip=settings["clip"],
            every=settings["every"],
            measure=measure,
            rule=RULES[settings["gradient"]],
        )
        return {
            **told,
            "solved": went.solved,
            "updates": went.updates,
            "parameters": parameters(net),
            "curve": short(went.curve),
            "inside": None if measuring else _inside(net, gap),
        }

    return work


def _pairs(gap: int, n: int, seed: int) -> Batch:
    return batch_of(load("timing", form="measure", n=n, gap=gap, kinds=2, seed=seed))


def _beats(gap: int, beats: int) -> Batch:
    return batch_of(load("timing", form="generate", n=1, gap=gap, length=gap * beats))


def _inside(net: Stack, gap: int) -> dict[str, list[Any]]:
    """The cell states of three beats, and the chance of a beat that the network gives."""
    x = torch.ones(3 * gap, 1, 1)
    layer = next(iter(net.layers.values()))
    with torch.no_grad():
        trace = layer(x, return_states=True)[2]
        out = net(Ragged.of(x))
        assert isinstance(out, Ragged)
        chance: Tensor = out.data.softmax(dim=1)[:, 1]
    cells = trace["c_l0"][:, 0].T
    return {
        "cells": [[round(float(value), 3) for value in unit] for unit in cells],
        "beat": [round(float(value), 3) for value in chance],
    }


def draw(found: dict[Job, list[Run]], file: Path) -> None:
    """What a network that beats time has in its cells; the share of right answers while training."""
    from benchmarks.reproductions.shared.pictures import BLUE, INK, ORANGE, QUIET, End, at_ends, panels, save

    jobs = list(dict.fromkeys((job.form, job.gap, job.gradient) for job in found))
    figure, axes = panels(2, len(jobs), 3.3, 2.6)
    for ax, below, (form, gap, gradient) in zip(axes, axes[len(jobs) :], jobs):
        ends, solved = [], []
        for kind, colour in zip(KINDS, (BLUE, ORANGE)):
            for k, each in enumerate(found[Job(form, gap, gradient, kind)]):
                x, y = [u / 1000 for u, _ in each["curve"]], [v for _, v in each["curve"]]
                ax.plot(x, y, color=colour, lw=1, alpha=0.8)
                done = each["solved"] is not None
                ax.plot(x[-1], y[-1], "*" if done else "o", color=colour, ms=9 if done else 3)
                if k == 0:
                    ends.append(End(x[-1], y[-1], kind, colour))
                if done and each["inside"] is not None:
                    solved.append((kind, each["inside"]))
        ax.set_title(f"{form} {gap}, {gradient} gradient")
        ax.set_xlabel("updates, thousands; star: learned")
        ax.set_ylabel("share right")
        ax.margins(x=0.2)
        ax.set_ylim(0, 1.08)
        at_ends(ax, ends)
        if not solved:
            below.axis("off")
            continue
        kind, inside = solved[0]
        for unit in inside["cells"]:
            below.plot(range(1, len(unit) + 1), unit, color=QUIET, lw=1)
        below.plot(range(1, 3 * gap + 1), inside["beat"], color=INK, lw=1.8)
        below.set_title(f"inside one with {kind}")
        below.set_xlabel("step; black: chance of a beat, grey: cells c")
    save(figure, file)
