"""ETTh1, 7 series, look-back 96, horizon 96, all 2,785 test windows, beside the published table.

Values are z-scored on the training months. It trains what benchmarks/ett.toml describes; `saiki fit
forecaster` takes the same file. `--data` must hold forecasting/ett/ETTh1.csv.gz. `--quick` trains for one
epoch.
"""

from __future__ import annotations

import argparse

from benchmarks.common import HERE, circumstances, forecaster, print_header, print_table
from benchmarks.reproductions.shared.options import data_folder
from benchmarks.reproductions.shared.runs import timed

# Mean squared and mean absolute error, look-back 96, horizon 96, every test window kept: the table of the
# SegRNN repository (Lin et al. 2023), which quotes all but its own row from iTransformer (Liu et al. 2024).
PUBLISHED = {
    "SegRNN (Lin et al. 2023)": (0.368, 0.395),
    "TimesNet (Wu et al. 2023)": (0.384, 0.402),
    "DLinear (Zeng et al. 2023)": (0.386, 0.400),
    "PatchTST (Nie et al. 2023)": (0.414, 0.419),
}
WINDOWS = 2_785


def run(options: argparse.Namespace) -> dict[str, object]:
    """Train on ETTh1 and print the published table beside ours."""
    file = data_folder(options) / "forecasting" / "ett" / "ETTh1.csv.gz"
    quick = {"max_epochs": 1} if options.quick else {}
    model, seconds = timed(lambda: forecaster(HERE / "ett.toml", **quick).fit(file))
    found = model.backtest_
    assert found is not None
    windows = len(found.forecasts) // len(model.series_names_)
    assert windows == WINDOWS, f"{windows} test windows, not {WINDOWS}"
    simple = {row["name"]: (row["mse_scaled"], row["mae_scaled"]) for row in found.baselines}
    ours = (found.metrics["mse_scaled"], found.metrics["mae_scaled"])
    where = circumstances()
    title = "ETTh1, 7 series, look-back 96, horizon 96, 2,785 test windows"
    print_header(title + (", --quick" if options.quick else ""), where)
    rows: list[tuple[object, ...]] = [(name, *pair, "published") for name, pair in PUBLISHED.items()]
    rows += [(name, *pair, "measured here") for name, pair in simple.items()]
    rows.append(("Saiki, segments into a GRU with a linear highway", *ours, "measured here"))
    print_table(("", "MSE", "MAE", ""), sorted(rows, key=lambda row: row[1]))  # type: ignore[arg-type, return-value]
    print(f"\nfit and measured in {seconds:.0f} s, {model.record_.parameters:,} parameters")
    return {
        "benchmark": "ett",
        "quick": options.quick,
        "windows": windows,
        "mse": ours[0],
        "mae": ours[1],
        "published": {name: {"mse": mse, "mae": mae} for name, (mse, mae) in PUBLISHED.items()},
        "simple": {name: {"mse": mse, "mae": mae} for name, (mse, mae) in simple.items()},
        "seconds": round(seconds, 1),
        "epochs": len(model.record_.epochs),
        "parameters": model.record_.parameters,
        "machine": where,
    }
