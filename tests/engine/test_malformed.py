"""No call of `saiki._native`, however malformed, ends the process or touches what it was not given.

`make sanitize` runs this file with the extension built under the address and undefined-behaviour sanitizers.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("saiki._native", reason="the native extension was not built")

CALLS = Path(__file__).parent / "native_calls.py"


def calls(first: int, last: int) -> str:
    """Make these calls in a process of its own; the first that was answered wrongly, or that ended it."""
    flags = ["-S"] if sys.flags.no_site else []
    done = subprocess.run(
        [sys.executable, *flags, CALLS, str(first), str(last)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    lines = done.stdout.splitlines()
    for call, verdict in zip(lines[::2], lines[1::2]):
        if verdict != "= ":
            return f"{verdict}\n  in call {call}"
    if done.returncode or len(lines) != 2 * (last - first):
        call = lines[-1] if lines else "?"
        return f"the process ended with {done.returncode}\n  in call {call}\n{done.stderr[-5000:]}"
    return ""


def test_the_judge_sees_a_wrong_error_and_a_number_out_of_place(monkeypatch) -> None:
    """The test of the test; a process that ends is seen below, by its exit status."""
    spec = importlib.util.spec_from_file_location("native_calls", CALLS)
    assert spec and spec.loader
    judge = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "native_calls", judge)  # its dataclasses look themselves up
    spec.loader.exec_module(judge)

    def complaint(work) -> str:
        read, out = judge.Array((2, 3)), judge.Array((3,), written=True)
        call = ("float32", lambda *_: work(read.made, out.made), (read, out), {})
        monkeypatch.setattr(judge, "KINDS", [lambda draws: call])
        monkeypatch.setattr(judge, "chance", lambda value: 0.0)  # nothing is spoilt
        return judge.attempt(1, lambda text: None)

    def raises(error: Exception) -> None:
        raise error

    assert complaint(lambda *_: None) == ""
    assert "IndexError" in complaint(lambda *_: raises(IndexError("what is this")))
    assert "too little" in complaint(lambda *_: raises(ValueError("no")))
    assert "may only read" in complaint(lambda read, out: read[0].fill(1))
    assert "from outside" in complaint(lambda read, out: out[0].fill(judge.OUTSIDE))
    monkeypatch.setattr(judge.Random, "random", lambda self: 0.9)  # surrounded
    assert "may only read" in complaint(lambda read, out: out[1].fill(1))


def test_malformed_calls_raise_and_valid_ones_stay_inside() -> None:
    assert calls(0, 1500) == ""


@pytest.mark.long
@pytest.mark.parametrize("part", range(4))
def test_ten_thousand_malformed_calls(part: int) -> None:
    assert calls(2500 * part, 2500 * (part + 1)) == ""
