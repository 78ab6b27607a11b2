"""Dates as people write them, put into ISO 8601: "Sunday, 5th of July 1998" to "1998-07-05".

Generated: days from 1950 to 2049 in 19 ways of writing, some in capitals or small letters; 9,000 to learn,
1,000 others to test, no text twice. No figure is published for this set, which is ours; beside the network
with attention stand the same without (one vector for the source, given once, and given at every step) and the
simple methods. An answer counts only if every character is right. `--quick`: 500 dates, a few epochs.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.common import print_header, print_table
from benchmarks.reproductions.shared.runs import Kept, Run
from benchmarks.reproductions.shared.translating import course, fitted, forget
from saiki.data import load

DATES, HELD_OUT = 10_000, 1_000
NETWORKS: dict[str, dict[str, Any]] = {
    "attention": {"context": "attention"},
    "one vector, given once": {"context": "initial"},
    "one vector, at every step": {"context": "every_step"},
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """`--seeds`."""
    parser.add_argument("--seeds", type=int, default=1, help="runs of each (default 1)")


def run(options: argparse.Namespace) -> dict[str, object]:
    """Train, test, print the table."""
    kept = Kept(options)
    rows: list[tuple[object, ...]] = []
    found: dict[str, list[float]] = {}
    simple: dict[str, float] = {}
    for network, context in NETWORKS.items():
        for seed in range(options.seeds):
            settings = {
                **context,
                "hidden_size": 24 if options.quick else 96,
                "encoder_size": 12 if options.quick else 48,
                "embedding_size": 16,
                "lr": 5e-3,
                "schedule": "cosine",
                "batch_size": 64,
                "max_epochs": 3 if options.quick else 15,
                "random_state": seed,
            }
            name = f"{network}, seed {seed}"
            each = kept.run(name, settings, lambda s=settings, n=name: one(options, n, s))  # type: ignore[misc]
            forget(options, name)
            found.setdefault(network, []).append(each["exact"])
            simple.update(each["simple"])
            rows.append((name, each["exact"], each["wrong"], each["parameters"], each["minutes"]))
    rows += [(f"{name} (validation part)", exact, "-", "-", "-") for name, exact in simple.items()]
    print_header(f"Dates: {DATES:,} texts, {HELD_OUT:,} of them to test", kept.machine)
    print_table(("", "exact, %", "wrong", "parameters", "minutes"), rows)
    return kept.content({"exact": found, "simple_on_validation": simple})


def one(options: argparse.Namespace, name: str, settings: dict[str, Any]) -> Run:
    """Train and test one network."""
    count, held = (500, 50) if options.quick else (DATES, HELD_OUT)
    data = load("dates", n=count, seed=1)
    first = (data.X[:-held], data.y[:-held])
    last = (data.X[-held:], data.y[-held:])
    # the simple methods are measured once, on the validation part of the network with attention
    model = fitted(
        options,
        name,
        {
            **settings,
            "validation": 0.05,
            "patience": None,
            "baselines": name.startswith("attention"),
            "beam": 1,
        },
        *first,
    )
    said = model.predict(last[0])
    wrong = [[x, y, answer] for x, y, answer in zip(*last, said) if answer != y]
    return {
        "exact": 100 * (1 - len(wrong) / held),
        "wrong": len(wrong),
        "wrong_samples": wrong[:10],
        "simple": {row["name"]: 100 * row["exact"] for row in model.baselines_},
        **course(model),
    }
