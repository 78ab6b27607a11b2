"""Sound: features against librosa's numbers, reading and its errors, other rates and channels."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from saiki.core.errors import DataError, DTypeError, OptionError, ShapeError, ValueRangeError
from saiki.data import Audio, AudioFeatures, read_audio, resampled
from saiki.data.audio import as_samples, told
from saiki.data.audio_features import from_mel, slopes, to_mel

GOLDEN = json.loads((Path(__file__).parents[2] / "vectors" / "audio.json").read_text(encoding="utf-8"))
SAMPLES = np.array(GOLDEN["samples"], dtype=np.int16)
soundfile = pytest.importorskip("soundfile", reason="reading sound files is the extra saiki[audio]")


def features(case) -> AudioFeatures:
    ms = 1000 / case["rate_hz"]
    return AudioFeatures(
        kind=case["kind"],
        rate_hz=case["rate_hz"],
        window_ms=case["window"] * ms,
        hop_ms=case["hop"] * ms,
        bands=case["bands"],
        coefficients=case["coefficients"] or 1,
        low_hz=case["low_hz"],
        high_hz=case["high_hz"],
        floor_db=case["floor_db"],
    )


# ---- features --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["name"])
def test_features_are_those_of_librosa(case):
    hear = features(case)
    found = hear(SAMPLES)
    assert hear.n_fft == case["n_fft"] and hear.size == found.shape[1] == len(hear.names)
    assert len(found) == hear.frames(len(SAMPLES))
    # librosa's mel filters are float32: 1e-7 of up to 100 dB, summed over bands
    np.testing.assert_allclose(found, case["frames"], rtol=0, atol=5e-6)


def test_slopes_are_those_of_librosa():
    of = np.array(next(c["frames"] for c in GOLDEN["cases"] if c["name"] == GOLDEN["slopes"]["of"]))
    np.testing.assert_allclose(slopes(of), GOLDEN["slopes"]["first"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(slopes(slopes(of)), GOLDEN["slopes"]["second"], rtol=0, atol=1e-8)


def test_slopes_of_a_line_are_its_slope_and_short_recordings_have_some():
    line = np.arange(20.0)[:, None] * [2.0, -3.0]
    np.testing.assert_allclose(slopes(line)[4:-4], np.tile([2.0, -3.0], (12, 1)))
    assert not slopes(np.ones((1, 3))).any()


def test_the_mel_scale_is_that_of_librosa_and_goes_back():
    np.testing.assert_allclose(to_mel(GOLDEN["mel"]["hz"]), GOLDEN["mel"]["mel"], rtol=1e-12)
    np.testing.assert_allclose(from_mel(GOLDEN["mel"]["mel"]), GOLDEN["mel"]["hz"], rtol=1e-12, atol=1e-9)


def test_deltas_stand_beside_and_have_names():
    hear = AudioFeatures(kind="mfcc", rate_hz=8000, bands=20, coefficients=4, deltas=2)
    found = hear(SAMPLES)
    assert found.shape == (21, 12) == (21, hear.size)
    assert hear.names[::4] == ("c0", "Δc0", "ΔΔc0")
    np.testing.assert_allclose(found[:, 4:8], slopes(found[:, :4]))
    assert hear.seconds == 0.01


def test_a_tone_is_heard_in_its_band():
    hear = AudioFeatures(rate_hz=16000, bands=32)
    tone = np.sin(2 * np.pi * 2000 * np.arange(8000) / 16000)
    middle = from_mel(np.linspace(to_mel(0), to_mel(8000), 34))[1:-1]
    loudest = hear(tone)[10:-10].argmax(axis=1)
    assert set(loudest) == {int(np.abs(middle - 2000).argmin())}


def test_silence_is_finite_and_long_recordings_are_cut_alike(monkeypatch):
    hear = AudioFeatures(rate_hz=8000)
    np.testing.assert_array_equal(hear(np.zeros(100)), np.full((2, 40), -100.0))
    whole = hear(SAMPLES)
    monkeypatch.setattr("saiki.data.audio_features._CHUNK", 4)
    np.testing.assert_array_equal(hear(SAMPLES), whole)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"kind": "mfc"}, OptionError, "unknown kind of features 'mfc'; did you mean 'mfcc'"),
        ({"bands": 400, "rate_hz": 8000}, OptionError, "bands is 400, so narrow that band 0"),
        ({"kind": "mfcc", "coefficients": 41}, OptionError, "coefficients is 41, but 40 bands"),
        ({"high_hz": 9000.0}, ValueRangeError, "must rise and end at half the rate, 8000 Hz"),
        ({"deltas": 3}, ValueRangeError, "deltas"),
        ({"window_ms": 9e3, "rate_hz": 16000}, ValueRangeError, "is 144,000 samples at 16000 Hz, but 65,536"),
        ({"window_ms": "long"}, DTypeError, "window_ms"),
    ],
)
def test_options_out_of_range_are_named(options, error, said):
    with pytest.raises(error, match=said):
        AudioFeatures(**options)


def test_another_rate_is_refused_by_the_features_themselves():
    with pytest.raises(ValueRangeError, match=r"a has 8000 samples a second .* take 16000.*resampled"):
        AudioFeatures()(Audio(SAMPLES, 8000, "a"))


# ---- samples ---------------------------------------------------------------------------------------------


def test_whole_numbers_become_shares_of_full_scale():
    assert as_samples(np.array([-(2**15), 2**14], dtype=np.int16), "x").tolist() == [-1.0, 0.5]
    assert as_samples(np.array([0, 192], dtype=np.uint8), "x").tolist() == [-1.0, 0.5]
    assert as_samples(np.array([0.25], dtype=np.float32), "x").tolist() == [0.25]


@pytest.mark.parametrize(
    ("values", "error", "said"),
    [
        ([[0.0, 1.0]], ShapeError, r"x is \(1, 2\) but samples of one channel"),
        ([], ShapeError, "x holds no sample"),
        (["a"], DTypeError, "x holds <U1"),
        ([0.0, np.nan], ValueRangeError, "x is nan at sample 1"),
    ],
)
def test_what_is_no_row_of_samples_is_named(values, error, said):
    with pytest.raises(error, match=said):
        as_samples(values, "x")


def test_resampling_keeps_a_tone_and_drops_what_does_not_fit():
    t = np.arange(44100) / 44100
    low, high = np.sin(2 * np.pi * 1000 * t), np.sin(2 * np.pi * 10_000 * t)
    found = resampled(Audio(low, 44100, "low"), 16000)
    assert len(found.samples) == 16000 and found.notes == ("resampled from 44,100 to 16,000 Hz",)
    inside = slice(200, -200)
    wanted = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    assert np.abs(found.samples - wanted)[inside].max() < 2e-3
    assert np.abs(resampled(Audio(high, 44100), 16000).samples[inside]).max() < 0.02
    same = Audio(low, 44100)
    assert resampled(same, 44100) is same


# ---- files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_a_file_is_read_as_it_was_written(tmp_path, ending):
    file = tmp_path / f"a.{ending}"
    soundfile.write(file, SAMPLES, 8000)
    found = read_audio(file)
    assert found.rate_hz == 8000 and found.notes == () and found.seconds == 0.2
    np.testing.assert_array_equal(found.samples, SAMPLES / 32768)


def test_stereo_and_another_rate_are_mended_and_told(tmp_path):
    file = tmp_path / "both.wav"
    soundfile.write(file, np.stack([SAMPLES, np.zeros_like(SAMPLES)], axis=1), 8000)
    found = read_audio(file, 16000)
    assert found.notes == ("mixed from 2 channels to one", "resampled from 8,000 to 16,000 Hz")
    assert len(found.samples) == 3200
    np.testing.assert_allclose(read_audio(file).samples, SAMPLES / 65536)
    assert told([str(file), "plain.wav"], [found.notes, ()]) == (
        "1 of 2 recordings was mixed from 2 channels to one: both.wav.",
        "1 of 2 recordings was resampled from 8,000 to 16,000 Hz: both.wav.",
    )
    assert told(["plain.wav"], [()]) == ()


@pytest.mark.parametrize(
    ("ending", "keep", "said"),
    [
        ("wav", 0.5, "is cut short: its header promises 3,200 bytes of sound and 1,578 are there"),
        ("aiff", 0.5, "is cut short: its header promises"),
        ("flac", 0.5, "cannot be read as sound"),
        ("wav", 0.005, "cannot be read as sound"),
        ("flac", 0.0, "cannot be read as sound"),
    ],
)
def test_a_file_cut_short_is_one_clear_sentence(tmp_path, ending, keep, said):
    file = tmp_path / f"cut.{ending}"
    soundfile.write(file, SAMPLES, 8000)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(DataError, match=f"{re.escape(str(file))} {said}"):
        read_audio(file)


def test_a_header_without_a_length_is_read_to_the_end(tmp_path):
    file = tmp_path / "pipe.wav"
    soundfile.write(file, SAMPLES, 8000)
    whole = bytearray(file.read_bytes())
    place = whole.index(b"data") + 4
    whole[4:8] = whole[place : place + 4] = b"\xff\xff\xff\xff"
    file.write_bytes(whole)
    np.testing.assert_array_equal(read_audio(file).samples, SAMPLES / 32768)


def test_what_is_no_sound_file_is_named(tmp_path):
    (tmp_path / "a.wav").write_text("one two three")
    with pytest.raises(DataError, match=r"a\.wav cannot be read as sound: Format not recognised"):
        read_audio(tmp_path / "a.wav")
    with pytest.raises(DataError, match=r"there is no sound file .*b\.wav"):
        read_audio(tmp_path / "b.wav")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 8000)
    with pytest.raises(DataError, match=r"empty\.wav holds no sample"):
        read_audio(tmp_path / "empty.wav")
