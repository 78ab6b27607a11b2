"""SIGKILL at random moments: the folder loads or says that nothing was trained, and the bits are the same."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from killed_run import run
from problems import digest

from saiki import learning as L
from saiki.core.errors import CheckpointError

SCRIPT = Path(__file__).parent / "killed_run.py"


def newest(folder):
    """The number of the newest whole checkpoint; -1 where it is said that nothing was trained yet."""
    try:
        return L.newest_verified(folder).number
    except CheckpointError as error:
        if "nothing was trained yet" in str(error):
            return -1
        raise


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.long)])
def test_killed_and_resumed_ends_in_the_same_bits(kills, tmp_path):
    run(tmp_path / "warm", epochs=1)
    begin = time.monotonic()
    expected = digest(run(tmp_path / "whole"))
    seconds = time.monotonic() - begin
    folder, moments = tmp_path / "killed", random.Random(kills)
    made, progress = 0, []
    while made < kills:
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(moments.uniform(0, 2 * seconds / kills))  # so that the kills are spread over the run
        process.kill()
        rest = process.communicate()[0]
        if process.returncode == 0:  # it was faster than the kill
            assert rest == expected + "\n"
            assert L.newest_verified(folder).state["position"]["phase"] == "done"
            folder = folder.with_name(folder.name + "+")  # a fresh run for the kills that are left
            continue
        made += 1
        progress.append(newest(folder))
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder)], stdout=subprocess.PIPE, text=True, check=True
    )
    assert done.stdout == f"ready\n{expected}\n"
    assert max(progress) > 0, progress  # at least one kill came after an update
    leftovers = [p for p in folder.iterdir() if p.name.startswith(".")]
    assert leftovers == []
