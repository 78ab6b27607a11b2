"""`saiki fit TASK DATA -o MODEL`: from a file to a model folder with its report; one file a task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import typer

from saiki.cli.fit import (
    answerer,
    classifier,
    forecaster,
    language_model,
    regressor,
    tagger,
    transcriber,
    translator,
)
from saiki.cli.fit.common import Source
from saiki.core.errors import UsageError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Train a model. Options here, or in one TOML file (--config) under the same names as in Python.",
)


class Verb(NamedTuple):
    """A task on the command line: its flags, and how its data come in."""

    command: Callable[..., None]
    source: Source


VERBS: dict[str, Verb] = {  # by the task's name in TASKS; on the command line _ is written -
    "forecaster": Verb(forecaster.forecaster, forecaster.SOURCE),
    "classifier": Verb(classifier.classifier, classifier.SOURCE),
    "regressor": Verb(regressor.regressor, regressor.SOURCE),
    "language_model": Verb(language_model.language_model, language_model.SOURCE),
    "transcriber": Verb(transcriber.transcriber, transcriber.SOURCE),
    "translator": Verb(translator.translator, translator.SOURCE),
    "tagger": Verb(tagger.tagger, tagger.SOURCE),
    "answerer": Verb(answerer.answerer, answerer.SOURCE),
}

for _verb in VERBS.values():
    app.command(_verb.source.verb)(_verb.command)


def read_data(path: Path, estimator: Any, *, answers: bool = True, **said: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """A file for a fitted estimator of any task: what its `evaluate` takes; without answers, its `predict`.

    Args:
        path: the file.
        estimator: fitted.
        answers: False where only what is predicted from is wanted.
        said: where in the file things are; None is as if it was not given.
    """
    source = VERBS[estimator.task].source
    given = {name: value for name, value in said.items() if value is not None}
    for name in given:
        if name not in source.keys:
            raise UsageError(f"--{name} is not for a {estimator.task}", hint="leave it out")
    return source.read(path, estimator, answers=answers, **given)
