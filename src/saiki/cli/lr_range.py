"""`saiki lr-range TASK DATA`: a learning rate for these data and options, from a short test."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from saiki.cli import fit
from saiki.cli import options as o
from saiki.cli.console import emit_json, format_table, free_path, say
from saiki.cli.fit.common import source_of, with_flags
from saiki.cli.job import Job, build, read_job

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Find a learning rate: a short training under a rising rate. Options as for `saiki fit`.",
)

Low = Annotated[float, typer.Option("--low", help="The lowest rate tried.")]
High = Annotated[float, typer.Option("--high", help="The highest rate tried.")]
Steps = Annotated[int, typer.Option("--steps", help="Updates.", min=10)]
PictureFile = Annotated[
    Path | None, typer.Option("--picture", metavar="FILE", help="Draw the curve: a new SVG file.")
]
OWN: dict[str, tuple[Any, Any]] = {
    "low": (Low, 1e-6),
    "high": (High, 10.0),
    "steps": (Steps, 100),
    "picture": (PictureFile, None),
    "force": (o.Force, False),
    "as_json": (o.Json, False),
}
_NOT_HERE = ("output", "resume", "every_minutes", "force", "as_json", "quiet", "baselines", "refit")


def _verb(task: str, like: Callable[..., None]) -> Callable[..., None]:
    """The verb of one task: the options of its `saiki fit` that shape training, and those of the test."""

    def run(**flags: Any) -> None:  # noqa: ANN401  whatever the signature below names
        _test(task, flags)

    asked = inspect.signature(like, eval_str=True).parameters
    taken = [p for name, p in asked.items() if name not in _NOT_HERE]
    own = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=kind)
        for name, (kind, default) in OWN.items()
    ]
    # typer reads a verb's options from its signature and its annotations
    run.__signature__ = inspect.Signature([*taken, *own])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in [*taken, *own]}
    run.__doc__ = f"Find a learning rate for a {task}."
    return run


for _task, _like in fit.VERBS.items():
    app.command(_like.source.verb)(_verb(_task, _like.command))


def _test(task: str, flags: Mapping[str, Any]) -> None:
    """Build the estimator as `saiki fit` does, test, and print."""
    if flags["picture"] is not None:
        free_path(flags["picture"], flags["force"])  # before the work
    asked = {name: value for name, value in flags.items() if name not in OWN} | {"quiet": True}
    job = read_job(asked["config"], task) if asked["config"] is not None else Job()
    source = fit.VERBS[task].source
    path, said = source_of(source, job, asked, f"saiki lr-range {source.verb} DATA")
    estimator: Any = build(task, with_flags(source, job, asked), str(asked["config"]))
    data = source.read(path, estimator, **said)
    found = estimator.lr_range(*data, low=flags["low"], high=flags["high"], steps=flags["steps"])
    if flags["picture"] is not None:
        from saiki.core.files import atomic_write
        from saiki.insight import figures, figures_health

        picture = figures.standalone(figures_health.lr_range(found))
        atomic_write(free_path(flags["picture"], flags["force"]), picture.encode())
        say(f"wrote {flags['picture']}")
    if flags["as_json"]:
        emit_json({"task": task, **found.to_json()})
        return
    print(found.sentence())
    step = max(1, len(found.lr) // 12)
    print()
    print(
        format_table(
            [
                {"lr": f"{lr:.1e}", "loss": loss, "gradient norm": norm}
                for lr, loss, norm in zip(
                    found.lr[::step], found.smoothed[::step], found.gradient_norm[::step]
                )
            ]
        )
    )
