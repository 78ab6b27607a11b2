"""What the choice of engine does to a whole training run: the demo's forecaster on each engine in turn.

    python -m benchmarks.engines [--threads N] [--rounds 3] [--json FILE]

The rows are seconds of `Forecaster.fit` with the demo's own job (weekly CO2, an LSTM of 16 units, 20 epochs,
simple models beside) and of its training alone, medians of runs in turns. `reference` is the plain loop.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import circumstances, print_header, print_table, write_json
from saiki.cli.demo import JOB
from saiki.cli.job import build, read_job
from saiki.data import load

ENGINES = ("cpu", "torch_fused", "reference")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    about = circumstances()
    print_header("Engines", about)

    job = read_job(JOB, "forecaster")
    table = load("co2").table
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ENGINES}
    for _ in range(options.rounds):
        for name in ENGINES:
            one = replace(job, model={**job.model, "verbose": False, "engine": name})
            model: Any = build("forecaster", one, JOB.name)
            start = time.perf_counter()
            model.fit(table)
            seconds[name].append((time.perf_counter() - start, model.record_.seconds))
    medians = {name: [statistics.median(column) for column in zip(*them)] for name, them in seconds.items()}
    print_table(("engine", "fit, s", "training, s"), [(name, *both) for name, both in medians.items()])
    write_json(options.json, {**about, "seconds": medians})


if __name__ == "__main__":
    main()
