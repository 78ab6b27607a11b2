"""SNIPS slots and intents learned jointly, official parts, beside published figures.

72 slot tags in IOB and 7 intents; F1 of the slots as conlleval counts them, accuracy of the intents, and the
share of sentences with both right throughout. A CRF over the slots beside a softmax a step. Nothing is
pretrained. The validation part chooses the epoch. `--data` must hold tagging/snips. `--quick` learns 400
sentences for one epoch.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

from benchmarks.common import print_header, print_table
from benchmarks.reproductions.shared.options import data_folder
from benchmarks.reproductions.shared.runs import Kept
from benchmarks.reproductions.shared.tagging import parts_of, runs_of, simple
from saiki.data import read_tagged

# Slot F1 and intent accuracy. Goo et al. 2018 (slot-gated attention, full and intent only); Siddhant et al.
# 2018 (their BLSTM-CRF without and with ELMo), slots alone.
PUBLISHED: dict[str, tuple[float, float | None]] = {
    "slot-gated bi-LSTM, full (Goo 2018)": (88.8, 97.0),
    "slot-gated bi-LSTM, intent only (Goo 2018)": (88.3, 96.8),
    "bi-LSTM with CRF (Siddhant 2018)": (88.78, None),
    "the same with ELMo (Siddhant 2018)": (93.90, None),
}
SETTINGS: dict[str, Any] = {
    "hidden_size": 150,
    "word_size": 100,
    "characters": "convolution",
    "character_size": 64,
    "dropout": 0.4,
    "unknown": 0.25,
    "crf": True,
    "lr": 3e-3,
    "max_epochs": 10,
    "batch_size": 32,
    "clip_norm": 5.0,
}
QUICK = {**SETTINGS, "hidden_size": 16, "word_size": 16, "character_size": 16, "max_epochs": 1}
VARIANTS: dict[str, dict[str, Any]] = {"CRF": {}, "softmax a step": {"crf": False}}
SEEDS = 1
FIGURES = ("span_f1", "label_accuracy", "sentence_accuracy")


def arguments(parser: argparse.ArgumentParser) -> None:
    """`--seeds`, `--only`."""
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"runs of each (default {SEEDS})")
    parser.add_argument("--only", choices=list(VARIANTS), action="append", help="these variants; repeat")


def run(options: argparse.Namespace) -> dict[str, object]:
    """Train, print the published figures beside ours."""
    folder = data_folder(options) / "tagging" / "snips"
    parts = parts_of(
        {part: read_tagged(folder / f"{part}.seq.in.gz") for part in ("train", "valid", "test")},
        options.quick,
    )
    kept = Kept(options)
    found = runs_of(kept, options, QUICK if options.quick else SETTINGS, VARIANTS, parts)
    floors = simple(parts)
    print_header("SNIPS, slots and intents together, test part", kept.machine)
    rows: list[tuple[object, ...]] = [
        (name, f"{f1:.2f}", "" if intent is None else f"{intent:.2f}", "", "", "published")
        for name, (f1, intent) in PUBLISHED.items()
    ]
    rows += [
        (name, *(_percent(row.get(k)) for k in FIGURES), "", "measured here") for name, row in floors.items()
    ]
    means = {
        name: {figure: statistics.mean(r["test"][figure] for r in runs) for figure in FIGURES}
        for name, runs in found.items()
    }
    for name, runs in found.items():
        rows.append(
            (
                f"Saiki, {name}",
                *(_percent(means[name][k]) for k in FIGURES),
                f"{statistics.mean(r['cpu_seconds'] for r in runs) / 60:.1f}",
                f"measured here, {len(runs)} seed{'s' if len(runs) > 1 else ''}",
            )
        )
    print_table(("", "slot F1, %", "intent, %", "sentence, %", "core minutes", ""), rows)
    published = {
        name: {"span_f1": f1 / 100, "label_accuracy": None if intent is None else intent / 100}
        for name, (f1, intent) in PUBLISHED.items()
    }
    return kept.content({"test": means, "simple": floors, "published": published})


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f}"
