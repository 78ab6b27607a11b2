"""Runs that are kept one by one, so that a long task goes on where it stopped."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.common import circumstances

T = TypeVar("T")
Run = dict[str, Any]


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What `work` returns, and its seconds."""
    started = time.perf_counter()
    found = work()
    return found, time.perf_counter() - started


class Kept:
    """The runs of a task, written to the file of `--json` as each ends.

    A run has a name and settings. One that the file has under the same name and settings is not run again;
    one with other settings is. Each carries its seconds (passed, and of a processor), date and commit.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.quick: bool = options.quick
        self._name: str = options.benchmark
        self._file: Path | None = options.json
        self.machine = circumstances()
        self.runs: dict[str, Run] = {}
        self._asked: list[str] = []
        if self._file is not None and self._file.exists():
            found = json.loads(self._file.read_text(encoding="utf-8"))
            if found.get("benchmark") != self._name or found.get("quick") != self.quick:
                sys.exit(
                    f"{self._file} holds another benchmark, or the other of --quick and not: name another."
                )
            self.runs = found.get("runs", {})

    def run(self, name: str, settings: Mapping[str, Any], work: Callable[[], Run]) -> Run:
        """The run of this name: from the file, or `work()` now.

        Args:
            name: such as "lstm T=100 seed 0".
            settings: all that decides the result, fit for JSON.
            work: returns the figures, fit for JSON.
        """
        self._asked.append(name)
        wanted = json.loads(json.dumps(dict(settings)))
        found = self.runs.get(name)
        if found is not None and found["settings"] == wanted:
            return found
        worked = time.process_time()
        result, seconds = timed(work)
        self.runs[name] = {
            "settings": wanted,
            **json.loads(json.dumps(result)),
            "seconds": round(seconds, 2),
            "cpu_seconds": round(time.process_time() - worked, 2),  # the same however busy the machine is
            "date": self.machine["date"],
            "commit": self.machine["commit"],
        }
        print(f"  {name}: {seconds:.0f} s", file=sys.stderr, flush=True)
        self._write({})
        return self.runs[name]

    def content(self, summary: Mapping[str, Any]) -> dict[str, Any]:
        """What the file holds at the end: the summary, then the runs that were asked for, in their order."""
        runs = {name: self.runs[name] for name in self._asked}
        head = {"benchmark": self._name, "quick": self.quick, **summary}
        total = {
            kind: round(sum(run[kind] for run in runs.values()), 1) for kind in ("seconds", "cpu_seconds")
        }
        return {**head, **total, "machine": self.machine, "runs": runs}

    def _write(self, summary: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        head = {"benchmark": self._name, "quick": self.quick, **summary, "machine": self.machine}
        part = self._file.with_suffix(".part")
        part.write_text(json.dumps({**head, "runs": self.runs}, indent=1) + "\n", encoding="utf-8")
        part.replace(self._file)  # whole after every run, whatever stops the task
