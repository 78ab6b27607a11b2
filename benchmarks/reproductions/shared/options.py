"""What the dispatcher hands to every task."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def data_folder(options: argparse.Namespace) -> Path:
    """The folder of `--data`, which this task cannot do without."""
    folder: Path | None = options.data
    if folder is None or not folder.is_dir():
        said = "is not given" if folder is None else f"is {folder}, which is no folder"
        sys.exit(f"{options.benchmark} reads real data, but --data {said}: give the folder of the data sets.")
    return folder


def picture_file(options: argparse.Namespace) -> Path | None:
    """Where the picture goes: beside the file of `--json`."""
    return None if options.json is None else options.json.with_suffix(".png")
