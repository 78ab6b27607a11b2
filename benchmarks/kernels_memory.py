"""Peak memory of one run, measured in a process of its own (`kernels_memory CASE SIDE ENGINE`).

What is told is by how much the resident memory rose above where it stood before the run, when inputs and
weights were there and a run of three steps had loaded all code. Every array of 64 KiB or more is mapped
for itself, so that memory freed before is not counted as given.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.kernels_grid import Case

MEBI = 2**20
STATUS = Path("/proc/self/status")


def measure(case: Case, side: str, engine: str) -> float:
    """Run `side` ("saiki" or a peer's name) once in a new process; the rise of its memory in MiB.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": str(case.threads)}
    command = [sys.executable, "-m", "benchmarks.kernels_memory", json.dumps(asdict(case)), side, engine]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout) / MEBI


def _rise(case: Case, side: str, engine: str) -> int:
    """Bytes."""
    import torch

    from benchmarks.kernels_peers import build
    from benchmarks.kernels_work import make_problem, ours

    torch.set_num_threads(case.threads)
    with torch.set_grad_enabled(case.training):
        for one in (replace(case, T=10), case):  # the first to load what there is to load
            problem = make_problem(one)
            contestant = ours(problem, engine) if side == "saiki" else build(side, problem, engine)
            if one is case:
                gc.collect()
                before = _start()
                result = contestant.run()
                return _peak() - before
            contestant.run()
    raise AssertionError(result)


def _start() -> int:
    """Forget the peak so far, where the system can, and tell where memory stands."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except OSError:
        return _peak()


def _peak() -> int:
    if STATUS.exists():
        return _status("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(name: str) -> int:
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def row(case: Case, peer: str, engine: str) -> dict[str, Any]:
    """The figures of a memory row: both peaks in MiB; of long inference what is beyond the output."""
    mine, theirs = measure(case, "saiki", engine), measure(case, peer, engine)
    figures: dict[str, Any] = {"saiki_mb": mine, "peer_mb": theirs, "ratio": theirs / mine}
    if not case.training:
        short = replace(case, T=case.T // 10)
        output, short_output = (one.T * one.B * one.K * 4 / MEBI for one in (case, short))
        figures["output_mb"] = output
        figures["beyond_output_mb"] = mine - output
        figures["beyond_output_mb_at_tenth"] = measure(short, "saiki", engine) - short_output
    return figures


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    print(_rise(Case(**wanted | {"peers": tuple(wanted["peers"])}), sys.argv[2], sys.argv[3]))
