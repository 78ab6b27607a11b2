"""Random generators from a seed and a purpose, and the shuffle as a pure function of seed and epoch.

Each use of randomness (weights, dropout, shuffling) has a generator of its own, named by its purpose. Adding
one therefore never changes the numbers of another one, and a checkpoint saves each by name.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from saiki.core.checks import require_int
from saiki.core.errors import DTypeError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["generator", "permutation", "seed_from"]

_LIMIT = 2**63 - 1  # seeds are kept inside int64, which is what safetensors and JSON readers agree on


def seed_from(source: int | torch.Generator | np.random.RandomState | np.random.Generator | None) -> int:
    """One integer in [0, 2⁶³ - 1) out of whatever the user calls randomness.

    An int is returned as it is; None asks the operating system; a generator is drawn from, and so moves on.
    """
    import numpy as np

    if source is None:
        return secrets.randbelow(_LIMIT)
    if isinstance(source, torch.Generator):
        return int(torch.randint(_LIMIT, (1,), generator=source, device=source.device).item())
    if isinstance(source, np.random.RandomState):
        return int(source.randint(0, _LIMIT, dtype=np.int64))
    if isinstance(source, np.random.Generator):
        return int(source.integers(0, _LIMIT, dtype=np.int64))
    if isinstance(source, bool) or not isinstance(source, int | np.integer):
        raise DTypeError(
            f"a seed is an integer, None or a random generator, not {type(source).__name__}.",
            "Give a whole number such as 0.",
        )
    return require_int(int(source), "seed", low=0, high=_LIMIT)


def generator(
    seed: int | torch.Generator | np.random.RandomState | np.random.Generator | None, purpose: str = ""
) -> torch.Generator:
    """A CPU generator whose numbers depend on the seed and the purpose, and on nothing else.

    Args:
        seed: an integer in [0, 2⁶³); None for a fresh one; a torch or numpy generator is drawn from.
        purpose: what the numbers are for ("weights", "dropout"); other purposes give independent numbers.
            A torch generator without a purpose is returned as it is.
    Raises:
        DTypeError: the seed is none of these kinds.
        ValueRangeError: the seed is negative or too large.
    """
    if isinstance(seed, torch.Generator) and not purpose:
        return seed
    return torch.Generator().manual_seed(_mix(seed_from(seed), purpose))


def permutation(n: int, seed: int, epoch: int) -> Tensor:
    """A shuffle of 0 … n-1, (n,) int64: a pure function of its arguments, so nothing is to be restored."""
    n = require_int(n, "n", low=0)
    epoch = require_int(epoch, "epoch", low=0)
    own = torch.Generator().manual_seed(
        _mix(seed_from(require_int(seed, "seed", low=0)), f"permutation {epoch}")
    )
    return torch.randperm(n, generator=own)


def _mix(seed: int, purpose: str) -> int:
    # A digest, because hash() differs between processes and seeds 0, 1, 2 must not give kin streams.
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "little") % _LIMIT
