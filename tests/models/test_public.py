"""The public face: every name is there, and importing the package loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

import saiki


@pytest.mark.parametrize("name", saiki.__all__)
def test_every_public_name_resolves(name):
    assert getattr(saiki, name) is not None
    assert name in dir(saiki)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'saiki' has no attribute 'Forcaster'"):
        saiki.Forcaster  # noqa: B018


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, saiki, saiki.models; saiki.__all__; dir(saiki.models);"
        "heavy = {'torch', 'numpy', 'sklearn', 'pydantic', 'matplotlib', 'narwhals'} & set(sys.modules);"
        "sys.exit(f'loaded: {sorted(heavy)}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
