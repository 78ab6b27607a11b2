"""How fast recurrences run beside torch.nn, onnxruntime, JAX and plain loops, and the machine's limit.

    python -m benchmarks.kernels --quick --json FILE       eight shapes
    python -m benchmarks.kernels --json FILE               the full grid; rows that FILE has are kept
    python -m benchmarks.kernels --summary FILE            the bars and what was measured
    python -m benchmarks.kernels --plot FILE PNG           the picture

Method. Contestants of a case take turns, A B C A B C, with the same number of threads, each after a run that
is not timed; figures are medians. Our time is that of the public interface (`saiki.engine.run`, gradients by
`torch.autograd.grad`): a training run includes packing the weights, the input product and all gradients
with ∂L/∂x, and so do the peers'. The limit is the rate of fused multiply-adds in registers, measured by
`saiki._native.multiply_add_rate` as one more contestant of each case. A step is one of a session, whose
weights were packed beforehand; beside onnxruntime, which packs them beforehand too, a session runs as well.
In the full grid a case is measured again, at most twice, if other processes had more than 3 % of the
processors meanwhile (`others`).

Operations counted, two a multiply-add, a row and step forward:

    LSTM    8 H (I + H)    6 H (I + H) without a learned forget gate
    GRU     6 H (I + H)
    Elman   2 H (I + H)
    Jordan  2 H (I + H + K) + 2 K H

Backward is twice that. Only steps at which a sequence still runs are counted; activations and sums are not.

The error is the largest |ours - truth| / max |truth| of outputs, final states and all gradients, each tensor
by itself. The truth is the reference engine in float64; of a big shape the first `error_steps` steps alone.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import math
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import torch

from benchmarks import kernels_memory
from benchmarks.common import circumstances, print_header
from benchmarks.kernels_grid import BFLOAT16, DISTURBED, FLOAT64, Case, full, quick, row_key
from benchmarks.kernels_peers import build, peer_version, same_function
from benchmarks.kernels_work import Absent, Contestant, error, frozen, make_problem, ours
from saiki.core.errors import SaikiError
from saiki.engine import info

LONG_S = 0.3  # of a run this long, a cold start is a small part
BLOCK_S = 0.006  # a sample is the mean of as many runs as fit
SETTLE_S = 0.03  # threads of another pool spin for some milliseconds after its last run
WAKE_S = 0.02  # a virtual processor that slept is slow at first
LIMIT_S = 0.005  # of multiply-adds a round
MOST_ROUNDS = 60
FROZEN_PEER = "onnxruntime"  # its weights are packed beforehand, so ours are too
AGREE = 1e-3  # relative difference that a peer's result may have; with bfloat16 weights 0.03


Row = dict[str, Any]
Measured = tuple[dict[str, list[float]], float | None]  # seconds, samples by contestant; limit in GFLOP/s


def main() -> int:
    """Parse the command line and do as it says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="eight shapes, to see how things stand")
    parser.add_argument("--json", type=Path, help="where the rows go; those that are there are kept")
    parser.add_argument("--only", help="a regular expression: rows to measure, by the line that is printed")
    parser.add_argument(
        "--again",
        nargs="?",
        const="all",
        choices=("all", "disturbed"),
        help="measure rows anew that the file has, or those that other processes disturbed",
    )
    parser.add_argument("--seconds", type=float, help="time for each contestant of a case (0.3, quick 0.2)")
    parser.add_argument("--engine", default="cpu", help="ours: cpu, or another to compare")
    parser.add_argument("--list", action="store_true", help="only print the rows")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="print the bars beside the rows of FILE")
    parser.add_argument("--plot", type=Path, nargs=2, metavar=("FILE", "PNG"), help="draw the rows of FILE")
    options = parser.parse_args()
    if options.summary or options.plot:
        report = importlib.import_module("benchmarks.kernels_report")
        if options.summary:
            report.print_summary(json.loads(options.summary.read_text()))
        if options.plot:
            report.draw(json.loads(options.plot[0].read_text()), options.plot[1])
        return 0
    cases = list(quick() if options.quick else full())
    if options.list:
        for case in cases:
            for peer in case.peers:
                print(case.label(peer))
        return 0
    return _run(cases, options)


def _run(cases: Iterable[Case], options: argparse.Namespace) -> int:
    rows: list[Row] = []
    if options.json and options.json.exists():
        rows = json.loads(options.json.read_text())
    _pin(2)
    about = circumstances()
    print_header("Kernels", about)
    print("    ours, ms    peer, ms   ratio   GFLOP/s   of limit     error", flush=True)
    failures, tries = 0, 1 if options.quick else 3
    seconds = options.seconds or (0.2 if options.quick else 0.3)
    for case in cases:
        kept = [row for row in rows if not _anew(row, options.again)]
        have = {row_key(row) for row in kept}
        peers = [peer for peer in case.peers if case.key(peer) not in have]
        if options.only:
            peers = [peer for peer in peers if re.search(options.only, case.label(peer))]
        if not peers:
            continue
        try:
            found, differing = _measure_case(case, peers, options.engine, seconds, tries)
        except (SaikiError, Absent, CalledProcessError) as problem:
            _say(f"{case.label(', '.join(peers))}: left out: {problem}")
            failures += 1
            continue
        failures += differing
        fresh = {case.key(row["peer"]) for row in found}
        rows = [row for row in rows if row_key(row) not in fresh]
        for row in found:
            rows.append(row | _where(about, row["peer"], options.engine))
            print(_line(case, row), flush=True)
        if options.json:
            _write(options.json, rows)
    return 1 if failures else 0


