"""Connectionist temporal classification: labels for sequences whose alignment nobody knows.

A path π says one class a step, a label or the blank. It collapses to a target by taking away repetitions,
then blanks. The loss adds up all paths that collapse to the target; nothing has to be aligned beforehand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from saiki.core.checks import require_bool, require_int
from saiki.core.errors import LengthError, ValueRangeError
from saiki.core.ragged import Ragged
from saiki.losses import ctc_native, ctc_reference
from saiki.losses.ctc_case import Case, Lengths, Targets, read_case


def ctc_loss(
    logits: Tensor | Ragged,
    targets: Targets,
    input_lengths: Lengths = None,
    target_lengths: Lengths = None,
    *,
    blank: int = 0,
    zero_infinity: bool = False,
) -> Tensor:
    """Negative log-likelihood of each utterance's labels, summed over all their alignments.

        loss_b = -ln Σ_π Π_t p_t(π_t)        over the paths π that collapse to the target, p_t = softmax(a_t)

    The gradient with respect to the logits is p_t(k) - Σ_{s: l'_s = k} γ_t(s), with γ of `ctc_posteriors`.
    float16 and bfloat16 are computed in float32.

    Args:
        logits: a, (T, B, K) scores before the softmax, which is taken inside; or a Ragged of B utterances,
            (K,) a step. A class that lies 10^6 below its step's largest has probability 0.
        targets: (B, L) integer labels in [0, K), none of them the blank; what stands past a target's length
            is ignored. Or all labels in one row, with `target_lengths`; or a Ragged, or a list, of B targets.
        input_lengths: (B,) steps in use, at most T; None: all.
        target_lengths: (B,) labels in use, at most L; None: all.
        blank: the blank's class.
        zero_infinity: whether an utterance whose target no path reaches counts 0 instead of infinity.
    Returns:
        (B,) nats, unreduced; infinite, with zero gradient, where no path collapses to the target.
    Raises:
        LabelError: a label is the blank or outside [0, K); utterance and label are named. (torch reads and
            writes at wrong addresses.)
        LengthError: a length is negative or above what there is.
        ShapeError, DTypeError: not such arrays.
    Source: Graves et al. 2006, section 4.1.
    """
    case = read_case(logits, targets, input_lengths, target_lengths, blank)
    zero_infinity = require_bool(zero_infinity, "zero_infinity")
    loss = _loss(case)
    return torch.where(loss == float("inf"), 0.0, loss) if zero_infinity else loss


def _loss(case: Case) -> Tensor:
    """By the native kernels where they can run, else in plain tensor code."""
    case = _wide(case)
    if ctc_native.can_run(case):
        return ctc_native.loss(case)
    case.require()
    return ctc_reference.loss(case)


def _wide(case: Case) -> Case:
    """The same in float32, where it came in less."""
    if case.logits.dtype in (torch.float32, torch.float64):
        return case
    return Case(case.logits.float(), case.layout, case.lengths, case.labels, case.target_lengths, case.blank)


@dataclass(frozen=True)
class CTC:
    """`ctc_loss` as a value: a loss of whole sequences, for outputs and targets of different lengths.

    Args:
        blank: the blank's class.
        zero_infinity: whether an utterance that is too short for its target counts 0 instead of infinity.
    """

    blank: int = 0
    zero_infinity: bool = False
    name: ClassVar[str] = "ctc"
    whole_sequence: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_int(self.blank, "blank", 0)
        require_bool(self.zero_infinity, "zero_infinity")

    def __call__(self, outputs: Ragged, targets: Ragged) -> Tensor:
        """See `ctc_loss`."""
        return ctc_loss(outputs, targets, blank=self.blank, zero_infinity=self.zero_infinity)


def ctc_posteriors(
    logits: Tensor | Ragged,
    targets: Targets,
    input_lengths: Lengths = None,
    target_lengths: Lengths = None,
    *,
    blank: int = 0,
) -> list[Tensor]:
    """How likely each label, and each blank between them, is being said at each step, given the target.

        γ_t(s) = α_t(s) β_t(s) / Σ_s' α_t(s') β_t(s')        states s of l' = (␣, l_1, ␣, …, l_L, ␣)

    Label j is state 2j + 1, counted from 0; the blank before it is state 2j. No gradient passes through.

    Args:
        logits, targets, input_lengths, target_lengths, blank: as for `ctc_loss`.
    Returns:
        For each utterance (T_b, 2 L_b + 1), each step adding up to 1; zeros where no path collapses to the
        target.
    Raises:
        As `ctc_loss`.
    Source: Graves et al. 2006, eqs. 13-15.
    """
    case = read_case(logits, targets, input_lengths, target_lengths, blank)
    case.require()
    case = _wide(case)
    return ctc_native.posteriors(case) if ctc_native.can_run(case) else ctc_reference.posteriors(case)


@dataclass(frozen=True, eq=False)
class Alignment:
    """The likeliest path through one utterance.

    Attributes:
        states: (T,) int64 state of l' = (␣, l_1, ␣, …, l_L, ␣) at each step: 2j + 1 while
            label j, counted from 0, is said.
        starts: (L,) int64 first step of each label.
        ends: (L,) int64 step after its last: a slice, as in Python.
        scores: (L,) mean over a label's steps of ln p_t(label); e to it lies between 0 and 1.
        score: ln of the probability of the whole path.
    """

    states: Tensor
    starts: Tensor
    ends: Tensor
    scores: Tensor
    score: float


def ctc_align(
    logits: Tensor | Ragged,
    targets: Targets,
    input_lengths: Lengths = None,
    target_lengths: Lengths = None,
    *,
    blank: int = 0,
) -> list[Alignment]:
    """The likeliest path that collapses to each target (forced alignment), computed in float64.

        π* = argmax_π Π_t p_t(π_t)        over the paths that collapse to the target

    Of equally likely ways into a state the shortest step is taken: it stays before it moves on by one, and
    moves on by one before it leaves out a blank.

    Args:
        logits, targets, input_lengths, target_lengths, blank: as for `ctc_loss`.
    Returns:
        An `Alignment` an utterance.
    Raises:
        LengthError: an utterance has fewer steps than its target needs: one a label, and one between two
            that are equal.
        ValueRangeError: a NaN among an utterance's logits, or a target of probability 0.
        Otherwise as `ctc_loss`.
    Source: Graves et al. 2006, section 4.1, with the maximum in place of the sum (Viterbi 1967).
    """
    case = read_case(logits, targets, input_lengths, target_lengths, blank)
    case.require()
    short = (case.lengths < case.needed()).nonzero()
    if len(short):
        b = int(short[0])
        raise LengthError(
            f"utterance {b} has {int(case.lengths[b])} steps but its {int(case.target_lengths[b])} labels "
            f"need {int(case.needed()[b])}, a step each and one more between two that are equal.",
            "Take fewer frames together, or leave the utterance out.",
        )
    case = _wide(case)
    paths = ctc_native.best_paths(case) if ctc_native.can_run(case) else ctc_reference.best_paths(case)
    found = zip(paths, case.target_lengths.tolist())
    return [_alignment(b, states, log_p, L) for b, ((states, log_p), L) in enumerate(found)]


def _alignment(b: int, states: Tensor, log_p: Tensor, L: int) -> Alignment:
    """What a path says of its labels."""
    score = float(log_p.sum())
    if math.isnan(score):
        raise ValueRangeError(f"the logits of utterance {b} hold NaN or +inf, so no path is the likeliest.")
    if score == -math.inf or (len(states) and int(states[0]) > 1):
        raise ValueRangeError(f"every path that says the labels of utterance {b} has probability 0.")
    label = states.div(2, rounding_mode="floor")[states % 2 == 1]  # said at each step that is no blank
    steps = (states % 2 == 1).nonzero()[:, 0]
    counts = torch.bincount(label, minlength=L)
    starts = steps[(counts.cumsum(0) - counts)] if L else counts
    sums = log_p.new_zeros(L).index_add_(0, label, log_p[steps])
    return Alignment(states, starts, starts + counts, sums / counts, score)
