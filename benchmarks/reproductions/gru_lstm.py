"""GRU against LSTM (and Elman): at equal numbers of hidden units, and at equal numbers of parameters.

Two tasks. The next step of JSB chorales at the size of Chung et al. 2014 (LSTM of 36 units, about 20,000
parameters), stopped by the official validation part. And handwritten digits read pixel by pixel (optdigits,
64 steps of one number, official parts), for a fixed number of epochs. A GRU has three gate blocks where an
LSTM has four, so at equal parameters it has more units. `--data` must hold music/jsb_chorales.npz and
classification/optdigits_8x8.npz. `--quick`: one seed, two epochs, fewer digits.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import print_header, print_table
from benchmarks.reproductions.shared import music
from benchmarks.reproductions.shared.options import data_folder, picture_file
from benchmarks.reproductions.shared.runs import Kept, Run
from benchmarks.reproductions.shared.training import network, parameters
from saiki.core.ragged import Ragged
from saiki.learning import RaggedSource, Trainer, Training, evaluate
from saiki.losses import CrossEntropy
from saiki.nn import LastConfig

SEEDS = 2
UNITS = {"chorales": 36, "pixels": 32}  # of the LSTM; Chung et al. 2014 took 36
CHORALES = {
    "lr": 5e-3,
    "epochs": 160,
    "patience": 10,
    "batch_size": 8,
    "dropout_in": 0.0,
    "dropout_out": 0.1,
    "weight_decay": 0.0,
}
PIXELS = {"lr": 1e-2, "epochs": 30, "batch_size": 64}
CLASSES = 10
# Chung et al. 2014, table 2: tanh with 100 units, GRU 46, LSTM 36. Pixels of MNIST, 784 steps: Bai, Kolter &
# Koltun 2018, table 1, 70 thousand parameters; other digits and a longer way, so a bearing, no target.
PUBLISHED = {
    "chorales": {"elman": "9.10", "gru": "8.54", "lstm": "8.67"},
    "pixels": {"elman": "(21.5)", "gru": "(96.2)", "lstm": "(87.2)"},
}


def contenders(task: str) -> list[tuple[str, str, int]]:
    """(name, cell, hidden units)."""
    H = UNITS[task]
    budget = _count(task, "lstm", H)
    sizes = {cell: _fitting(task, cell, budget) for cell in ("gru", "elman")}
    found = [(f"lstm {H}", "lstm", H), (f"gru {H}, as many units", "gru", H)]
    found += [(f"gru {sizes['gru']}, as many parameters", "gru", sizes["gru"])]
    return [*found, (f"elman {sizes['elman']}, as many parameters", "elman", sizes["elman"])]


def _count(task: str, cell: str, H: int) -> int:
    if task == "chorales":
        return music.parameters(cell, H)
    return music.GATES[cell] * H * (1 + H + 1) + (H if cell == "gru" else 0) + CLASSES * (H + 1)


def _fitting(task: str, cell: str, budget: int) -> int:
    H = 1
    while _count(task, cell, H + 1) <= budget:
        H += 1
    return H


def arguments(parser: argparse.ArgumentParser) -> None:
    """`--seeds`."""
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"runs of each (default {SEEDS})")


def run(options: argparse.Namespace) -> dict[str, object]:
    """Train on both, print the tables, draw."""
    data = data_folder(options)
    kept = Kept(options)
    rolls = music.pieces(data)
    digits = _digits(data, options.quick)
    chorales = {**CHORALES, "epochs": 2} if options.quick else CHORALES
    pixels = {**PIXELS, "epochs": 2} if options.quick else PIXELS
    found: dict[str, dict[str, list[Run]]] = {"chorales": {}, "pixels": {}}
    for seed in range(1 if options.quick else options.seeds):
        for name, cell, H in contenders("chorales"):
            settings = {"cell": cell, "hidden_size": H, "seed": seed, **chorales}
            one = kept.run(
                f"chorales, {name}, seed {seed}", settings, lambda s=settings: music.fit(rolls, **s)
            )  # type: ignore[misc]
            found["chorales"].setdefault(name, []).append(one)
        for name, cell, H in contenders("pixels"):
            settings = {"cell": cell, "hidden_size": H, "seed": seed, **pixels}
            one = kept.run(
                f"pixels, {name}, seed {seed}", settings, lambda s=settings: _classify(digits, **s)
            )  # type: ignore[misc]
            found["pixels"].setdefault(name, []).append(one)
    print_header("GRU against LSTM at equal units and at equal parameters", kept.machine)
    print("JSB chorales, negative log-likelihood of the test part, nats a step")
    head = ("", "mean", "smallest", "largest", "published", "parameters", "epochs", "processor s an epoch")
    print_table(head, [_row("chorales", name, runs) for name, runs in found["chorales"].items()])
    print("\nDigits pixel by pixel, accuracy on the test part, per cent (published: MNIST, 784 steps)")
    print_table(head, [_row("pixels", name, runs) for name, runs in found["pixels"].items()])
    file = picture_file(options)
    if file is not None:
        draw(found, file)
    summary = {
        task: {name: statistics.mean(_score(task, each) for each in runs) for name, runs in models.items()}
        for task, models in found.items()
    }
    return kept.content({"test": summary, "published": PUBLISHED})


def _score(task: str, each: Run) -> float:
    return float(each["nll"]["test"] if task == "chorales" else 100 * each["accuracy"])


def _row(task: str, name: str, runs: list[Run]) -> tuple[object, ...]:
    scores = [_score(task, each) for each in runs]
    form = "{:.2f}" if task == "chorales" else "{:.1f}"
    return (
        name,
        *(form.format(value) for value in (statistics.mean(scores), min(scores), max(scores))),
        PUBLISHED[task][runs[0]["settings"]["cell"]],
        f"{runs[0]['parameters']:,}",
        "/".join(str(each.get("best_epoch") or each["epochs"]) for each in runs),
        f"{statistics.median(each['processor_seconds_an_epoch'] for each in runs):.2f}",
    )


def _digits(data: Path, quick: bool) -> dict[str, RaggedSource]:
    packed = np.load(data / "classification" / "optdigits_8x8.npz")
    found = {}
    for part, most in (("train", 400 if quick else None), ("test", 400 if quick else None)):
        x = torch.from_numpy(packed[f"x_{part}"][:most].reshape(-1, 64, 1).astype(np.float32) / 16)
        y = torch.from_numpy(packed[f"y_{part}"][:most])
        found[part] = RaggedSource(Ragged.from_padded(x, [64] * len(x), batch_first=True), y)
    return found


def _classify(
    digits: dict[str, RaggedSource],
    *,
    cell: str,
    hidden_size: int,
    seed: int,
    lr: float,
    epochs: int,
    batch_size: int,
) -> Run:
    lines = [music.RECURRENT[cell](hidden_size=hidden_size), LastConfig()]
    net = network(lines, 1, CLASSES, seed)
    curve: list[list[float]] = []
    began = time.process_time()
    trainer = Trainer(
        training=Training(clip_norm=1.0, schedule="cosine"),
        lr=lr,
        max_epochs=epochs,
        batch_size=batch_size,
        patience=None,
        seed=seed,
    )
    record = trainer.fit(net, "cross_entropy", digits["train"])
    spent = time.process_time() - began
    curve = [[each.epoch, round(each.loss, 4), None] for each in record.epochs]  # type: ignore[list-item]
    test = digits["test"].batch(torch.arange(len(digits["test"])))
    with torch.no_grad():
        said = net(test.inputs)
    assert isinstance(said, torch.Tensor)
    return {
        "parameters": parameters(net),
        "accuracy": float((said.argmax(1) == test.targets).float().mean()),
        "loss": evaluate(net, CrossEntropy(), digits["test"]),
        "curve": curve,
        "epochs": epochs,
        "processor_seconds_an_epoch": round(spent / epochs, 3),
    }


def draw(found: dict[str, dict[str, list[Run]]], file: Path) -> None:
    """Learning curves, a line a seed."""
    from benchmarks.reproductions.shared.pictures import CELLS, panels, save

    figure, axes = panels(1, 2, 5.2, 3.6)
    titles = {
        "chorales": "JSB chorales: validation, nats a step",
        "pixels": "Digits pixel by pixel: training loss",
    }
    for ax, (task, models) in zip(axes, found.items()):
        column = 2 if task == "chorales" else 1
        for name, runs in models.items():
            cell = runs[0]["settings"]["cell"]
            dashed = "as many units" in name
            for k, each in enumerate(runs):
                curve: list[list[Any]] = each["curve"]
                ax.plot(
                    [row[0] for row in curve],
                    [row[column] for row in curve],
                    color=CELLS[cell],
                    lw=1.2,
                    ls=(0, (3, 2)) if dashed else "-",
                    alpha=0.85,
                    label=name if k == 0 else None,
                )
        ax.set_title(titles[task])
        ax.set_xlabel("epoch")
        ax.legend(frameon=False, fontsize=8)
    axes[0].set_ylim(8, 11)
    axes[1].set_yscale("log")
    save(figure, file)