def _pin(threads: int) -> None:
    """Stay on one logical processor a core: libraries that look for themselves see as many threads."""
    if not hasattr(os, "sched_setaffinity"):
        return
    cores: dict[str, int] = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.setdefault(siblings.read_text() if siblings.exists() else str(cpu), cpu)
    os.sched_setaffinity(0, list(cores.values())[:threads])


def _where(about: dict[str, str | int], peer: str, engine: str) -> Row:
    """The machine and the versions, in each row, since a file may hold rows of several runs."""
    native = _native()
    target = native.default_target() if engine == "cpu" and hasattr(native, "default_target") else engine
    return {
        "machine": f"{about['processor']}, {about['cores']} cores",
        "date": about["date"],
        "commit": about["commit"],
        "saiki": about["saiki"],
        "torch": about["torch"],
        "target": target,
        "peer_version": peer_version(peer),
    }


def _anew(row: Row, again: str | None) -> bool:
    """Whether a row that the file has is to be measured again."""
    return again == "all" or (again == "disturbed" and (row.get("others") or 0.0) > DISTURBED)


def _native() -> Any:  # noqa: ANN401 - a module
    return importlib.import_module("saiki._native") if info().native else None


def _write(path: Path, rows: list[Row]) -> None:
    """One row a line; the file is whole at every moment."""
    lines = ",\n".join(" " + json.dumps(row, ensure_ascii=False) for row in rows)
    scratch = path.with_name(path.name + ".part")
    scratch.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    scratch.replace(path)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _line(case: Case, row: Row) -> str:
    label = case.label(row["peer"])
    if case.memory:
        return f"{row['saiki_mb']:10.1f}M {row['peer_mb']:10.1f}M {row['ratio']:7.2f} {'':31}  {label}"
    share = f"{row['gflops'] / row['ceiling_gflops']:7.0%}" if row["ceiling_gflops"] else "      ?"
    times = f"{row['saiki_ms']:11.4f} {row['peer_ms']:11.4f} {row['ratio']:7.2f}"
    return f"{times} {row['gflops']:9.1f}    {share}   {row['error']:7.1e}  {label}"


# one case


def _measure_case(
    case: Case, peers: list[str], engine: str, seconds: float, tries: int
) -> tuple[list[Row], int]:
    """The rows of these peers, and how many computed something else than we; stderr tells who is left out."""
    torch.set_num_threads(case.threads)
    if case.memory:
        return [_row(case, peer) | kernels_memory.row(case, peer, engine) for peer in peers], 0
    problem = make_problem(case)
    with torch.set_grad_enabled(case.training):
        contestants = {"saiki": ours(problem, engine)}
        for peer in peers:
            try:
                contestants[peer] = build(peer, problem, engine)
            except Absent as reason:
                _say(f"{case.label(peer)}: left out: {reason}")
        if FROZEN_PEER in contestants and engine == "cpu":
            contestants["saiki frozen"] = frozen(problem)
        if len(contestants) == 1:
            return [], 0
        built = len(contestants.keys() & set(peers))
        worst, where, steps = error(problem, engine)
        firsts = _first_runs(case, contestants)
        turns = partial(_take_turns, contestants, firsts, seconds, _limit_of(case))
        times, limit, others = _undisturbed(turns, tries)
    called = times.pop("saiki")
    packed = times.pop("saiki frozen", called)
    flops = case.flops(int(problem.batch_sizes.sum()))
    rows = []
    for peer, samples in times.items():
        mine = packed if peer == FROZEN_PEER else called
        ours_s, peer_s = statistics.median(mine), statistics.median(samples)
        rows.append(
            _row(case, peer)
            | {"saiki_ms": ours_s * 1e3, "peer_ms": peer_s * 1e3, "ratio": peer_s / ours_s}
            | {"gflops": flops / ours_s / 1e9, "ceiling_gflops": limit, "error": worst}
            | {"saiki_spread": _spread(mine), "peer_spread": _spread(samples), "rounds": len(mine)}
            | {"error_in": where, "error_steps": steps, "others": others}
        )
    return rows, built - len(rows)


def _row(case: Case, peer: str) -> Row:
    """The columns that every row has, the measured ones still empty."""
    return {
        "cell": case.cell,
        "options": case.options,
        "mode": case.mode,
        "B": case.B,
        "T": case.T,
        "I": case.I,
        "H": case.H,
        "threads": case.threads,
        "ragged": case.ragged,
        "saiki_ms": None,
        "peer": peer,
        "peer_ms": None,
        "ratio": None,
        "gflops": None,
        "ceiling_gflops": None,
        "error": None,
    }


