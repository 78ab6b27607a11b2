"""deep-river's rolling window on a stream; runs in a Python that has deep-river, knows nothing of Saiki.

    PYTHON rtrl_river.py < {"values": [...], "units": n, "window": w, "rate": r}

At every step the last `window` values are read by an LSTM from a state of zeros, the value to come is
predicted, and the same window is learned from (Adam, squared error).
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from itertools import pairwise

import torch
from deep_river.regression.rolling_regressor import RollingRegressor


class Net(torch.nn.Module):
    """LSTM and a linear head on its last output."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.rnn = torch.nn.LSTM(1, units)
        self.head = torch.nn.Linear(units, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0][-1])


def main() -> None:
    job = json.load(sys.stdin)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = RollingRegressor(
        module=Net(job["units"]),
        loss_fn="mse",
        optimizer_fn="adam",
        lr=job["rate"],
        window_size=job["window"],
    )
    values, errors = job["values"], []
    start = time.process_time()
    for now, then in pairwise(values):
        errors.append(abs(model.predict_one({"x": now}) - then))
        model.learn_one({"x": now}, then)
    took = time.process_time() - start
    versions = {name: version(name) for name in ("deep-river", "river", "torch")}
    print(json.dumps({"errors": errors, "seconds": took, "versions": versions}))


if __name__ == "__main__":
    main()
