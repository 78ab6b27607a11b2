"""Calls in a child forked from this warmed process, so that one that ends the process is seen."""

from __future__ import annotations

import faulthandler
import os
import signal
import traceback
from collections.abc import Callable

SECONDS = 120  # a child that hangs is ended, and that is a failure too


def forked(work: Callable[[Callable[[str], None]], object]) -> tuple[str, str]:
    """Run `work(say)` in a child.

    Args:
        work: gets a function that sends text here at once, before whatever happens next.
    Returns:
        What it said, and how it ended: "" or the name of the signal. An exception ends it quietly, said.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        faulthandler.disable()  # the parent tells what was called
        signal.alarm(SECONDS)

        def say(text: str) -> None:
            rest = text.encode(errors="backslashreplace")
            while rest:
                rest = rest[os.write(write, rest) :]

        try:
            work(say)
        except BaseException:
            say(traceback.format_exc()[-20_000:])
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, errors="replace") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    return said, signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else ""


def survives(call: Callable[[], object]) -> None:
    """Fail here, with the traceback or the signal's name, if the call fails or ends its process there."""
    said, ended = forked(lambda say: call())
    assert not ended, f"the process was ended by {ended}\n{said}"
    assert not said, said
