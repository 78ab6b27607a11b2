"""How fast the influence of real-time recurrent learning is carried, what it takes, and what else there is.

    python -m benchmarks.rtrl [--quick] [--json FILE] [--peer-python PYTHON]

Rate. One sequence (B = 1), float32, n units, I inputs, an error at every step. A step is all of it: forward,
M_t = D_t M_{t-1} + F_t, gradient += δ_t M_t. "chunk" takes 64 steps a call, "single" one, as learning after
every step does. Useful FLOPs are those of D M alone, 2 a multiply-add, with P parameters:

    elman, gru   2 n² P     lstm   4 n² P: R's columns act on c and on h     jordan   2 (n (n + K) + K n) P

forward, F, the gradient and the forming of D are work beside them and not counted. The limit is the rate of
multiply-adds in registers, measured among the runs. State: bytes of M, S · P numbers (snap1 and eprop: 2 P of
an LSTM, P of the others). Everything runs on one thread, and times are the processor's for it, so that what
else the machine does shows less.

jacrev. D and F of each step from `torch.func.jacrev` of the cell's step, as matrices, then D M + F and δ M in
torch: what one writes first. It gives the same gradient.

BPTT. A step of snap1 and eprop beside a step of BPTT in the same kernels: forward, backward and dW of a chunk
of as many steps, without ∂L/∂x.

Memory. `rtrl_memory`, each figure a process of its own: T = 1,000 and T = 100,000 under RTRL, BPTT beside it,
and the T at which BPTT needs as much, from a straight line through BPTT's figures.

Stream. `rtrl_stream`: a noisy sine of changing pitch, one step ahead, learning after every step: RTRL, snap1
and truncated BPTT of this library beside deep-river's rolling window, which runs in another Python
(`--peer-python`) where `pip install deep-river` was made.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks import rtrl_memory, rtrl_stream
from benchmarks.common import circumstances, print_header, print_table, write_json
from benchmarks.rtrl_work import Problem, Work, difference, take_turns
from saiki.engine.operators import require_native

UNITS, INPUTS = (16, 32, 64, 128), (8, 32)
CELLS = ("lstm", "gru", "elman", "lstm peepholes", "gru before", "jordan")
STEPS = 64  # of a chunk
AGREE = 1e-3  # relative difference of two exact gradients in float32
LIMIT_S = 0.003

Row = dict[str, Any]


def main() -> int:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="an LSTM of 16 and 128 units, short streams")
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--seconds", type=float, default=0.3, help="for each contestant of a row")
    parser.add_argument("--peer-python", type=Path, help="a Python that has deep-river")
    parser.add_argument("--parts", nargs="+", default=list(_PARTS), choices=list(_PARTS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    about = circumstances() | {"target": require_native().default_target()}
    print_header("Real-time recurrent learning", about)
    content: dict[str, Any] = {}
    if options.json and options.json.exists():
        content = json.loads(options.json.read_text())
    for part in options.parts:
        content[part] = {"about": about, "rows": _PARTS[part](options)}
        write_json(options.json, content)
    return _bars(content)


def _cases(options: argparse.Namespace) -> list[tuple[str, int, int]]:
    if options.quick:
        return [("lstm", 8, 16), ("lstm", 8, 128)]
    return [(cell, I, n) for cell in CELLS for I in INPUTS for n in UNITS]


def _rate(options: argparse.Namespace) -> list[Row]:
    native = require_native()
    print(
        "Exact: steps a second, useful FLOPs and their share of the limit, bytes of state, snap1 and eprop\n"
    )
    rows: list[Row] = []
    for cell, I, n in _cases(options):
        chunk, single = Problem(cell, I, n, STEPS), Problem(cell, I, n, 1)
        wrong = difference(chunk.fresh("exact"), chunk.bptt_gradient())
        if not wrong < AGREE:
            raise SystemExit(f"{cell} I={I} n={n}: RTRL's gradient is not BPTT's, off by {wrong:.1e}")
        contestants: dict[str, Work] = {"exact": chunk.ours("exact"), "exact single": single.ours("exact")}
        for rule in ("snap1", "eprop"):
            contestants |= {rule: chunk.ours(rule), f"{rule} single": single.ours(rule)}
        contestants |= {"bptt": chunk.bptt(), "bptt single": single.bptt()}
        took = take_turns(
            contestants,
            options.seconds,
            lambda: native.multiply_add_rate("float32", LIMIT_S, 1),
        )
        seconds = {name: took[name] / (1 if "single" in name else STEPS) for name in contestants}
        flops = chunk.products()
        row: Row = {"cell": cell, "I": I, "n": n, "P": chunk.P, "S": chunk.S, "flops": flops}
        row |= {"limit_gflops": took["limit"] / 1e9, "rounds": took["rounds"], "error": wrong}
        row["step_us"] = {name: 1e6 * value for name, value in seconds.items()}
        row["steps_s"] = {name: 1 / value for name, value in seconds.items()}
        row["gflops"] = {name: flops / seconds[name] / 1e9 for name in ("exact", "exact single")}
        row["of_limit"] = {name: g * 1e9 / took["limit"] for name, g in row["gflops"].items()}
        row["bytes"] = {rule: chunk.influence(rule).nbytes for rule in ("exact", "snap1", "eprop")}
        rows.append(row)
        print(_line(row), flush=True)
    print()
    return rows


def _line(row: Row) -> str:
    us, share = row["step_us"], row["of_limit"]
    return (
        f"{row['cell']:<15}I {row['I']:<3}n {row['n']:<4}P {row['P']:<6}"
        f"{row['steps_s']['exact']:9.0f} /s {row['gflops']['exact']:6.1f} GFLOP/s"
        f" {share['exact']:4.0%} of limit"
        f"   single {row['steps_s']['exact single']:8.0f} /s {share['exact single']:4.0%}"
        f"   M {row['bytes']['exact'] / 2**20:6.2f} MiB"
        f"   snap1 {us['snap1']:6.2f} µs ({us['snap1'] / us['bptt']:.2f} of BPTT; single "
        f"{us['snap1 single']:.1f} µs, {us['snap1 single'] / us['bptt single']:.2f})"
        f"   eprop {us['eprop']:.2f} µs ({us['eprop'] / us['bptt']:.2f})"
        f"   {row['bytes']['snap1'] / 1024:.0f} KiB"
    )


def _jacrev(options: argparse.Namespace) -> list[Row]:
    print("Exact beside torch.func.jacrev and beside the plain form, a step in a chunk of 8\n")
    rows: list[Row] = []
    cells = ("lstm",) if options.quick else ("lstm", "gru", "elman")
    for cell in cells:
        for I, n in (
            ((8, 16), (8, 64), (8, 128)) if options.quick else ((I, n) for I in INPUTS for n in UNITS)
        ):
            problem = Problem(cell, I, n, 8)
            contestants = {
                "exact": problem.ours("exact"),
                "jacrev": problem.jacrev(),
                "plain": problem.in_tensors("exact"),
            }
            wrong = difference(problem.fresh("exact"), contestants["jacrev"]())
            if not wrong < AGREE:
                raise SystemExit(f"{cell} I={I} n={n}: jacrev's gradient is another, off by {wrong:.1e}")
            took = take_turns(contestants, options.seconds)
            row: Row = {"cell": cell, "I": I, "n": n, "rounds": took["rounds"]}
            row["step_us"] = {name: 1e6 * took[name] / problem.T for name in contestants}
            row["ratio"] = {name: took[name] / took["exact"] for name in ("jacrev", "plain")}
            rows.append(row)
            print(
                f"{cell:<6}I {I:<3}n {n:<4} ours {row['step_us']['exact']:10.1f} µs   jacrev "
                f"{row['step_us']['jacrev']:11.1f} µs, {row['ratio']['jacrev']:6.1f} ×   plain "
                f"{row['step_us']['plain']:10.1f} µs, {row['ratio']['plain']:5.1f} ×",
                flush=True,
            )
    print()
    return rows


def _memory(options: argparse.Namespace) -> list[Row]:
    print("Memory of learning from one sequence (LSTM, I = 8), the rise of resident memory\n")
    rows: list[Row] = []
    table: list[tuple[object, ...]] = []
    for n in (32,) if options.quick else (16, 32):
        lengths = (1_000, 10_000) if options.quick else (1_000, 10_000, 100_000)
        found = {
            rule: {T: rtrl_memory.measure(rule, T, 8, n) for T in lengths}
            for rule in ("rtrl", "snap1", "bptt")
        }
        for rule, of in found.items():
            for T, figures in of.items():
                rows.append({"rule": rule, "n": n, "T": T, **figures})
        short, long = lengths[0], lengths[-1]
        bptt = {T: found["bptt"][T]["bytes"] for T in lengths}
        slope = (bptt[long] - bptt[short]) / (long - short)
        crossing = {
            rule: short + (found[rule][long]["bytes"] - bptt[short]) / slope for rule in ("rtrl", "snap1")
        }
        rows.append({"n": n, "bptt_bytes_a_step": slope, "crossing": crossing})
        for T in lengths:
            mib = (f"{found[rule][T]['bytes'] / 2**20:.2f}" for rule in found)
            table.append((f"n {n}", T, *mib, *(f"{crossing[rule]:.0f}" for rule in crossing)))
    head = ("", "T", "RTRL, MiB", "snap1, MiB", "BPTT, MiB", "RTRL = BPTT at T", "snap1 = BPTT at T")
    print_table(head, table)
    print()
    return rows


def _stream(options: argparse.Namespace) -> list[Row]:
    rows = rtrl_stream.compare(options.peer_python, options.quick)
    print("A stream, one step ahead, learning after every step\n")
    print_table(
        ("", "ms a step", "mean |error|", "the last tenth"),
        [(r["who"], r["ms"], r["error"], r["last"]) for r in rows],
    )
    print()
    return rows


_PARTS = {"rate": _rate, "jacrev": _jacrev, "memory": _memory, "stream": _stream}


def _bars(content: dict[str, Any]) -> int:
    """Each bar with what was measured; the exit status tells whether all were met."""
    lines: list[tuple[object, ...]] = []

    def bar(what: str, wanted: str, values: list[float], met: bool) -> None:
        if values:
            lines.append(
                (what, wanted, f"{min(values):.2f} to {max(values):.2f}", "met" if met else "missed")
            )

    rate = content.get("rate", {}).get("rows", [])
    for name in dict.fromkeys(row["cell"] for row in rate):
        shares = [row["of_limit"]["exact"] for row in rate if row["n"] == 128 and row["cell"] == name]
        bar(f"exact {name}, n = 128, share of the limit", ">= 0.50", shares, min(shares, default=0) >= 0.5)
    for kind, suffix in (("in a chunk", ""), ("single", " single")):
        times = [row["step_us"][f"snap1{suffix}"] / row["step_us"][f"bptt{suffix}"] for row in rate]
        bar(f"snap1 a step of BPTT, {kind}", "<= 2.00", times, max(times, default=9) <= 2)
    rows = content.get("jacrev", {}).get("rows", [])
    for n, least in ((16, 20.0), (64, 4.0), (128, 4.0)):
        times = [row["ratio"]["jacrev"] for row in rows if row["n"] == n]
        bar(f"jacrev's time over ours, n = {n}", f">= {least:.0f}", times, min(times, default=0) >= least)
    found = {
        (r["n"], r["T"]): r["bytes"]
        for r in content.get("memory", {}).get("rows", [])
        if r.get("rule") == "rtrl"
    }
    grown = [found[n, T] / found[n, 1_000] for n, T in found if max(t for m, t in found if m == n) == T]
    bar("RTRL's memory, longest over T = 1,000", "1.00", grown, max(grown, default=9) <= 1.05)
    print_table(("bar", "wanted", "measured", ""), lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
