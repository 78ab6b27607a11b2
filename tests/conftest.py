"""Shared fixtures: one thread, a seeded generator, a place for the peers' golden vectors."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# the same examples in every run, however busy the machine
settings.register_profile("saiki", derandomize=True, database=None, deadline=None)
settings.load_profile("saiki")
torch.set_num_threads(1)
sys.path.insert(0, str(Path(__file__).parent))  # the tests have no packages
SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture
def rng() -> torch.Generator:
    """A fresh generator with the same seed for every test."""
    return torch.Generator().manual_seed(20011)


@pytest.fixture
def golden() -> Path:
    """The folder of other projects' vectors; the test is skipped, with the reason, where it is absent."""
    folder = SHARED / "golden"
    if not folder.is_dir():
        pytest.skip(f"other projects' golden vectors are not here ({folder})")
    return folder
