"""A sine of period 100 with noise, learnt through windows of 25, then forecast freely for 200 steps.

The textbooks' setting: noise uniform in ±0.05, 20 units, Adam 1e-3, a tenth for validation, patience 10,
a record of two periods; the network reads 25 values and says the next, and then reads what it said. The
record, not the window, must hold a whole period: records of a half and a quarter are beside it. Truth is
the clean sine that goes on where the record's first window ends. Ridge on the same windows (α = 1) is the
simple model, and one that always answers 0 has the error 1/√2 = 0.707.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import Ridge

from benchmarks.common import print_header, print_table
from benchmarks.reproductions.shared.options import picture_file
from benchmarks.reproductions.shared.runs import Kept, Run
from benchmarks.reproductions.shared.training import median, network
from saiki.core.ragged import Ragged
from saiki.learning import RaggedSource, Trainer
from saiki.nn import GRUConfig, LastConfig, LSTMConfig, RNNConfig

CELLS = {"elman": RNNConfig, "lstm": LSTMConfig, "gru": GRUConfig}
PERIOD, WINDOW, FREE, NOISE = 100, 25, 200, 0.05
RECORDS = (200, 100, 50)  # rows: two periods, one, a half


def arguments(parser: argparse.ArgumentParser) -> None:
    """`--seeds`."""
    parser.add_argument("--seeds", type=int, default=5, help="records and networks of each (default 5)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train, let each network run freely, measure how far it strays."""
    kept = Kept(options)
    seeds = 1 if options.quick else options.seeds
    records = RECORDS[:1] if options.quick else RECORDS
    epochs = 20 if options.quick else 1_000
    found: dict[tuple[int, str], list[Run]] = {}
    for rows in records:
        for who in (*CELLS, "ridge"):
            settings = {"record": rows, "model": who, "max_epochs": epochs, "batch_size": 10, "noise": NOISE}
            if who == "ridge":
                settings = {"record": rows, "model": who, "noise": NOISE}
            found[rows, who] = [
                kept.run(
                    f"record of {rows}, {who} seed {seed}",
                    {**settings, "seed": seed},
                    partial(_one, who, rows, epochs, seed),
                )
                for seed in range(seeds)
            ]
    title = f"A sine of period {PERIOD}: error of {FREE} steps of free running, medians over seeds"
    print_header(title + (", --quick" if options.quick else ""), kept.machine)
    print_table(
        ("", "rms error", "worst", "last 100 steps", "amplitude left", "correlation", "epochs", "s"),
        [
            (
                f"record of {rows} rows, {who}",
                median([each["rmse"] for each in runs]),
                max(each["rmse"] for each in runs),
                median([each["rmse_late"] for each in runs]),
                median([each["amplitude"] for each in runs]),
                median([each["correlation"] for each in runs]),
                "" if who == "ridge" else f"{median([each['epochs'] for each in runs]):.0f}",
                f"{median([each['cpu_seconds'] for each in runs]):.1f}",
            )
            for (rows, who), runs in found.items()
        ],
    )
    print(
        "\npublished: in words alone, that a plain recurrent network goes on with the wave. Always 0: 0.707."
    )
    file = picture_file(options)
    if file is not None:
        draw(found, file)
    return kept.content({"seeds": seeds, "always_zero": 0.5**0.5, "published": None})


def record_of(rows: int, seed: int) -> np.ndarray[Any, Any]:
    """The noisy record; noise is uniform, as the setting has it."""
    noise = np.random.default_rng(seed).uniform(-NOISE, NOISE, rows)
    return np.sin(2 * np.pi * np.arange(rows) / PERIOD) + noise


def _one(who: str, rows: int, epochs: int, seed: int) -> Run:
    record = record_of(rows, seed)
    windows = np.lib.stride_tricks.sliding_window_view(record, WINDOW + 1)
    x, y = windows[:, :-1], windows[:, -1]
    # as in the setting: a tenth of the windows, drawn, chooses when to stop
    order = np.random.default_rng([seed, 1]).permutation(len(x))
    held = max(1, len(x) // 10)
    train, validation = order[held:], order[:held]
    if who == "ridge":
        fitted = Ridge(alpha=1.0).fit(x, y)
        return _judge(_free(lambda window: float(fitted.predict(window[None])[0]), record[:WINDOW]), None)
    net = network([CELLS[who](hidden_size=20), LastConfig()], 1, 1, seed)
    ran = Trainer(lr=1e-3, max_epochs=epochs, batch_size=10, patience=10, seed=seed).fit(
        net, "squared", _source(x[train], y[train]), _source(x[validation], y[validation])
    )

    def ask(window: np.ndarray[Any, Any]) -> float:
        with torch.no_grad():
            return float(net(Ragged.from_list([torch.tensor(window[:, None], dtype=torch.float32)])))

    return _judge(_free(ask, record[:WINDOW]), len(ran.epochs))


def _source(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> RaggedSource:
    inputs = torch.tensor(x.T[:, :, None].copy(), dtype=torch.float32)  # (25, n, 1)
    return RaggedSource(Ragged.of(inputs), torch.tensor(y[:, None].copy(), dtype=torch.float32))


def _free(ask: Callable[[np.ndarray[Any, Any]], float], first: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    window, said = first.copy(), []
    for _ in range(FREE):
        said.append(ask(window))
        window = np.append(window[1:], said[-1])
    return np.array(said)


def _judge(said: np.ndarray[Any, Any], epochs: int | None) -> Run:
    truth = np.sin(2 * np.pi * np.arange(WINDOW, WINDOW + FREE) / PERIOD)
    off = said - truth
    return {
        "rmse": float(np.sqrt(np.mean(off**2))),
        "rmse_late": float(np.sqrt(np.mean(off[-100:] ** 2))),
        "amplitude": float((said[-100:].max() - said[-100:].min()) / 2),
        "correlation": float(np.corrcoef(said, truth)[0, 1]),
        "epochs": epochs,
        "said": [round(float(value), 4) for value in said],
    }


def draw(found: dict[tuple[int, str], list[Run]], file: Path) -> None:
    """A row a record, a column a model: the record, then every seed's free run."""
    from benchmarks.reproductions.shared.pictures import CELLS as COLOURS
    from benchmarks.reproductions.shared.pictures import INK, QUIET, panels, save

    records = list(dict.fromkeys(rows for rows, _ in found))
    models = list(dict.fromkeys(who for _, who in found))
    figure, axes = panels(len(records), len(models), 3.4, 2.1)
    for ax, (rows, who) in zip(axes, [(rows, who) for rows in records for who in models]):
        steps = np.arange(WINDOW + FREE)
        ax.axvspan(0, WINDOW, color=QUIET, alpha=0.12, lw=0)
        ax.plot(steps, np.sin(2 * np.pi * steps / PERIOD), color=QUIET, lw=1, ls=(0, (4, 2)))
        for each in found[rows, who]:
            ax.plot(steps[WINDOW:], each["said"], color=COLOURS.get(who, INK), lw=1, alpha=0.8)
        ax.set_ylim(-1.8, 1.8)
        ax.set_title(f"{who}, record of {rows}")
        ax.set_yticks([-1, 0, 1])
    for ax in axes[-len(models) :]:
        ax.set_xlabel("step; dashed: the clean wave")
    save(figure, file)
