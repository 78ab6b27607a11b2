"""Malformed calls of the decoders' binding: errors, never a crash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CALLS = Path(__file__).parent / "decoder_calls.py"


@pytest.mark.parametrize("count", [3000, pytest.param(100_000, marks=pytest.mark.long)])
def test_no_call_ends_the_process(count):
    pytest.importorskip("saiki._native", reason="the native extension was not built")
    done = subprocess.run(
        [sys.executable, str(CALLS), str(count), "5"], capture_output=True, text=True, check=False
    )
    last = done.stderr.splitlines()[-1] if done.stderr else "none"
    assert done.returncode == 0, (
        f"call {last} ended the process with {done.returncode}:\n{done.stderr[-2000:]}"
    )
    came_through = int(done.stdout)
    assert 0.1 * count < came_through < 0.9 * count  # both kinds were among them
