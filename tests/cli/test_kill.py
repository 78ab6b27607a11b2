"""SIGKILL during `saiki fit`: the folder loads or nothing was trained; `--resume` ends in the same bits."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

import saiki
from saiki.core.errors import ModelFolderError

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(data: Path, folder: Path, *more: str) -> list[str]:
    fit = [sys.executable, "-m", "saiki.cli.main", "fit", "forecaster", str(data), "-o", str(folder)]
    fit += [
        "--horizon",
        "3",
        "--context",
        "12",
        "--hidden-size",
        "8",
        "--max-epochs",
        "60",
        "--dropout",
        "0.2",
    ]
    return [*fit, "--patience", "none", "--random-state", "7", "--no-baselines", "--quiet", *more]


def weights(folder: Path) -> str:
    """SHA-256 of the network's tensors and the rest that fit learned."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def opened(folder: Path) -> str:
    """Whether the folder loads, or the part of the error that says why not."""
    try:
        saiki.load(folder)
    except ModelFolderError as error:
        known = [words for words in ("nothing was trained yet", "is not a folder") if words in str(error)]
        return known[0] if known else str(error)
    return "loads"


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.long)])
def test_a_killed_fit_loads_and_resumes_to_the_same_bits(kills: int, tmp_path: Path) -> None:
    data = tmp_path / "waves.csv"
    data.write_text("t,y\n" + "".join(f"{t},{(t * t) % 37}\n" for t in range(300)))
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    begin = time.monotonic()
    subprocess.run(command(data, whole), env=ENVIRONMENT, check=True, capture_output=True)
    seconds = time.monotonic() - begin
    moments, outcomes = random.Random(kills), []
    while len(outcomes) < kills:
        process = subprocess.Popen(
            command(data, folder, "--resume"),
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            _, said = process.communicate(timeout=moments.uniform(0.2, 0.9) * seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            outcomes.append(opened(folder))
            assert outcomes[-1] in ("loads", "nothing was trained yet", "is not a folder")
            continue
        assert process.returncode == 0, said  # it was done before the kill
        assert weights(folder) == weights(whole)
        folder = folder.with_name(folder.name + "+")  # a fresh run for the kills that are left
    done = subprocess.run(
        command(data, folder, "--resume"), env=ENVIRONMENT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert weights(folder) == weights(whole)
    assert "loads" in outcomes, outcomes
