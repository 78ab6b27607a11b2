"""Parts of speech on Universal Dependencies English EWT, official parts, beside published accuracies.

Words and their characters into one bidirectional LSTM, the 17 universal tags over gold words; a CRF over the
tags beside a softmax a step, one convolution over the characters beside the LSTM over them. Nothing is
pretrained. The validation part chooses the epoch. The published 94.60 is of an earlier release (1.3) of the
same corpus: a bearing. `--data` must hold tagging/ud_english_ewt. `--quick` learns 400 sentences for one
epoch.
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

# Plank, Søgaard & Goldberg 2016, as the README of bilstm-aux has it: one layer, words and characters, UD 1.3;
# the same with pretrained Polyglot vectors. UDPipe 1.2 (no network) on EWT 2.6, by aymara/lima-models.
PUBLISHED = {
    "bi-LSTM, words and characters (UD 1.3)": 94.60,
    "the same with pretrained vectors (UD 1.3)": 95.04,
    "UDPipe 1.2 (EWT 2.6)": 94.43,
}
SETTINGS: dict[str, Any] = {
    "hidden_size": 150,
    "word_size": 100,
    "characters": "lstm",
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
VARIANTS: dict[str, dict[str, Any]] = {
    "CRF": {},
    "softmax a step": {"crf": False},
    "CRF, convolution over characters": {"characters": "convolution"},
}
SEEDS = 1


def arguments(parser: argparse.ArgumentParser) -> None:
    """`--seeds`, `--only`."""
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"runs of each (default {SEEDS})")
    parser.add_argument("--only", choices=list(VARIANTS), action="append", help="these variants; repeat")


def run(options: argparse.Namespace) -> dict[str, object]:
    """Train, print the published figures beside ours."""
    folder = data_folder(options) / "tagging" / "ud_english_ewt"
    files = {"train": "train", "valid": "dev", "test": "test"}
    parts = parts_of(
        {part: read_tagged(folder / f"en_ewt-ud-{name}.conllu.gz") for part, name in files.items()},
        options.quick,
    )
    kept = Kept(options)
    found = runs_of(kept, options, QUICK if options.quick else SETTINGS, VARIANTS, parts)
    floors = simple(parts)
    print_header("UD English EWT, universal parts of speech, test part, gold words", kept.machine)
    rows: list[tuple[object, ...]] = [
        (name, f"{share:.2f}", "", "", "published") for name, share in PUBLISHED.items()
    ]
    rows += [
        (name, _percent(row["accuracy"]), _percent(row["unknown_accuracy"]), "", "measured here")
        for name, row in floors.items()
    ]
    for name, runs in found.items():
        rows.append(
            (
                f"Saiki, {name}",
                _percent(statistics.mean(r["test"]["accuracy"] for r in runs)),
                _percent(statistics.mean(r["test"]["unknown_accuracy"] for r in runs)),
                f"{statistics.mean(r['cpu_seconds'] for r in runs) / 60:.1f}",
                f"measured here, {len(runs)} seed{'s' if len(runs) > 1 else ''}",
            )
        )
    print_table(("", "accuracy, %", "unseen words, %", "core minutes", ""), rows)
    return kept.content(
        {
            "accuracy": {
                n: statistics.mean(r["test"]["accuracy"] for r in runs) for n, runs in found.items()
            },
            "simple": floors,
            "published": {name: share / 100 for name, share in PUBLISHED.items()},
        }
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"