def _first_runs(case: Case, contestants: dict[str, Contestant]) -> dict[str, float]:
    """Run each once, which also compiles what is to be compiled; drop those whose output or ∂L/∂x is another.

    Returns:
        The seconds that each took.
    """
    tolerance = 0.03 if case.options == BFLOAT16 else AGREE
    results, seconds = {}, {}
    for name, contestant in contestants.items():
        start = time.perf_counter()
        result = contestant.run()
        seconds[name] = time.perf_counter() - start
        results[name] = contestant.tidy(result)
    for peer in filter(same_function, results):
        for what, mine, theirs in zip(("output", "∂L/∂x"), results["saiki"], results[peer]):
            if mine is None or theirs is None:
                continue
            apart = float((mine - theirs).detach().abs().max() / theirs.detach().abs().max())
            if not apart <= tolerance:
                _say(f"{case.label(peer)}: left out: its {what} differs from ours by {apart:.1e}")
                contestants.pop(peer, None)
    return seconds


def _take_turns(
    contestants: dict[str, Contestant],
    firsts: dict[str, float],
    seconds: float,
    limit: Callable[[], float] | None,
) -> Measured:
    """Seconds a run of each contestant, a sample a round, and the median limit in GFLOP/s."""
    lasts = firsts
    if firsts["saiki"] < LONG_S:  # the first run of a short one says little
        lasts = {name: _time(contestant, 1) for name, contestant in contestants.items()}
    runs = {name: max(1, round(BLOCK_S / last)) for name, last in lasts.items()}
    foreign = any(contestant.foreign for contestant in contestants.values())
    a_round = sum(lasts[name] * (runs[name] + (lasts[name] < LONG_S)) for name in contestants)
    a_round += LIMIT_S + 2 * (SETTLE_S + WAKE_S) * foreign
    fewest = 5 if a_round < 1 else 3 if a_round < 10 else 2 if a_round < 30 else 1
    rounds = min(MOST_ROUNDS, max(fewest, math.ceil(seconds * len(contestants) / a_round)))
    times: dict[str, list[float]] = {name: [] for name in contestants}
    limits = []
    gc.collect()
    gc.disable()
    try:
        spinning = False  # another pool's threads, for a while
        for _ in range(rounds):
            for name, contestant in contestants.items():
                if contestant.foreign or spinning:
                    time.sleep(SETTLE_S)
                    _wake(contestant)
                spinning = contestant.foreign
                if lasts[name] < LONG_S:
                    contestant.run()
                times[name].append(_time(contestant, runs[name]))
            if limit is not None:
                if spinning:
                    time.sleep(SETTLE_S)
                    spinning = False
                limits.append(limit())
    finally:
        gc.enable()
    return times, statistics.median(limits) if limits else None


def _wake(contestant: Contestant) -> None:
    """Run until processors that slept are at their full speed again."""
    end = time.perf_counter() + WAKE_S
    while time.perf_counter() < end:
        contestant.run()


def _undisturbed(
    measure: Callable[[], Measured], tries: int
) -> tuple[dict[str, list[float]], float | None, float]:
    """Measure, again if others had too much of our processors; the best try, and the others' share in it."""
    done = []
    for _ in range(tries):
        before, start = _others(), time.perf_counter()
        found = measure()
        share = max(0.0, _others() - before) / (time.perf_counter() - start)
        done.append((*found, share))
        if share <= DISTURBED:
            break
    return min(done, key=lambda one: one[-1])


def _others() -> float:
    """Seconds so far that the processors we may use, on average, worked for others; 0 where nobody tells."""
    try:
        lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    except OSError:
        return 0.0
    ours = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    busy = 0
    for _, *ticks in (line for line in lines if line[0] in ours):
        user, nice, system, _idle, _waiting, interrupts, soft, stolen = map(int, ticks[:8])
        busy += user + nice + system + interrupts + soft + stolen  # stolen: by another virtual machine
    return (busy / os.sysconf("SC_CLK_TCK") - sum(os.times()[:2])) / len(ours)


def _time(contestant: Contestant, runs: int) -> float:
    """Seconds a run."""
    run = contestant.run
    start = time.perf_counter()
    for _ in range(runs):
        run()
    return (time.perf_counter() - start) / runs


def _limit_of(case: Case) -> Callable[[], float] | None:
    """A short burst of multiply-adds, in GFLOP/s; None where the extension cannot."""
    native = _native()
    if not hasattr(native, "multiply_add_rate"):
        return None
    dtype = "float64" if case.options == FLOAT64 else "float32"
    return lambda: float(native.multiply_add_rate(dtype, LIMIT_S, case.threads)) / 1e9


def _spread(samples: list[float]) -> float | None:
    """The middle half of the samples, as a share of the median; None of fewer than four."""
    if len(samples) < 4:
        return None
    low, middle, high = statistics.quantiles(samples, n=4)
    return (high - low) / middle


if __name__ == "__main__":
    sys.exit(main())
