"""What a team of threads costs, and what it costs beside torch: OpenMP's own team against a second pool.

    python -m benchmarks.threads [--threads 2] [--json FILE]

Compiles csrc/team.cpp twice, once as it is and once so that it finds no OpenMP and keeps a pool of its own,
and runs both in one process with torch. A job is ROUNDS rounds of some microseconds of arithmetic on each
thread with a barrier after each, like the steps of a recurrent layer. The last row is what a training loop
does: one of torch's operators on its threads (tanh of 512 x 512 numbers), then a job of ours.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.common import circumstances, print_header, print_table, write_json

CSRC = Path(__file__).resolve().parents[1] / "csrc"
ROUNDS = 100
REPEATS = 300

WITHOUT_OPENMP = """
#include <dlfcn.h>
#define dlsym(handle, name) nullptr
"""
JOB = """
#include "team.cpp"
extern "C" {
void job(int threads, int rounds, int length) {
    saiki::Barrier barrier;
    saiki::run_team(threads, [&](int, int size) {
        for (int round = 0; round < rounds; ++round) {
            volatile double sum = 0;
            for (int k = 0; k < length; ++k) sum = sum + k;
            barrier.wait(size);
        }
    });
}
}
"""


def build(folder: Path, name: str, source: str) -> Callable[[int, int, int], None]:
    """The job on a team of one kind."""
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        raise SystemExit("This benchmark compiles csrc/team.cpp and found no C++ compiler: set CXX.")
    file, library = folder / f"{name}.cpp", folder / f"{name}.so"
    file.write_text(source)
    options = ["-std=c++20", "-O3", "-fPIC", "-shared", "-pthread", f"-I{CSRC}"]
    subprocess.run([compiler, *options, str(file), "-o", str(library), "-ldl"], check=True)
    call = ctypes.CDLL(str(library)).job
    call.argtypes, call.restype = [ctypes.c_int] * 3, None
    return call


def measure(call: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median microseconds; the first run is not counted."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e6)
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    threads = arguments.threads
    torch.set_num_threads(threads)
    found = circumstances()
    print_header("Teams of threads, microseconds", found)
    x = torch.randn(512, 512)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kinds = {
            "OpenMP's team": build(folder, "shared", JOB),
            "a pool beside it": build(folder, "own", WITHOUT_OPENMP + JOB),
        }

        def row(
            what: str, rounds: int, length: int, before: Callable[[], object] | None = None, parts: int = 1
        ) -> dict[str, str | float]:
            """One line of the table; `parts` is what a call's time is divided by."""
            medians = {}
            for kind, job in kinds.items():

                def call(job: Callable[[int, int, int], None] = job) -> None:
                    if before:
                        before()
                    job(threads, rounds, length)

                time.sleep(0.1)  # the other kind's threads have stopped spinning
                medians[kind] = measure(call) / parts
            return {"what": what, **medians}

        def operator() -> object:
            return torch.tanh(x)

        alone = measure(operator)
        table = [
            row("an empty team", 0, 0),
            row("a barrier", 10_000, 0, parts=10_000),
            row("a job", ROUNDS, 2000),
            row("torch's tanh, then a job", ROUNDS, 2000, operator),
        ]
    print_table(("", *kinds), [(row["what"], *(row[kind] for kind in kinds)) for row in table])
    print(f"\ntorch's tanh alone: {alone:.3f}")
    write_json(arguments.json, {**found, "threads": threads, "rounds": ROUNDS, "tanh": alone, "rows": table})


if __name__ == "__main__":
    main()
