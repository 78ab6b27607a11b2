"""SIGKILL during `saiki fit`: the folder loads or nothing was trained; `--resume` ends in the same bits."""

from __future__ import annotations

import hashlib
import os
import random
import signal
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
        words = "nothing was trained yet"
        return words if words in str(error) else str(error)
    return "loads"


def newest(folder: Path) -> int:
    """The number of the newest checkpoint; -1 where there is none."""
    found = (folder / "checkpoints").glob("[0-9]*")
    return max((int(p.name) for p in found if p.name.isdigit()), default=-1)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.long)])
def test_a_killed_fit_loads_and_resumes_to_the_same_bits(kills: int, tmp_path: Path) -> None:
    data = tmp_path / "waves.csv"
    data.write_text("t,y\n" + "".join(f"{t},{(t * t) % 37}\n" for t in range(300)))
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(data, whole), env=ENVIRONMENT, check=True, capture_output=True)
    seconds = saiki.load(whole).record_.seconds
    moments, outcomes = random.Random(kills), []
    while len(outcomes) < kills:
        before = newest(folder)
        process = subprocess.Popen(
            command(data, folder, "--resume"),
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and newest(folder) <= before:
            time.sleep(0.002)  # until it trains: kills while Python starts would show little
        time.sleep(moments.uniform(0, 2 * seconds / kills))  # so that the kills are spread over the run
        process.kill()
        if process.wait() == 0:  # it was done before the kill
            assert weights(folder) == weights(whole)
            folder = folder.with_name(folder.name + "+")  # a fresh run for the kills that are left
            continue
        assert process.returncode == -signal.SIGKILL
        outcomes.append(opened(folder))
        assert outcomes[-1] in ("loads", "nothing was trained yet")
    done = subprocess.run(
        command(data, folder, "--resume"), env=ENVIRONMENT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert weights(folder) == weights(whole)
    assert "loads" in outcomes, outcomes
