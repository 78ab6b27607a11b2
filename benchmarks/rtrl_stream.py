"""One stream, learned from after every step by several rules, and by deep-river's rolling window.

The stream is a sine of slowly changing pitch with noise of 0.1, about -1 to 1. Each learner sees a value,
predicts the next one, is told it, and makes one step of Adam on the squared error: an LSTM of 16 units with a
linear head everywhere, the same rate. Ours carry their state; a rolling window begins at zeros each time.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saiki.core.ragged import Ragged
from saiki.learning import Batch, LearningRule, TruncatedBPTT
from saiki.learning.rtrl import RTRL
from saiki.nn import LSTMConfig, Stack

UNITS, RATE, WINDOW, NOISE = 16, 0.01, 20, 0.1
RIVER = Path(__file__).with_name("rtrl_river.py")


def stream(length: int) -> list[float]:
    """The values."""
    draw = torch.Generator().manual_seed(7)
    noise = NOISE * torch.randn(length, generator=draw)
    phase = 0.0
    values = []
    for t in range(length):
        phase += 2 * math.pi / (20 + 10 * math.sin(2 * math.pi * t / 3000))  # a period of 10 to 30 steps
        values.append(math.sin(phase) + float(noise[t]))
    return values


def compare(peer_python: Path | None, quick: bool) -> list[dict[str, Any]]:
    """Rows: who, mean absolute error of all and of the last tenth, milliseconds of the processor a step."""
    values = stream(600 if quick else 4000)
    rules: dict[str, LearningRule] = {
        "RTRL, exact": RTRL(every=1),
        "RTRL, snap1": RTRL(approximation="snap1", every=1),
        f"truncated BPTT, {WINDOW} steps": TruncatedBPTT(WINDOW, 1),
    }
    rows = [_row(who, *_learn(rule, values)) for who, rule in rules.items()]
    last = [abs(b - a) for a, b in pairwise(values)]
    rows.append(_row("the value before", last, 0.0))
    if peer_python is None:
        print("deep-river: left out, --peer-python names no Python that has it", file=sys.stderr)
        return rows
    job = {"values": values, "units": UNITS, "window": WINDOW, "rate": RATE}
    done = subprocess.run(
        [str(peer_python), str(RIVER)], input=json.dumps(job), stdout=subprocess.PIPE, text=True, check=True
    )
    found = json.loads(done.stdout)
    row = _row(f"deep-river, window of {WINDOW}", found["errors"], found["seconds"])
    return [*rows, row | {"versions": found["versions"]}]


def _row(who: str, errors: list[float], seconds: float) -> dict[str, Any]:
    tail = errors[-len(errors) // 10 :]
    return {
        "who": who,
        "steps": len(errors),
        "error": sum(errors) / len(errors),
        "last": sum(tail) / len(tail),
        "ms": 1e3 * seconds / len(errors),
    }


def _learn(rule: LearningRule, values: list[float]) -> tuple[list[float], float]:
    """Test, then train: errors of the predictions before each update, and seconds."""
    configs = [("lstm", LSTMConfig(hidden_size=UNITS))]
    network = Stack.build(configs, 1, 1, generator=torch.Generator().manual_seed(0))
    parameters = dict(network.named_parameters())
    optimiser = torch.optim.Adam(parameters.values(), lr=RATE)
    errors: list[float] = []

    def squared(outputs: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
        errors.append(float((outputs[-1] - targets[-1]).detach().abs()))
        return (outputs - targets).square().mean(1)

    x = torch.tensor(values).unsqueeze(1)
    state = rule.start(network, 1)
    start = time.process_time()
    for t in range(len(values) - 1):
        batch = Batch(Ragged.from_list([x[t : t + 1]]), x[t + 1 : t + 2], None, None, True)
        _, gradients, state = rule.gradient(network, squared, batch, state)
        for name, parameter in parameters.items():
            parameter.grad = gradients.get(name)
        optimiser.step()
    return errors, time.process_time() - start
