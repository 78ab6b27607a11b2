"""Long fits of translators that go on where they were stopped, and the files of pairs."""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path
from typing import Any

from saiki import Training
from saiki.models.translator import Translator

EVERY_MINUTES = 2.0  # between checkpoints


def fitted(
    options: argparse.Namespace, name: str, settings: dict[str, Any], X: list[str], y: list[Any]
) -> Translator:
    """A translator of these settings, trained; its checkpoints lie beside the file of `--json`.

    A run that was stopped goes on from the newest of them, bit for bit. Without `--json` there are none.

    Args:
        options: of the dispatcher.
        name: of the run.
        settings: arguments of `Translator`; `schedule` goes to its training.
        X: sources.
        y: targets.
    """
    given = dict(settings)
    training = Training(schedule=given.pop("schedule", "constant"), clip_norm=given.pop("clip_norm", 1.0))
    model = Translator(training=training, verbose=False, **given)
    folder = checkpoints(options, name)
    if folder is None:
        return model.fit(X, y)
    resume = folder.is_dir() and any(folder.iterdir())
    return model.fit(X, y, checkpoint=folder, resume=resume, every_minutes=EVERY_MINUTES)


def checkpoints(options: argparse.Namespace, name: str) -> Path | None:
    """Where a run's checkpoints lie."""
    if options.json is None:
        return None
    plain = re.sub(r"[^A-Za-z0-9]+", "_", name)
    return Path(options.json.with_suffix(".checkpoints")) / plain


def forget(options: argparse.Namespace, name: str) -> None:
    """Remove a run's checkpoints, once its figures are kept."""
    folder = checkpoints(options, name)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
        if folder.parent.is_dir() and not any(folder.parent.iterdir()):
            folder.parent.rmdir()


def course(model: Translator) -> dict[str, Any]:
    """What a run's record says: parameters, minutes, epochs and the validation loss of each."""
    record = model.record_
    return {
        "parameters": record.parameters,
        "pairs": record.training_sequences,
        "minutes": round(record.seconds / 60, 1),  # of all sittings together
        "epochs": len(record.epochs),
        "best_epoch": record.best_epoch,
        "training_loss": [round(epoch.loss, 4) for epoch in record.epochs],
        "validation_loss": [
            None if epoch.validation_loss is None else round(epoch.validation_loss, 4)
            for epoch in record.epochs
        ],
    }
