"""Published forecasting figures beside ours.

    python -m benchmarks.reproduce ett --data DATA [--quick] [--json FILE]
    python -m benchmarks.reproduce co2 [--earlier] [--quick] [--json FILE]

`ett`: ETTh1, all 7 series, look-back 96, horizon 96, all 2,785 test windows, z-scored on the training months.
`co2`: weekly CO2 at Mauna Loa, the last five years held out, every weekly origin, 52 weeks ahead.
`--earlier` holds out 1992 to 1996 instead, the years on which its settings were chosen. `--quick` trains for
one epoch, to see that everything runs. `ett` trains what ett.toml in this folder describes, `co2` what
`saiki demo` trains; `saiki fit forecaster` takes the same files.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from benchmarks.common import HERE, circumstances, forecaster, print_header, print_table, write_json

from saiki.cli.demo import JOB as DEMO
from saiki.data import load
from saiki.models import Forecaster

# Mean squared and mean absolute error, look-back 96, horizon 96, every test window kept: the table of the
# SegRNN repository (Lin et al. 2023), which quotes all but its own row from iTransformer (Liu et al. 2024).
ETT_PUBLISHED = {
    "SegRNN (Lin et al. 2023)": (0.368, 0.395),
    "TimesNet (Wu et al. 2023)": (0.384, 0.402),
    "DLinear (Zeng et al. 2023)": (0.386, 0.400),
    "PatchTST (Nie et al. 2023)": (0.414, 0.419),
}
ETT_WINDOWS = 2_785


def ett(data: Path, quick: bool) -> dict[str, object]:
    """Train on ETTh1 and print the published table beside ours."""
    file = data / "forecasting" / "ett" / "ETTh1.csv.gz"
    model, seconds = _fit(forecaster(HERE / "ett.toml", **_quick(quick)), file)
    found = model.backtest_
    assert found is not None
    forecasts = found.forecasts
    windows = len(forecasts) // len(model.series_names_)
    assert windows == ETT_WINDOWS, f"{windows} test windows, not {ETT_WINDOWS}"
    simple = {row["name"]: (row["mse_scaled"], row["mae_scaled"]) for row in found.baselines}
    ours = (found.metrics["mse_scaled"], found.metrics["mae_scaled"])
    where = circumstances()
    title = "ETTh1, 7 series, look-back 96, horizon 96, 2,785 test windows"
    print_header(title + (", --quick" if quick else ""), where)
    rows: list[tuple[object, ...]] = [(name, *pair, "published") for name, pair in ETT_PUBLISHED.items()]
    rows += [(name, *pair, "measured here") for name, pair in simple.items()]
    rows.append(("Saiki, segments into a GRU with a linear highway", *ours, "measured here"))
    print_table(("", "MSE", "MAE", ""), sorted(rows, key=lambda row: row[1]))  # type: ignore[arg-type, return-value]
    print(f"\nfit and measured in {seconds:.0f} s, {model.record_.parameters:,} parameters")
    return {
        "benchmark": "ett",
        "quick": quick,
        "windows": windows,
        "mse": ours[0],
        "mae": ours[1],
        "published": {name: {"mse": mse, "mae": mae} for name, (mse, mae) in ETT_PUBLISHED.items()},
        "simple": {name: {"mse": mse, "mae": mae} for name, (mse, mae) in simple.items()},
        "seconds": round(seconds, 1),
        "epochs": len(model.record_.epochs),
        "parameters": model.record_.parameters,
        "machine": where,
    }


def co2(quick: bool, earlier: bool) -> dict[str, object]:
    """Train on the weekly CO2 record and print our error beside the simple models'."""
    changes = {"test": "1992-01-01", "until": "1996-12-31"} if earlier else {}
    model, seconds = _fit(forecaster(DEMO, **changes, **_quick(quick)), load("co2").table)
    found = model.backtest_
    assert found is not None
    where = circumstances()
    years = "1992 to 1996" if earlier else "last five years"
    title = f"Weekly CO2, {years} held out, {len(found.forecasts)} origins, 52 weeks ahead, ppm"
    print_header(title + (", --quick" if quick else ""), where)
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
        "quick": quick,
        "earlier": earlier,
        "origins": len(found.forecasts),
        "metrics": dict(found.metrics),
        "baselines": [dict(row) for row in found.baselines],
        "of_seasonal_naive": ours / naive,
        "of_the_better_ridge": ours / ridge,
        "seconds": round(seconds, 1),
        "parameters": model.record_.parameters,
        "machine": where,
    }


def _quick(quick: bool) -> dict[str, int]:
    return {"max_epochs": 1} if quick else {}


def _fit(model: Forecaster, data: object) -> tuple[Forecaster, float]:
    started = time.perf_counter()
    model.fit(data)
    return model, time.perf_counter() - started


def main() -> None:
    """Parse the command line, run, print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reproduce", description=__doc__.splitlines()[0]
    )
    commands = parser.add_subparsers(dest="benchmark", required=True)
    for name in ("ett", "co2"):
        command = commands.add_parser(name)
        if name == "ett":
            command.add_argument(
                "--data", type=Path, required=True, help="folder that holds forecasting/ett/"
            )
        else:
            command.add_argument(
                "--earlier", action="store_true", help="hold out 1992 to 1996 and learn from before"
            )
        command.add_argument("--quick", action="store_true", help="one epoch, to see that it runs")
        command.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # so small a network is faster so: threads would wait at every step
    if arguments.benchmark == "ett":
        run = ett(arguments.data, arguments.quick)
    else:
        run = co2(arguments.quick, arguments.earlier)
    write_json(arguments.json, run)


if __name__ == "__main__":
    main()
