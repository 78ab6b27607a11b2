"""What decoders read: a network's outputs, checked and turned into log-probabilities."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from saiki.core.checks import require_bool, require_int
from saiki.core.errors import DTypeError, ShapeError, ValueRangeError
from saiki.core.ragged import Ragged

__all__ = ["log_probabilities_of"]


def log_probabilities_of(
    logits: Any,  # noqa: ANN401
    lengths: Any = None,  # noqa: ANN401
    *,
    blank: int = 0,
    normalized: bool = False,
    before: Tensor | None = None,
) -> Ragged:
    """ln p_t(k) of every utterance, on the CPU, float32 or float64, each row dense.

        ln p_t(k) = a_t(k) - ln Σ_j exp a_t(j)

    Each row is computed by itself, so chunks of an utterance give the same numbers as the whole.

    Args:
        logits: (T, B, K) a before the softmax, or a Ragged, a list of (T_i, K) arrays, a PackedSequence;
            -inf is probability 0.
        lengths: (B,) frames in use of a padded array; None: all.
        blank: class index of the blank.
        normalized: the rows are log-probabilities already, and taken as they stand.
        before: (B,) frames that each utterance had before, for messages; None: none.
    Returns:
        B utterances of K log-probabilities a frame.
    Raises:
        ShapeError: a frame is no vector of K ≥ 1 numbers.
        DTypeError: not floating numbers.
        ValueRangeError: NaN, +inf, or a frame in which nothing is possible; utterance and frame are named.
            Also a blank outside [0, K).
    """
    batch = Ragged.of(logits, lengths, name="logits")
    if len(batch.feature_shape) != 1 or batch.feature_shape[0] < 1:
        raise ShapeError(
            f"each frame of logits is {batch.feature_shape} but must be (K,), a number for each class.",
            "Give (T, B, K), or a list of (T_i, K) arrays.",
        )
    if not batch.dtype.is_floating_point:
        raise DTypeError(f"logits holds {batch.dtype} but must hold floating numbers.", "Use logits.float().")
    require_int(blank, "blank", 0, batch.feature_shape[0] - 1)
    data = batch.data.detach().cpu()
    if data.dtype not in (torch.float32, torch.float64):
        data = data.float()
    if require_bool(normalized, "normalized"):
        best = data.amax(dim=-1) if data.shape[0] else data.new_zeros(0)
        broken = not bool(torch.isfinite(best).all())
    else:
        data = torch.log_softmax(
            data, dim=-1
        )  # NaN throughout a row that holds NaN, +inf or nothing but -inf
        broken = math.isnan(float(data.sum()))
    if broken:
        best = data.amax(dim=-1)
        row = int((~torch.isfinite(best)).nonzero()[0])
        utterance, frame = int(batch.row_sequence[row]), int(batch.row_step[row])
        where = f"utterance {utterance}, frame {frame + (0 if before is None else int(before[utterance]))}"
        came = batch.data.detach()[row].cpu()
        what = "nothing is possible: all classes are -inf" if bool((came == -torch.inf).all()) else "a number"
        if what == "a number":
            what += f" is {'NaN' if bool(came.isnan().any()) else '+inf'}"
        raise ValueRangeError(
            f"logits, {where}: {what}.", "Look at the network's outputs before decoding them."
        )
    return batch.with_data(data.contiguous())
