"""The embedded Reber grammar, word by word and as one stream, with and without forget gate (Gers 2000).

    words    the state is zero at the beginning of each word
    stream   word after word, and nobody says where one ends: a network must forget by itself

An LSTM of 8 cells reads a symbol and gives the chances of the next. An answer is right where the symbols
to which it gives more than 1/4 are those that the grammar allows (a branch has 1/2 each). A network is
judged as in the paper: ten test streams of 100,000 symbols, each until its first wrong answer; `perfect`
are those that never fail, `good` have a mean run of more than 1,000 symbols. Training reads 16 streams of
1,000 symbols at a time, carries the state from window to window of 50 and starts the next streams from
zero; it ends when ten test streams are all right, or with the last update.

Not as in the paper: Adam and cross-entropy on 16 streams at a time for one stream, squared error and
sigmoids; full gradients inside a window for truncated ones; training streams of fixed length, where the
paper's end at the first error; 8 cells with a gate each for 4 blocks of 2.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
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
)
from saiki.core.ragged import Ragged
from saiki.data import load, reber_successors
from saiki.learning import TruncatedBPTT
from saiki.losses import get_loss
from saiki.nn import LSTMConfig, Stack

STREAMS, STEPS, WINDOW = 16, 1_000, 50
TESTS, TEST_STEPS, TEST_SEED = 10, 100_000, 1997
KINDS = {"forget gate": True, "no forget gate": False}
# Gers, Schmidhuber & Cummins 2000, table 2: share perfect, share good, mean run of the rest; 100 networks
PUBLISHED = {
    ("words", "no forget gate"): "74 % perfect, 26 % run 31",
    ("stream", "no forget gate"): "0 % perfect, 1 % good, 99 % run 37",
    ("stream", "forget gate"): "18 % perfect, 29 % good, 53 % run 145 (rate decayed: 62 % perfect)",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """`--seeds`."""
    parser.add_argument("--seeds", type=int, default=3, help="networks of each (default 3)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train both kinds on words and on streams, and let them run."""
    kept = Kept(options)
    seeds = 1 if options.quick else options.seeds
    found: dict[tuple[str, str], list[Run]] = {}
    for form in ("words", "stream"):
        for kind, gate in KINDS.items():
            settings = {
                "form": form,
                "forget_gate": gate,
                "hidden_size": 8,
                "lr": 5e-3,
                "clip": 1.0,
                "updates": 400 if options.quick else 15_000,
                "every": 200 if options.quick else 1_000,
                "test_steps": 2_000 if options.quick else TEST_STEPS,
            }
            found[form, kind] = [
                kept.run(f"{form}, {kind} seed {seed}", {**settings, "seed": seed}, _trainer(settings, seed))
                for seed in range(seeds)
            ]
    title = "Embedded Reber grammar: symbols until the first wrong answer, ten test streams a network"
    print_header(title + (", --quick" if options.quick else ""), kept.machine)
    rows: list[tuple[object, ...]] = []
    for (form, kind), runs in found.items():
        perfect = sum(each["perfect"] for each in runs)
        good = sum(not each["perfect"] and each["mean_run"] > 1_000 for each in runs)
        rows.append(
            (
                f"{form}, {kind}",
                f"{perfect} of {len(runs)}",
                f"{good} of {len(runs)}",
                f"{median([each['mean_run'] for each in runs]):,.0f}",
                f"{100 * median([each['wrong'] for each in runs]):.3f} %",
                f"{median([each['largest_cell'] for each in runs]):.1f}",
                f"{median([each['updates'] for each in runs]):,.0f}",
                f"{median([each['cpu_seconds'] for each in runs]):.0f}",
                PUBLISHED.get((form, kind), ""),
            )
        )
    head = (
        "",
        "perfect",
        "good",
        "mean run",
        "wrong",
        "largest |c|",
        "updates",
        "s",
        "published (Gers 2000)",
    )
    print_table(head, rows)
    file = picture_file(options)
    if file is not None:
        draw(found, file)
    return kept.content(
        {"seeds": seeds, "published": {", ".join(key): value for key, value in PUBLISHED.items()}}
    )


