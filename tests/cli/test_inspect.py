"""`saiki inspect` and `saiki lr-range`: what they print, what they write, and what they refuse."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest

import saiki as package
from saiki.models import Forecaster, SequenceClassifier, SequenceRegressor, inside

ROWS = 260


def series():
    t = np.arange(ROWS)
    rng = np.random.default_rng(0)
    return {"day": t, "level": 10 + np.sin(2 * np.pi * t / 12) + 0.1 * rng.standard_normal(ROWS)}


def sequences(n=40, T=12):
    rng = np.random.default_rng(1)
    which = rng.integers(0, 2, n)
    X = rng.standard_normal((n, T, 2)) + which[:, None, None] * np.sin(np.arange(T))[:, None]
    return X, np.array(["calm", "wave"])[which]


def write_table(path, columns):
    rows = zip(*columns.values())
    lines = [",".join(columns), *(",".join(str(value) for value in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A classifier, a forecaster of either mode, and a network without a state, with files for them."""
    home = tmp_path_factory.mktemp("inspect")
    X, y = sequences()
    common = {"max_epochs": 2, "random_state": 0, "baselines": False, "verbose": False}
    frame = {"id": "who", "time": "step", "columns": ["a", "b"], "per_step": False}
    model = SequenceClassifier(cell="lstm", hidden_size=4, **frame, **common)
    model.fit(pd.DataFrame(long_table(X, y)), "label").save(home / "classifier")
    plain = [{"type": "dense", "size": 3}, {"type": "mean"}]
    SequenceRegressor(network=plain, **common).fit(X, X.sum(axis=(1, 2))).save(home / "stateless")
    write_table(home / "level.csv", series())
    for mode in ("window", "stream"):
        Forecaster(
            horizon=3,
            context=12,
            time="day",
            mode=mode,
            cell="elman",
            hidden_size=4,
            quantiles=None,
            **common,
        ).fit(home / "level.csv").save(home / mode)
    write_table(home / "long.csv", long_table(X[:6], y[:6]))
    return home


def long_table(X, y):
    n, T, _ = X.shape
    return {
        "who": np.repeat(np.arange(n), T),
        "step": np.tile(np.arange(T), n),
        "a": X[..., 0].ravel(),
        "b": X[..., 1].ravel(),
        "label": np.repeat(y, T),
    }


def test_without_data_it_shows_what_was_seen_after_training(saiki, folder):
    ran = saiki("inspect", folder / "classifier")
    assert ran.code == 0
    assert ran.out.splitlines()[0].endswith(".")
    for words in ("How far back", "before training", "whole state", "Gates and units", "update to weight"):
        assert words in ran.out
    assert "Measured on 8 validation sequences of 12 steps." in ran.err
    told = json.loads(saiki("inspect", folder / "classifier", "--json").out)
    assert told["task"] == "classifier" and told["jacobians"] is None
    assert [layer["name"] for layer in told["reach"]["layers"]] == ["lstm"]
    assert told["findings"] and all(set(f) >= {"rule", "severity", "sentence"} for f in told["findings"])
    assert told["health"]["updates"] == 2 and told["health"]["clip_norm"] == 1.0


@pytest.mark.parametrize(
    ("model", "data"), [("classifier", "long.csv"), ("window", "level.csv"), ("stream", "level.csv")]
)
def test_with_data_it_looks_again(saiki, folder, model, data, tmp_path):
    page = tmp_path / "inside.html"
    ran = saiki("inspect", folder / model, folder / data, "--json", "--report", page)
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert told["jacobians"]["layers"] and told["note"].startswith("Measured on ")
    count = {"classifier": 6, "window": 8, "stream": 1}[model]
    assert told["reach"]["sequences"] == count and told["reach_before"]["sequences"] == count
    steps = {"classifier": 12, "window": 12, "stream": ROWS - 3}[model]
    assert abs(told["reach"]["steps"] - steps) <= 3
    words = page.read_text(encoding="utf-8")
    assert "<h2>Inside</h2>" in words and words.count("<svg") >= 3 and "before training" in words
    again = saiki("inspect", folder / model, folder / data, "--report", page)
    assert again.code == 2 and "is already there" in again.err


