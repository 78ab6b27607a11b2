"""The dispatcher finds every task, and runs are kept and taken up again."""

from __future__ import annotations

import argparse
import json

import pytest

from benchmarks import reproductions
from benchmarks.reproductions.shared.runs import Kept
from benchmarks.reproductions.shared.training import batch_of, data_seed, learn, network
from saiki.data import load
from saiki.losses import get_loss
from saiki.nn import LastConfig, RNNConfig


def options(file, quick=False) -> argparse.Namespace:
    return argparse.Namespace(benchmark="copy", quick=quick, json=file)


def test_every_task_is_found_and_says_what_it_is():
    names = reproductions.names()
    assert {"adding", "ett", "co2", "input-gate"} <= set(names) and "shared" not in names
    for name in names:
        assert reproductions.title(name).endswith((".", ":")) and len(reproductions.title(name)) > 30


def test_a_run_is_made_once(tmp_path):
    made = []

    def work(value):
        def run():
            made.append(value)
            return {"value": value}

        return run

    file = tmp_path / "copy.json"
    first = Kept(options(file))
    first.run("a", {"lr": 0.1}, work(1))
    assert (
        json.loads(file.read_text())["runs"]["a"]["value"] == 1
    )  # there although the task is not at its end
    again = Kept(options(file))
    assert again.run("a", {"lr": 0.1}, work(2))["value"] == 1
    assert again.run("b", {"lr": 0.1}, work(3))["value"] == 3
    assert again.run("a", {"lr": 0.2}, work(4))["value"] == 4  # other settings: another run
    assert made == [1, 3, 4]
    content = again.content({"published": 5})
    assert list(content["runs"]) == ["a", "b"] and content["published"] == 5
    assert content["seconds"] >= 0 and content["runs"]["a"]["settings"] == {"lr": 0.2}


def test_a_quick_file_is_not_taken_for_a_full_one(tmp_path):
    file = tmp_path / "copy.json"
    Kept(options(file, quick=True)).run("a", {}, dict)
    with pytest.raises(SystemExit, match="holds another benchmark, or the other of --quick and not"):
        Kept(options(file))


def test_learning_ends_when_the_measure_says_so():
    net = network([RNNConfig(hidden_size=4), LastConfig()], 2, 1, seed=0)
    asked = []

    def measure():
        asked.append(len(asked))
        return float(len(asked)), len(asked) == 3

    went = learn(
        net,
        get_loss("squared"),
        lambda update: batch_of(load("adding", n=4, T=5, seed=data_seed(0, update))),
        updates=100,
        lr=1e-3,
        clip=1.0,
        every=2,
        measure=measure,
    )
    assert went.solved == went.updates == 4 and went.curve == [[0, 1.0], [2, 2.0], [4, 3.0]]
