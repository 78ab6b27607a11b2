"""What a network hears: log-mel bands or MFCC of short frames, with their slopes.

    frame t     n_fft samples around sample t · hop, under a Hann window
    S_t         |FFT|², the power at each frequency
    m_t         M S_t, M triangles equally wide on the mel scale, of equal area
    log-mel     10 log10 max(m_t, 1e-10), in dB, no lower than `floor_db` under the recording's loudest
    MFCC        the first coefficients of the cosine transform (DCT-II, orthonormal) of the log-mel
    Δ           Σ_k k (x_{t+k} - x_{t-k}) / (2 Σ_k k²), k = 1 … 4, the ends repeated

Sources: Davis & Mermelstein 1980 (MFCC); Slaney 1998, "Auditory Toolbox" (this mel scale); Furui 1986 (Δ).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from saiki.core.checks import require_int, require_number, require_positive
from saiki.core.errors import OptionError, ValueRangeError
from saiki.core.names import choose
from saiki.data.audio import MAX_RATE_HZ, Audio, as_samples

Array = NDArray[Any]

KINDS = ("log_mel", "mfcc")
AMIN = 1e-10  # power below which the logarithm is not taken: 100 dB under full scale
MAX_BANDS, MAX_WINDOW = 512, 65_536  # a size from a file is checked before anything is allocated
SLOPE = 4  # frames at either side of a slope
_CHUNK = 4096  # frames transformed at once: about 30 MB at 512 points


@final
@dataclass(frozen=True, kw_only=True)
class AudioFeatures:
    """From samples to frames of features; a value, so a model can keep it.

    Args:
        kind: "log_mel" or "mfcc".
        rate_hz: samples a second that it takes.
        window_ms: milliseconds of the window.
        hop_ms: milliseconds from frame to frame.
        bands: mel bands.
        coefficients: of the MFCC, from the 0th on.
        deltas: 0; 1: their slopes too; 2: and the slopes' slopes.
        low_hz: where the lowest band begins.
        high_hz: where the highest ends; half the rate if not given.
        floor_db: dB under the recording's loudest value at which quieter ones are cut; None: not cut.
    Raises:
        OptionError, ValueRangeError, DTypeError: an option is out of range, or so many bands that one would
            hear no frequency at all.

    Example:
        >>> import numpy as np
        >>> hear = AudioFeatures(kind="mfcc", rate_hz=8000, deltas=2)
        >>> hear(np.sin(np.arange(8000) / 5)).shape
        (101, 39)
    """

    kind: Literal["log_mel", "mfcc"] = "log_mel"
    rate_hz: int = 16_000
    window_ms: float = 25.0
    hop_ms: float = 10.0
    bands: int = 40
    coefficients: int = 13
    deltas: int = 0
    low_hz: float = 0.0
    high_hz: float | None = None
    floor_db: float | None = 80.0

    def __post_init__(self) -> None:
        choose(self.kind, dict.fromkeys(KINDS), "kind of features")
        require_int(self.rate_hz, "rate_hz", 100, MAX_RATE_HZ)
        require_number(self.window_ms, "window_ms", low=0.1, high=10_000)
        require_number(self.hop_ms, "hop_ms", low=0.1, high=10_000)
        require_int(self.bands, "bands", 1, MAX_BANDS)
        require_int(self.coefficients, "coefficients", 1, MAX_BANDS)
        require_int(self.deltas, "deltas", 0, 2)
        require_number(self.low_hz, "low_hz", low=0)
        if self.floor_db is not None:
            require_positive(self.floor_db, "floor_db")
        if self.high_hz is not None:
            require_positive(self.high_hz, "high_hz")
        if not self.low_hz < self.highest <= self.rate_hz / 2:
            raise ValueRangeError(
                f"low_hz is {self.low_hz} and high_hz is {self.highest}, but they must rise and end at half "
                f"the rate, {self.rate_hz / 2:g} Hz, or below."
            )
        if self.window < 2 or self.hop < 1:
            raise ValueRangeError(
                f"window_ms={self.window_ms} and hop_ms={self.hop_ms} are {self.window} and {self.hop} "
                f"samples at {self.rate_hz} Hz, too few."
            )
        if self.window > MAX_WINDOW:
            raise ValueRangeError(
                f"window_ms={self.window_ms} is {self.window:,} samples at {self.rate_hz} Hz, but "
                f"{MAX_WINDOW:,} are the most.",
                "25 ms are usual.",
            )
        if self.kind == "mfcc" and self.coefficients > self.bands:
            raise OptionError(
                f"coefficients is {self.coefficients}, but {self.bands} bands have {self.bands} at most.",
                "Give more bands=.",
            )
        deaf = np.flatnonzero(self._filters.max(axis=1) <= 0)
        if len(deaf):
            raise OptionError(
                f"bands is {self.bands}, so narrow that band {int(deaf[0])} holds no frequency of a "
                f"{self.n_fft}-point transform.",
                "Give fewer bands= or a longer window_ms=.",
            )

    # ---- sizes ---------------------------------------------------------------------------------------------

    @property
    def highest(self) -> float:
        """Hz at which the highest band ends."""
        return self.rate_hz / 2 if self.high_hz is None else self.high_hz

    @property
    def window(self) -> int:
        """Samples of the window."""
        return round(self.window_ms * self.rate_hz / 1000)

    @property
    def hop(self) -> int:
        """Samples from frame to frame."""
        return round(self.hop_ms * self.rate_hz / 1000)

    @property
    def n_fft(self) -> int:
        """Points of the transform: the window's length, up to a power of two."""
        return 1 << max(1, math.ceil(math.log2(self.window)))

    @property
    def size(self) -> int:
        """Features a frame."""
        return (self.bands if self.kind == "log_mel" else self.coefficients) * (1 + self.deltas)

    @property
    def seconds(self) -> float:
        """From one frame to the next."""
        return self.hop / self.rate_hz

    @property
    def names(self) -> tuple[str, ...]:
        """What each feature is called."""
        base = (
            [f"mel {k}" for k in range(self.bands)]
            if self.kind == "log_mel"
            else [f"c{k}" for k in range(self.coefficients)]
        )
        return tuple(f"{'Δ' * order}{name}" for order in range(1 + self.deltas) for name in base)

    def frames(self, samples: int) -> int:
        """Frames of a recording of so many samples: 1 + ⌊N / hop⌋."""
        return 1 + samples // self.hop

    # ---- the work ------------------------------------------------------------------------------------------

    def __call__(self, audio: Audio | Array) -> Array:
        """The features of one recording.

        Args:
            audio: an `Audio`, or (N,) samples at `rate_hz`.
        Returns:
            (T, `size`) float64, T = 1 + ⌊N / hop⌋; frame t is centred on sample t · hop.
        Raises:
            ValueRangeError: an `Audio` of another rate (`saiki.data.resampled` changes it).
            ShapeError, DTypeError: no row of samples.
        """
        if isinstance(audio, Audio):
            if audio.rate_hz != self.rate_hz:
                raise ValueRangeError(
                    f"{audio.name or 'the recording'} has {audio.rate_hz} samples a second but these "
                    f"features take {self.rate_hz}.",
                    f"Use saiki.data.resampled(audio, {self.rate_hz}).",
                )
            samples = audio.samples
        else:
            samples = as_samples(audio, "samples")
        level = 10.0 * np.log10(np.maximum(self._power(samples) @ self._filters.T, AMIN))
        if self.floor_db is not None:
            level = np.maximum(level, level.max() - self.floor_db)
        found = level if self.kind == "log_mel" else level @ self._cosines.T
        parts = [found]
        for _ in range(self.deltas):
            parts.append(slopes(parts[-1]))
        return np.concatenate(parts, axis=1)

    def levels(self, features: Array) -> Array:
        """(T, bands) the log-mel bands in dB that features (T, `size`) stand for; of MFCC a smoothed one."""
        base = features[:, : self.size // (1 + self.deltas)]
        return base if self.kind == "log_mel" else base @ self._cosines

    def _power(self, samples: Array) -> Array:
        """(T, n_fft / 2 + 1) power of each frame."""
        n = self.n_fft
        padded = np.pad(samples, n // 2)
        views = np.lib.stride_tricks.sliding_window_view(padded, n)[:: self.hop]
        hann = np.zeros(n)
        first = (n - self.window) // 2
        hann[first : first + self.window] = 0.5 - 0.5 * np.cos(
            2 * np.pi * np.arange(self.window) / self.window
        )
        return np.concatenate(
            [
                np.abs(np.fft.rfft(views[start : start + _CHUNK] * hann, axis=1)) ** 2
                for start in range(0, len(views), _CHUNK)
            ]
        )

    @cached_property
    def _filters(self) -> Array:
        """(bands, n_fft / 2 + 1) triangles of equal area on the mel scale."""
        edges = from_mel(np.linspace(to_mel(self.low_hz), to_mel(self.highest), self.bands + 2))
        hz = np.fft.rfftfreq(self.n_fft, 1 / self.rate_hz)
        left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
        rising, falling = (hz - left) / (middle - left), (right - hz) / (right - middle)
        area = 2.0 / (right - left)
        filters: Array = area * np.maximum(0.0, np.minimum(rising, falling))
        return filters

    @cached_property
    def _cosines(self) -> Array:
        """(coefficients, bands) of the orthonormal DCT-II."""
        M = self.bands
        k, m = np.arange(self.coefficients)[:, None], np.arange(M)[None]
        basis: Array = np.sqrt(2.0 / M) * np.cos(np.pi * k * (2 * m + 1) / (2 * M))
        basis[0] /= np.sqrt(2.0)
        return basis


def slopes(frames: Array) -> Array:
    """The slope of each feature at each frame, by least squares over the 9 frames around it.

        Δx_t = Σ_{k=1}^{4} k (x_{t+k} - x_{t-k}) / (2 Σ_{k=1}^{4} k²)

    Args:
        frames: (T, F), T of at least 1; the first and the last frame are repeated beyond the ends.
    Returns:
        (T, F).
    """
    T = len(frames)
    padded = np.pad(frames, ((SLOPE, SLOPE), (0, 0)), mode="edge")
    total = np.zeros_like(frames, dtype=np.float64)
    for k in range(1, SLOPE + 1):
        total += k * (padded[SLOPE + k : SLOPE + k + T] - padded[SLOPE - k : SLOPE - k + T])
    return total / (2 * sum(k * k for k in range(1, SLOPE + 1)))


_BREAK_HZ, _PER_MEL = 1000.0, 200.0 / 3  # linear below 1,000 Hz
_LOG_STEP = math.log(6.4) / 27  # 27 mels of this scale from 1,000 to 6,400 Hz


def to_mel(hz: Any) -> Any:  # noqa: ANN401  a number or an array
    """Hz on Slaney's mel scale: linear up to 1,000 Hz, logarithmic above."""
    hz = np.asarray(hz, dtype=np.float64)
    above = _BREAK_HZ / _PER_MEL + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(hz < _BREAK_HZ, hz / _PER_MEL, above)


def from_mel(mel: Any) -> Any:  # noqa: ANN401  a number or an array
    """The way back from `to_mel`."""
    mel = np.asarray(mel, dtype=np.float64)
    above = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _BREAK_HZ / _PER_MEL) - _BREAK_HZ / _PER_MEL))
    return np.where(mel < _BREAK_HZ / _PER_MEL, mel * _PER_MEL, above)
