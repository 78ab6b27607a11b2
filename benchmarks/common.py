"""What every benchmark prints above its figures: when, on what, from which commit; and how it writes JSON."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch

from saiki.cli.job import build, read_job
from saiki.models import Forecaster

HERE = Path(__file__).parent


def circumstances() -> dict[str, str | int]:
    """Date, commit, processor, cores, threads and versions."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "commit": commit(),
        "processor": processor(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": version("torch"),
        "saiki": version("saiki"),
    }


def commit() -> str:
    """The commit these figures belong to; "+" where files differ from it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(HERE), *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        return git("rev-parse", "--short=10", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def processor() -> str:
    """The processor's model name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def print_header(title: str, found: dict[str, str | int]) -> None:
    """The lines above a table."""
    print(title)
    print(f"{found['date']}, commit {found['commit']}, {found['processor']}, {found['threads']} threads")
    print(f"saiki {found['saiki']}, torch {found['torch']}, Python {found['python']}\n")


def print_table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    """A table with its first column to the left and numbers to the right."""
    text = [head, *[tuple(_cell(value) for value in row) for row in rows]]
    widths = [max(len(row[k]) for row in text) for k in range(len(head))]
    for row in text:
        cells = [f"{row[0]:<{widths[0]}}", *(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:]))]
        print("  ".join(cells).rstrip())


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def write_json(path: Path | None, content: dict[str, Any]) -> None:
    """Write the figures where `--json` asks for it."""
    if path is not None:
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def forecaster(path: Path, **changes: object) -> Forecaster:
    """The forecaster a job file describes, the one that `saiki fit forecaster --config FILE` trains."""
    job = read_job(path, "forecaster")
    model = build("forecaster", replace(job, model={**job.model, **changes}), path.name)
    return cast("Forecaster", model)
