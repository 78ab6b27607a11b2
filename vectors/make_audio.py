"""Write vectors/audio.json: one short sound and its log-mel bands, MFCC and slopes as librosa has them.

The sound is made here: three gliding tones that come and go in a little noise, whole numbers of 16 bits, so
the file says exactly what went in. Everything else is librosa's, in float64 as far as it goes (its mel
filters are float32). It is no dependency of the library: `pip install librosa==0.11.0` somewhere else.

    python vectors/make_audio.py          writes the file
    python vectors/make_audio.py --check  fails if the file differs from what would be written
"""

# ruff: noqa: D103 - each does what it is called

from __future__ import annotations

import json
import sys
from pathlib import Path

import librosa
import numpy as np

FILE = Path(__file__).with_name("audio.json")
RATE = 8000
HZ = (0.0, 440.0, 999.0, 1000.0, 1001.0, 6400.0, 8000.0)
SETTINGS = (
    "kind", "rate_hz", "window", "hop", "n_fft", "bands", "coefficients", "low_hz", "high_hz", "floor_db",
)  # fmt: skip
CASES = {  # windows, hops and transforms in samples
    "log-mel, 8 kHz": ("log_mel", 8000, 200, 80, 256, 20, None, 0.0, 4000.0, 80.0),
    "log-mel, few wide bands, no floor": ("log_mel", 8000, 256, 128, 256, 6, None, 100.0, 3500.0, None),
    "log-mel, read as 16 kHz": ("log_mel", 16000, 400, 160, 512, 24, None, 60.0, 7600.0, 40.0),
    "mfcc, 8 kHz": ("mfcc", 8000, 200, 80, 256, 26, 13, 0.0, 4000.0, 80.0),
    "mfcc, window no power of two": ("mfcc", 8000, 176, 72, 256, 20, 8, 0.0, 4000.0, 80.0),
}


def sound() -> np.ndarray:
    """(1600,) int16: a fifth of a second at 8 kHz."""
    t = np.arange(1600) / RATE
    tones = (
        0.5 * np.sin(2 * np.pi * (200 * t + 900 * t**2))
        + 0.3 * np.sin(2 * np.pi * (1500 * t - 2000 * t**2)) * (t > 0.06)
        + 0.1 * np.sin(2 * np.pi * 3100 * t) * (t < 0.12)
    )
    noise = np.random.default_rng(7).uniform(-1, 1, len(t))
    return np.round(20000 * (tones * np.sin(np.pi * t / t[-1]) + 0.01 * noise)).astype(np.int16)


def case(samples: np.ndarray, settings: tuple) -> list[list[float]]:
    kind, rate, window, hop, n_fft, bands, coefficients, low, high, floor = settings
    mel = librosa.feature.melspectrogram(
        y=samples, sr=rate, n_fft=n_fft, win_length=window, hop_length=hop, window="hann", center=True,
        pad_mode="constant", power=2.0, n_mels=bands, fmin=low, fmax=high, htk=False, norm="slaney",
    )  # fmt: skip
    level = librosa.power_to_db(mel, ref=1.0, amin=1e-10, top_db=floor)
    found = (
        level
        if kind == "log_mel"
        else librosa.feature.mfcc(S=level, n_mfcc=coefficients, dct_type=2, norm="ortho")
    )
    return np.round(found.T, 7).tolist()


def content() -> str:
    whole = sound()
    cases = [
        {"name": name, **dict(zip(SETTINGS, values)), "frames": case(whole / 32768.0, values)}
        for name, values in CASES.items()
    ]
    mfcc = np.array(next(c["frames"] for c in cases if c["name"] == "mfcc, 8 kHz"))
    first = librosa.feature.delta(mfcc.T, width=9, order=1, mode="nearest")
    second = librosa.feature.delta(first, width=9, order=1, mode="nearest")
    made = {
        "origin": f"make_audio.py with librosa {librosa.__version__} (ISC) and numpy {np.__version__}",
        "samples": whole.tolist(),
        "cases": cases,
        "slopes": {
            "of": "mfcc, 8 kHz",
            "first": np.round(first.T, 9).tolist(),
            "second": np.round(second.T, 9).tolist(),
        },
        "mel": {"hz": HZ, "mel": [float(librosa.hz_to_mel(hz)) for hz in HZ]},
    }
    return json.dumps(made, separators=(",", ":")).replace('{"name"', '\n{"name"') + "\n"


if __name__ == "__main__":
    text = content()
    if "--check" in sys.argv[1:]:
        if FILE.read_text(encoding="utf-8") != text:
            sys.exit(f"{FILE} is not what this script gives")
    else:
        FILE.write_text(text, encoding="utf-8")
