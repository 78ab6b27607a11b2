"""Memory of learning from one sequence of T steps, in a process of its own.

    python -m benchmarks.rtrl_memory RULE T I N        RULE: rtrl, snap1, bptt

RTRL reads the sequence as a stream, 1,000 steps a call, and gives each piece up; BPTT needs all of it. The
gradients are those of the rules in `saiki.learning` for an LSTM and a Dense head on squared error, at fixed
weights; the inputs are drawn where they are needed, so that what is counted is what learning needs. Told is
by how much the resident memory rose above where it stood when the network was there and a call of ten steps
had loaded all code.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from typing import Any

import torch

from benchmarks.kernels_memory import _peak, _start
from saiki.core.ragged import Ragged
from saiki.learning import BPTT, Batch
from saiki.learning.rtrl import RTRL
from saiki.losses import get_loss
from saiki.nn import LSTMConfig, Stack

CHUNK = 1000


def measure(rule: str, T: int, I: int, n: int) -> dict[str, Any]:
    """Bytes of rise, and seconds."""
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.rtrl_memory", rule, str(T), str(I), str(n)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _piece(draw: torch.Generator, T: int, I: int) -> Batch:
    x = torch.randn(T, I, generator=draw)
    return Batch(Ragged.from_list([x]), x[:, :1].roll(1, 0), None, None, True)


def _main(rule: str, T: int, I: int, n: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    configs = [("lstm", LSTMConfig(hidden_size=n))]
    network = Stack.build(configs, I, 1, generator=torch.Generator().manual_seed(1))
    loss, draw = get_loss("squared"), torch.Generator().manual_seed(2)
    way = BPTT() if rule == "bptt" else RTRL(approximation="exact" if rule == "rtrl" else rule)
    way.gradient(network, loss, _piece(draw, 10, I), way.start(network, 1))
    gc.collect()
    before = _start()
    start = time.perf_counter()
    state = way.start(network, 1)
    step = T if rule == "bptt" else CHUNK
    for _ in range(0, T, step):
        _, gradients, state = way.gradient(network, loss, _piece(draw, step, I), state)
    assert gradients
    return {"bytes": _peak() - before, "seconds": time.perf_counter() - start}


if __name__ == "__main__":
    print(json.dumps(_main(sys.argv[1], *map(int, sys.argv[2:]))))
