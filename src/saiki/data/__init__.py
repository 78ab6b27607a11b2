"""How sequences come in: tables, windows, scaling, splits, built-in and generated sets."""

from __future__ import annotations

from saiki.data.table import Gap, InputForm, Series, Table, like_form, read_table, show_time, write_csv
from saiki.data.times import Frequency, TimeStyle, infer_frequency, parse_times

__all__ = [
    "Frequency",
    "Gap",
    "InputForm",
    "Series",
    "Table",
    "TimeStyle",
    "infer_frequency",
    "like_form",
    "parse_times",
    "read_table",
    "show_time",
    "write_csv",
]
