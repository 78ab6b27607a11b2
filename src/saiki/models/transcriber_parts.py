"""The transcriber's parts between its data and its network: split, scaling, the convolution, time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from saiki.core.errors import DTypeError, LabelError, LengthError, OptionError, ValueRangeError
from saiki.core.ragged import Ragged
from saiki.core.random import generator
from saiki.core.schema import strict
from saiki.data.splits import split_sequences
from saiki.models.options import Array, Layer
from saiki.models.transcriber_data import Answer, Utterances
from saiki.nn import ActivationConfig, Convolution, ConvolutionConfig, Segment, Stack

Scaling = Literal["standard", "utterance"]
SCALINGS = ("standard", "utterance", None)
FRAMES_AT_ONCE = 50_000  # rows of a batch when predicting; changes speed only


@dataclass(frozen=True, kw_only=True)
class Part:
    """Utterances with their answers and weights: the training or the validation part."""

    utterances: Utterances
    answers: list[Answer]
    weights: Array | None

    def select(self, chosen: Array) -> Part:
        """Some of them, in this order."""
        return Part(
            utterances=self.utterances.select(chosen),
            answers=[self.answers[int(i)] for i in chosen],
            weights=None if self.weights is None else self.weights[chosen],
        )


# ---- the split -------------------------------------------------------------------------------------------


def held_out(n: int, share: object, groups: object, seed: int) -> tuple[Array, Array]:
    """Indices for training and validation: utterances by chance, or whole groups of them.

    Args:
        n: utterances.
        share: of the utterances to hold out.
        groups: (n,) whose each is, or None. Groups are held out in an order drawn from the seed, until the
            share is reached as nearly as whole groups can; at least one is held out, and one is left.
        seed: of the choice.
    Raises:
        OptionError: no share between 0 and 1.
        LengthError: not one group an utterance, or a single utterance.
        LabelError: one group alone.
    """
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < 1:
        raise OptionError(f"validation is {share!r} but must be a share between 0 and 1, (X, y) or None.")
    if n < 2:
        raise LengthError(
            f"X has n_samples=1 utterance, too few to keep a share of {share} for validation.",
            "Give more utterances, validation=(X, y), or validation=None.",
        )
    if groups is None:
        return split_sequences(n, float(share), seed=seed)
    try:
        names = np.array([str(group) for group in groups])  # type: ignore[attr-defined]
    except TypeError as error:
        raise DTypeError(f"groups is {type(groups).__name__} but must be a list, one a utterance.") from error
    if len(names) != n:
        raise LengthError(f"groups has {len(names)} entries but X has {n} utterances.", "Give one each.")
    known, code = np.unique(names, return_inverse=True)
    if len(known) < 2:
        raise LabelError(
            f"groups has one group alone, {str(known[0])!r}, so none can be kept for validation.",
            "Leave groups out, or give validation=(X, y).",
        )
    sizes = np.bincount(code)
    order = torch.randperm(len(known), generator=generator(seed, "groups")).numpy()
    held: list[int] = []
    count = 0
    for group in order[:-1]:
        nearer = abs(count + sizes[group] - share * n) < abs(count - share * n)
        if not held or nearer:
            held.append(int(group))
            count += int(sizes[group])
    mask = np.isin(code, held)
    return np.flatnonzero(~mask), np.flatnonzero(mask)


# ---- scaling ---------------------------------------------------------------------------------------------


def statistics(frames: Sequence[Array], scaling: str | None) -> tuple[Array, Array]:
    """What "standard" scaling learns: (F,) mean and deviation over all frames; 0 and 1 for the others."""
    F = frames[0].shape[1]
    if scaling != "standard":
        return np.zeros(F), np.ones(F)
    rows = np.concatenate(list(frames))
    return (np.zeros(F), np.ones(F)) if not len(rows) else _moments(rows)


def scaled(frames: Array, scaling: str | None, center: Array, scale: Array) -> Array:
    """(T, F) frames as the network is given them: (x - center) / scale, of the utterance or of the training
    part.
    """
    if scaling == "utterance" and len(frames):
        center, scale = _moments(frames)
    return np.asarray((frames - center) / scale)


def _moments(rows: Array) -> tuple[Array, Array]:
    center, scale = rows.mean(axis=0), rows.std(axis=0)
    still = scale <= 1e-9 * np.maximum(np.abs(center), 1e-30)  # a feature that does not vary becomes 0
    return center, np.where(still, 1.0, scale)


# ---- the network -----------------------------------------------------------------------------------------


def as_convolution(convolution: object) -> ConvolutionConfig | None:
    """The config of the layer in front, out of itself or a mapping of its options.

    Raises:
        DTypeError: neither.
        SchemaError: an unknown or missing option; the nearest one is offered.
    """
    if convolution is None or isinstance(convolution, ConvolutionConfig):
        return convolution
    if not isinstance(convolution, Mapping):
        raise DTypeError(
            f"convolution is {type(convolution).__name__} but must be a ConvolutionConfig, a mapping such as "
            "{'size': 64, 'kernel_size': 5, 'stride': 2}, or None."
        )
    given: dict[str, Any] = {key: value for key, value in convolution.items() if key != "type"}
    if convolution.get("type", ConvolutionConfig.type) != ConvolutionConfig.type:
        raise OptionError(f"convolution is of type {convolution['type']!r} but must be a convolution.")
    return strict(ConvolutionConfig, given, "convolution")


def front(convolution: object) -> list[Layer]:
    """The layers before the recurrent ones: the convolution and a rectifier, or nothing."""
    config = as_convolution(convolution)
    return [] if config is None else [config, ActivationConfig(activation="relu")]


def steps_out(network: Stack, lengths: Tensor) -> Tensor:
    """(n,) steps that the network answers for utterances of so many frames."""
    for layer in network.layers.values():
        if isinstance(layer, Convolution):
            lengths = layer.lengths(lengths)
        elif isinstance(layer, Segment):
            lengths = -(-lengths // layer.length)
    return lengths


def pace(network: Stack) -> int:
    """Frames from one answer of the network to the next."""
    step = 1
    for layer in network.layers.values():
        if isinstance(layer, Convolution):
            step *= layer.stride
        elif isinstance(layer, Segment):
            step *= layer.length
    return step


def require_room(
    network: Stack, utterances: Utterances, targets: Sequence[Array], *, seconds: float | None
) -> None:
    """Refuse a transcript that is longer than the network's answers can say: a step for each label, and one
    for a blank between two that are equal.

    Args:
        network: tells how many steps it answers.
        utterances: what goes in.
        targets: (L,) classes each.
        seconds: a frame lasts, or None.
    Raises:
        LengthError: the utterance is named, with what it has and what it needs.
    """
    steps = steps_out(network, torch.from_numpy(utterances.lengths)).tolist()
    for name, frames, have, target in zip(utterances.names, utterances.lengths, steps, targets):
        need = len(target) + int((target[1:] == target[:-1]).sum())
        if have < need:
            lasts = "" if seconds is None else f" ({frames * seconds:.2f} s)"
            fewer = f", which become {have} steps" if have != frames else ""
            raise LengthError(
                f"{name} has {frames} frames{lasts}{fewer}, but its transcript of {len(target)} labels needs "
                f"at least {need}: a step for each, and one between two that are equal.",
                "Mend the transcript, leave the utterance out, or take a shorter hop_ms= or stride.",
            )


def run(network: Stack, inputs: Sequence[Tensor], names: Sequence[str], device: torch.device) -> list[Array]:
    """(T', K) log-probabilities of each utterance, run in batches of like length.

    Args:
        network: answers at every step.
        inputs: (T, F) each, scaled, on the CPU.
        names: of the utterances.
        device: of the network.
    Raises:
        ValueRangeError: an answer is not finite; the utterance is named.
    """
    found: dict[int, Array] = {}
    waiting = sorted(range(len(inputs)), key=lambda i: len(inputs[i]))
    while waiting:
        count = 1
        while count < len(waiting) and (count + 1) * len(inputs[waiting[count]]) <= FRAMES_AT_ONCE:
            count += 1
        chosen, waiting = waiting[:count], waiting[count:]
        with torch.inference_mode():
            out = network(Ragged.from_list([inputs[i] for i in chosen]).to(device))
            assert isinstance(out, Ragged)
            rows = out.map(lambda a: torch.log_softmax(a, dim=-1)).to("cpu").to_list()
        for i, row in zip(chosen, rows):
            if not bool(torch.isfinite(row).all()):
                raise ValueRangeError(
                    f"the network's answer for {names[i]} is not finite.",
                    "Check the recording's level against those of the training data.",
                )
            found[i] = row.numpy()
    return [found[i] for i in range(len(inputs))]
