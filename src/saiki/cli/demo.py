"""`saiki demo`: the whole way once, on the weekly CO2 record that ships with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from saiki.cli import options as o
from saiki.cli.console import comparison, emit_json, format_table, say

YEARS_HELD_OUT = "1997-01-01"  # the record ends with 2001: its last five years
RECIPE: dict[str, Any] = {  # benchmarks/co2.toml says the same; chosen on 1992 to 1996, learning from before
    "horizon": 52,
    "context": 104,
    "missing": "mask",
    "unit": "ppm",
    "level": True,
    "hidden_size": 16,
    "validation": None,
    "max_epochs": 20,
    "patience": None,
    "random_state": 0,
}


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
    say("Weekly CO2 over Mauna Loa, 1958 to 2001 (Keeling & Whorf; figures from the statsmodels package).")
    say(f"Learning from the weeks before {YEARS_HELD_OUT}; the last five years are held out.")

    from saiki.data import load
    from saiki.learning import Training
    from saiki.models import Forecaster

    training = Training(schedule="cosine")
    model = Forecaster(test=YEARS_HELD_OUT, training=training, verbose=False if quiet else None, **RECIPE)
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
