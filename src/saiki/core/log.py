"""The one logger, and saying a thing once."""

from __future__ import annotations

import logging
import threading

__all__ = ["logger", "say_once"]

logger = logging.getLogger("saiki")
logger.addHandler(logging.NullHandler())  # a library is quiet until its user sets up logging

_said: set[str] = set()
_lock = threading.Lock()


def say_once(key: str, message: str, level: int = logging.WARNING) -> bool:
    """Log `message` the first time that `key` comes in this process; True if it was said now."""
    with _lock:
        if key in _said:
            return False
        _said.add(key)
    logger.log(level, message)
    return True
