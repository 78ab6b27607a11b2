"""A stream whose pattern drifts: a forecaster under RTRL, the same model frozen, and under truncated BPTT.

    x_t = φ_t x_{t-L} + noise, variance 0.19        φ 0.9, so that x has variance 1

    steps 1 to 600          φ = 0.9, L = 3: what the network has learned beforehand, by BPTT
    to 1,800                φ falls to -0.9, a little each step
    to 2,400                φ = -0.9
    from there              L = 6: the value to go by now lies six steps back

One GRU with a linear head forecasts the next value; every contender starts from the same weights and is
tested on each row before it learns from it: one update a row, Adam. No forecaster can get below the noise;
always answering 0 costs the variance. While φ drifts the head alone could follow; the longer lag has to be
learned by the recurrent weights, and a gradient that is cut off before it reaches that far back cannot see
it. Where nothing drifts, learning on costs something, and the frozen model is the better one. There is no
published figure. `--quick`: one seed, a twentieth of every stretch.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import print_header, print_table
from benchmarks.reproductions.shared.labels import name_lines, plain_log
from benchmarks.reproductions.shared.options import picture_file
from benchmarks.reproductions.shared.runs import Kept, Run
from benchmarks.reproductions.shared.training import network
from saiki.core.ragged import Ragged
from saiki.learning import Adam, Batch, LearningRule, RaggedSource, Trainer, Training, TruncatedBPTT, Updater
from saiki.learning.clipping import clip_by_norm
from saiki.learning.rtrl import RTRL
from saiki.losses import Squared
from saiki.nn import GRUConfig, Stack

SEEDS = 3
HIDDEN = 12
NOISE = 0.19
STRETCHES = (600, 1_200, 600, 3_600)  # as before, drifting, drifted, another lag
LAGS = (3, 6)
LR = 5e-3
CLIP = 1.0
CONTENDERS = ("frozen", "RTRL", "RTRL, snap1", "truncated BPTT, 4 steps", "truncated BPTT, 16 steps")
NAMES = ("as learned", "φ drifting", "φ drifted", "lag 6, first half", "lag 6, second half")
SPAN = 400  # steps of the running error
KEPT = 20  # steps a point of the curve


def rule_of(name: str) -> LearningRule | None:
    """The learning rule of a contender; None for the one that does not learn."""
    return {
        "frozen": None,
        "RTRL": RTRL(every=1),
        "RTRL, snap1": RTRL(approximation="snap1", every=1),
        "truncated BPTT, 4 steps": TruncatedBPTT(4, stride=1),
        "truncated BPTT, 16 steps": TruncatedBPTT(16, stride=1),
    }[name]


def stretches(quick: bool) -> tuple[int, ...]:
    """Steps of each stretch."""
    return tuple(n // 20 for n in STRETCHES) if quick else STRETCHES


def stream(seed: int, lengths: tuple[int, ...]) -> np.ndarray:
    """(1 + Σ lengths,) the values."""
    rng = np.random.default_rng([seed, 1])
    before, drifting, drifted, other = lengths
    phi = np.concatenate(
        [np.full(before, 0.9), np.linspace(0.9, -0.9, drifting), np.full(drifted + other, -0.9)]
    )
    lag = np.where(np.arange(len(phi)) < before + drifting + drifted, *LAGS)
    noise = rng.normal(0, NOISE**0.5, len(phi))
    x = list(rng.normal(0, 1, max(LAGS) + 1))
    for t in range(len(phi)):
        x.append(phi[t] * x[-lag[t]] + noise[t])
    return np.array(x[max(LAGS) :])


def learned(seed: int, quick: bool) -> Stack:
    """The forecaster before the stream: trained by BPTT on 64 stretches of 200 steps with φ = 0.9, L = 3."""
    net = network([GRUConfig(hidden_size=HIDDEN)], 1, 1, seed)
    pieces = [stream(1_000 * (seed + 1) + k, (200, 0, 0, 0)) for k in range(64)]
    rows = [torch.tensor(piece, dtype=torch.float32)[:, None] for piece in pieces]
    source = RaggedSource([row[:-1] for row in rows], [row[1:] for row in rows])
    trainer = Trainer(
        training=Training(schedule="cosine"),
        lr=1e-2,
        max_epochs=2 if quick else 40,
        batch_size=8,
        patience=None,
        seed=seed,
    )
    trainer.fit(net, "squared", source)
    return net


def follow(net: Stack, rule: LearningRule | None, values: np.ndarray) -> Run:
    """Test on each row, then learn from it; the squared errors."""
    net = copy.deepcopy(net)
    rows = torch.tensor(values, dtype=torch.float32)[:, None]
    began = time.process_time()
    if rule is None:
        with torch.no_grad():
            said = net(Ragged.from_list([rows[:-1]]))
        assert isinstance(said, Ragged)
        errors = ((said.data - rows[1:]) ** 2)[:, 0].tolist()
    else:
        errors = []
        loss, updater, state = Squared(), Updater(Adam(), net, lr=LR), rule.start(net, 1)
        for x, target in itertools.pairwise(rows):
            batch = Batch(Ragged.from_list([x[None]]), target[None], per_step=True)
            # the loss that comes back is that of the forecast made before the update
            losses, gradients, state = rule.gradient(net, loss, batch, state)
            updater.step(clip_by_norm(gradients, CLIP))
            errors.append(float(losses[0]))
    spent = time.process_time() - began
    return {
        "processor_ms_a_step": round(1e3 * spent / len(errors), 4),
        "errors": [
            round(float(e), 4)
            for e in np.array(errors)[: len(errors) // KEPT * KEPT].reshape(-1, KEPT).mean(1)
        ],
        "finite": bool(np.isfinite(errors).all()),
    }


def parts(lengths: tuple[int, ...]) -> list[slice]:
    """The five stretches that are reported, in points of the curve."""
    before, drifting, drifted, other = (n // KEPT for n in lengths)
    ends = np.cumsum([0, before, drifting, drifted, other // 2, other - other // 2])
    return [slice(int(a), int(b)) for a, b in itertools.pairwise(ends)]


def arguments(parser: argparse.ArgumentParser) -> None:
    """`--seeds`."""
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"runs of each (default {SEEDS})")


def run(options: argparse.Namespace) -> dict[str, object]:
    """Follow the stream, print the table, draw."""
    kept = Kept(options)
    lengths = stretches(options.quick)
    found: dict[str, list[Run]] = {name: [] for name in CONTENDERS}
    for seed in range(1 if options.quick else options.seeds):
        values = stream(seed, lengths)
        start: list[Stack] = []  # learned once, when the first contender needs it

        def begin(seed: int = seed, start: list[Stack] = start) -> Stack:
            if not start:
                start.append(learned(seed, options.quick))
            return start[0]

        for name in CONTENDERS:
            rule = rule_of(name)
            settings = {
                "rule": repr(rule),
                "stretches": lengths,
                "lr": LR,
                "hidden_size": HIDDEN,
                "seed": seed,
            }
            found[name].append(
                kept.run(
                    f"{name}, seed {seed}",
                    settings,
                    lambda begin=begin, rule=rule, values=values: follow(begin(), rule, values),  # type: ignore[misc]
                )
            )
    print_header("A drifting stream, mean squared error of the next value", kept.machine)
    rows: list[tuple[object, ...]] = []
    summary: dict[str, list[float]] = {}
    for name, runs in found.items():
        means = [
            statistics.mean(float(np.mean(each["errors"][part])) for each in runs) for part in parts(lengths)
        ]
        summary[name] = means
        ms = statistics.median(each["processor_ms_a_step"] for each in runs)
        rows.append((name, *means, f"{ms:.2f}"))
    print_table(("", *NAMES, "ms a step"), rows)
    print(f"\nthe noise, below which nobody gets: {NOISE}; mean of {len(runs)} seeds")
    file = picture_file(options)
    if file is not None:
        draw(found, lengths, file)
    return kept.content({"mean_squared_error": summary, "stretches": list(NAMES), "noise": NOISE})


def draw(found: dict[str, list[Run]], lengths: tuple[int, ...], file: Path) -> None:
    """The running error of every contender, the median over the seeds with their range."""
    from benchmarks.reproductions.shared.pictures import (
        BLUE,
        GREEN,
        INK,
        OCHRE,
        ORANGE,
        QUIET,
        level,
        panels,
        running,
        save,
    )

    colours = dict(zip(CONTENDERS, (QUIET, BLUE, GREEN, ORANGE, OCHRE)))
    figure, (ax,) = panels(1, 1, 9.5, 4.2)
    ends = []
    for name, runs in found.items():
        curves = np.array([running(each["errors"], SPAN // KEPT) for each in runs])
        x = KEPT * (1 + np.arange(curves.shape[1]))
        ax.fill_between(x, curves.min(0), curves.max(0), color=colours[name], alpha=0.13, lw=0)
        ax.plot(x, np.median(curves, 0), color=colours[name], lw=1.6)
        ends.append((float(x[-1]), float(np.median(curves, 0)[-1]), name, colours[name]))
    level(ax, NOISE, "")
    ax.annotate(
        "the noise",
        (0.5, NOISE),
        (0, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        color=QUIET,
    )
    before, drifting, drifted, _ = lengths
    marks = np.cumsum([before, drifting, drifted])
    for at, text in zip(marks, ("φ begins to drift", "φ = -0.9", "lag 6")):
        ax.axvline(at, color=INK, lw=0.8, ls=(0, (2, 2)))
        ax.annotate(
            text,
            (at, 1),
            (3, -4),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            va="top",
            fontsize=8,
        )
    plain_log(ax)
    ax.set_xlim(0, x[-1])
    ax.set_xlabel("row of the stream")
    ax.set_title(f"Squared error of the next value, mean of the last {SPAN} rows; band: the seeds")
    name_lines(ax, ends)
    save(figure, file)
