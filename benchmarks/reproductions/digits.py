"""Digits read row by row: forward, backward, two trained apart and averaged, and one trained jointly.

The 1,797 handwritten digits that come with scikit-learn, 8 rows of 8 pixels, one half to learn and one half
to test, drawn anew for each seed. An LSTM reads the rows from the top, another from the bottom; "averaged"
are the two probabilities' means, and "two forward, averaged" shows what averaging alone gives. The
bidirectional network has both directions under one softmax, trained on one loss: at as many units a
direction, and at as many parameters as one forward network. Its halves alone (the other half of the head's
weights set to zero) are no classifiers of their own: each learned beside the other. `--quick`: one seed,
three epochs.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import print_header, print_table
from benchmarks.reproductions.shared.labels import plain_log
from benchmarks.reproductions.shared.options import picture_file
from benchmarks.reproductions.shared.runs import Kept, Run
from benchmarks.reproductions.shared.training import parameters
from saiki import SequenceClassifier, Training
from saiki.nn import Dense

SEEDS = 5
EPOCHS, QUICK_EPOCHS = 30, 3
HIDDEN, SMALL = 24, 15  # 2 · 15 units have about the parameters of 24
ORDER = (
    "forward",
    "backward",
    "two forward, averaged",
    "apart and averaged",
    "jointly",
    "jointly, as many parameters",
    "jointly, forward half alone",
    "jointly, backward half alone",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """`--seeds`."""
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"runs of each (default {SEEDS})")


def run(options: argparse.Namespace) -> dict[str, object]:
    """Train for each seed, print the table, draw."""
    kept = Kept(options)
    epochs = QUICK_EPOCHS if options.quick else EPOCHS
    runs = [
        kept.run(
            f"seed {seed}",
            {"epochs": epochs, "hidden_size": HIDDEN, "small": SMALL, "seed": seed},
            lambda seed=seed: one(seed, epochs),  # type: ignore[misc]
        )
        for seed in range(1 if options.quick else options.seeds)
    ]
    print_header("Digits as 8 rows of 8, half to learn, half to test", kept.machine)
    rows: list[tuple[object, ...]] = []
    for name in ORDER:
        right = [100 * each["accuracy"][name] for each in runs]
        rows.append(
            (
                name,
                f"{statistics.mean(right):.2f}",
                f"{statistics.stdev(right) if len(right) > 1 else 0.0:.2f}",
                f"{min(right):.2f}",
                f"{max(right):.2f}",
                statistics.mean(each["loss"][name] for each in runs),
                f"{runs[0]['parameters'][name]:,}" if name in runs[0]["parameters"] else "",
            )
        )
    head = ("", "accuracy, %", "deviation", "smallest", "largest", "loss, nats", "parameters")
    print_table(head, rows)
    gain = [each["accuracy"]["jointly"] - each["accuracy"]["apart and averaged"] for each in runs]
    print(
        f"\njointly over apart and averaged: {100 * statistics.mean(gain):+.2f} points, better in "
        f"{sum(g > 0 for g in gain)} of {len(gain)} seeds, worse in {sum(g < 0 for g in gain)}"
    )
    file = picture_file(options)
    if file is not None:
        draw(runs, file)
    mean = {name: statistics.mean(each["accuracy"][name] for each in runs) for name in ORDER}
    return kept.content({"accuracy": mean})


def one(seed: int, epochs: int) -> Run:
    """All contenders on one split."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    x, test_x, y, test_y = train_test_split(
        digits.images, digits.target, test_size=0.5, stratify=digits.target, random_state=seed
    )
    up, test_up = x[:, ::-1].copy(), test_x[:, ::-1].copy()

    def fitted(rows: np.ndarray, hidden_size: int, both: bool, offset: int = 0) -> SequenceClassifier:
        model = SequenceClassifier(
            cell="lstm",
            hidden_size=hidden_size,
            bidirectional=both,
            lr=1e-2,
            max_epochs=epochs,
            validation=None,
            patience=None,
            training=Training(schedule="cosine"),
            baselines=False,
            random_state=seed + offset,
            verbose=False,
        )
        return model.fit(rows, y)

    forward, backward = fitted(x, HIDDEN, False), fitted(up, HIDDEN, False)
    second = fitted(x, HIDDEN, False, offset=1000)
    joint, small = fitted(x, HIDDEN, True), fitted(x, SMALL, True)
    p = {
        "forward": forward.predict_proba(test_x),
        "backward": backward.predict_proba(test_up),
        "jointly": joint.predict_proba(test_x),
        "jointly, as many parameters": small.predict_proba(test_x),
    }
    p["two forward, averaged"] = (p["forward"] + second.predict_proba(test_x)) / 2
    p["apart and averaged"] = (p["forward"] + p["backward"]) / 2
    head = next(layer for layer in joint.network_.modules() if isinstance(layer, Dense))
    whole = head.weight.detach().clone()
    for name, other in (("forward", slice(HIDDEN, None)), ("backward", slice(0, HIDDEN))):
        with torch.no_grad():
            head.weight.copy_(whole)
            head.weight[:, other] = 0
        p[f"jointly, {name} half alone"] = joint.predict_proba(test_x)
    models = {
        "forward": forward,
        "backward": backward,
        "jointly": joint,
        "jointly, as many parameters": small,
    }
    return {
        "accuracy": {name: float((p[name].argmax(1) == test_y).mean()) for name in ORDER},
        "loss": {
            name: float(-np.log(np.maximum(p[name][np.arange(len(test_y)), test_y], 1e-30)).mean())
            for name in ORDER
        },
        "parameters": {name: parameters(model.network_) for name, model in models.items()},
    }


def draw(runs: list[Run], file: Path) -> None:
    """A dot a seed, the stroke the mean: accuracy at the left, loss at the right."""
    from benchmarks.reproductions.shared.pictures import BLUE, GREEN, INK, ORANGE, QUIET, panels, save

    colours = [QUIET, QUIET, QUIET, ORANGE, BLUE, BLUE, GREEN, GREEN]
    figure, (left, right) = panels(1, 2, 5.2, 3.4)
    for y, (name, colour) in enumerate(zip(ORDER, colours)):
        for ax, values in (
            (left, [100 * (1 - each["accuracy"][name]) for each in runs]),
            (right, [each["loss"][name] for each in runs]),
        ):
            ax.plot(values, [y] * len(values), "o", color=colour, ms=5, alpha=0.5, mew=0)
            mean = statistics.mean(values)
            ax.plot([mean, mean], [y - 0.3, y + 0.3], color=INK, lw=2)
    for ax, title, unit in (
        (left, "Wrong on the test half", "per cent"),
        (right, "Loss on the test half", "nats a digit"),
    ):
        plain_log(ax, "x")
        ax.set_ylim(len(ORDER) - 0.5, -0.5)
        ax.set_yticks(range(len(ORDER)), list(ORDER) if ax is left else [""] * len(ORDER))
        ax.grid(axis="y", visible=False)
        ax.set_title(title)
        ax.set_xlabel(unit)
    save(figure, file)
