"""Chorales as rolls of 88 keys, and the loss their published figures are in."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from saiki.core.random import generator
from saiki.learning import RaggedSource, Trainer, Training, evaluate
from saiki.nn import DropoutConfig, GRUConfig, LSTMConfig, RNNConfig, Stack

KEYS = 88
PARTS = ("train", "valid", "test")
RECURRENT = {"elman": RNNConfig, "gru": GRUConfig, "lstm": LSTMConfig}
GATES = {"elman": 1, "gru": 3, "lstm": 4}


def pieces(data: Path) -> dict[str, list[Tensor]]:
    """The chorales of each official part, (T, 88) of 0 and 1 each."""
    packed = np.load(data / "music" / "jsb_chorales.npz")
    found = {}
    for part in PARTS:
        roll = np.unpackbits(packed[f"roll_{part}"], axis=1)[:, :KEYS].astype(np.float32)
        ends = np.cumsum(packed[f"len_{part}"])[:-1]
        found[part] = [torch.from_numpy(piece) for piece in np.split(roll, ends)]
    return found


def next_step(rolls: Sequence[Tensor]) -> RaggedSource:
    """The task: from the steps so far, the keys of the next one. The first step is not predicted."""
    return RaggedSource([roll[:-1] for roll in rolls], [roll[1:] for roll in rolls])


def keys_nll(outputs: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
    """-Σ_k ln p(key k) of each step, (N,) nats: the 88 keys as independent given what was heard so far."""
    value = F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").sum(dim=1)
    return value if mask is None else torch.where(mask.all(dim=1), value, 0.0)


def floors(rolls: dict[str, list[Tensor]]) -> dict[str, float]:
    """What needs no network: each key at its training rate, or a Markov chain of two states."""
    before = torch.cat([roll[:-1] for roll in rolls["train"]])
    after = torch.cat([roll[1:] for roll in rolls["train"]])
    seen, said = (
        torch.cat([part(roll) for roll in rolls["test"]]) for part in (_all_but_last, _all_but_first)
    )
    rate = (after.sum(0) + 0.5) / (len(after) + 1)  # half a count, or a key never heard would cost infinity
    held = ((before * after).sum(0) + 0.5) / (before.sum(0) + 1)
    struck = (((1 - before) * after).sum(0) + 0.5) / ((1 - before).sum(0) + 1)
    chain = torch.where(seen > 0, held, struck)
    return {
        "each key at its training rate": _nll(rate.expand_as(said), said),
        "each key a Markov chain": _nll(chain, said),
    }


def _all_but_last(roll: Tensor) -> Tensor:
    return roll[:-1]


def _all_but_first(roll: Tensor) -> Tensor:
    return roll[1:]


def _nll(p: Tensor, said: Tensor) -> float:
    return float(F.binary_cross_entropy(p, said, reduction="none").sum(1).mean())


def parameters(cell: str, hidden_size: int) -> int:
    """Numbers in one recurrent layer and the dense layer over it."""
    own = GATES[cell] * hidden_size * (KEYS + hidden_size + 1)
    own += hidden_size if cell == "gru" else 0  # b_hn, the second bias of a reset after the product
    return own + KEYS * (hidden_size + 1)


def size_for(cell: str, wanted: int) -> int:
    """The most hidden units with at most so many parameters."""
    size = 1
    while parameters(cell, size + 1) <= wanted:
        size += 1
    return size


def fit(
    rolls: dict[str, list[Tensor]],
    cell: str,
    *,
    hidden_size: int,
    seed: int,
    lr: float,
    epochs: int,
    patience: int,
    batch_size: int,
    dropout_in: float,
    dropout_out: float,
    weight_decay: float,
) -> dict[str, object]:
    """Train until the validation part says so; the negative log-likelihood of each part."""
    lines = [
        DropoutConfig(p=dropout_in),
        RECURRENT[cell](hidden_size=hidden_size),
        DropoutConfig(p=dropout_out),
    ]
    network = Stack.build(lines, KEYS, KEYS, generator=generator(seed))
    sources = {part: next_step(rolls[part]) for part in PARTS}
    trainer = Trainer(
        training=Training(
            clip_norm=1.0,
            weight_decay=weight_decay,
            schedule={"type": "plateau", "drop": 0.5, "patience": 4},
        ),
        lr=lr,
        max_epochs=epochs,
        batch_size=batch_size,
        patience=patience,
        seed=seed,
    )
    began = time.process_time()
    record = trainer.fit(network, keys_nll, sources["train"], sources["valid"])
    spent = time.process_time() - began
    ran = record.epochs[-1].epoch
    return {
        "parameters": record.parameters,
        "nll": {part: evaluate(network, keys_nll, sources[part]) for part in PARTS},
        "curve": [
            [each.epoch, round(each.loss, 4), _rounded(each.validation_loss)] for each in record.epochs
        ],
        "best_epoch": record.best_epoch,
        "epochs": ran,
        "processor_seconds_an_epoch": round(spent / max(ran, 1), 3),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
