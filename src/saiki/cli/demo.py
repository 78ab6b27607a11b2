"""`saiki demo`: the whole way once, on the weekly CO2 record that ships with the package."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from saiki.cli import options as o
from saiki.cli.console import comparison, emit_json, format_table, say
from saiki.cli.job import build, read_job

JOB = Path(__file__).with_name("demo.toml")


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="MODEL", help="Folder for the model.")
    ] = Path("demo"),
    force: o.Force = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Train on Mauna Loa's CO2, compare with simple models, forecast the next 52 weeks, write the report."""
    from saiki.core.schema import require_free_folder

    require_free_folder(output, force)
    job = read_job(JOB, "forecaster")
    if quiet:
        job = replace(job, model={**job.model, "verbose": False})
    say("Weekly CO2 over Mauna Loa, 1958 to 2001 (Keeling & Whorf; figures from the statsmodels package).")
    say(f"Learning from the weeks before {job.model['test']}; the last five years are held out.")

    from saiki.data import load

    model: Any = build("forecaster", job, JOB.name)
    model.fit(load("co2").table)
    model.save(output, force=force)
    columns = model.forecast()
    if as_json:
        emit_json(
            {
                "model": str(output),
                "metrics": model.metrics_,
                "baselines": model.baselines_,
                "forecast": columns,
                "seconds": model.record_.seconds,
                "report": str(output / "report.html"),
            }
        )
        return
    print(
        "\nError on the held-out years, every weekly origin, up to 52 weeks ahead (ppm; smaller is better)\n"
    )
    print(format_table(comparison(model)))
    print("\nThe next 52 weeks (ppm)\n")
    names = list(columns)
    print(format_table([dict(zip(names, row)) for row in zip(*(columns[name] for name in names))]))
    print(f"\nReport: {(output / 'report.html').resolve()}")
