"""Both searches, by turns."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from saiki import engine

sys.path.insert(0, str(Path(__file__).parent))  # the tests have no packages


@pytest.fixture(params=["native", "plain"])
def search(request):
    """Both searches: the extension's, and the plain one."""
    if request.param == "plain":
        with engine.use("reference"):
            yield "plain"
        return
    pytest.importorskip("saiki._native", reason="the native extension was not built")
    yield "native"
