"""The rules of the doctor: each looks at a few numbers and says what they mean, or says nothing.

| rule | ill where |
|---|---|
| exploding | ‖∂s_T/∂s_{T-k}‖₂ grows a hundredfold, or a gradient of training is 10⁴ times the usual |
| vanishing | the gradient is down to a thousandth within half the context |
| saturated | candidates or outputs lie where their squashing is flat at over half of the steps |
| dead | more than a tenth of the units do not move |
| shut | an input or output gate is shut at more than 95 % of all steps |
| rate_high | an early update replaces over 4 % of the weights and the loss never settles, or ends higher |
| rate_low | an update replaces less than 1/30,000 of the weights, and the last epoch was the best |
| clipping | more than half of the updates were clipped |
| parameters | more parameters than training values |
| overfitted | the validation loss has risen by a tenth above its best while the training loss fell |

The thresholds are rules of thumb, tested on networks built to be ill in that way and on sound ones. A rule
takes plain arrays and numbers, so it can be asked without a network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final

import numpy as np
from numpy.typing import ArrayLike

from saiki.insight.curves import Floats, number

Severity = Literal["ill", "watch", "well"]

GONE = 1e-3  # of its start: a gradient that small is no longer felt
GROWTH = 100.0  # times its start: a gradient that large drowns the rest
SPREAD = 1e4  # largest gradient norm of a run over its median
FLAT = 0.5  # share of the steps on the flat part of a squashing
DEAD = 0.1  # share of the units
SHUT = 0.95  # share of the steps
RATE_HIGH, RATE_LOW = 0.04, 1 / 30_000  # of the weights, replaced in one update
UNSETTLED = 0.35  # share of the epochs at which the training loss rose
WORSE = 0.2  # of the first loss: a loss that much above it has not been learned down
CLIPPED = 0.5  # share of the updates
ORTHOGONAL = 0.95  # ‖R‖ times the largest slope: from here on R itself lets a gradient through
SHORT = 8  # steps: sequences this short ask little of a gradient
RISE = 0.1  # of the best validation loss


@final
@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing the doctor has to say.

    Attributes:
        rule: which rule spoke, as the module's table names them.
        severity: "ill": change something; "watch": it may matter; "well": sound, with its numbers.
        sentence: what is so, with the numbers.
        advice: what would change it; empty where nothing needs to.
        numbers: the figures behind the sentence, by name; None for one that is infinite or unknown.
        layer: the layer it is about; empty for the whole network.
    """

    rule: str
    severity: Severity
    sentence: str
    advice: str = ""
    numbers: Mapping[str, float | None] = field(default_factory=dict)
    layer: str = ""

    def __str__(self) -> str:
        """Sentence and advice in one line."""
        return f"{self.sentence} {self.advice}".strip()

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "rule": self.rule,
            "severity": self.severity,
            "layer": self.layer,
            "sentence": self.sentence,
            "advice": self.advice,
            "numbers": dict(self.numbers),
        }


# ------------------------------------------------------------------------------------- gradients through time


def exploding(
    lags: ArrayLike, norms: ArrayLike, *, lyapunov: float = math.nan, layer: str = "", cell: str = ""
) -> Finding | None:
    """The gradient of a state with respect to earlier ones grows without bound.

    Args:
        lags: (n,) k.
        norms: (n,) median ‖∂s_T/∂s_{T-k}‖₂; infinite beyond float64.
        lyapunov: the largest exponent, nats a step; NaN where it was not measured.
        layer: its name.
        cell: the kind of its cell.
    """
    k, values = _known(lags, norms)
    if len(k) < 2 or values[0] <= 0:
        return None
    growth = values / values[0]
    top = int(growth.argmax())
    if growth[top] <= GROWTH:
        return None
    rate = f"; it grows by {_percent(math.expm1(lyapunov))} a step in the long run" if lyapunov > 0 else ""
    return Finding(
        rule="exploding",
        severity="ill",
        layer=layer,
        sentence=f"{_of(layer)}the gradient grows {_times(growth[top])} within {k[top]:,.0f} steps{rate}.",
        advice="Clip it (clip_norm=1), or start R orthogonal"
        + (" or with an LSTM or GRU." if cell in ("elman", "jordan") else " or smaller."),
        numbers={"growth": number(float(growth[top])), "lag": float(k[top]), "lyapunov": number(lyapunov)},
    )


