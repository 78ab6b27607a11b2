"""What the transcriber is given, read once: recordings or frames, transcripts or labels, and their source.

X   files, `Audio`, rows of samples → features of each; or frames in any form the other tasks take
y   texts, cut into characters or words; or sequences of labels (a single label is a sequence of one)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch
from torch import Tensor

from saiki.core.errors import DTypeError, LabelError, LengthError, OptionError
from saiki.core.ragged import Ragged
from saiki.data.audio import Audio, as_samples, read_audio, resampled, told
from saiki.data.audio_features import KINDS, AudioFeatures
from saiki.learning import Batch
from saiki.learning.sources import digest
from saiki.models.options import Array
from saiki.models.sequence_input import read_sequences

Kind = Literal["text", "int", "str"]
Answer = str | list[Any]  # a text, or a list of labels

MFCC_DELTAS = 2  # "mfcc" by name is the usual 13 coefficients with slopes and slopes of slopes


@dataclass(frozen=True, kw_only=True)
class Utterances:
    """The sequences of X.

    Attributes:
        frames: (T_i, F) each, T_i of at least 0, not scaled.
        names: of each, for messages: its file's, or "utterance 3".
        notes: what was done to recordings on the way in, in sentences.
    """

    frames: list[Array]
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def lengths(self) -> Array:
        """(n,) frames of each."""
        return np.array([len(each) for each in self.frames], dtype=np.int64)

    def select(self, chosen: Array) -> Utterances:
        """Some of them, in this order."""
        return Utterances(
            frames=[self.frames[int(i)] for i in chosen], names=tuple(self.names[int(i)] for i in chosen)
        )


# ---- X ---------------------------------------------------------------------------------------------------


def is_sound(X: object) -> bool:
    """Whether X is a list of recordings: files, `Audio`, or rows of samples (arrays of one axis)."""
    if not isinstance(X, (list, tuple)) or not X:
        return False
    first = X[0]
    return isinstance(first, (str, Path, Audio)) or (hasattr(first, "ndim") and first.ndim == 1)


def choose_features(
    X: object, features: str | AudioFeatures | None, rate_hz: int | None
) -> AudioFeatures | None:
    """How X is heard at fit; None where it is frames already.

    Args:
        X: what `fit` was given.
        features: "auto", "log_mel", "mfcc", `AudioFeatures`, or None for frames.
        rate_hz: samples a second; None takes the first recording's.
    Raises:
        OptionError: an unknown name, features of sound for frames, rows of samples without a rate, two rates.
    """
    if isinstance(features, str) and features not in ("auto", *KINDS):
        raise OptionError(
            f"features is {features!r} but must be 'auto', 'log_mel', 'mfcc', AudioFeatures(...) or None."
        )
    if isinstance(X, (str, Path)):
        raise DTypeError(f"X is one path, {str(X)!r}, but must be a list of recordings.", "Give [X].")
    sound = is_sound(X)
    if features is None or (features == "auto" and not sound):
        return None
    if not sound:
        raise OptionError(
            f"features is {features!r}, which is heard in recordings, but X holds frames.",
            "Give files, saiki.data.Audio or rows of samples; or features=None for frames.",
        )
    if isinstance(features, AudioFeatures):
        if rate_hz is not None and rate_hz != features.rate_hz:
            raise OptionError(
                f"rate_hz is {rate_hz} but features take {features.rate_hz} samples a second.",
                "Leave rate_hz out.",
            )
        return features
    kind: Any = "log_mel" if features == "auto" else features
    rate = _first_rate(X) if rate_hz is None else rate_hz
    return AudioFeatures(kind=kind, rate_hz=rate, deltas=MFCC_DELTAS if kind == "mfcc" else 0)


def _first_rate(X: Any) -> int:  # noqa: ANN401  a list of recordings
    first = X[0]
    if isinstance(first, (str, Path)):
        return read_audio(first).rate_hz
    if isinstance(first, Audio):
        return first.rate_hz
    raise OptionError(
        "X holds rows of samples, which do not say how many there are a second.",
        "Give rate_hz=, such as rate_hz=16000; or features=None, if they are frames of one feature.",
    )


def read_utterances(
    X: object, hear: AudioFeatures | None, *, lengths: object = None, width: int | None = None
) -> Utterances:
    """Read X as a model hears it.

    Args:
        X: recordings, or frames.
        hear: features of recordings; None where X is frames.
        lengths: (n,) steps in use of padded frames.
        width: features a frame that a fitted model expects; None at fit.
    Raises:
        DataError: a file that is missing, cut short or no sound; it is named.
        DTypeError, ShapeError, LengthError, ValueRangeError: what is wrong with X, and where.
    """
    if hear is None:
        if is_sound(X) and isinstance(X[0], (str, Path, Audio)):  # type: ignore[index]
            raise DTypeError(
                "X holds recordings, but this model reads frames of features.", "Give (T, F) arrays."
            )
        read = read_sequences(X, lengths=lengths, features=width)
        return Utterances(frames=read.arrays, names=tuple(f"utterance {i}" for i in range(len(read.arrays))))
    if lengths is not None:
        raise LengthError("lengths came with recordings, which have their own.", "Leave lengths out.")
    if isinstance(X, (str, Path)):
        raise DTypeError(f"X is one path, {str(X)!r}, but must be a list of recordings.", "Give [X].")
    if not isinstance(X, (list, tuple)):
        raise DTypeError(
            f"X is {type(X).__name__} but this model hears recordings: a list of files, saiki.data.Audio or "
            "rows of samples."
        )
    if not X:
        raise LengthError("X is an empty list: it holds no recording.", "Give at least one.")
    frames, names, notes = [], [], []
    for place, item in enumerate(X):
        audio = _recording(item, place, hear.rate_hz)
        frames.append(hear(audio))
        names.append(audio.name)
        notes.append(audio.notes)
    return Utterances(frames=frames, names=tuple(names), notes=told(names, notes))


def _recording(item: object, place: int, rate_hz: int) -> Audio:
    """One entry of X as a recording at this rate."""
    if isinstance(item, (str, Path)):
        return read_audio(item, rate_hz)
    if isinstance(item, Audio):
        named = item if item.name else Audio(item.samples, item.rate_hz, f"utterance {place}", item.notes)
        return resampled(named, rate_hz)
    if not hasattr(item, "ndim") and not isinstance(item, (list, tuple)):
        raise DTypeError(
            f"X[{place}] is {type(item).__name__} but must be a file, saiki.data.Audio or a row of samples."
        )
    return Audio(as_samples(item, f"X[{place}]"), rate_hz, f"utterance {place}")


# ---- y ---------------------------------------------------------------------------------------------------


def read_answers(y: object, names: Sequence[str], kind: Kind | None = None) -> tuple[list[Answer], Kind]:
    """Read y: a text each, or a sequence of labels each.

    Args:
        y: n texts; or n sequences of whole numbers or words; a bare whole number is a sequence of one.
        names: of the utterances, for messages.
        kind: what a fitted model learned; None at fit.
    Returns:
        The answers, and what they are. White space in texts is one blank between words, none at the ends.
    Raises:
        LengthError: not one answer an utterance.
        LabelError: answers of several kinds, or of another kind than the model's.
    """
    if y is None or isinstance(y, str) or not hasattr(y, "__len__"):
        raise DTypeError(
            f"y is {type(y).__name__} but must be a list of texts or of label sequences, one an utterance."
        )
    items: list[Any] = list(y)  # type: ignore[call-overload]
    if len(items) != len(names):
        raise LengthError(f"y has {len(items)} answers but X has {len(names)} utterances.", "Give one each.")
    found: list[Answer] = []
    kinds: list[Kind | None] = []
    for place, item in enumerate(items):
        answer, its = _answer(item, names[place])
        found.append(answer)
        kinds.append(its)
    settled = next((each for each in kinds if each is not None), kind or "text")
    words = {"text": "text", "int": "a sequence of whole numbers", "str": "a sequence of words"}
    for place, each in enumerate(kinds):
        if each is not None and each != (kind or settled):
            wanted = "this model's answers are" if kind is not None else "those before are"
            raise LabelError(
                f"the answer of {names[place]} is {words[each]}, but {wanted} {words[kind or settled]}."
            )
    return found, kind or settled


def _answer(item: Any, name: str) -> tuple[Answer, Kind | None]:  # noqa: ANN401  whatever came
    """One answer, and its kind; None for an empty sequence, which has none of its own."""
    if isinstance(item, str):
        return " ".join(item.split()), "text"
    if hasattr(item, "detach"):
        item = item.detach().cpu().numpy()
    if isinstance(item, np.ndarray):
        item = item.tolist()
    labels: list[Any] = list(item) if isinstance(item, (list, tuple)) else [item]
    labels = [label.item() if isinstance(label, np.generic) else label for label in labels]
    if not labels:
        return [], None
    if all(isinstance(label, int) and not isinstance(label, bool) for label in labels):
        return labels, "int"
    if all(isinstance(label, str) for label in labels):
        return labels, "str"
    odd = next(label for label in labels if isinstance(label, bool) or not isinstance(label, (int, str)))
    raise LabelError(
        f"the answer of {name} holds {odd!r} ({type(odd).__name__}) but labels are whole numbers or words.",
        "Give a text, or a sequence of labels.",
    )


def require_said(answers: Sequence[Answer], names: Sequence[str]) -> None:
    """Refuse an empty answer: nothing is to be learned from it, and most often it is a mistake.

    Raises:
        LabelError: the utterance is named.
    """
    for answer, name in zip(answers, names):
        if not answer:
            raise LabelError(f"the transcript of {name} is empty.", "Leave the utterance out, or mend it.")


# ---- the source ------------------------------------------------------------------------------------------


@final
class UtteranceSource:
    """Utterances with their target labels, for the trainer.

    Args:
        inputs: (T_i, F) each, as the network is given them.
        targets: (L_i,) int64 labels each.
        weights: (n,) at least 0, or None.
    """

    def __init__(
        self, inputs: Sequence[Tensor], targets: Sequence[Array], weights: Tensor | None = None
    ) -> None:
        self._inputs = Ragged.from_list(list(inputs))
        self._targets = Ragged.from_list([torch.from_numpy(each.astype(np.int64)) for each in targets])
        self._weights = weights

    def __len__(self) -> int:
        return self._inputs.B

    @property
    def lengths(self) -> Tensor:
        """(n,) steps of each utterance."""
        return self._inputs.lengths

    def batch(self, indices: Tensor) -> Batch:
        """See `Source.batch`."""
        return Batch(
            inputs=self._inputs.select(indices),
            targets=self._targets.select(indices),
            weights=None if self._weights is None else self._weights[indices],
        )

    def fingerprint(self) -> str:
        """See `Source.fingerprint`."""
        parts = [self._inputs.lengths, self._inputs.data, self._targets.lengths, self._targets.data]
        return digest([*parts, *([] if self._weights is None else [self._weights])])
