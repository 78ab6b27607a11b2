"""A fit described in one TOML file: the same names as in Python, overridden by what the command line gives.

task = "forecaster"
output = "model"

[data]                 # the file and its columns
path = "co2.csv"

[model]                # the estimator's own options
horizon = 52

[[network]]            # one table a layer, in place of cell=, hidden_size=, num_layers=
type = "lstm"
hidden_size = 64

[training]             # saiki.learning.Training
clip_norm = 1.0
"""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saiki.core.errors import OptionError, SchemaError, UsageError
from saiki.core.names import unknown

if TYPE_CHECKING:
    from saiki.models.base import Estimator

_SECTIONS = ("task", "output", "data", "model", "network", "training")


@dataclass(frozen=True)
class Job:
    """What to fit, on what, how, and where to put it."""

    data: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    network: list[dict[str, Any]] | None = None
    training: dict[str, Any] = field(default_factory=dict)
    output: str | None = None


def read_job(path: Path, task: str) -> Job:
    """Read a job file for `task`.

    Raises:
        UsageError: the file is missing, is not TOML, or speaks of another task.
        OptionError: it has an unknown section (the nearest name is offered).
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}", hint="give --config the path of a TOML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", hint="give a text file in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}", hint="mend that line") from None
    refuse_unknown(content, _SECTIONS, f"{path}")
    if content.get("task", task) != task:
        raise UsageError(
            f"{path} describes a {content['task']!r}, and the command is `saiki fit {task}`",
            hint=f"run `saiki fit {content['task']}`, or change task in the file",
        )
    for name, kind in (
        ("data", dict),
        ("model", dict),
        ("training", dict),
        ("network", list),
        ("output", str),
    ):
        if name in content and not isinstance(content[name], kind):
            form = {dict: f"a table [{name}]", list: f"a list of tables [[{name}]]", str: "a string"}[kind]
            raise UsageError(f"{path}: {name} must be {form}, not {type(content[name]).__name__}")
    return Job(
        data=content.get("data", {}),
        model=content.get("model", {}),
        network=content.get("network"),
        training=content.get("training", {}),
        output=content.get("output"),
    )


def refuse_unknown(given: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Raise `OptionError` for the first key of `given` that is not in `known`, with the nearest name."""
    for key in given:
        if key not in known:
            raise OptionError(f"{where}: {unknown(key, sorted(known), 'key')}")


def overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `below`, replaced by those of `above` that were given (are not None)."""
    return {**below, **{key: value for key, value in above.items() if value is not None}}


def build(task: str, job: Job, where: str) -> Estimator:
    """The estimator that a job describes.

    The word `none` is Python's None, which neither a command line nor TOML has another way to write.

    Args:
        task: forecaster, classifier or regressor.
        job: its `model`, `network` and `training` are read.
        where: the file, for messages.
    Raises:
        OptionError: an unknown option, layer or name; the nearest one is offered.
    """
    from saiki.learning import Training
    from saiki.models import TASKS

    make: Callable[..., Estimator] = TASKS[task]
    known = set(inspect.signature(TASKS[task].__init__).parameters) - {"self", "network", "training"}
    refuse_unknown(job.model, known, f"{where}: [model]")
    refuse_unknown(job.training, [f.name for f in fields(Training)], f"{where}: [training]")
    options = _nones(job.model)
    if job.training:
        options["training"] = Training.from_mapping(_nones(job.training))
    if job.network is not None:
        options["network"] = _layers(job.network, where)
    return make(**options)


def _layers(lines: Sequence[Mapping[str, Any]], where: str) -> list[Any]:
    """The layers of [[network]]; a wrong line is the user's to mend, like any other option."""
    from saiki.nn import layer_from_mapping

    try:
        return [layer_from_mapping(line, f"line {k}") for k, line in enumerate(lines, start=1)]
    except SchemaError as error:
        raise OptionError(f"{where}: [[network]]: {error.message}", error.hint) from error


def _nones(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if value == "none" else value for name, value in options.items()}
