"""How much memory there is, for what would rather not start than run out half way."""

from __future__ import annotations

import os
from pathlib import Path

import torch

GIB = 2**30


def free_memory(device: torch.device) -> int | None:
    """Bytes that could still be taken on a device; None where the machine does not tell.

    On the CPU the lesser of what the system counts as available and what the control group leaves.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    known = [bytes_ for bytes_ in (_available(), _left_to_group()) if bytes_ is not None]
    return min(known) if known else None


def _available() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:  # macOS and others tell what there is, though not what is free
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _left_to_group() -> int | None:
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        if limit == "max":
            return None
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        used = int((group / "memory.current").read_text()) - int(counts["inactive_file"])  # cache can go
        return max(int(limit) - used, 0)
    except (OSError, ValueError, KeyError):
        return None
