"""JSB chorales: the negative log-likelihood of the next step, official parts, beside published figures.

One recurrent layer of at most 300,000 parameters with its head, as in Bai, Kolter & Koltun 2018, over 88
keys that are independent given what was heard; nats a step, summed over the keys, the mean over all
predicted steps of the part. Training stops by the validation part. The settings are one plain choice for
all three cells; `--search` tries others on the validation part, one seed. `--data` must hold
music/jsb_chorales.npz. `--quick` trains small layers for three epochs.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

from benchmarks.common import print_header, print_table
from benchmarks.reproductions.shared import music
from benchmarks.reproductions.shared.labels import name_lines
from benchmarks.reproductions.shared.options import data_folder, picture_file
from benchmarks.reproductions.shared.runs import Kept, Run

# Bai, Kolter & Koltun 2018, table 1 (300 thousand parameters); Chung et al. 2014, table 2 (20 thousand).
PUBLISHED = {"lstm": (8.45, 8.67), "gru": (8.43, 8.54), "elman": (8.91, 9.10)}
SEEDS = 3
PARAMETERS, QUICK_PARAMETERS = 300_000, 10_000
SETTINGS = {
    "lr": 3e-3,
    "epochs": 60,
    "patience": 8,
    "batch_size": 8,
    "dropout_in": 0.2,
    "dropout_out": 0.3,
    "weight_decay": 0.0,
}
QUICK = {**SETTINGS, "epochs": 3, "batch_size": 32}
SEARCH: tuple[dict[str, Any], ...] = (
    {},
    {"lr": 1e-3},
    {"dropout_in": 0.0},
    {"dropout_out": 0.5},
    {"weight_decay": 1e-4},
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """`--seeds`, `--search`."""
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"runs of each (default {SEEDS})")
    parser.add_argument(
        "--search", action="store_true", help="what was tried on the validation part, one seed"
    )


def run(options: argparse.Namespace) -> dict[str, object]:
    """Train, print the table, draw the curves."""
    rolls = music.pieces(data_folder(options))
    kept = Kept(options)
    if options.search:
        return _search(rolls, kept)
    settings = QUICK if options.quick else SETTINGS
    seeds = range(1 if options.quick else options.seeds)
    found: dict[str, list[Run]] = {}
    for seed in seeds:
        for cell in PUBLISHED:
            size = music.size_for(cell, QUICK_PARAMETERS if options.quick else PARAMETERS)
            found.setdefault(cell, []).append(_one(rolls, kept, cell, size, seed, settings))
    print_header("JSB chorales, negative log-likelihood a step, nats", kept.machine)
    floors = music.floors(rolls)
    print_table(
        ("", "validation", "test", "", "published", "at 20,000", "H", "parameters", "epochs"), _rows(found)
    )
    for name, value in floors.items():
        print(f"{name}: {value:.2f}")
    print(f"\nmean of seeds {', '.join(map(str, seeds))}; the smallest and largest in brackets")
    file = picture_file(options)
    if file is not None:
        draw(found, floors, file)
    summary = {
        cell: {part: statistics.mean(r["nll"][part] for r in runs) for part in music.PARTS}
        for cell, runs in found.items()
    }
    return kept.content({"nll": summary, "floors": floors, "published": PUBLISHED})


def _one(rolls: dict[str, Any], kept: Kept, cell: str, size: int, seed: int, settings: dict[str, Any]) -> Run:
    return kept.run(
        f"{cell} seed {seed}",
        {"hidden_size": size, "seed": seed, **settings},
        lambda: music.fit(rolls, cell, hidden_size=size, seed=seed, **settings),
    )


def _rows(found: dict[str, list[Run]]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for cell, runs in found.items():
        test = [r["nll"]["test"] for r in runs]
        rows.append(
            (
                cell,
                f"{statistics.mean(r['nll']['valid'] for r in runs):.2f}",
                f"{statistics.mean(test):.2f}",
                f"[{min(test):.2f}, {max(test):.2f}]",
                *(f"{figure:.2f}" for figure in PUBLISHED[cell]),
                runs[0]["settings"]["hidden_size"],
                f"{runs[0]['parameters']:,}",
                "/".join(str(r["best_epoch"]) for r in runs),
            )
        )
    return rows


def _search(rolls: dict[str, Any], kept: Kept) -> dict[str, object]:
    rows: list[tuple[object, ...]] = []
    for cell in PUBLISHED:
        for change in SEARCH:
            settings = {**(QUICK if kept.quick else SETTINGS), **change}
            size = music.size_for(cell, QUICK_PARAMETERS if kept.quick else PARAMETERS)
            name = f"{cell} {change or 'as chosen'}"
            found = kept.run(
                name,
                {"hidden_size": size, "seed": 0, **settings},
                lambda cell=cell, size=size, settings=settings: music.fit(  # type: ignore[misc]
                    rolls, cell, hidden_size=size, seed=0, **settings
                ),
            )
            rows.append(
                (name, found["nll"]["valid"], found["best_epoch"], found["processor_seconds_an_epoch"])
            )
    print_header("JSB chorales, what was tried on the validation part", kept.machine)
    print_table(("", "validation", "best epoch", "seconds an epoch"), rows)
    return kept.content({})


def draw(found: dict[str, list[Run]], floors: dict[str, float], file: Path) -> None:
    """The validation curves, and the test figures beside the published ones."""
    from benchmarks.reproductions.shared.pictures import CELLS, INK, QUIET, level, panels, save

    figure, (left, right) = panels(1, 2, 5.0, 3.4)
    ends = []
    for cell, runs in found.items():
        for each in runs:
            epochs = [row[0] for row in each["curve"]]
            left.plot(epochs, [row[2] for row in each["curve"]], color=CELLS[cell], lw=1.2)
            left.plot(
                epochs,
                [row[1] for row in each["curve"]],
                color=CELLS[cell],
                lw=0.8,
                ls=(0, (2, 2)),
                alpha=0.7,
            )
        last = max(runs, key=lambda r: len(r["curve"]))["curve"][-1]
        ends.append((last[0], last[2], cell, CELLS[cell]))
    left.set_ylim(7, 12)
    chain = floors["each key a Markov chain"]
    level(left, chain, "")
    left.annotate(
        "each key a Markov chain",
        (0.35, chain),
        (0, 4),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        color=QUIET,
    )
    left.set_title("Learning: validation, and training with dropout (dashed)")
    left.set_xlabel("epoch")
    left.set_ylabel("nats a step")
    name_lines(left, ends)
    for y, (cell, runs) in enumerate(found.items()):
        test = [r["nll"]["test"] for r in runs]
        right.plot(test, [y] * len(test), "o", color=CELLS[cell], ms=6, alpha=0.8)
        right.plot(PUBLISHED[cell][0], y, "D", mfc="white", mec=INK, ms=7)
        right.plot(PUBLISHED[cell][1], y, "s", mfc="white", mec=QUIET, ms=6)
    right.set_yticks(range(len(found)), list(found))
    right.set_ylim(len(found) - 0.5, -0.5)
    right.set_title("Test: ours (a dot a seed), ◇ Bai 2018, □ Chung 2014")
    right.set_xlabel("nats a step")
    save(figure, file)