def test_what_is_seen_on_data_is_what_the_network_is_given(folder):
    """The steps that the doctor looks at are the estimator's own: scaled, in its order."""
    X, _ = sequences()
    model = SequenceClassifier(
        cell="gru", hidden_size=3, max_epochs=1, random_state=0, baselines=False, verbose=False
    ).fit(*sequences())
    with inside.listening(model.network_) as heard:
        model.predict(X[:5])
    (given,) = heard
    expected = model._inputs(list(X[:5]))
    for rows, mine in zip(given.to_list(), expected):
        assert np.array_equal(rows.numpy(), mine.numpy())


def test_a_network_without_a_state(saiki, folder):
    ran = saiki("inspect", folder / "stateless")
    assert ran.code == 0 and "How far back" not in ran.out and "Training" in ran.out
    assert "The states were not looked at: the network has no recurrent layer" in ran.err
    page = (folder / "stateless" / "report.html").read_text(encoding="utf-8")
    assert "<h2>Inside</h2>" in page and "no recurrent layer" in page


@pytest.mark.parametrize("model", ["classifier", "window", "stream"])
def test_every_report_has_its_inside_and_reads_the_same_after_loading(folder, model):
    page = (folder / model / "report.html").read_text(encoding="utf-8")
    assert "<h2>Inside</h2>" in page and "How far back the gradient reaches" in page
    assert "before training" in page and "after training" in page
    again = package.load(folder / model).report()

    def bare(text):
        return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d \S+", "", text)

    assert bare(again) == bare(page)


def test_what_inspect_refuses(saiki, folder):
    assert (
        "--part is for classifiers"
        in saiki("inspect", folder / "window", folder / "level.csv", "--part", "train").err
    )
    assert "no DATA was given" in saiki("inspect", folder / "classifier", "--part", "train").err
    ran = saiki("inspect", folder / "nowhere")
    assert ran.code == 1 and "is not a folder" in ran.err


# --------------------------------------------------------------------------------------------------- lr-range


def test_lr_range_finds_a_rate_and_fits_nothing(saiki, folder, tmp_path):
    picture = tmp_path / "lr.svg"
    flags = ["--id", "who", "--time", "step", "--label", "label", "--per-sequence", "--hidden-size", "4"]
    asked = ["lr-range", "classifier", folder / "long.csv", *flags, "--validation", "none", "--steps", "30"]
    ran = saiki(*asked, "--random-state", "0", "--picture", picture, "--json")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert told["task"] == "classifier" and len(told["lr"]) == len(told["loss"]) <= 30
    assert told["lr"][0] == 1e-6 and picture.read_text(encoding="utf-8").startswith("<?xml")
    assert saiki(*asked, "--picture", picture).code == 2
    words = saiki(*asked, "--random-state", "0")
    assert words.out.splitlines()[0] == told["sentence"] and "gradient norm" in words.out
    assert not list(tmp_path.glob("*.safetensors"))


def test_lr_range_reads_the_same_file_of_options_as_fit(saiki, folder, tmp_path):
    job = tmp_path / "job.toml"
    job.write_text(
        f'task = "forecaster"\n[data]\npath = "{folder / "level.csv"}"\n[model]\nhorizon = 3\ncontext = 12\n'
        'time = "day"\nhidden_size = 4\nrandom_state = 0\n[training]\noptimizer = "sgd"\n',
        encoding="utf-8",
    )
    ran = saiki("lr-range", "forecaster", "--config", job, "--steps", "10", "--low", "1e-3", "--high", "1e-2")
    assert ran.code == 0, ran.err
    assert "1.0e-03" in ran.out and "1.0e-02" in ran.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["forecaster"], "no data was given"),
        (["forecaster", "nowhere.csv", "--horizon", "3"], "there is no file nowhere.csv"),
        (
            ["forecaster", "level.csv", "--horizon", "3", "--low", "2", "--high", "1"],
            "high is 1.0 but must be",
        ),
    ],
)
def test_what_lr_range_refuses(saiki, folder, monkeypatch, arguments, message):
    monkeypatch.chdir(folder)
    ran = saiki("lr-range", *arguments)
    assert ran.code == 2 and message in ran.err


def test_the_estimators_method_leaves_it_unfitted():
    X, y = sequences()
    model = SequenceClassifier(cell="gru", hidden_size=3, random_state=0)
    found = model.lr_range(X, y, steps=12, high=0.1)
    assert len(found.lr) <= 12 and not hasattr(model, "network_")
    same = model.lr_range(X, y, steps=12, high=0.1)
    assert np.array_equal(found.loss, same.loss)
