"""Small worlds of one, two and three supporting facts: a memory network beside an LSTM (Sukhbaatar 2015).

The worlds are our own (`saiki.data.worlds`), in the form of bAbI's first three tasks; published figures, of
bAbI, are bearings and not the same data. A network is trained on 1,000 stories of one fact or 10,000 of more,
stopped by 1,000 others, and measured on 1,000 more. The LSTM of 64 units reads story and question word by
word and answers from its last state. `support` is the share of supporting sentences that some hop looked at
most.

Not as in the paper: Adam for annealed SGD; no linear start, no random noise in the ages.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.common import print_header, print_table
from benchmarks.reproductions.shared.runs import Kept, Run
from benchmarks.reproductions.shared.training import median
from saiki.data.worlds import Story, worlds
from saiki.models.answerer import Answerer
from saiki.models.answerer_data import Reader
from saiki.models.classifier import SequenceClassifier
from saiki.models.sequence_text import Text

# Right answers of 3 hops with position encoding, trained on 1,000 questions of one task (Sukhbaatar et al.
# 2015, table 1), as quoted by github.com/jojonki/MemoryNetworks; 10,000: what that reimplementation reports.
PUBLISHED = {(1, 1_000): 99.9, (2, 1_000): 78.4, (3, 1_000): 35.8, (2, 10_000): 97.78, (3, 10_000): 93.55}
HELD = 1_000
VALIDATION_SEED, TEST_SEED = 10_001, 10_002


def arguments(parser: argparse.ArgumentParser) -> None:
    """`--seeds`."""
    parser.add_argument("--seeds", type=int, default=1, help="networks of each (default 1)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train memory networks and LSTMs on each kind of world."""
    kept = Kept(options)
    quick = options.quick
    seeds = 1 if quick else options.seeds
    cases = [(1, 1_000), (2, 10_000), (3, 10_000)]
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("memory, adjacent", {"memory": "sentences", "sharing": "adjacent"}),
        ("LSTM", {}),
        ("key-value memory", {"memory": "key_value", "sharing": "layer"}),
        ("memory, layer-wise", {"memory": "sentences", "sharing": "layer"}),
    ]
    rows: list[tuple[object, ...]] = []
    for facts, n in cases[:1] if quick else cases:
        for name, choice in kinds:
            runs = []
            for seed in range(seeds):
                settings = {
                    **choice,
                    "facts": facts,
                    "stories": 200 if quick else n,
                    "hops": 3,
                    "size": 32 if choice else 64,
                    "lr": 1e-2 if choice else 3e-3,
                    "batch": 32 if n < 10_000 else 64,
                    "epochs": 4 if quick else 60 if n < 10_000 else 20 if choice else 10,
                    "patience": 20 if n < 10_000 else 10,
                    "seed": seed,
                }
                label = f"{facts} fact{'s' if facts > 1 else ''}, {n:,} stories, {name}, seed {seed}"
                runs.append(kept.run(label, settings, _trainer(settings)))
            published = PUBLISHED.get((facts, n)) if name == "memory, adjacent" else None
            support = [one["support"] for one in runs if one["support"] is not None]
            rows.append(
                (
                    f"{facts}, {n:,}",
                    name,
                    f"{100 * median([one['accuracy'] for one in runs]):.1f}",
                    f"{100 * median(support):.1f}" if support else "",
                    "" if published is None else f"{published:g}",
                    f"{median([one['parameters'] for one in runs]):,.0f}",
                    f"{median([one['epochs'] for one in runs]):.0f}",
                    f"{median([one['cpu_seconds'] for one in runs]) / 60:.1f}",
                )
            )
    print_header("Small worlds: right answers of 1,000 in %" + (", --quick" if quick else ""), kept.machine)
    head = ("facts, stories", "model", "right", "support", "published", "parameters", "epochs", "cpu min")
    print_table(head, rows)
    published = {f"{facts} facts, {n} stories": value for (facts, n), value in PUBLISHED.items()}
    return kept.content({"seeds": seeds, "published_accuracy_bAbI": published})


def _trainer(settings: dict[str, Any]) -> Callable[[], Run]:
    def work() -> Run:
        facts, seed = settings["facts"], settings["seed"]
        train = worlds(settings["stories"], facts, seed=seed)
        held, test = (worlds(HELD, facts, seed=own) for own in (VALIDATION_SEED, TEST_SEED))
        return (_memory if "memory" in settings else _lstm)(settings, train, held, test)

    return work


def _memory(settings: dict[str, Any], train: list[Story], held: list[Story], test: list[Story]) -> Run:
    model = Answerer(
        size=settings["size"],
        hops=settings["hops"],
        memory=settings["memory"],
        sharing=settings["sharing"],
        lr=settings["lr"],
        batch_size=settings["batch"],
        max_epochs=settings["epochs"],
        patience=settings["patience"],
        validation=(held,),
        baselines=False,
        random_state=settings["seed"],
        verbose=False,
    ).fit(train)
    looked = model.attention(test)
    found = [len({*w.argmax(axis=1).tolist()} & {*s.support}) for w, s in zip(looked, test)]
    return {
        "accuracy": model.score(test),
        "support": float(np.sum(found) / sum(len(story.support) for story in test)),
        "validation": model.metrics_["accuracy"],
        "parameters": model.record_.parameters,
        "epochs": len(model.record_.epochs),
    }


def _lstm(settings: dict[str, Any], train: list[Story], held: list[Story], test: list[Story]) -> Run:
    reader = Reader.fit(train, "words", 1)
    x, x_held, x_test = ([reader.flat(story) for story in part] for part in (train, held, test))
    y, y_held, y_test = ([story.answer for story in part] for part in (train, held, test))
    model = SequenceClassifier(
        text=Text(tokenizer="whitespace"),
        hidden_size=settings["size"],
        lr=settings["lr"],
        batch_size=settings["batch"],
        max_epochs=settings["epochs"],
        patience=settings["patience"],
        validation=(x_held, y_held),
        baselines=False,
        random_state=settings["seed"],
        verbose=False,
    ).fit(x, y)
    return {
        "accuracy": model.score(x_test, y_test),
        "support": None,
        "validation": model.metrics_["accuracy"],
        "parameters": model.record_.parameters,
        "epochs": len(model.record_.epochs),
    }
