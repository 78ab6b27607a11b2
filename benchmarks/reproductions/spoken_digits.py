"""Spoken digits: isolated ones beside a published accuracy, and strings of them with each speaker held out.

Free Spoken Digits, 3,000 recordings of six speakers at 8 kHz. Isolated digits are classified by one
bidirectional LSTM of 50 units on 39 MFCC, with dropout, Adam at 2e-3, batches of 64 and 15 epochs, the
published setting, once under cross-entropy and once under CTC with one label an utterance (right: exactly
that digit and nothing else); split at random 80/10/10 with speakers shared, as published, and by the set's
own split (takes 0 to 4 of each digit are the test). Strings are one to seven digits of one speaker, joined at
random with up to 250 ms of silence, and read by a small convolution and two bidirectional LSTM layers under
CTC; the speaker of the test is no speaker of the training, six times over, and once more with speakers shared
but other takes. `--data` must hold speech/fsdd. `--quick`: few digits, few epochs, one speaker.
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import print_header, print_table
from benchmarks.reproductions.shared.digits import RATE_HZ, Digits, recordings, strings
from benchmarks.reproductions.shared.options import data_folder, picture_file
from benchmarks.reproductions.shared.runs import Kept, Run
from benchmarks.reproductions.shared.training import parameters
from saiki import SequenceClassifier, Training
from saiki.data import AudioFeatures
from saiki.decoding import PrefixBeam
from saiki.metrics import edits
from saiki.models.transcriber import Transcriber

# aniruddhapal211316/spoken_digit_recognition, its README: test accuracy, random 80/10/10 split
PUBLISHED = 97.33
SEEDS = 3
ISOLATED = {
    "cell": "lstm",
    "hidden_size": 50,
    "num_layers": 1,
    "bidirectional": True,
    "dropout": 0.2,
    "lr": 2e-3,
    "batch_size": 64,
    "max_epochs": 15,
}
# CTC has first to find out where the digit is; cross-entropy is told
ISOLATED_CTC = {**ISOLATED, "lr": 5e-3, "max_epochs": 25, "batch_size": 16}
STRINGS = {
    "convolution": {"size": 64, "kernel_size": 5, "stride": 2},
    "cell": "lstm",
    "hidden_size": 64,
    "num_layers": 2,
    "bidirectional": True,
    "dropout": 0.4,
    "scaling": "utterance",
    "lr": 5e-3,
    "batch_size": 16,
    "max_epochs": 5,
    "strings": 4000,
    "longest": 7,
    "test_strings": 300,
    "beam_width": 16,
}
MFCC = {"kind": "mfcc", "rate_hz": RATE_HZ, "bands": 26, "coefficients": 13, "deltas": 2}
SPLITS = ("random 80/10/10", "official")


def arguments(parser: argparse.ArgumentParser) -> None:
    """`--seeds`."""
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"runs of each isolated one ({SEEDS})")


def run(options: argparse.Namespace) -> dict[str, object]:
    """Train all, print both tables, draw."""
    digits = recordings(data_folder(options))
    kept = Kept(options)
    quick = {"max_epochs": 1, "hidden_size": 8} if options.quick else {}
    few = {"strings": 60, "test_strings": 20} if options.quick else {}
    seeds = range(1 if options.quick else options.seeds)
    isolated: dict[tuple[str, str], list[Run]] = {}

    def alone(seed: int, split: str) -> None:
        for name, base in (("cross-entropy", ISOLATED), ("CTC", ISOLATED_CTC)):
            settings = {**base, **quick, "features": MFCC, "split": split, "seed": seed}
            found = kept.run(
                f"isolated, {name}, {split}, seed {seed}",
                settings,
                partial(one_isolated, digits, name, settings),
            )
            isolated.setdefault((name, split), []).append(found)

    alone(0, SPLITS[0])  # what has a published figure first, then what is new, then the rest
    speakers = sorted(set(digits.speaker))
    joined: dict[str, Run] = {}
    for held in speakers[:1] if options.quick else [*speakers, "(none)"]:
        settings = {**STRINGS, **quick, **few, "features": MFCC, "held_out": held, "seed": 0}
        joined[held] = kept.run(
            f"strings, held out {held}",
            settings,
            partial(one_speaker, digits, held, settings),
        )
    for seed in seeds:
        for split in SPLITS:
            if (seed, split) != (0, SPLITS[0]):
                alone(seed, split)
    print_header("Free Spoken Digits, isolated: accuracy on the test part, %", kept.machine)
    print_table(("", "split", "mean", "smallest", "largest", "published", "parameters", "s a run"), [
        (
            f"bidirectional LSTM, {name}",
            split,
            f"{statistics.mean(100 * r['accuracy'] for r in runs):.2f}",
            f"{min(100 * r['accuracy'] for r in runs):.2f}",
            f"{max(100 * r['accuracy'] for r in runs):.2f}",
            f"{PUBLISHED:.2f}" if split == SPLITS[0] else "-",
            f"{runs[0]['parameters']:,}",
            f"{statistics.mean(r['seconds'] for r in runs):.0f}",
        )
        for (name, split), runs in isolated.items()
    ])  # fmt: skip
    print("\nStrings of one to seven digits: error rates on strings of the speaker held out, %\n")
    rows = [_row(held, each) for held, each in joined.items() if held != "(none)"]
    apart = [each for held, each in joined.items() if held != "(none)"]
    mean = {key: statistics.mean(100 * each[key] for each in apart) for key in FIGURES}
    rows.append(("mean of the speakers", *(f"{mean[key]:.2f}" for key in FIGURES), "", "", "", ""))
    rows += [_row(held, each) for held, each in joined.items() if held == "(none)"]
    print_table(
        (
            "held out",
            "label errors",
            "beam",
            "strings right",
            "deleted",
            "inserted",
            "substituted",
            "minutes",
        ),
        rows,
    )
    file = picture_file(options)
    if file is not None:
        draw(joined, file)
    return kept.content(
        {
            "published": {"isolated, random 80/10/10, %": PUBLISHED},
            "isolated": {
                f"{name}, {split}": statistics.mean(100 * r["accuracy"] for r in runs)
                for (name, split), runs in isolated.items()
            },
            "strings": mean,
        }
    )


FIGURES = ("label_error_rate", "beam_label_error_rate", "exact")


def _row(held: str, found: Run) -> tuple[object, ...]:
    name = "nobody: other takes of all six" if held == "(none)" else held
    shares = [f"{100 * found[key]:.2f}" for key in ("deletions", "insertions", "substitutions")]
    return (name, *(f"{100 * found[key]:.2f}" for key in FIGURES), *shares, f"{found['seconds'] / 60:.1f}")


def one_isolated(digits: Digits, name: str, settings: dict[str, Any]) -> Run:
    """One digit an utterance: train on the training part, measure on the test part."""
    seed = settings["seed"]
    if settings["split"] == "official":
        train, test = digits.of(digits.index >= 5), digits.of(digits.index < 5)
        held = np.random.default_rng(seed).random(len(train)) < 0.1
        validation, train = train.of(held), train.of(~held)
    else:
        order = np.random.default_rng(seed).permutation(len(digits))
        cut = [int(0.8 * len(order)), int(0.9 * len(order))]
        train, validation, test = (digits.of(part) for part in np.split(order, cut))
    keys = ("cell", "hidden_size", "num_layers", "bidirectional", "dropout", "lr", "batch_size", "max_epochs")
    common: dict[str, Any] = {
        **{key: settings[key] for key in keys},
        "patience": None,
        "baselines": False,
        "random_state": seed,
        "verbose": False,
    }
    hear = AudioFeatures(**settings["features"])
    if name == "CTC":
        model: Any = Transcriber(
            **common, features=hear, validation=(validation.samples, validation.digit), training=COSINE
        )
        model.fit(train.samples, train.digit)
        right = [len(a) == 1 and a[0] == d for a, d in zip(model.predict(test.samples), test.digit)]
    else:
        frames = [[hear(s) for s in part.samples] for part in (train, validation, test)]
        model = SequenceClassifier(**common, validation=(frames[1], validation.digit), training=COSINE)
        model.fit(frames[0], train.digit)
        right = list(model.predict(frames[2]) == test.digit)
    return {
        "accuracy": float(np.mean(right)),
        "test": len(test),
        "train": len(train),
        "parameters": parameters(model.network_),
    }


COSINE = Training(schedule="cosine")


def one_speaker(digits: Digits, held: str, settings: dict[str, Any]) -> Run:
    """Strings of the others to learn, strings of this speaker to test."""
    if held == "(none)":
        learn, test = digits.of(digits.index >= 5), digits.of(digits.index < 5)
    else:
        learn, test = digits.of(digits.speaker != held), digits.of(digits.speaker == held)
    own = ("strings", "longest", "test_strings", "features", "held_out", "seed", "beam_width")
    model = Transcriber(
        **{key: value for key, value in settings.items() if key not in own},
        features=AudioFeatures(**settings["features"]),
        validation=None,
        patience=None,
        training=COSINE,
        baselines=False,
        random_state=settings["seed"],
        verbose=False,
    )
    longest = settings["longest"]
    X, y = strings(learn, settings["strings"], settings["seed"], longest=longest, vary=True)
    model.fit(X, y)
    X, y = strings(test, settings["test_strings"], 10_000, longest=longest, vary=False)
    greedy = [a.tolist() for a in model.predict(X)]
    beam = model.evaluate(X, y, PrefixBeam(width=settings["beam_width"]))
    wrong = [edits(r, h) for r, h in zip(y, greedy)]
    labels = sum(map(len, y))
    return {
        "label_error_rate": sum(w.distance for w in wrong) / labels,
        "beam_label_error_rate": beam["label_error_rate"],
        "exact": float(np.mean([w.distance == 0 for w in wrong])),
        "deletions": sum(w.deletions for w in wrong) / labels,
        "insertions": sum(w.insertions for w in wrong) / labels,
        "substitutions": sum(w.substitutions for w in wrong) / labels,
        "labels": labels,
        "parameters": parameters(model.network_),
        "loss": [round(e.loss, 4) for e in model.record_.epochs],
    }


def draw(joined: dict[str, Run], file: Path) -> None:
    """Label errors of each speaker, parted by kind; and the loss of each training."""
    from benchmarks.reproductions.shared.pictures import BLUE, GREEN, ORANGE, QUIET, panels, save

    figure, (left, right) = panels(1, 2, 5.2, 3.0)
    names = list(joined)
    start = np.zeros(len(names))
    for kind, colour in (("substitutions", BLUE), ("deletions", ORANGE), ("insertions", GREEN)):
        share = np.array([100 * joined[name][kind] for name in names])
        left.barh(range(len(names)), share, left=start, color=colour, label=kind)
        start += share
    left.set_yticks(range(len(names)), ["other takes" if n == "(none)" else n for n in names])
    left.invert_yaxis()
    left.grid(axis="y", visible=False)
    left.set_title("Label errors by the speaker held out")
    left.set_xlabel("per cent of the digits")
    left.legend(frameon=False, loc="upper left", bbox_to_anchor=(0.0, -0.2), ncols=3)
    for name in names:
        loss = joined[name]["loss"]
        right.plot(range(1, len(loss) + 1), loss, color=BLUE if name == "(none)" else QUIET)
    right.set_title("CTC loss while training")
    right.set_xlabel("epoch")
    right.set_ylabel("nats a string")
    right.set_yscale("log")
    save(figure, file)
