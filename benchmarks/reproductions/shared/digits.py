"""The Free Spoken Digits: recordings of six speakers, and strings of digits made of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

RATE_HZ = 8000
GAP_MS = (0, 250)  # of silence before, between and behind the digits of a string
QUIET = 3e-4  # deviation of the noise in the gaps: -70 dB, so that no feature of them is constant
SPEEDS = (0.85, 1.18)  # played slower or faster, pitch with it
LEVELS_DB = (-9.0, 6.0)


@dataclass(frozen=True)
class Digits:
    """Recordings with what is known of each."""

    samples: list[np.ndarray]  # int16, of their own lengths
    digit: np.ndarray
    speaker: np.ndarray  # names
    index: np.ndarray  # 0 to 49, of a speaker's takes of a digit

    def of(self, chosen: np.ndarray) -> Digits:
        """Those that are chosen, a mask or places."""
        places = np.arange(len(self.samples))[chosen]
        return Digits(
            [self.samples[int(i)] for i in places],
            self.digit[places],
            self.speaker[places],
            self.index[places],
        )

    def __len__(self) -> int:
        return len(self.samples)


def recordings(folder: Path) -> Digits:
    """All of them, speaker after speaker."""
    samples, digit, speaker, index = [], [], [], []
    for file in sorted((folder / "speech" / "fsdd").glob("*.npz")):
        stored = np.load(file)
        parts = np.split(stored["audio"], np.cumsum(stored["length"])[:-1])
        samples += parts
        digit.append(stored["digit"])
        index.append(stored["index"])
        speaker += [file.stem] * len(parts)
    return Digits(samples, np.concatenate(digit), np.array(speaker), np.concatenate(index))


def strings(
    digits: Digits, count: int, seed: int, *, longest: int, vary: bool
) -> tuple[list[np.ndarray], list[list[int]]]:
    """Digits of one speaker joined at random, with silence between.

    Args:
        digits: to draw from; every string is of one speaker, drawn first.
        count: strings.
        seed: of the drawing.
        longest: digits of the longest; the lengths are drawn evenly from 1 on.
        vary: play each string at another speed and level.
    """
    rng = np.random.default_rng(seed)
    names = np.unique(digits.speaker)
    of_speaker = {name: np.flatnonzero(digits.speaker == name) for name in names}
    made, said = [], []
    for _ in range(count):
        places = rng.choice(of_speaker[names[rng.integers(len(names))]], size=rng.integers(1, longest + 1))
        parts = [_silence(rng)]
        for place in places:
            parts += [digits.samples[int(place)] / 32768.0, _silence(rng)]
        sound = np.concatenate(parts)
        if vary:
            sound = _played(sound, float(rng.uniform(*SPEEDS))) * 10 ** (rng.uniform(*LEVELS_DB) / 20)
        made.append(np.clip(sound, -1, 1).astype(np.float32))
        said.append([int(digits.digit[int(place)]) for place in places])
    return made, said


def _silence(rng: np.random.Generator) -> np.ndarray:
    samples = int(rng.integers(*GAP_MS) * RATE_HZ / 1000)
    return QUIET * rng.standard_normal(samples)


def _played(sound: np.ndarray, speed: float) -> np.ndarray:
    """Faster or slower, the pitch with it, by linear interpolation."""
    places = np.arange(0, len(sound) - 1, speed)
    return np.interp(places, np.arange(len(sound)), sound)
