"""Stories on the command line: a file in, answers with what they rest on out."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from saiki.data.worlds import worlds, write_stories
from saiki.models.answerer import Answerer

Run = Callable[..., "object"]


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stories") / "stories.txt"
    write_stories(path, worlds(200, 1, length=(2, 4), seed=1))
    return path


def test_fit_evaluate_and_answer(
    saiki: Run, stories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Answerer, "report", lambda self: "<html></html>")  # tests/models draws it
    run = saiki("fit", "answerer", stories, "--hops", 2, "--size", 12, "--max-epochs", 15, "--lr", 0.03,
                "--no-baselines", "--random-state", 0, "--quiet", "--json", "-o", tmp_path / "m")  # fmt: skip
    assert run.code == 0, run.err
    assert json.loads(run.out)["metrics"]["accuracy"] > 0.8
    run = saiki("evaluate", tmp_path / "m", stories, "--json")
    assert json.loads(run.out)["metrics"]["accuracy"] > 0.9

    new = tmp_path / "new.txt"
    new.write_text("1 Anna went to the attic.\n2 Bela moved to the garden.\n3 Where is Anna?\n")
    run = saiki("answer", tmp_path / "m", new)
    (row,) = csv.DictReader(io.StringIO(run.out))
    assert row["answer"] == "attic" and row["hop 2"] == "Anna went to the attic."
    said = ("--sentence", "Anna went to the attic.", "--question", "Where is Anna?")
    run = saiki("answer", tmp_path / "m", *said, "--json")
    (found,) = json.loads(run.out)["answers"]
    assert found["answer"] == "attic" and len(found["hops"]) == 2
    assert found["hops"][0] == [{"sentence": "Anna went to the attic.", "weight": 1.0}]

    for wrong, message in (
        (("answer", tmp_path / "m"), "no story was given"),
        (("answer", tmp_path / "m", new, "--question", "Q?"), "both a file and --question"),
        (("answer", tmp_path / "m", tmp_path / "absent.txt"), "there is no file"),
        (("predict", tmp_path / "m", new), "saiki answer"),
    ):
        run = saiki(*wrong)
        assert run.code != 0 and message in run.err, run.err