def vanishing(
    lags: ArrayLike,
    norms: ArrayLike,
    context: float,
    *,
    layer: str = "",
    cell: str = "",
    bound: float = math.nan,
) -> Finding | None:
    """The gradient is gone long before the context ends.

    Args:
        lags: (n,) k, from 0.
        norms: (n,) median ‖∂s_T/∂s_{T-k}‖₂.
        context: steps that a prediction could look back: the length of the sequences, or the window.
        layer: its name.
        cell: the kind of its cell; what is advised depends on it.
        bound: ‖R‖ times the largest slope, of an Elman network; below 1 it must vanish. NaN elsewhere.
    """
    k, values = _known(lags, norms)
    if len(k) < 2 or values[0] <= 0 or context < SHORT:
        return None
    share = values / values[0]
    above = np.flatnonzero(share >= GONE)
    last = int(above[-1]) if len(above) else 0
    if last == len(k) - 1:  # still felt at the longest lag that was measured
        return Finding(
            rule="vanishing",
            severity="well",
            layer=layer,
            sentence=f"{_of(layer)}the gradient still is {_times(share[-1])} its start after {k[-1]:,.0f} "
            f"steps; your context is {context:,.0f}.",
            numbers={"reach": None, "share": float(share[-1]), "lag": float(k[-1]), "context": context},
        )
    reach = float(k[last + 1])
    ill = reach <= context / 2
    must = f" R alone allows no more: it shrinks it to {bound:.2f} a step." if ill and bound < 1 else ""
    return Finding(
        rule="vanishing",
        severity="ill" if ill else "well",
        layer=layer,
        sentence=f"{_of(layer)}the gradient is down to a thousandth after {reach:,.0f} steps; your context "
        f"is {context:,.0f}.{must}",
        advice=_reach_further(cell, context, bound) if ill else "",
        numbers={"reach": reach, "context": context, "bound": number(bound)},
    )


def _reach_further(cell: str, context: float, bound: float) -> str:
    if cell == "lstm":
        return (
            f"A forget bias of 1 or more would reach further (f = 1 - 1/{context:,.0f} keeps for the whole "
            "context); where the distant past does not matter, a shorter context does."
        )
    if cell == "gru":
        return "A larger bias of z keeps longer; an LSTM with forget bias 1 reaches further."
    if cell == "elman" and bound >= ORTHOGONAL:
        return "R is not what shrinks it, the slopes are: an LSTM with forget bias 1 would reach further."
    return "An LSTM with forget bias 1, or orthogonal R, would reach further."


# ------------------------------------------------------------------------------------------------------ units


def saturated(shares: ArrayLike, *, name: str, layer: str = "", activation: str = "") -> Finding | None:
    """Candidates or outputs sit where their squashing is flat, so that no gradient passes.

    Args:
        shares: (H,) of the steps at which each unit is saturated.
        name: of the candidate, output or hidden unit.
        layer: its name.
        activation: the squashing, for the advice.
    """
    values = np.asarray(shares, dtype=float)
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    mean = float(values.mean())
    always = int((values > 0.9).sum())
    if mean <= FLAT:
        return None
    return Finding(
        rule="saturated",
        severity="ill",
        layer=layer,
        sentence=f"{_of(layer)}{name} is saturated at {100 * mean:.0f} % of all steps "
        f"({always} of {values.size} units at more than nine in ten).",
        advice="Scale the inputs to unit size, start from smaller weights, or lower the rate"
        + ("; softsign saturates more slowly than tanh." if activation == "tanh" else "."),
        numbers={"share": mean, "units": float(always), "of": float(values.size)},
    )


def shut(shares: ArrayLike, *, gate: str, layer: str = "") -> Finding | None:
    """A gate that hardly ever lets anything through.

    Args:
        shares: (H,) of the steps at which each unit's gate is below 0.1.
        gate: i (input), o (output) or f (forget).
        layer: its name.
    """
    values = np.asarray(shares, dtype=float)
    if not values.size or not np.isfinite(values).all() or float(values.mean()) <= SHUT:
        return None
    means = {
        "i": ("input", "nothing is written into the state", "Start its bias at 0 or above."),
        "o": ("output", "nothing is read out of the state", "Start its bias at 0 or above."),
        "f": ("forget", "the state is forgotten at each step", "Start its bias at 1."),
    }
    if gate not in means:
        return None
    word, effect, advice = means[gate]
    return Finding(
        rule="shut",
        severity="ill",
        layer=layer,
        sentence=f"{_of(layer)}the {word} gate is shut at {100 * float(values.mean()):.0f} % of all steps: "
        f"{effect}.",
        advice=advice,
        numbers={"share": float(values.mean())},
    )


