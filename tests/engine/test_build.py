"""How the native code is built: what may stand in the object files, what is picked, what its threads do."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"
X86_64 = platform.machine().lower() in ("x86_64", "amd64")
TARGETS = ("avx512", "avx2", "baseline") if X86_64 else ("generic",)


def compiler() -> str:
    found = shutil.which(os.environ.get("CXX", "c++"))
    if found is None:
        pytest.skip("there is no C++ compiler here")
    return found


def run(*command: object, **environment: str) -> str:
    """What a command says; its failure is this test's."""
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    if "cannot find" in done.stderr and "san" in done.stderr:
        pytest.skip("this compiler comes without the sanitizer's library")
    if "unexpected memory mapping" in done.stderr:
        pytest.skip("the thread sanitizer cannot place its memory on this system")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stderr, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "target", [TARGETS[0], *(pytest.param(t, marks=pytest.mark.long) for t in TARGETS[1:])]
)
def test_nothing_of_one_instruction_set_can_stand_in_for_anothers(target, tmp_path):
    """Outside its own namespace an object file offers no function, and nothing in it runs at load time.

    Of several equal inline functions the linker keeps one: were it the one compiled for AVX-512, and called
    by all, older machines would stop at it; and at load time nobody has asked the processor yet. Without
    optimisation every inline function that is not forced into its callers is offered, so no compiler offers
    more than is seen here.
    """
    if shutil.which("nm") is None:
        pytest.skip("there is no nm here to list symbols with")
    flags = re.search(rf"set\(flags_{target} (.*)\)", (ROOT / "CMakeLists.txt").read_text())
    run(
        compiler(),
        *["-std=c++20", "-O0", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-Wno-psabi"],
        *(flags[1].split() if flags else ()),
        f"-DSAIKI_TARGET={target}",
        *("-c", CSRC / "kernels.cpp", "-o", tmp_path / "kernels.o"),
    )
    lines = run("nm", "-C", "--defined-only", tmp_path / "kernels.o").splitlines()
    functions = [line.split(maxsplit=2)[2] for line in lines if line.split()[1] in "TWi"]
    strangers = [name for name in functions if f"saiki::{target}::" not in name]
    assert not strangers, "\n".join(strangers)
    assert not [line for line in lines if "_GLOBAL__" in line], "a static initialiser runs at load time"
    assert [line for line in lines if line.endswith(f"target_{target}")]


@pytest.mark.skipif(not X86_64, reason="only x86-64 has several instruction sets")
def test_targets_are_those_the_processor_has():
    native = pytest.importorskip("saiki._native", exc_type=ImportError)
    try:
        found = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    if found is None:
        pytest.skip("this system does not list what its processor can do")
    has = set(found[1].split())
    needs = {
        "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
        "avx2": {"avx2", "fma"},
        "baseline": set(),
    }
    assert native.targets() == [name for name, flags in needs.items() if flags <= has]


@pytest.mark.parametrize("sanitizer", ["", pytest.param("thread", marks=pytest.mark.long)])
def test_teams_and_scratch_memory(sanitizer, tmp_path):
    """csrc/tests/team.cpp, in a process without OpenMP."""
    run(
        compiler(),
        *["-std=c++20", "-O1", "-g", "-Wall", "-Wextra", "-Wpedantic"],
        *([f"-fsanitize={sanitizer}"] if sanitizer else ()),
        *(CSRC / "tests" / "team.cpp", CSRC / "team.cpp", CSRC / "memory.cpp"),
        *("-o", tmp_path / "team", "-pthread", "-ldl"),
    )
    assert run(tmp_path / "team", TSAN_OPTIONS="die_after_fork=0").endswith(" cases\n")
