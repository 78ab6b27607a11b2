"""Texts on the command line: a table with a column of texts in, labels out."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from saiki import SequenceClassifier

Run = Callable[..., "object"]


@pytest.fixture(scope="module")
def moods(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("moods") / "moods.csv"
    words = {"1": ["good day", "fine, good", "a fine day"], "2": ["bad night", "cold, bad", "a cold night"]}
    rows = [
        (f"{first} {second}", label) for label, kind in words.items() for first in kind for second in kind
    ]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("message", "mood"), *rows, *rows])
    return path


def test_fit_evaluate_and_predict(
    saiki: Run, moods: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SequenceClassifier, "report", lambda self: "<html></html>")  # tests/models draws it
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("good 1 0\nfine 1 0.1\nbad -1 0\ncold -1 0.1\n")
    run = saiki("fit", "classifier", moods, "--text", "message", "--label", "mood", "--vectors", vectors,
                "--no-tune", "--min-count", 2, "--hidden-size", 6, "--lr", 0.05, "--max-epochs", 12,
                "--random-state", 0, "--quiet", "--json", "-o", tmp_path / "m")  # fmt: skip
    assert run.code == 0, run.err
    assert json.loads(run.out)["metrics"]["accuracy"] == 1.0
    options = json.loads((tmp_path / "m" / "config.json").read_text())["options"]["text"]
    assert (options["column"], options["min_count"], options["tune"]) == ("message", 2, False)

    run = saiki("evaluate", tmp_path / "m", moods, "--label", "mood", "--json")
    assert json.loads(run.out)["metrics"]["accuracy"] == 1.0
    lines = tmp_path / "new.txt"
    lines.write_text("a good good day\ncold bad night\n")
    run = saiki("predict", tmp_path / "m", lines, "--proba")
    found = list(csv.DictReader(io.StringIO(run.out)))
    assert [row["prediction"] for row in found] == ["1", "2"]  # a label is text even where it is a number
    assert float(found[0]["p(1)"]) > 0.5 > float(found[1]["p(1)"])
    run = saiki("predict", tmp_path / "m", moods)
    assert len(run.out.splitlines()) == 1 + 36

    lines.write_text("good\n \n")
    run = saiki("predict", tmp_path / "m", lines)
    assert run.code != 0 and "text 1 of X is empty" in run.err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--label", "mood", "--tokenizer", "words"], "no column of texts was named\nhint: name it: --text"),
        (["--label", "mood", "--text", "mesage"], "no column 'mesage'"),
        (["--text", "message"], "no column of .* was named as the one to predict"),
        (["--text", "message", "--label", "mood", "--label", "message"], "a text has one label"),
        (["--text", "message", "--label", "mood", "--part", "train"], "--part is of an .npz archive"),
        (["--text", "message", "--label", "mood", "--tokenizer", "word"], "did you mean 'words'"),
    ],
)
def test_what_is_wrong_is_said(saiki: Run, moods: Path, tmp_path: Path, flags: list[str], said: str) -> None:
    import re

    run = saiki("fit", "classifier", moods, *flags, "-o", tmp_path / "m")
    assert run.code != 0 and re.search(said, run.err), run.err
