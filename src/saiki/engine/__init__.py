"""How a recurrence runs over ragged time: the reference loop, faster engines, and which is picked."""

from __future__ import annotations

from saiki.engine.base import Direction, LayerRun, Run
from saiki.engine.dispatch import Info, available, info, run, run_layer, use
from saiki.engine.session import Session, session

__all__ = [
    "Direction",
    "Info",
    "LayerRun",
    "Run",
    "Session",
    "available",
    "info",
    "run",
    "run_layer",
    "session",
    "use",
]
