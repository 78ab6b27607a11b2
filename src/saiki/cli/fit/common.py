"""What all tasks of `saiki fit` do: read the job, train, save, print the comparison."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saiki.cli import options as o
from saiki.cli.console import comparison, emit_json, format_table, say
from saiki.cli.job import Job, build, overlay, read_job, refuse_unknown
from saiki.core.errors import UsageError

if TYPE_CHECKING:
    from saiki.models.base import Estimator

# What the flags say that no estimator has an argument for.
_HERE = ("data", "output", "config", "force", "resume", "every_minutes", "as_json", "quiet")
_COVARIATES = ("past", "future", "static")


@dataclass(frozen=True)
class Source:
    """How a task's data come in from files.

    Args:
        task: its name in `TASKS`.
        read: `read(path, estimator, *, answers=True, **said)` gives a tuple of what the task's `fit` takes;
            with answers=False, of what its `predict` takes. The estimator is as its options describe it, or
            fitted.
        keys: the flags, and keys of [data], that say where in the file (or in which other) things are: what
            may be `said`.
        folders: whether the path may be a folder.
    """

    task: str
    read: Callable[..., tuple[Any, ...]]
    keys: tuple[str, ...] = ()
    folders: bool = False

    @property
    def verb(self) -> str:
        """The task as the command line writes it."""
        return self.task.replace("_", "-")


def run(source: Source, flags: Mapping[str, Any]) -> None:
    """Read the job, train, save, print the comparison.

    Args:
        source: the task, and how its data come in.
        flags: what the command line said, by the names of the verb's arguments.
    """
    job = read_job(flags["config"], source.task) if flags["config"] is not None else Job()
    folder = flags["output"] or (Path(job.output) if job.output is not None else None)
    if folder is None:
        raise UsageError(
            "no folder was given for the model", hint='add -o MODEL, or output = "MODEL" to the file'
        )
    path, said = source_of(source, job, flags, f"saiki fit {source.verb} DATA -o MODEL")

    from saiki.core.schema import require_free_folder

    require_free_folder(folder, flags["force"] or flags["resume"])
    estimator: Any = build(source.task, with_flags(source, job, flags), str(flags["config"]))
    checkpoints = folder / "checkpoints"
    options: dict[str, Any] = {
        "checkpoint": checkpoints,
        "resume": flags["resume"] and checkpoints.is_dir(),
        "every_minutes": flags["every_minutes"],
    }
    if flags["resume"] and not checkpoints.is_dir():
        say(f"{checkpoints} is not there, so there is nothing to resume: training from the start")
    with _replacing(checkpoints, flags["force"] and not flags["resume"]):
        estimator.fit(*source.read(path, estimator, **said), **options)
    estimator.save(folder, force=flags["force"] or flags["resume"])
    _show(estimator, folder, flags["as_json"])


@contextmanager
def _replacing(checkpoints: Path, wanted: bool) -> Iterator[None]:
    """Put an earlier run's checkpoints aside while a new one starts; back if it does not get that far."""
    if not (wanted and checkpoints.is_dir()):
        yield
        return
    aside = checkpoints.with_name(f"{checkpoints.name}.replaced")
    shutil.rmtree(aside, ignore_errors=True)  # of a run that was killed
    checkpoints.rename(aside)
    try:
        yield
    except BaseException:
        if not checkpoints.exists():
            aside.rename(checkpoints)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def source_of(source: Source, job: Job, flags: Mapping[str, Any], usage: str) -> tuple[Path, dict[str, Any]]:
    """The file that a job or a flag names, and which parts of it are the answers.

    Raises:
        UsageError: no file was named, or it is not there; `usage` says how.
    """
    refuse_unknown(job.data, ("path", *source.keys), f"{flags['config']}: [data]")
    said = overlay(job.data, {"path": flags["data"], **{key: flags.get(key) for key in source.keys}})
    if "path" not in said:
        raise UsageError("no data was given", hint=f"name the file: {usage}")
    path = Path(said.pop("path"))
    if not (path.is_file() or (source.folders and path.is_dir())):
        raise UsageError(f"there is no file {path}", hint="check the path")
    return path, said


def with_flags(source: Source, job: Job, flags: Mapping[str, Any]) -> Job:
    """The job, overridden by what the command line says."""
    model, training = o.split_training({k: v for k, v in flags.items() if k not in (*_HERE, *source.keys)})
    covariates = {key: model.pop(key) for key in _COVARIATES if key in model}
    if covariates:
        model["covariates"] = covariates
    if flags["quiet"]:
        model["verbose"] = False
    return replace(job, model=overlay(job.model, model), training=overlay(job.training, training))


def _show(estimator: Estimator, folder: Path, as_json: bool) -> None:
    record = estimator.record_
    if as_json:
        emit_json(
            {
                "model": str(folder),
                "task": estimator.task,
                "metrics": estimator.metrics_,
                "baselines": estimator.baselines_,
                "parameters": record.parameters,
                "epochs": len(record.epochs),
                "best_epoch": record.best_epoch,
                "seconds": record.seconds,
                "seed": estimator.seed_,
                "report": str(folder / "report.html"),
            }
        )
        return
    if estimator.metrics_:
        print(format_table(comparison(estimator)))
    epochs = f"{len(record.epochs)} epoch{'' if len(record.epochs) == 1 else 's'}"
    say(f"trained {epochs} in {record.seconds:.0f} s; model in {folder}")
    say(f"report: {folder / 'report.html'}")
