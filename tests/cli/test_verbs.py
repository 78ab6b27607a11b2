"""Every verb on small real runs: what it prints, where, and with which exit code."""

from __future__ import annotations

import csv
import dataclasses
import inspect
import io
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import saiki as library

Run = Callable[..., "object"]
QUICK = ("--max-epochs", 2, "--hidden-size", 4, "--random-state", 0, "--quiet")


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hundred days of a noisy wave."""
    path = tmp_path_factory.mktemp("waves") / "waves.csv"
    noise = np.random.default_rng(0).normal(0, 0.05, 200)
    start = np.datetime64("2020-01-01")
    rows = [f"{start + t},{math.sin(t / 3) + noise[t]:.5f}" for t in range(200)]
    path.write_text("\n".join(["day,height", *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def gestures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty short sequences of two kinds, long form; one label a sequence and one number."""
    path = tmp_path_factory.mktemp("gestures") / "gestures.csv"
    rng = np.random.default_rng(1)
    lines = ["who,t,x,y,kind,size"]
    for k in range(40):
        kind = "up" if k % 2 else "down"
        sign = 1 if kind == "up" else -1
        for t in range(int(rng.integers(3, 8))):
            lines.append(f"s{k},{t},{sign * t + rng.normal():.3f},{rng.normal():.3f},{kind},{sign * 2.5}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def forecaster(waves: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "waves"
    model = library.Forecaster(
        5, 10, season=19, test=0.2, max_epochs=2, hidden_size=4, random_state=0, verbose=False
    )
    model.fit(waves).save(folder)
    return folder


def fields(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_fit_forecaster_prints_the_comparison_and_leaves_a_model(
    saiki: Run, waves: Path, tmp_path: Path
) -> None:
    ran = saiki("fit", "forecaster", waves, "-o", tmp_path / "m", "--horizon", 5, "--context", 10, *QUICK)
    assert ran.code == 0, ran.err
    assert "this model" in ran.out
    assert "ridge on raw lags" in ran.out
    assert "report:" in ran.err
    assert {"config.json", "model.safetensors", "metrics.json", "report.html", "checkpoints"} <= {
        p.name for p in (tmp_path / "m").iterdir()
    }
    assert library.load(tmp_path / "m").horizon == 5


def test_a_file_says_the_same_as_flags_and_python(saiki: Run, waves: Path, tmp_path: Path) -> None:
    """Command line, TOML and Python describe one fit, so they end in the same weights."""
    job = tmp_path / "job.toml"
    job.write_text(
        f"""
        task = "forecaster"
        output = "{tmp_path / "from_file"}"
        [data]
        path = "{waves}"
        [model]
        horizon = 4
        context = 8
        max_epochs = 2
        random_state = 3
        scaling = "none"
        verbose = false
        [[network]]
        type = "gru"
        hidden_size = 3
        name = "memory"
        [training]
        clip_norm = 0.5
        optimizer = {{ type = "momentum", momentum = 0.8 }}
        """
    )
    ran = saiki("fit", "forecaster", "--config", job)
    assert ran.code == 0, ran.err
    model = library.Forecaster(
        4,
        8,
        max_epochs=2,
        random_state=3,
        scaling=None,
        verbose=False,
        network=[("memory", library.nn.GRUConfig(hidden_size=3))],
        training=library.learning.Training(clip_norm=0.5, optimizer={"type": "momentum", "momentum": 0.8}),
    ).fit(waves)
    read = library.load(tmp_path / "from_file")
    ours, theirs = model.network_.state_dict(), read.network_.state_dict()
    assert ours.keys() == theirs.keys()
    assert any("memory" in name for name in ours)
    for name in ours:
        np.testing.assert_array_equal(ours[name].numpy(), theirs[name].numpy(), err_msg=name)
    over = saiki("fit", "forecaster", "-c", job, "-o", tmp_path / "other", "--horizon", 2, "--json")
    assert over.code == 0, over.err
    assert library.load(tmp_path / "other").horizon == 2
    assert json.loads(over.out)["model"] == str(tmp_path / "other")


def test_forecast_is_csv_on_stdout(saiki: Run, forecaster: Path, waves: Path, tmp_path: Path) -> None:
    ran = saiki("forecast", forecaster)
    assert ran.code == 0, ran.err
    rows = fields(ran.out)
    assert [row["day"] for row in rows] == [f"2020-07-{d}" for d in range(19, 24)]
    assert set(rows[0]) == {"day", "height", "height_q0.1", "height_q0.5", "height_q0.9"}
    assert all(float(row["height_q0.1"]) <= float(row["height"]) <= float(row["height_q0.9"]) for row in rows)
    again = saiki("forecast", forecaster, waves, "--steps", 2, "-o", tmp_path / "next.csv")
    assert again.out == ""
    assert fields((tmp_path / "next.csv").read_text()) == rows[:2]
    refused = saiki("forecast", forecaster, "-o", tmp_path / "next.csv")
    assert refused.code == 2
    assert "already there" in refused.err
    machine = saiki("forecast", forecaster, "--json")
    assert len(json.loads(machine.out)["forecast"]["height"]) == 5


def test_evaluate_forecaster(saiki: Run, forecaster: Path, waves: Path) -> None:
    ran = saiki("evaluate", forecaster, waves, "--start", "2020-06-01", "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert len(found["by_horizon"]) == 5
    assert found["metrics"]["mae"] > 0
    assert "this model" in saiki("evaluate", forecaster, waves).out


def test_summary_and_report(saiki: Run, forecaster: Path, tmp_path: Path) -> None:
    table = saiki("summary", forecaster)
    assert "lstm" in table.out
    total = json.loads(saiki("summary", forecaster, "--json").out)["total"]
    assert f"{total:,}" in table.out
    where = saiki("report", forecaster)
    assert Path(where.out.strip()).is_file()
    copy = saiki("report", forecaster, "-o", tmp_path / "page.html")
    assert copy.code == 0, copy.err
    assert (tmp_path / "page.html").read_text().startswith("<!")
    assert saiki("report", forecaster, "-o", tmp_path / "page.html").code == 2


def test_classifier_from_a_long_table(saiki: Run, gestures: Path, tmp_path: Path) -> None:
    columns = ("--id", "who", "--time", "t", "--column", "x", "--column", "y")
    folder = tmp_path / "c"
    ran = saiki(
        "fit", "classifier", gestures, "--label", "kind", *columns, "-o", folder, *QUICK, "--lr", 0.05
    )
    assert ran.code == 0, ran.err
    assert "accuracy" in ran.out
    model = library.load(folder)
    assert list(model.classes_) == ["down", "up"]
    answers = saiki("predict", folder, gestures, "--proba")
    rows = fields(answers.out)
    assert [row["sequence"] for row in rows] == [f"s{k}" for k in range(40)]
    assert all(
        row["prediction"] == ("up" if float(row["p(up)"]) > float(row["p(down)"]) else "down") for row in rows
    )
    right = np.mean([row["prediction"] == ("up" if k % 2 else "down") for k, row in enumerate(rows)])
    found = json.loads(saiki("evaluate", folder, gestures, "--label", "kind", "--json").out)
    assert found["metrics"]["accuracy"] == pytest.approx(right)


def test_regressor_from_a_long_table(saiki: Run, gestures: Path, tmp_path: Path) -> None:
    columns = ("--id", "who", "--time", "t", "--column", "x")
    ran = saiki("fit", "regressor", gestures, "--label", "size", *columns, "-o", tmp_path / "r", *QUICK)
    assert ran.code == 0, ran.err
    rows = fields(saiki("predict", tmp_path / "r", gestures).out)
    assert len(rows) == 40
    assert np.isfinite([float(row["prediction"]) for row in rows]).all()
    assert saiki("predict", tmp_path / "r", gestures, "--proba").code == 2


def test_classifier_from_an_archive(saiki: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(30) % 2
    x = [rng.normal(size=(4 + k % 3, 2)) + 2 * y[k] for k in range(30)]
    np.savez(
        tmp_path / "a.npz",
        x_train=np.concatenate(x),
        len_train=[len(a) for a in x],
        y_train=y,
        classes=np.array(["no", "yes"]),
    )
    ran = saiki("fit", "classifier", tmp_path / "a.npz", "-o", tmp_path / "m", *QUICK, "--json")
    assert ran.code == 0, ran.err
    assert list(library.load(tmp_path / "m").classes_) == ["no", "yes"]
    assert len(fields(saiki("predict", tmp_path / "m", tmp_path / "a.npz").out)) == 30
    missing = saiki("evaluate", tmp_path / "m", tmp_path / "a.npz", "--part", "test")
    assert missing.code == 1
    assert "train" in missing.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["fit", "forecaster", "DATA"], 2, "no folder was given for the model"),
        (["fit", "forecaster", "-o", "OUT"], 2, "no data was given"),
        (["fit", "forecaster", "none.csv", "-o", "OUT"], 2, "there is no file none.csv"),
        (["fit", "forecaster", "DATA", "-o", "OUT", "--horizn", "3"], 2, "--horizon"),
        (["fit", "forcaster", "DATA", "-o", "OUT"], 2, "forecaster"),
        (["fit", "forecaster", "DATA", "-o", "OUT", "--cell", "lstn"], 2, "did you mean 'lstm'"),
        (["fit", "forecaster", "DATA", "-o", "OUT", "--optimizer", "adm"], 2, "did you mean 'adam'"),
        (["fit", "forecaster", "DATA", "-o", "OUT", "--target", "heigth"], 1, "height"),
        (["fit", "forecaster", "DATA", "-o", "MODEL"], 1, "already holds a model"),
        (["fit", "classifier", "DATA", "-o", "OUT", "--id", "day"], 2, "no column of"),
        (["fit", "classifier", "DATA", "-o", "OUT", "--label", "height"], 2, "tells its sequences apart"),
        (["predict", "MODEL", "DATA"], 2, "saiki forecast"),
        (["forecast", "OUT"], 1, "is not a folder"),
        (["evaluate", "MODEL", "DATA", "--label", "height"], 2, "--label and --part"),
        (["evaluat"], 2, "evaluate"),
    ],
)
def test_wrong_use_is_two_plain_lines(
    saiki: Run, waves: Path, forecaster: Path, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    places = {"DATA": str(waves), "OUT": str(tmp_path / "out"), "MODEL": str(forecaster)}
    before = (forecaster / "config.json").read_bytes()
    ran = saiki(*(places.get(a, a) for a in arguments))
    assert ran.code == code, ran.err
    assert words in ran.err
    assert ran.out == ""
    assert "Traceback" not in ran.err
    assert not (tmp_path / "out" / "config.json").exists()
    assert (forecaster / "config.json").read_bytes() == before


def test_an_unknown_key_of_a_file_offers_the_nearest(saiki: Run, tmp_path: Path, waves: Path) -> None:
    for text, words in (
        ("[model]\nhoriznn = 3", "did you mean 'horizon'"),
        ("[training]\nclip_nrm = 3.0", "did you mean 'clip_norm'"),
        ("[data]\npth = 'x'", "did you mean 'path'"),
        ("[[network]]\ntype = 'lstmm'", "did you mean 'lstm'"),
        ("[[network]]\ntype = 'lstm'\nhiden_size = 3", "did you mean 'hidden_size'"),
        ("[training]\noptimizer = {type = 'adam', bta1 = 0.5}", "did you mean 'beta1'"),
    ):
        (tmp_path / "job.toml").write_text(text)
        ran = saiki("fit", "forecaster", waves, "-c", tmp_path / "job.toml", "-o", tmp_path / "m")
        assert ran.code == 2, ran.err
        assert words in ran.err


def test_help_needs_no_torch() -> None:
    """Which is what keeps it quick; the time itself is a benchmark's business."""
    code = (
        "import sys; sys.argv = ['saiki', '--help']\n"
        "from saiki.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'sklearn', 'matplotlib', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "forecast" in done.stdout


@pytest.mark.parametrize(
    ("verb", "kind"),
    [
        ("forecaster", library.Forecaster),
        ("classifier", library.SequenceClassifier),
        ("regressor", library.SequenceRegressor),
    ],
)
def test_every_option_of_an_estimator_has_its_flag(verb: str, kind: type) -> None:
    """Except those a line cannot hold (files hold them) and the progress bar, which is --quiet."""
    from saiki.cli import fit

    flags = set(inspect.signature(fit.VERBS[verb].command).parameters)
    options = set(inspect.signature(kind.__init__).parameters) - {"self", "network", "training", "verbose"}
    options |= {field.name for field in dataclasses.fields(library.learning.Training)}
    options -= {"rule", "groups", "shuffle", "bucket"}
    if verb == "forecaster":
        options = options - {"covariates"} | {"past", "future", "static"}
    assert options <= flags
