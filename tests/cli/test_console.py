"""Tables and JSON as the verbs print them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from saiki.cli.console import emit_json, format_table


def test_table_aligns_numbers_right_and_text_left() -> None:
    rows = [{"model": "lstm", "mae": 0.51234}, {"model": "seasonal naive", "mae": None}]
    assert format_table(rows) == (
        "model              mae\n──────────────  ──────\nlstm            0.5123\nseasonal naive       -"
    )


def test_json_has_null_where_json_has_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    emit_json({"a": math.nan, "b": np.float32(1.5), "c": [np.inf, 2], "d": np.array([1, 2])})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": 1.5, "c": [None, 2], "d": [1, 2]}