def dead(units: int, of: int, *, layer: str = "", activation: str = "") -> Finding | None:
    """Units whose output never moves: they carry parameters and no signal.

    Args:
        units: how many do not move.
        of: how many there are.
        layer: its name.
        activation: the squashing, for the advice.
    """
    if of < 1 or units == 0:
        return None
    share = units / of
    relu = (
        " with relu a large step or a negative bias kills them; try tanh, or" if activation == "relu" else ""
    )
    return Finding(
        rule="dead",
        severity="ill" if share > DEAD else "watch",
        layer=layer,
        sentence=f"{_of(layer)}{units} of {of} units are dead: over all sequences they do not move.",
        advice=(
            f"Start anew{':' if relu else ' with'}{relu} a lower rate or smaller weights, or use fewer units."
        )
        if share > DEAD
        else "",
        numbers={"units": float(units), "of": float(of)},
    )


# --------------------------------------------------------------------------------------------------- training


def rate_high(
    early_ratio: float,
    *,
    first: float = math.nan,
    last: float = math.nan,
    epochs: ArrayLike = (),
    spikes: int = 0,
    lr: float = math.nan,
) -> Finding | None:
    """The learning rate is too high for these weights.

    Large early steps alone are a hint ("watch"): some networks can bear them. With a loss that rises at every
    third epoch they are too large; and so is a rate whose loss ends above where it began or jumps again and
    again.

    Args:
        early_ratio: median ‖Δw‖/‖w‖ of the weights over the first updates; NaN where unknown.
        first: the loss of the first batch, before anything was learned.
        last: the usual loss of the last batches.
        epochs: (n,) training loss, epoch by epoch.
        spikes: how often the loss of a batch jumped.
        lr: the rate, for the sentence.
    """
    curve = np.asarray(epochs, dtype=float)
    curve = curve[np.isfinite(curve)]
    rises = float(np.mean(np.diff(curve) > 0)) if len(curve) >= 4 else math.nan
    high, worse = early_ratio > RATE_HIGH, last > first + WORSE * abs(first)
    if not (high or worse or spikes >= 3):
        return None
    ill = worse or spikes >= 3 or (high and rises >= UNSETTLED)
    reasons = []
    if high:
        reasons.append(f"one early update replaced {_percent(early_ratio)} of the weights")
    if worse:
        reasons.append(f"the loss ended at {last:.3g} after starting at {first:.3g}")
    elif ill and rises >= UNSETTLED:
        reasons.append(f"the training loss rose at {100 * rises:.0f} % of the epochs")
    if spikes:
        reasons.append(f"the loss jumped {spikes} time{'s' if spikes > 1 else ''}")
    rate = f" {lr:g}" if math.isfinite(lr) else ""
    tenth = f" (try {lr / 10:g})" if math.isfinite(lr) else ""
    return Finding(
        rule="rate_high",
        severity="ill" if ill else "watch",
        sentence=f"The learning rate{rate} {'is' if ill else 'may be'} too high: {_join(reasons)}.",
        advice=f"Lower it tenfold{tenth}; `saiki lr-range` finds one." if ill else "`saiki lr-range` tells.",
        numbers={
            "early_ratio": number(early_ratio),
            "rises": number(rises),
            "first": number(first),
            "last": number(last),
            "spikes": float(spikes),
            "lr": number(lr),
        },
    )


def rate_low(ratio: float, loss: ArrayLike, *, lr: float = math.nan) -> Finding | None:
    """The learning rate is so low that training ended before it had got anywhere.

    Args:
        ratio: median ‖Δw‖/‖w‖ of the weights over the run.
        loss: (n,) validation (or training) loss, epoch by epoch.
        lr: the rate, for the sentence.
    """
    curve = np.asarray(loss, dtype=float)
    curve = curve[np.isfinite(curve)]
    if not ratio < RATE_LOW or len(curve) < 2 or curve[-1] > curve.min():
        return None
    rate = f" {lr:g}" if math.isfinite(lr) else ""
    return Finding(
        rule="rate_low",
        severity="ill",
        sentence=f"The learning rate{rate} is too low: an update moves {ratio:.1g} of the weights, and the "
        "last epoch was still the best.",
        advice="Raise it tenfold, or train longer; `saiki lr-range` finds one.",
        numbers={"ratio": ratio, "lr": number(lr)},
    )


