"""`saiki report MODEL`: write the model's report again, where it is wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saiki.cli import options as o
from saiki.cli.console import free_path, say
from saiki.core.errors import UsageError


def report(
    model: o.ModelFolder,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="A new HTML file. [MODEL/report.html]"),
    ] = None,
    force: o.Force = False,
) -> None:
    """Write the report of a trained model as one self-contained HTML page; prints its path."""
    import saiki
    from saiki.core.files import atomic_write

    inside = model / "report.html"
    if output is None and inside.is_file() and not force:
        say(f"{inside} was written with the model; --output FILE writes another copy")
        print(inside)
        return
    estimator = saiki.load(model)
    page = estimator.report()
    if page is None:
        raise UsageError(f"a {estimator.task} has no report")
    if output is None:
        raise UsageError(
            f"the report inside {model} is listed in its config.json and stays as it is",
            hint="give --output FILE",
        )
    target = free_path(output, force)
    atomic_write(target, page.encode())
    print(target)
