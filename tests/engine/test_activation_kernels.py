"""The vectorised activations of every instruction set that this machine runs, against long double."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "csrc" / "tests" / "activation.cpp"
COMPILER = shutil.which("g++") or shutil.which("c++")
FLAGS = {  # those of CMakeLists.txt
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512"],
}
NEEDS = {
    "baseline": set[str](),
    "avx2": {"avx2", "fma"},
    "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
}


def cpu_flags() -> set[str]:
    """What Linux says that this processor has; nothing where it does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler here")
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="these are x86 instruction sets")
@pytest.mark.parametrize("target", FLAGS)
def test_values_and_slopes_are_right_to_the_last_places(target, tmp_path):
    missing = NEEDS[target] - cpu_flags()
    if missing:
        pytest.skip(f"this machine has no {', '.join(sorted(missing))}")
    program = tmp_path / target
    build = [COMPILER, "-std=c++20", "-O1", "-ffp-contract=off", *FLAGS[target], f"-DSAIKI_TARGET={target}"]
    subprocess.run([*build, PROGRAM, "-o", program], check=True)
    ran = subprocess.run([program], capture_output=True, text=True)
    print(ran.stdout)
    assert ran.returncode == 0, ran.stdout + ran.stderr
