"""Taggers on the official parts of a set: trained, measured, kept on the way."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.reproductions.shared.runs import Kept, Run
from saiki.data import Tagged
from saiki.learning import Training
from saiki.models import SequenceTagger
from saiki.models.tagger_input import Part
from saiki.models.tagger_scores import bag_of_words, figures, most_frequent, spans_in

QUICK = 400  # sentences that --quick learns from


def parts_of(found: Mapping[str, Tagged], quick: bool) -> dict[str, Tagged]:
    """The parts of a set, cut short for --quick."""
    if not quick:
        return dict(found)
    return {
        name: Tagged(
            part.words[:QUICK],
            None if part.tags is None else part.tags[:QUICK],
            None if part.labels is None else part.labels[:QUICK],
        )
        for name, part in found.items()
    }


def known_only(parts: Mapping[str, Tagged]) -> Tagged:
    """The validation part without sentences whose tags or labels the training part lacks."""
    train, held = parts["train"], parts["valid"]
    tags = {tag for line in train.tags or [] for tag in line}
    labels = set(train.labels or [])
    kept = [
        k
        for k, line in enumerate(held.tags or [])
        if set(line) <= tags and (held.labels is None or held.labels[k] in labels)
    ]
    return Tagged(
        [held.words[k] for k in kept],
        [held.tags[k] for k in kept] if held.tags is not None else None,
        [held.labels[k] for k in kept] if held.labels is not None else None,
    )


def runs_of(
    kept: Kept,
    options: argparse.Namespace,
    settings: Mapping[str, Any],
    variants: Mapping[str, Mapping[str, Any]],
    parts: Mapping[str, Tagged],
) -> dict[str, list[Run]]:
    """Every variant that was asked for, seed after seed; by its name, a run a seed."""
    found: dict[str, list[Run]] = {}
    for seed in range(1 if options.quick else options.seeds):
        for name in options.only or variants:
            own = {**settings, **variants[name], "random_state": seed}
            found.setdefault(name, []).append(trained(kept, f"{name} seed {seed}", own, parts, options.json))
    return found


def trained(
    kept: Kept, name: str, settings: Mapping[str, Any], parts: Mapping[str, Tagged], file: Path | None
) -> Run:
    """Train one tagger on the training part, choose by the validation part, measure on the test part.

    A run that was stopped goes on from its last epoch, kept in a folder beside the file of `--json`.

    Args:
        kept: where runs are kept.
        name: of the run.
        settings: of the tagger, and `clip_norm`.
        parts: "train", "valid", "test".
        file: of `--json`.
    """
    folder = None if file is None else file.with_suffix("") / name.replace(" ", "_")
    kept_settings = {**settings, "sentences": len(parts["train"])}

    def work() -> Run:
        options = dict(settings)
        training = Training(schedule="cosine", clip_norm=options.pop("clip_norm"))
        model = SequenceTagger(
            **options,
            validation=tuple(p for p in _fields(known_only(parts)) if p is not None),
            patience=None,
            training=training,
            baselines=False,
            verbose=False,
        )
        again = folder is not None and folder.is_dir() and any(folder.iterdir())
        model.fit(*_fields(parts["train"]), checkpoint=folder, resume=again)
        record = model.record_
        return {
            "parameters": record.parameters,
            "valid": model.metrics_,
            "test": model.evaluate(*_fields(parts["test"])),
            "curve": [[e.epoch, round(e.loss, 4), e.validation_loss] for e in record.epochs],
            "best_epoch": record.best_epoch,
            "minutes": round(record.seconds / 60, 1),
        }

    found = kept.run(name, kept_settings, work)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)  # the run is kept; its checkpoints have served
    return found


def simple(parts: Mapping[str, Tagged]) -> dict[str, dict[str, float]]:
    """What needs no network, on the test part."""
    from saiki.models.tagger_codes import Codes

    train, test = (Part(*_fields(parts[name])) for name in ("train", "test"))
    codes = Codes.of(train.words, train.tags, train.labels, lower=True, min_count=1, spelled=False)
    said = most_frequent(train, test.words)
    found = {
        "most frequent tag of the word": figures(
            Part(test.words, test.tags), said, None, codes, spans=spans_in(codes, test)
        )
    }
    if train.labels is not None and test.labels is not None:
        labels = bag_of_words(train, test.words, 0)
        share = sum(a == b for a, b in zip(labels, test.labels)) / len(labels)
        found["logistic regression on the words"] = {"label_accuracy": share}
    return found


def _fields(part: Tagged) -> tuple[Any, ...]:
    return (part.words, part.tags, part.labels)
