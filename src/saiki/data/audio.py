"""Sound comes in: reading files, mixing channels, changing the rate, with a word about each.

    read_audio("a.wav", rate_hz=16000)   an `Audio`: samples from -1 to 1, their rate, what was done to them

Files are read by soundfile (the extra `audio`): WAV, FLAC and what else libsndfile knows.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, final

import numpy as np
from numpy.typing import NDArray

from saiki.core.checks import listed, require_int
from saiki.core.errors import DataError, DTypeError, ShapeError, ValueRangeError
from saiki.core.extras import require

Array = NDArray[Any]

MAX_RATE_HZ = 768_000
_NO_LENGTH = (0, 0xFFFFFFFF)  # what a program that writes into a pipe leaves in the header


@final
@dataclass(frozen=True, eq=False)
class Audio:
    """One recording, one channel.

    Attributes:
        samples: (N,) float64, from -1 to 1 in files.
        rate_hz: samples a second.
        name: of the recording, for messages; "" where it has none.
        notes: what was done to it on the way in: "mixed from 2 channels to one", ….
    Raises:
        ShapeError, DTypeError, ValueRangeError: samples that are not one row of finite numbers, or a rate
            that is no whole number of at least 1.
    """

    samples: Array
    rate_hz: int
    name: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_int(self.rate_hz, f"{self.name or 'audio'}: rate_hz", 1, MAX_RATE_HZ)
        object.__setattr__(self, "samples", as_samples(self.samples, self.name or "audio"))

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.samples) / self.rate_hz


def as_samples(values: object, what: str) -> Array:
    """Samples as (N,) float64; whole numbers of 8, 16 or 32 bits are brought to -1 … 1.

    Args:
        values: (N,) numbers, an array or a tensor.
        what: they are, for messages.
    Raises:
        ShapeError: another number of axes, or no sample.
        DTypeError: no numbers.
        ValueRangeError: NaN or infinite.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ShapeError(f"{what} is ragged and cannot be one row of samples.") from error
    if array.dtype.kind not in "iuf":
        raise DTypeError(f"{what} holds {array.dtype} but samples are numbers.")
    if array.ndim != 1:
        raise ShapeError(
            f"{what} is {array.shape} but samples of one channel are (N,).",
            "For several channels give their mean: samples.mean(axis=1).",
        )
    if not len(array):
        raise ShapeError(f"{what} holds no sample.", "Leave empty recordings out.")
    if array.dtype.kind == "f":
        found = array.astype(np.float64)
        if not np.isfinite(found).all():
            place = int(np.argmin(np.isfinite(found)))
            raise ValueRangeError(f"{what} is {found[place]} at sample {place}, where a number must be.")
        return found
    full = float(2 ** (8 * array.dtype.itemsize - 1))
    return (array.astype(np.float64) - (full if array.dtype.kind == "u" else 0.0)) / full


def read_audio(path: str | Path, rate_hz: int | None = None) -> Audio:
    """Read a sound file; several channels are mixed to one, another rate is changed to the one asked for.

    Args:
        path: WAV, FLAC, or another format of libsndfile.
        rate_hz: samples a second of the answer; None keeps the file's.
    Returns:
        The recording; its `notes` say what was done.
    Raises:
        DataError: no such file, no sound file, a file that ends before its header says, or one without
            samples.
        ExtraError: soundfile is not installed.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"there is no sound file {file}.", "Check the path.")
    soundfile: Any = require("soundfile", "audio", f"reading {file.name}")
    _require_whole(file)
    try:
        with soundfile.SoundFile(str(file)) as sound:
            expected, rate = int(sound.frames), int(sound.samplerate)
            samples = sound.read(dtype="float64", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError) as error:
        said = str(error).strip().rstrip(".").partition(": ")[2] or str(error)
        raise DataError(
            f"{file} cannot be read as sound: {said}.", "It is cut short or of a format libsndfile lacks."
        ) from error
    if len(samples) < expected:
        raise DataError(f"{file} ends after {len(samples):,} of {expected:,} samples.", "Copy it anew.")
    if not len(samples):
        raise DataError(f"{file} holds no sample.", "It is empty or cut short; leave it out.")
    notes: tuple[str, ...] = ()
    if samples.shape[1] > 1:
        notes = (f"mixed from {samples.shape[1]} channels to one",)
    found = Audio(samples.mean(axis=1), rate, str(file), notes)
    return found if rate_hz is None else resampled(found, rate_hz)


def resampled(audio: Audio, rate_hz: int) -> Audio:
    """The recording at another rate; itself where it has that rate.

    A polyphase filter (scipy) with the rates' ratio in lowest terms p / q: N samples become ⌈N p / q⌉, and
    what lies above half the lower rate is filtered out.
    """
    require_int(rate_hz, "rate_hz", 1, MAX_RATE_HZ)
    if rate_hz == audio.rate_hz:
        return audio
    from scipy.signal import resample_poly

    common = math.gcd(rate_hz, audio.rate_hz)
    samples = resample_poly(audio.samples, rate_hz // common, audio.rate_hz // common)
    note = f"resampled from {audio.rate_hz:,} to {rate_hz:,} Hz"
    return Audio(samples, rate_hz, audio.name, (*audio.notes, note))


def told(names: Sequence[str], notes: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """What was done to recordings on the way in, a sentence a kind of thing, for a log and a report.

    Args:
        names: of the recordings.
        notes: of each, as `Audio.notes` has them.
    """
    by_note: dict[str, list[int]] = {}
    for place, each in enumerate(notes):
        for note in each:
            by_note.setdefault(note, []).append(place)
    sentences = []
    for note, places in by_note.items():
        of = f"{len(places)} of {len(names)} recordings" if len(names) > 1 else "the recording"
        verb = "were" if len(places) > 1 else "was"
        shown = listed([Path(names[place]).name for place in places], 3)
        sentences.append(f"{of} {verb} {note}: {shown}.")
    return tuple(sentences)


# ---- files that end too soon -----------------------------------------------------------------------------


def _require_whole(path: Path) -> None:
    """Refuse a WAV or AIFF file that is shorter than its header says; libsndfile reads it without a word."""
    with path.open("rb") as file:
        head = file.read(12)
        if len(head) == 12 and head[:4] in (b"RIFF", b"FORM") and head[8:] in (b"WAVE", b"AIFF", b"AIFC"):
            order = "<" if head[:4] == b"RIFF" else ">"
            found = _cut(file, order, b"data" if order == "<" else b"SSND", path.stat().st_size)
            if found is not None:
                there, promised = found
                raise DataError(
                    f"{path} is cut short: its header promises {promised:,} bytes of sound and {there:,} "
                    "are there.",
                    "Copy it anew, or leave it out.",
                )


def _cut(file: BinaryIO, order: str, wanted: bytes, size: int) -> tuple[int, int] | None:
    """(bytes there, bytes promised) of the chunk with the samples, where it is not all there."""
    while len(head := file.read(8)) == 8:
        name, length = head[:4], struct.unpack(f"{order}I", head[4:])[0]
        there = size - file.tell()
        if name == wanted:
            return (there, length) if length not in _NO_LENGTH and length > there else None
        file.seek(length + length % 2, 1)  # chunks begin at even places
    return None  # no such chunk: libsndfile says so better
