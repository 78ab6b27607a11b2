"""Tokens a second of an encoder-decoder with attention, beside the same model in plain torch.

    python -m benchmarks.translation_speed [--quick] [--threads N] [--json FILE] [--only REGEX]

Training is forward, loss and backward of a batch; greedy decoding writes until every sentence has ended or
MOST symbols are there. Both have the same weights and must give the same: the loss to 1e-4 of itself, every
gradient to 1e-3 of its norm, and the same symbols. Sources and targets have random symbols and lengths as in
a bucketed batch; a token is a symbol of the target, the end symbol counted. Milliseconds are those of the
processor in all threads (`--wall`: of the clock), medians of runs taken in turns.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import circumstances, print_header, print_table, write_json
from benchmarks.translation_plain import Plain, padded
from saiki.decoding.sequence import greedy
from saiki.losses import cross_entropy
from saiki.nn import EncoderDecoder, EncoderDecoderConfig, EncoderDecoderInput

START, END, MOST = 0, 1, 30
SECONDS = 12.0  # of a measurement


@dataclass(frozen=True)
class Case:
    """A model and a batch: B sentences of `low` to `high` symbols on both sides."""

    name: str
    model: dict[str, Any]
    B: int
    low: int
    high: int


CASES = (
    Case(
        "words, GRU 256, additive",
        {"cell": "gru", "hidden_size": 256, "embedding_size": 128, "score": "additive"}
        | {"source_size": 8000, "target_size": 8000},
        *(64, 10, 16),
    ),
    Case(
        "words, LSTM 512, general, feeding",
        {"hidden_size": 512, "embedding_size": 256, "score": "general", "input_feeding": True}
        | {"source_size": 8000, "target_size": 8000},
        *(32, 10, 16),
    ),
    Case(
        "letters, 2 LSTM 512, general",
        {"hidden_size": 512, "embedding_size": 64, "num_layers": 2, "source_size": 28, "target_size": 42},
        *(64, 6, 9),
    ),
    Case(
        "letters, LSTM 128, general",
        {"hidden_size": 128, "embedding_size": 64, "source_size": 28, "target_size": 42},
        *(64, 6, 9),
    ),
    Case(
        "one sentence, LSTM 256, general",
        {"hidden_size": 256, "embedding_size": 128, "source_size": 8000, "target_size": 8000},
        *(1, 12, 12),
    ),
)
QUICK = ("letters, LSTM 128, general",)


def make(case: Case) -> tuple[EncoderDecoder, EncoderDecoderInput, Tensor]:
    """The model and its batch, the same at every call; the bias of the end symbol makes sentences end."""
    draw = torch.Generator().manual_seed(11)
    network = EncoderDecoder(EncoderDecoderConfig(**case.model), generator=draw)
    sides = []
    for size in (case.model["source_size"], case.model["target_size"]):
        lengths = torch.randint(case.low, case.high + 1, (case.B,), generator=draw)
        sides.append([torch.randint(2, size, (int(n),), generator=draw) for n in lengths])
    inputs, wanted = EncoderDecoderInput.of(*sides, start=START, end=END)
    with torch.no_grad():  # untrained scores are all alike; wider ones, so that rounding decides nothing
        network.head.weight *= 8
    return network, inputs, wanted.data


def train_ours(network: EncoderDecoder, inputs: EncoderDecoderInput, wanted: Tensor) -> float:
    """Forward, loss, backward."""
    network.zero_grad()
    loss = cross_entropy(network(inputs).data, wanted).mean()
    loss.backward()
    return float(loss.detach())


def check(
    case: Case, network: EncoderDecoder, peer: Plain, inputs: EncoderDecoderInput, wanted: Tensor
) -> None:
    """Both must compute the same."""
    ours = train_ours(network, inputs, wanted)
    gradients = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    theirs = peer.loss(*padded(inputs, wanted))
    theirs.backward()
    assert abs(ours - float(theirs.detach())) <= 1e-4 * abs(ours), (
        f"{case.name}: loss {ours} beside {float(theirs.detach())}"
    )
    for name, gradient in gradients.items():
        other = network.get_parameter(name).grad
        if name.startswith(("decoder.", "stack.layers.encoder.")):
            continue  # torch's layers hold copies of these, with two biases
        assert other is not None
        far = float((gradient - other).norm() / gradient.norm().clamp(min=1e-12))
        assert far < 1e-3, f"{case.name}: gradient of {name} is off by {far}"
    said = [list(one.tokens) for one in decode_ours(network, inputs)]
    source, lengths, *_ = padded(inputs, wanted)
    assert said == peer.greedy(source, lengths, START, END, MOST), f"{case.name}: other symbols"


def decode_ours(network: EncoderDecoder, inputs: EncoderDecoderInput) -> list[Any]:
    """Greedy."""
    start = torch.full((inputs.B,), START)
    return greedy(network.step, network.start(inputs.source), start, end=END, max_steps=MOST)


def measure(
    ours: Callable[[], object], theirs: Callable[[], object], seconds: float, clock: Callable[[], float]
) -> tuple[float, float, int]:
    """Median milliseconds of each, in turns."""
    ours(), theirs()
    times: tuple[list[float], list[float]] = ([], [])
    began = time.perf_counter()
    while len(times[0]) < 5 or time.perf_counter() - began < seconds:
        for call, kept in zip((ours, theirs), times):
            start = clock()
            call()
            kept.append(1e3 * (clock() - start))
    return statistics.median(times[0]), statistics.median(times[1]), len(times[0])


def rows_of(case: Case, seconds: float, clock: Callable[[], float]) -> list[dict[str, Any]]:
    """A row for training and one for greedy decoding."""
    network, inputs, wanted = make(case)
    peer = Plain(network)
    check(case, network, peer, inputs, wanted)
    batch = padded(inputs, wanted)

    def train_theirs() -> None:
        peer.zero_grad()
        network.zero_grad()
        peer.loss(*batch).backward()

    written = sum(len(one.tokens) + one.ended for one in decode_ours(network, inputs))
    work: dict[str, tuple[Callable[[], object], Callable[[], object], int]] = {
        "train": (lambda: train_ours(network, inputs, wanted), train_theirs, len(wanted)),
        "greedy": (
            lambda: decode_ours(network, inputs),
            lambda: peer.greedy(batch[0], batch[1], START, END, MOST),
            written,
        ),
    }
    rows = []
    for mode, (ours, theirs, tokens) in work.items():
        mine, peers, rounds = measure(ours, theirs, seconds, clock)
        rows.append(
            {"case": case.name, "mode": mode, "B": case.B, "tokens": tokens, "peer": "torch"}
            | {"saiki_ms": mine, "peer_ms": peers, "ratio": peers / mine, "rounds": rounds}
            | {"saiki_tokens_a_second": 1e3 * tokens / mine, "peer_tokens_a_second": 1e3 * tokens / peers}
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one small model, a second each")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--wall", action="store_true", help="milliseconds of the clock, for a machine at rest"
    )
    parser.add_argument("--only", type=re.compile, help="cases by a regular expression")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = circumstances() | {"clock": "wall" if arguments.wall else "processor"}
    print_header("Encoder-decoder beside plain torch", found)
    clock = time.perf_counter if arguments.wall else time.process_time
    rows = []
    for case in CASES:
        if (arguments.quick and case.name not in QUICK) or (
            arguments.only and not arguments.only.search(case.name)
        ):
            continue
        print(case.name, file=sys.stderr)
        rows += rows_of(case, 1.0 if arguments.quick else SECONDS, clock)
    print_table(
        ("", "mode", "tokens", "ms", "torch ms", "ratio", "tokens/s", "torch's"),
        [
            (
                *(row[name] for name in ("case", "mode", "tokens", "saiki_ms", "peer_ms", "ratio")),
                *(round(row[f"{who}_tokens_a_second"]) for who in ("saiki", "peer")),
            )
            for row in rows
        ],
    )
    write_json(arguments.json, {**found, "rows": rows})


if __name__ == "__main__":
    main()