def _trainer(settings: dict[str, Any], seed: int) -> Callable[[], Run]:
    def work() -> Run:
        gate, form = settings["forget_gate"], settings["form"]
        net = network([LSTMConfig(hidden_size=settings["hidden_size"], forget_gate=gate)], 7, 7, seed)
        words = form == "words"
        few = TEST_STEPS // 50
        steps = min(settings["test_steps"], few)

        def measure() -> tuple[float, bool]:
            """A short test first: the long one is for those that pass it."""
            runs = _test(net, words, steps, TEST_SEED)[0]
            if min(runs) == steps and settings["test_steps"] > steps:
                runs = _test(net, words, settings["test_steps"], TEST_SEED + 1)[0]
                return float(np.mean(runs)), min(runs) == settings["test_steps"]
            return float(np.mean(runs)), False

        def draw_batch(update: int) -> Any:  # noqa: ANN401
            own = data_seed(seed, update)
            if words:  # as many symbols as a window of the streams has
                return batch_of(load("reber", n=STREAMS * WINDOW // 12, seed=own))
            return batch_of(load("continual_reber", n=STREAMS, length=STEPS, seed=own))

        went = learn(
            net,
            get_loss("cross_entropy"),
            draw_batch,
            updates=settings["updates"],
            lr=settings["lr"],
            clip=settings["clip"],
            every=settings["every"],
            measure=measure,
            rule=None if words else TruncatedBPTT(WINDOW),
        )
        with torch.no_grad():
            runs, wrong, largest = _test(net, words, settings["test_steps"], TEST_SEED + 2)
        return {
            "perfect": min(runs) == settings["test_steps"],
            "mean_run": float(np.mean(runs)),
            "runs": runs,
            "wrong": wrong,
            "largest_cell": largest,
            "updates": went.updates,
            "parameters": parameters(net),
            "curve": [[update, round(value)] for update, value in went.curve],
        }

    return work


class _Streams(NamedTuple):
    """Ten test streams, drawn once."""

    parts: list[Ragged]  # the streams cut in time; or the words of each stream, the state zero before each
    allowed: list[Tensor]  # what the grammar allows after each symbol, (symbols, 7) a stream


@cache
def _streams(words: bool, steps: int, seed: int) -> _Streams:
    if not words:
        data = load("continual_reber", n=TESTS, length=steps, seed=seed)
        x = torch.tensor(np.stack(data.sequences), dtype=torch.float32).transpose(0, 1)  # (steps, 10, 7)
        allowed = [torch.tensor(reber_successors(each)) for each in data.sequences]
        return _Streams([Ragged.of(part) for part in x.split(10_000)], allowed)
    parts, allowed = [], []
    for k in range(TESTS):
        # at least 8 symbols a word, so there are enough
        data = load("reber", n=-(-steps // 8), seed=seed + 100 * k)
        ends = np.cumsum([len(each) for each in data.sequences])
        own = data.sequences[: int(np.searchsorted(ends, steps)) + 1]
        parts.append(Ragged.from_list([torch.tensor(each, dtype=torch.float32) for each in own]))
        allowed.append(torch.tensor(np.concatenate([reber_successors(each) for each in own])[:steps]))
    return _Streams(parts, allowed)


def _test(net: Stack, words: bool, steps: int, seed: int) -> tuple[list[int], float, float]:
    """Symbols until each stream's first wrong answer, the share of wrong answers, the largest |c| seen."""
    streams = _streams(words, steps, seed)
    said: list[Tensor] = []
    largest, state = 0.0, None
    for part in streams.parts:
        out, after = net.run(part, state)
        state = None if words else after
        assert isinstance(out, Ragged)
        said.append(torch.cat(out.to_list()) if words else out.to_padded())
        largest = max(largest, float(after[0][1].abs().max()))
    if not words:
        said = list(torch.cat(said).unbind(dim=1))
    rights = [
        ((rows[:steps].softmax(dim=-1) > 0.25) == allowed).all(dim=-1)
        for rows, allowed in zip(said, streams.allowed)
    ]
    runs = [int(right.int().cumprod(0).sum()) for right in rights]
    return runs, float((~torch.cat(rights)).float().mean()), largest


def draw(found: dict[tuple[str, str], list[Run]], file: Path) -> None:
    """The mean error-free run on the short test while training, every seed a line."""
    from benchmarks.reproductions.shared.pictures import BLUE, ORANGE, End, at_ends, level, panels, save

    figure, axes = panels(1, 2, 5.0, 3.4)
    for ax, form in zip(axes, ("words", "stream")):
        ends = []
        for kind, colour in zip(KINDS, (BLUE, ORANGE)):
            for k, each in enumerate(found[form, kind]):
                x = [update / 1000 for update, _ in each["curve"]]
                y = [max(run, 1) for _, run in each["curve"]]
                ax.plot(x, y, color=colour, lw=1.1, alpha=0.85)
                ax.plot(
                    x[-1],
                    y[-1],
                    "*" if each["perfect"] else "o",
                    color=colour,
                    ms=9 if each["perfect"] else 3,
                )
                if k == 0:
                    ends.append(End(x[-1], y[-1], kind, colour))
        ax.set_yscale("log")
        level(ax, TEST_STEPS, "ten streams of 100,000 symbols, all right")
        ax.set_title(
            "words, state reset before each" if form == "words" else "one stream, never reset in a test"
        )
        ax.set_xlabel("updates, thousands; star: perfect")
        ax.set_ylabel("symbols until the first wrong answer")
        ax.margins(x=0.14)
        at_ends(ax, ends)
    save(figure, file)
