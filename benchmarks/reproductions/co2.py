"""Weekly CO2 at Mauna Loa, last five years held out, 52 weeks ahead of every week, beside simple models.

It trains what `saiki demo` trains. `--earlier` holds out 1992 to 1996 instead, the years on which its
settings were chosen. `--quick` trains for one epoch.
"""

from __future__ import annotations

import argparse

from benchmarks.common import circumstances, forecaster, print_header, print_table
from benchmarks.reproductions.shared.runs import timed
from saiki.cli.demo import JOB as DEMO
from saiki.data import load


def arguments(parser: argparse.ArgumentParser) -> None:
    """`--earlier`."""
    parser.add_argument("--earlier", action="store_true", help="hold out 1992 to 1996 and learn from before")


def run(options: argparse.Namespace) -> dict[str, object]:
    """Train on the weekly CO2 record and print our error beside the simple models'."""
    changes = {"test": "1992-01-01", "until": "1996-12-31"} if options.earlier else {}
    quick = {"max_epochs": 1} if options.quick else {}
    model, seconds = timed(lambda: forecaster(DEMO, **changes, **quick).fit(load("co2").table))
    found = model.backtest_
    assert found is not None
    where = circumstances()
    years = "1992 to 1996" if options.earlier else "last five years"
    title = f"Weekly CO2, {years} held out, {len(found.forecasts)} origins, 52 weeks ahead, ppm"
    print_header(title + (", --quick" if options.quick else ""), where)
    every = [{"name": "Saiki", **found.metrics}, *found.baselines]
    rows = [(row["name"], row["mae"], row["rmse"], row["mase"]) for row in every]
    print_table(("", "MAE", "RMSE", "MASE"), sorted(rows, key=lambda row: row[1]))
    naive = found.baselines[0]["mae"]
    ridge = min(row["mae"] for row in found.baselines if row["name"].startswith("ridge"))
    ours = found.metrics["mae"]
    print(f"\n{100 * (1 - ours / naive):.1f} % under seasonal-naive, {ours / ridge:.3f} of the better ridge")
    print(f"{100 * found.metrics['coverage']:.1f} % of the truth in the interval meant for 80 %")
    print(f"fit and measured in {seconds:.0f} s, {model.record_.parameters:,} parameters")
    return {
        "benchmark": "co2",
        "quick": options.quick,
        "earlier": options.earlier,
        "origins": len(found.forecasts),
        "metrics": dict(found.metrics),
        "baselines": [dict(row) for row in found.baselines],
        "of_seasonal_naive": ours / naive,
        "of_the_better_ridge": ours / ridge,
        "seconds": round(seconds, 1),
        "parameters": model.record_.parameters,
        "machine": where,
    }
