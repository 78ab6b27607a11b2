"""Job files: the sections, the nearest name for a misspelt one, and what overrides what."""

from __future__ import annotations

from pathlib import Path

import pytest

from saiki.cli.job import overlay, read_job, refuse_unknown
from saiki.core.errors import OptionError, UsageError

JOB = """
task = "forecaster"
output = "model"
[data]
path = "co2.csv"
[model]
horizon = 52
[[network]]
type = "lstm"
hidden_size = 8
[training]
clip_norm = 0.5
"""


def test_sections_are_read(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_text(JOB)
    job = read_job(path, "forecaster")
    assert job.data == {"path": "co2.csv"}
    assert job.model == {"horizon": 52}
    assert job.network == [{"type": "lstm", "hidden_size": 8}]
    assert job.training == {"clip_norm": 0.5}
    assert job.output == "model"


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("[modle]\nhorizon = 1\n", OptionError, r"unknown key 'modle'; did you mean 'model'"),
        ("model = 3\n", UsageError, r"model must be a table \[model\], not int"),
        ("[[model]]\nhorizon = 1\n", UsageError, r"model must be a table \[model\], not list"),
        (
            "[network]\ntype = 'lstm'\n",
            UsageError,
            r"network must be a list of tables \[\[network\]\], not dict",
        ),
        ("horizon == 3", UsageError, "is not valid TOML"),
        (
            "task = 'classifier'\n",
            UsageError,
            "describes a 'classifier', and the command is `saiki fit forecaster`",
        ),
    ],
)
def test_a_wrong_file_is_one_clear_sentence(tmp_path: Path, text: str, error: type, match: str) -> None:
    path = tmp_path / "job.toml"
    path.write_text(text)
    with pytest.raises(error, match=r"(?s)" + match):
        read_job(path, "forecaster")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        read_job(tmp_path / "none.toml", "forecaster")


def test_the_command_line_overrides_the_file_where_it_speaks() -> None:
    assert overlay({"horizon": 52, "lr": 0.1}, {"horizon": 10, "lr": None}) == {"horizon": 10, "lr": 0.1}


def test_unknown_key_without_a_near_name_lists_the_known_ones() -> None:
    with pytest.raises(OptionError, match="Known: alpha, beta"):
        refuse_unknown({"zzzzzz": 1}, ["alpha", "beta"], "job.toml")
