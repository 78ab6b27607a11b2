"""Mini-batches: shuffled, and bucketed by length so that little is wasted.

Which sequences go together in which epoch is a pure function of (lengths, batch size, seed, epoch), so a
resumed run has nothing to restore.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from saiki.core import random
from saiki.core.checks import require_int
from saiki.core.errors import OptionError

POOL = 50
"""Batches that are sorted by length together: with 50 the lengths inside a batch differ by about a fiftieth
of their spread, and an epoch of more than 50 batches still mixes freely."""

BatchSize = int | Literal["all"] | None


def batches(
    lengths: Tensor,
    batch_size: BatchSize,
    *,
    seed: int,
    epoch: int,
    shuffle: bool = True,
    bucket: bool = True,
) -> list[Tensor]:
    """The batches of one epoch, each a tensor of sequence indices; every sequence comes once.

    With `bucket`, the shuffled sequences are cut into pools of 50 batches, each pool sorted by length and cut
    into batches, and the batches shuffled again. The last batch may be smaller.

    Args:
        lengths: (n,) steps of each sequence.
        batch_size: sequences a batch; 1: single-sample learning; None or "all": the whole set at once.
        seed: of the shuffle, at least 0.
        epoch: counted from 1.
        shuffle: False keeps the order given (sorted by length inside pools, if `bucket`).
        bucket: False leaves lengths mixed.
    Raises:
        OptionError: batch_size is none of these.
    """
    n = len(lengths)
    size = resolve_batch_size(batch_size, n)
    order = random.permutation(n, seed, epoch) if shuffle else torch.arange(n)
    if size >= n:
        return [order] if n else []
    if not bucket or bool((lengths == lengths[0]).all()):
        return list(order.split(size))
    parts: list[Tensor] = []
    for pool in order.split(size * POOL):
        by_length = pool[torch.argsort(lengths[pool], stable=True, descending=True)]
        parts.extend(by_length.split(size))
    if shuffle:
        again = torch.randperm(len(parts), generator=random.generator(seed, f"batches of epoch {epoch}"))
        parts = [parts[int(i)] for i in again]
    return parts


def resolve_batch_size(batch_size: BatchSize, n: int) -> int:
    """The number of sequences a batch.

    Raises:
        OptionError: it is neither a whole number of at least 1, nor None, nor "all".
    """
    if batch_size is None or batch_size == "all":
        return max(n, 1)
    if isinstance(batch_size, str):
        raise OptionError(f"batch_size is {batch_size!r} but must be a whole number, None or 'all'.")
    return require_int(batch_size, "batch_size", low=1)
