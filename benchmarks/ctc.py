"""How fast the CTC loss and its gradient are beside torch's, and how exact; then the decoders.

    python -m benchmarks.ctc --quick --json FILE       the named shapes, a few decoders
    python -m benchmarks.ctc --json FILE               all

Work. From logits (T, B, K), L labels an utterance, to the loss of each utterance and, where it says
"gradient", to ∂ Σ loss / ∂ logits: `saiki.losses.ctc_loss`, and `log_softmax`, `ctc_loss` and their backward
of torch. Both through autograd, as in training. "loss" is without gradients. "ragged" draws lengths between
T/4 and T; ours then takes a packed batch, torch's the padded one with lengths.

Method. Contestants of a case take turns, A B A B, each after a run that is not timed; figures are medians.
With one thread times are the processor's, which other work on the machine does not lengthen; with more they
are the wall's.

The error is the largest difference of a gradient's number (of "loss": the largest relative one of a loss)
from torch's in float64; ours and torch's stand side by side.

The decoders' rows come from `benchmarks.ctc_decoders`, where their method is told.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks import ctc_decoders
from benchmarks.common import circumstances, print_header, print_table
from saiki.core.ragged import Ragged
from saiki.engine.operators import require_native
from saiki.losses import ctc_loss

NAMED = {(150, 40, 28, 16): 5.0, (150, 40, 28, 64): 5.0, (500, 100, 128, 16): 5.0, (150, 20, 5000, 16): 4.0}
OTHERS = ((150, 40, 28, 1), (2000, 200, 30, 8), (150, 20, 5000, 64), (60, 10, 28, 256))
BLOCK_S = 0.01  # a sample is the mean of as many runs as fit
MOST_ROUNDS = 40

Row = dict[str, Any]
Result = tuple[Tensor, ...]  # the losses, and the gradient if there is one
Work = Callable[[], Result]


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    what: str  # "gradient" or "loss"
    T: int
    L: int
    K: int
    B: int
    threads: int = 1
    ragged: bool = False
    dtype: str = "float32"

    def label(self) -> str:
        """As it is printed."""
        shape = f"T {self.T:<5}L {self.L:<4}K {self.K:<5}B {self.B:<4}"
        return f"{self.what:<9}{shape} {self.threads} thread{'s' if self.threads > 1 else ' '} " + " ".join(
            ([] if self.dtype == "float32" else [self.dtype]) + (["ragged"] if self.ragged else [])
        )


def main() -> int:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the named shapes, to see how things stand")
    parser.add_argument("--json", type=Path, help="where the rows go")
    parser.add_argument("--seconds", type=float, help="for each contestant of a case (1, quick 0.4)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="for the named shapes")
    parser.add_argument("--parts", nargs="+", default=["loss", "decoders"], choices=["loss", "decoders"])
    options = parser.parse_args()
    seconds = options.seconds or (0.4 if options.quick else 1.0)
    about = circumstances() | {"target": require_native().default_target()}
    rows: list[Row] = []
    before = torch.get_num_threads()
    if "loss" in options.parts:
        print_header("CTC loss", about | {"threads": " and ".join(map(str, options.threads))})
        print("   ours, ms   torch, ms   ratio     error   torch's", flush=True)
        for case in _cases(options.quick, options.threads):
            rows.append(_measure(case, seconds) | _where(about))
            _write(options.json, rows)
            print(_line(case, rows[-1]), flush=True)
        print()
        _print_bars(rows)
        torch.set_num_threads(before)
    if "decoders" in options.parts:
        print_header("CTC decoders", about)
        found = ctc_decoders.measure(options.quick, seconds)
        rows += [{"what": "decoder"} | row | _where(about) for row in found]
        _write(options.json, rows)
    return 0


def _cases(quick: bool, threads_of: list[int]) -> Iterator[Case]:
    for threads, shape in product(threads_of, NAMED):
        yield Case("gradient", *shape, threads=threads)
    if quick:
        return
    for shape in OTHERS:
        yield Case("gradient", *shape)
    for shape in NAMED:
        yield Case("gradient", *shape, ragged=True)
        yield Case("gradient", *shape, dtype="float64")
        yield Case("loss", *shape)


def _where(about: dict[str, str | int]) -> Row:
    """The machine and the versions, in each row."""
    machine = f"{about['processor']}, {about['cores']} cores"
    return {"machine": machine} | {key: about[key] for key in ("date", "commit", "saiki", "torch", "target")}


def _write(path: Path | None, rows: list[Row]) -> None:
    """One row a line."""
    if path is not None:
        lines = ",\n".join(" " + json.dumps(row, ensure_ascii=False) for row in rows)
        path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def _line(case: Case, row: Row) -> str:
    return (
        f"{row['saiki_ms']:11.4f}{row['peer_ms']:12.4f}{row['ratio']:8.2f}{row['error']:10.1e}"
        f"{row['peer_error']:10.1e}  {case.label()}"
    ).rstrip()


def _print_bars(rows: list[Row]) -> None:
    """What was wanted of the named shapes beside what came out."""
    lines: list[tuple[object, ...]] = []
    for row in rows:
        shape = (row["T"], row["L"], row["K"], row["B"])
        if (row["what"], row["dtype"], row["ragged"]) == ("gradient", "float32", False) and shape in NAMED:
            met = "met" if row["ratio"] >= NAMED[shape] else "missed"
            what = f"torch's time over ours, {shape}, {row['threads']} threads"
            lines.append((what, f">= {NAMED[shape]:.0f}", f"{row['ratio']:.1f}", met))
    print_table(("bar", "wanted", "measured", ""), lines)
    print()


def _measure(case: Case, seconds: float) -> Row:
    torch.set_num_threads(case.threads)
    ours, theirs, truth, pack = _contestants(case)
    expected = pack(truth())
    contestants = {"saiki": ours, "torch": theirs}
    errors = {"saiki": _error(ours(), expected), "torch": _error(pack(theirs()), expected)}
    times = _take_turns(contestants, seconds, time.process_time if case.threads == 1 else time.perf_counter)
    medians = {name: statistics.median(samples) for name, samples in times.items()}
    return asdict(case) | {
        "saiki_ms": 1e3 * medians["saiki"],
        "peer": "torch",
        "peer_ms": 1e3 * medians["torch"],
        "ratio": medians["torch"] / medians["saiki"],
        "error": errors["saiki"],
        "peer_error": errors["torch"],
        "saiki_spread": _spread(times["saiki"]),
        "peer_spread": _spread(times["torch"]),
        "rounds": len(times["saiki"]),
    }


def _contestants(case: Case) -> tuple[Work, Work, Work, Callable[[Result], Result]]:
    """Ours, torch's, torch's in float64, and what makes torch's results look as ours do."""
    generator = torch.Generator().manual_seed(0)
    T, L, K, B = case.T, case.L, case.K, case.B
    gradient = case.what == "gradient"
    logits = torch.randn(T, B, K, generator=generator).to(getattr(torch, case.dtype)).requires_grad_(gradient)
    labels = torch.randint(1, K, (B, L), generator=generator)
    lengths, counts = torch.full((B,), T), torch.full((B,), L)
    if case.ragged:
        lengths = torch.randint(T // 4, T + 1, (B,), generator=generator)
        counts = torch.minimum(counts, lengths // 3)

    def torchs(logits: Tensor) -> Result:
        log_p = logits.log_softmax(dim=-1)
        loss = functional.ctc_loss(log_p, labels, lengths, counts, reduction="none")
        return (loss, *torch.autograd.grad(loss.sum(), logits)) if gradient else (loss,)

    def truth() -> Result:
        return torchs(logits.detach().double().requires_grad_(gradient))

    packed = Ragged.from_padded(logits.detach(), lengths)
    rows = packed.data.clone().requires_grad_(gradient)
    batch = packed.with_data(rows)

    def ours() -> Result:
        loss = ctc_loss(logits, labels, lengths, counts)
        return (loss, *torch.autograd.grad(loss.sum(), logits)) if gradient else (loss,)

    def ours_packed() -> Result:
        loss = ctc_loss(batch, labels, None, counts)
        return (loss, *torch.autograd.grad(loss.sum(), rows)) if gradient else (loss,)

    def pack(result: Result) -> Result:
        loss, *grads = result
        return (loss, *(Ragged.from_padded(g, lengths).data for g in grads))

    if case.ragged:
        return ours_packed, lambda: torchs(logits), truth, pack
    return ours, lambda: torchs(logits), truth, lambda result: result


def _error(found: Result, expected: Result) -> float:
    """Of the gradient's numbers, or relative of the losses'."""
    if len(found) > 1:
        return float((found[1].double() - expected[1]).abs().max())
    return float(((found[0].double() - expected[0]) / expected[0]).abs().max())


def _take_turns(
    contestants: dict[str, Work], seconds: float, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds a run of each contestant, a sample a round."""
    once = {name: _time(work, 1, clock) for name, work in contestants.items()}
    runs = {name: max(1, round(BLOCK_S / max(last, 1e-6))) for name, last in once.items()}
    a_round = sum(once[name] * (runs[name] + 1) for name in contestants)
    rounds = min(MOST_ROUNDS, max(5, math.ceil(seconds * len(contestants) / a_round)))
    times: dict[str, list[float]] = {name: [] for name in contestants}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, work in contestants.items():
                work()
                times[name].append(_time(work, runs[name], clock))
    finally:
        gc.enable()
    return times


def _time(work: Work, count: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(count):
        work()
    return (clock() - start) / count


def _spread(samples: list[float]) -> float:
    """The middle half of the samples, as a share of the median."""
    low, middle, high = statistics.quantiles(samples, n=4)
    return (high - low) / middle


if __name__ == "__main__":
    sys.exit(main())
