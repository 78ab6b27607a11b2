"""The handbook: its Python runs, its commands run, and it builds without a warning."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
MADE = ("_build", "api")  # written by the build
PAGES = sorted(p for p in DOCS.rglob("*.md") if p.relative_to(DOCS).parts[0] not in MADE)
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page, language):
    """(line, options, code) of each fenced block in one language."""
    text = page.read_text(encoding="utf-8")
    found = FENCE.finditer(text)
    return [(text[: m.start()].count("\n") + 2, m[2].strip(), m[3]) for m in found if m[1] == language]


def name(page):
    """How a page is called in the test's id."""
    return str(page.relative_to(DOCS))


def load(script):
    spec = importlib.util.spec_from_file_location(f"docs_{script}", DOCS / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WITH_PYTHON = [p for p in PAGES if any("no-run" not in options for _, options, _ in blocks(p, "python"))]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name)
def test_the_python_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for line, options, code in blocks(page, "python"):
        if "no-run" not in options:
            exec(compile("\n" * (line - 1) + code, str(page), "exec"), namespace)  # noqa: S102  our own page


def test_the_commands_of_the_tour_run(tmp_path, monkeypatch, capsys):
    """Each `$ saiki` line, in order, in one folder; the training is cut short, which changes no option."""
    from saiki.cli.main import main

    page = DOCS / "tour.md"
    commands = [
        line[2:].split("  #")[0]
        for _, _, text in blocks(page, "console")
        for line in text.replace("\\\n", " ").split("\n")
        if line.startswith("$ saiki")
    ]
    assert {shlex.split(c)[1] for c in commands} >= {"fit", "forecast", "evaluate", "report", "summary"}
    record = resources.files("saiki.data") / "files" / "co2_weekly.csv"
    (tmp_path / "co2_weekly.csv").write_bytes(record.read_bytes())
    monkeypatch.chdir(tmp_path)
    for command in commands:
        words = shlex.split(command)
        if words[1] == "fit":
            words += ["--max-epochs", "1", "--hidden-size", "4", "--no-baselines"]
        monkeypatch.setattr(sys, "argv", words)
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        assert not code, (command, capsys.readouterr().err)


def test_every_public_name_of_the_reference_has_a_docstring():
    reference = load("reference")
    silent = []
    for room in reference.ROOMS:
        module = importlib.import_module(f"saiki.{room}")
        for public in reference.public_names(module):
            obj = getattr(module, public)
            if callable(obj) and getattr(obj, "__module__", "").startswith("saiki") and not obj.__doc__:
                silent.append(f"saiki.{room}.{public}")
    assert silent == []


def test_a_docstring_becomes_markdown():
    def example(x, *, y=None):
        """Say what.

            y = f(x)

        Args:
            x: (T, B) with
                two lines.
            y: an option.
        Raises:
            ShapeError, LengthError: it does not fit.
        Source: someone 1990.
        """

    text = load("reference")._docstring(example)
    assert "\n\n    y = f(x)\n\n" in text
    assert "**Args**\n\n- `x`: (T, B) with\n  two lines.\n- `y`: an option.\n" in text
    assert "- `ShapeError, LengthError`: it does not fit." in text
    assert text.endswith("**Source**\n\nsomeone 1990.")


def test_the_handbook_builds_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="the handbook's tools are the extra saiki[docs]")
    pytest.importorskip("furo", reason="the handbook's tools are the extra saiki[docs]")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    html = (tmp_path / "cells" / "lstm.html").read_text(encoding="utf-8")
    assert '<svg xmlns="http://www.w3.org/2000/svg"' in html  # the picture the library made