def clipping(
    share: float, clip_norm: float | None, norms: ArrayLike = (), *, adaptive: bool = False
) -> Finding | None:
    """So many gradients are clipped that the limit has become the learning rate; or their size runs wild.

    Args:
        share: of the updates that were clipped.
        clip_norm: the limit.
        norms: (n,) gradient norms before clipping.
        adaptive: whether the optimiser divides by the gradient's size, so that clipping shortens little.
    """
    sizes = np.asarray(norms, dtype=float)
    sizes = sizes[np.isfinite(sizes) & (sizes > 0)]
    middle = float(np.median(sizes)) if len(sizes) else math.nan
    largest = float(sizes.max()) if len(sizes) else math.nan
    if largest > SPREAD * middle:
        return Finding(
            rule="exploding",
            severity="ill",
            sentence=f"The gradient of single updates was {_times(largest / middle)} the usual one "
            f"({largest:.2g} against {middle:.2g}).",
            advice="Clip it (clip_norm=1)."
            if clip_norm is None
            else "Clipping held it; a lower rate is safer.",
            numbers={"largest": largest, "median": middle},
        )
    if clip_norm is None or not share > CLIPPED:
        return None
    effect = (
        "with this optimiser that changes little"
        if adaptive
        else "in effect the limit, not the gradient, sets the length of a step"
    )
    return Finding(
        rule="clipping",
        severity="well" if adaptive else "watch",
        sentence=f"{100 * share:.0f} % of the updates were clipped at {clip_norm:g} (the usual norm is "
        f"{middle:.2g}): {effect}.",
        advice="" if adaptive else f"Raise clip_norm to about {_round(2 * middle)}, or scale the targets.",
        numbers={"share": share, "clip_norm": clip_norm, "median": number(middle)},
    )


def parameters(count: int, values: int, *, gap: float = math.nan) -> Finding | None:
    """More parameters than numbers to learn from.

    Args:
        count: trainable parameters.
        values: training values.
        gap: validation loss over training loss at the kept weights; NaN where unknown.
    """
    if count < 1 or values < 1:
        return None
    numbers = {"parameters": float(count), "values": float(values), "gap": number(gap)}
    sums = f"{count:,} parameters for {values:,} training values"
    if count <= values:
        each = values / count
        return Finding(
            rule="parameters",
            severity="well",
            sentence=f"{sums}: {each:,.3g} values a parameter"
            + (", below the ten of the rule of thumb." if each < 10 else "."),
            numbers=numbers,
        )
    told = f" The validation loss is {gap:.2g} times the training loss." if gap > 1.1 else ""
    return Finding(
        rule="parameters",
        severity="ill",
        sentence=f"{sums}: more parameters than data, so it could learn them by heart.{told}",
        advice="Use fewer units (hidden_size='auto' counts them), dropout or weight decay, or more data.",
        numbers=numbers,
    )


def overfitted(train: ArrayLike, validation: ArrayLike) -> Finding | None:
    """The validation loss has turned while the training loss went on falling.

    Args:
        train: (n,) training loss, epoch by epoch.
        validation: (n,) validation loss; NaN where it was not taken.
    """
    ours, held = np.asarray(train, dtype=float), np.asarray(validation, dtype=float)
    known = np.isfinite(ours) & np.isfinite(held)
    ours, held = ours[known], held[known]
    if len(held) < 4:
        return None
    best = int(held.argmin())
    last = float(np.median(held[-3:]))
    if last - held[best] <= RISE * abs(held[best]) or best >= len(held) - 3 or ours[-1] >= ours[best]:
        return None
    return Finding(
        rule="overfitted",
        severity="watch",
        sentence=f"After evaluation {best + 1} of {len(held)} the validation loss rose from "
        f"{held[best]:.3g} to {last:.3g} while the training loss fell from {ours[best]:.3g} to "
        f"{ours[-1]:.3g}.",
        advice="The best weights were kept; dropout, weight decay or fewer units would let it train longer.",
        numbers={"best": float(held[best]), "last": last, "evaluation": float(best + 1)},
    )


# ------------------------------------------------------------------------------------------------------ words


def _known(lags: ArrayLike, norms: ArrayLike) -> tuple[Floats, Floats]:
    k, values = np.asarray(lags, dtype=np.float64), np.asarray(norms, dtype=np.float64)
    known = ~np.isnan(values)
    return k[known], values[known]


def _of(layer: str) -> str:
    return f"In {layer} " if layer else "Over the whole network "


def _times(value: float) -> str:
    """A factor in words: 0.02 of, 1.3 times, 2,300 times."""
    if not math.isfinite(value):
        return "beyond all bounds"
    if value < 1:
        return f"{value:.2g} of"
    if value >= 1e6:
        return f"{value:.1e} times"
    return f"{value:,.3g} times" if value < 1000 else f"{value:,.0f} times"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 10 else f"{100 * share:,.0f} %"


def _round(value: float) -> str:
    return f"{float(f'{value:.1g}'):g}"


def _join(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
