"""Bad data and folders on the command line: two plain lines, exit code 1, nothing overwritten."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import saiki as library

Run = Callable[..., "object"]
QUICK = ("--max-epochs", 1, "--hidden-size", 3, "--random-state", 0, "--quiet", "--no-baselines")
ROWS = [
    f"{k},{t},{np.sin(k + t):.3f},{('red', 'blue')[t % 2]},{'up' if k % 2 else 'down'}"
    for k in range(20)
    for t in range(4)
]
HEAD = "who,t,x,colour,kind"
GOOD = [HEAD, *ROWS]


def lines(**changes: str) -> list[str]:
    """The good file with some lines (the header is 1) replaced."""
    return [changes.get(f"_{number}", line) for number, line in enumerate(GOOD, start=1)]


CASES = {
    "an empty file": ([], "table.csv is empty", "Check that the right file"),
    "a header only": ([HEAD], "holds a header (who, t, x, colour, kind) and no rows", "Check that the rows"),
    "text in a number column": (
        lines(_8="1,2,oops,red,up"),
        "column 'x' must hold numbers, but line 8 of table.csv holds 'oops'",
        "Correct the cell",
    ),
    "a missing value": (
        lines(_8="1,2,,red,up"),
        "column 'x' is missing (NaN) in line 8 of table.csv",
        "missing='interpolate'",
    ),
    "an infinite value": (
        lines(_8="1,2,inf,red,up"),
        "column 'x' holds 1 infinite value, the first in line 8 of table.csv",
        "Correct the cell",
    ),
    "a missing category": (
        lines(_8="1,2,0.5,,up"),
        "category column 'colour' has 1 missing cell",
        "missing='mask'",
    ),
    "a time twice": (
        lines(_8="1,1,0.5,red,up"),
        "the time 1 occurs 2 times in column 't' of series '1'",
        "one row",
    ),
    "one class only": ([line.replace("down", "up") for line in GOOD], "one class only ('up')", "two classes"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_table_for_the_classifier(saiki: Run, case: str, tmp_path: Path) -> None:
    text, said, todo = CASES[case]
    (tmp_path / "table.csv").write_text("".join(f"{line}\n" for line in text))
    ran = saiki(
        "fit", "classifier", tmp_path / "table.csv", "-o", tmp_path / "m",
        "--id", "who", "--time", "t", "--label", "kind", *QUICK,
    )  # fmt: skip
    assert ran.code == 1
    assert ran.out == ""
    error, hint = ran.err.strip().splitlines()
    assert error.startswith("error: ") and said in error
    assert hint.startswith("hint: ") and todo in hint
    assert not (tmp_path / "m").exists()


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "table.csv"
    path.write_text("".join(f"{line}\n" for line in GOOD))
    return path


def fit(saiki: Run, table: Path, folder: Path, *more: object) -> object:
    where = ("--id", "who", "--time", "t", "--label", "kind", "-o", folder)
    return saiki("fit", "classifier", table, *where, *QUICK, *more)


def test_categories_gaps_and_force_on_the_command_line(saiki: Run, table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    assert fit(saiki, table, folder, "--encoding", "embed").code == 0
    model = library.load(folder)
    assert [(c.column, c.encoding) for c in model.categories_] == [("colour", "embed")]
    before = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}

    again = fit(saiki, table, folder)
    assert again.code == 1 and "already holds a model" in again.err and "--force" in again.err
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()} == before

    strange = tmp_path / "strange.csv"
    strange.write_text(table.read_text().replace("red", "purple"))
    ran = saiki("predict", folder, strange)
    assert ran.code == 1 and "holds 'purple' in line 2 of strange.csv, a level the training data" in ran.err
    lacking = tmp_path / "lacking.csv"
    lacking.write_text(table.read_text().replace("colour", "color"))
    ran = saiki("predict", folder, lacking)
    assert ran.code == 1 and "lacking.csv has no column 'colour'" in ran.err

    gaps = tmp_path / "gaps.csv"
    gaps.write_text("".join(f"{line}\n" for line in lines(_8="1,2,,red,up")))
    bad = fit(saiki, gaps, folder, "--force")
    assert bad.code == 1
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()} == before
    assert (folder / "checkpoints").is_dir(), "what was there stays until the new run starts"
    good = fit(saiki, gaps, folder, "--force", "--missing", "mask", "--category", "colour")
    assert good.code == 0, good.err
    assert library.load(folder).missing == "mask"
    assert sorted(file.name for file in folder.iterdir()) == [
        "checkpoints", "config.json", "metrics.json", "model.safetensors", "report.html",
    ]  # fmt: skip
