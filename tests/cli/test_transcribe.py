"""`saiki fit transcriber` and `saiki transcribe` on a few beeps."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile", reason="reading sound files is the extra saiki[audio]")

QUICK = ("--max-epochs", 25, "--hidden-size", 8, "--lr", 0.02, "--num-layers", 1, "--batch-size", 3)
ALSO = ("--random-state", 0, "--quiet", "--no-baselines", "--convolution", "size=8 kernel_size=3 stride=2")


def beeps(said: str, seed: int, rate: int = 8000) -> np.ndarray:
    """A low beep for a, a high one for b."""
    t = np.arange(int(0.08 * rate)) / rate
    gap = np.zeros(int(0.04 * rate))
    tones = {"a": 500, "b": 2000}
    parts = [gap, *(p for c in said if c != " " for p in (np.sin(2 * np.pi * tones[c] * t), gap))]
    sound = 0.3 * np.concatenate(parts)
    return sound + 0.01 * np.random.default_rng(seed).standard_normal(len(sound))


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Eighteen recordings, one in stereo and one of another rate, and their table."""
    folder = tmp_path_factory.mktemp("clips")
    lines = ["path,text,who"]
    for k in range(18):
        said = ("a", "b", "ab", "ba")[k % 4]
        rate = 16000 if k == 5 else 8000
        sound = beeps(said, k, rate)
        soundfile.write(folder / f"{k}.wav", np.stack([sound, sound], 1) if k == 6 else sound, rate)
        lines.append(f"{k}.wav,{said},{'anna' if k % 3 else 'ben'}")
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def model(clips, tmp_path_factory) -> Path:
    from saiki.models.transcriber import Transcriber

    table = [line.split(",") for line in (clips / "clips.csv").read_text().splitlines()[1:]]
    fitted = Transcriber(
        max_epochs=40, hidden_size=8, num_layers=1, lr=2e-2, batch_size=3, validation=None, random_state=0,
        verbose=False,
    )  # fmt: skip
    fitted.fit([clips / path for path, *_ in table], [text for _, text, _ in table])
    fitted._kept = None  # the report's look inside is tested elsewhere, and takes its time
    return fitted.save(tmp_path_factory.mktemp("models") / "beeps")


def test_fit_tells_what_it_did_to_the_recordings(saiki, clips, tmp_path, caplog, monkeypatch):
    # the look inside is tested elsewhere, and takes its time
    monkeypatch.setattr("saiki.models.inside.keep", lambda *_: None)
    monkeypatch.setattr("saiki.models.transcriber_report.ALIGNED", 1)
    quick = ("--max-epochs", 1, *QUICK[2:], *ALSO)
    ran = saiki("fit", "transcriber", clips / "clips.csv", "-o", tmp_path / "m", "--group", "who", *quick)
    assert ran.code == 0, ran.err
    assert "label_error_rate" in ran.out and "cer" in ran.out
    told = caplog.text  # under pytest the log is caught before it reaches stderr
    assert "1 of 18 recordings was resampled from 16,000 to 8,000 Hz: 5.wav." in told
    assert "1 of 18 recordings was mixed from 2 channels to one: 6.wav." in told
    page = (tmp_path / "m" / "report.html").read_text(encoding="utf-8").replace("\xa0", " ")
    assert "resampled from 16,000 to 8,000 Hz" in page and "Alignment of" in page
    again = saiki("evaluate", tmp_path / "m", clips / "clips.csv", "--json")
    assert again.code == 0 and set(json.loads(again.out)["metrics"]) == {
        "label_error_rate", "wer", "cer", "exact",
    }  # fmt: skip


def test_transcribe_says_it_and_when(saiki, clips, model):
    one = saiki("transcribe", model, clips / "2.wav")
    assert one.code == 0 and one.out == "ab\n"
    several = saiki("transcribe", model, clips / "0.wav", clips / "1.wav")
    assert several.out == f"{clips / '0.wav'}\ta\n{clips / '1.wav'}\tb\n"
    table = saiki("transcribe", model, clips / "clips.csv", "--beam", 4)
    assert table.code == 0 and len(table.out.splitlines()) == 18
    timed = saiki("transcribe", model, clips / "2.wav", "--times")
    rows = list(csv.DictReader(io.StringIO(timed.out)))
    assert [row["label"] for row in rows] == ["ab"] and 0 <= float(rows[0]["start"]) < float(
        rows[0]["end"]
    ) < 1
    found = json.loads(saiki("transcribe", model, clips / "2.wav", "--json").out)["transcripts"][0]
    assert found["answer"] == "ab" and found["unit"] == "s"


def test_words_and_language_models_are_heeded(saiki, clips, model, tmp_path):
    (tmp_path / "words.txt").write_text("ba\nb\n")
    restricted = saiki("transcribe", model, clips / "2.wav", "--words", tmp_path / "words.txt")
    assert restricted.code == 0 and set(restricted.out.strip()) <= {"b", "a"} and restricted.out != "ab\n"
    arpa = "\\data\\\nngram 1=4\n\n\\1-grams:\n-9 a\n-0.1 b\n-0.5 </s>\n-9 <s>\n\n\\end\\\n"
    (tmp_path / "b.arpa").write_text(arpa)
    swayed = saiki("transcribe", model, clips / "0.wav", "--language", tmp_path / "b.arpa", "--weight", 30)
    assert swayed.code == 0 and "a" not in swayed.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.wav"], "there is no file or folder nowhere.wav"),
        (["CLIPS/0.wav", "--beam", "1", "--words", "CLIPS/clips.csv"], "--beam 1 is greedy"),
        (["CUT"], "is cut short: its header promises"),
    ],
)
def test_what_cannot_be_transcribed_is_one_line(saiki, clips, model, tmp_path, arguments, said):
    whole = (clips / "0.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    named = [a.replace("CLIPS", str(clips)).replace("CUT", str(tmp_path / "cut.wav")) for a in arguments]
    ran = saiki("transcribe", model, *named)
    assert ran.code in (1, 2) and said in ran.err and "Traceback" not in ran.err
    assert ran.err.startswith("error: ") and "\nhint: " in ran.err
