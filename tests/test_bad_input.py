"""What a person gets wrong with data and folders: one clear sentence before any training.

Each line of the tables is one mistake and the words of the answer: what came and where, then what to do.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from saiki import Forecaster, SequenceClassifier, SequenceRegressor, load
from saiki.core.errors import SaikiError
from saiki.core.schema import seal
from saiki.learning import Trainer

QUICK = {"hidden_size": 3, "max_epochs": 1, "random_state": 0, "verbose": False, "baselines": False}
DAYS = [f"{np.datetime64('2020-01-01') + k}" for k in range(60)]
WAVE = [f"{np.sin(k / 3):.4f}" for k in range(60)]


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake is told before any training starts."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("training started on bad input")

    monkeypatch.setattr(Trainer, "fit", refuse)


def series(**changes: list[str]) -> str:
    """The text of a table of a day and a height, with some of its lines (1 is the first after the header)
    replaced; an empty list takes the line out."""
    lines = [[f"{day},{height}"] for day, height in zip(DAYS, WAVE)]
    for number, instead in changes.items():
        lines[int(number[1:]) - 1] = instead
    return "\n".join(["day,height", *(line for group in lines for line in group)]) + "\n"


FILES = {
    "an empty file": ("", "data.csv is empty; expected a header line", "Check that the right file"),
    "a header only": ("day,height\n", r"a header \(day, height\) and no rows", "Check that the rows"),
    "text in a number column": (
        series(_7=["2020-01-07,oops"]),
        "column 'height' must hold numbers, but line 8 of data.csv holds 'oops'",
        "Correct the cell",
    ),
    "a missing value": (
        series(_7=["2020-01-07,"]),
        "1 value is missing, the first in column 'height', line 8 of data.csv",
        "missing='interpolate'.*missing='mask'",
    ),
    "an infinite value": (
        series(_7=["2020-01-07,inf"]),
        "column 'height' holds 1 infinite value, the first in line 8 of data.csv",
        "Correct the cell",
    ),
    "a time twice": (
        series(_3=["2020-01-02,0"]),
        "the time 2020-01-02 occurs 2 times in column 'day': line 3 of data.csv and line 4",
        "Keep one row a time",
    ),
    "times out of order": (
        series(_2=["2020-01-03,0"], _3=["2020-01-02,0"]),
        r"not in order: line 4 of data.csv \(2020-01-02\) comes after 2020-01-03",
        "use sort=True",
    ),
    "an absent row": (
        series(_20=[]),
        "1 row is absent in 1 place, the first between 2020-01-19 and 2020-01-21",
        "gaps='complete'",
    ),
    "a series too short": (
        "\n".join(series().split("\n")[:12]),
        r"9 rows for training, but a window needs context \+ horizon = 10 \+ 5 = 15",
        "a shorter context or horizon",
    ),
}


@pytest.mark.parametrize("case", FILES)
@pytest.mark.usefixtures("untrained")
def test_a_file_for_the_forecaster(case: str, tmp_path: Path) -> None:
    text, said, todo = FILES[case]
    (tmp_path / "data.csv").write_text(text)
    with pytest.raises(SaikiError, match=said) as error:
        Forecaster(5, 10, **QUICK).fit(tmp_path / "data.csv", checkpoint=tmp_path / "checkpoints")
    assert "\n" not in error.value.message
    assert error.value.hint is not None and re.search(todo, error.value.hint), error.value.hint
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.usefixtures("untrained")
def test_an_unknown_column_of_the_forecaster(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(series())
    with pytest.raises(SaikiError, match=r"no target column 'heigth'; its columns are day, height.*'height'"):
        Forecaster(5, 10, targets=["heigth"], **QUICK).fit(tmp_path / "data.csv")


def long_frame() -> pd.DataFrame:
    """Twenty sequences of two kinds, five steps each."""
    rng = np.random.default_rng(0)
    k, t = np.divmod(np.arange(100), 5)
    kinds = np.where(k % 2, "up", "down")
    return pd.DataFrame(
        {"who": k, "when": t, "x": rng.normal(size=100), "y": rng.normal(size=100), "kind": kinds}
    )


def put(column: str, row: int, value: object) -> pd.DataFrame:
    frame = long_frame().astype({column: object})
    frame.loc[row, column] = value
    return frame


FRAMES = {
    "no row": (long_frame().iloc[:0], "X has a header but no rows", "at least one row"),
    "text in a number column": (
        put("x", 7, "oops"),
        "column 'x' holds 'oops' in row 7 of X, but a feature is a number",
        "Correct the cell",
    ),
    "a missing value": (put("x", 7, None), r"column 'x' is missing \(NaN\) in row 7 of X", "missing='mask'"),
    "an infinite value": (put("x", 7, np.inf), r"column 'x' is infinite \(inf\) in row 7 of X", "Correct or"),
    "a time twice": (
        put("when", 7, 1),
        r"X has the time 1.0 twice for who='1' \(rows 6 and 7\)",
        "Drop or average",
    ),
    "an unknown column": (
        long_frame().rename(columns={"y": "yy"}),
        "unknown column 'y'; did you mean 'yy'",
        "",
    ),
    "one class only": (
        long_frame().assign(kind="up"),
        r"y has one class only \('up'\)",
        "at least two classes",
    ),
    "a missing label": (put("kind", 7, None), "labels are missing, the first in row 7", "Leave these"),
}


@pytest.mark.parametrize("case", FRAMES)
@pytest.mark.usefixtures("untrained")
def test_a_frame_for_the_classifier(case: str) -> None:
    frame, said, todo = FRAMES[case]
    with pytest.raises(SaikiError, match=said) as error:
        SequenceClassifier(id="who", time="when", columns=["x", "y"], **QUICK).fit(frame, "kind")
    assert todo in str(error.value)


def arrays(T: int = 5, F: int = 2) -> list[np.ndarray]:
    return [np.full((T, F), float(k)) for k in range(10)]


def spoilt(value: float) -> list[np.ndarray]:
    X = arrays()
    X[3][2, 1] = value
    return X


Y = np.arange(10) % 2
ARRAYS = {
    "no sequence": ([], Y, r"Found array with 0 sample\(s\)", "at least one"),
    "a missing value": (
        spoilt(np.nan),
        Y,
        "X, sequence 3 is NaN.*at step 2, feature 1",
        "missing='interpolate'",
    ),
    "an infinite value": (spoilt(np.inf), Y, "X, sequence 3 is .*inf.*at step 2, feature 1", ""),
    "text": ([[["a", "b"]], [["c", "d"]]], [0, 1], "sequence 0 of X holds text but must hold numbers", ""),
    "labels of the wrong length": (
        arrays(),
        Y[:7],
        r"y has 7 rows but X has 10 sequences \(50 steps in all\)",
        "one row a sequence, or one row a step",
    ),
    "labels a step of the wrong length": (
        arrays(),
        [*[np.arange(5.0)] * 9, np.arange(4.0)],
        "entry 9 of y has 4 rows but sequence 9 has 5 steps",
        "",
    ),
    "channels first": (
        np.zeros((10, 3, 40)),
        Y,
        r"X is \(10, 3, 40\), read as 10 sequences of 3 steps with 40 features. It looks channels-first",
        "layout='channels_first' turns it round",
    ),
    "channels first, in a list": (
        [np.zeros((3, 40)), np.zeros((3, 50))],
        [0, 1],
        "sequence 1 of X has 50 features but the first has 40",
        r"transpose each sequence to (T, F)",
    ),
}


@pytest.mark.parametrize("case", ARRAYS)
@pytest.mark.parametrize("estimator", [SequenceClassifier, SequenceRegressor], ids=lambda kind: kind.__name__)
@pytest.mark.usefixtures("untrained")
def test_arrays_for_the_sequence_tasks(case: str, estimator: type) -> None:
    X, y, said, todo = ARRAYS[case]
    with pytest.raises(SaikiError, match=said) as error:
        estimator(**QUICK).fit(X, y)
    assert todo in str(error.value)


@pytest.mark.usefixtures("untrained")
def test_one_class_of_arrays() -> None:
    with pytest.raises(SaikiError, match=r"y has one class only \(0.0\).*at least two classes"):
        SequenceClassifier(**QUICK).fit(arrays(), np.zeros(10))


# ---- model folders ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A forecaster with a covariate known ahead, and its data beside it."""
    root = tmp_path_factory.mktemp("model")
    rows = [f"{day},{height},{k % 2}" for k, (day, height) in enumerate(zip(DAYS, WAVE))]
    (root / "data.csv").write_text("\n".join(["day,height,open", *rows]) + "\n")
    model = Forecaster(5, 10, covariates={"future": ["open"]}, **QUICK).fit(root / "data.csv")
    return model.save(root / "m")


def copied(folder: Path, to: Path) -> Path:
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


def cut_short(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def changed(folder: Path) -> None:
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))


def newer(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(seal({**config, "schema": config["schema"] + 1})))


def unknown_key(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["options"]["horizn"] = 5
    (folder / "config.json").write_text(json.dumps(seal(config)))


def other_shape(folder: Path) -> None:
    """A file that is whole and listed with its own size and sum, but whose weights are another network's."""
    tensors = load_file(folder / "model.safetensors")
    name = next(n for n in sorted(tensors) if n.endswith("weight_hh_l0"))
    tensors[name] = tensors[name][:-1]
    save_file(tensors, folder / "model.safetensors")
    content = (folder / "model.safetensors").read_bytes()
    config = json.loads((folder / "config.json").read_text())
    config["files"]["model.safetensors"] = {
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    config["tensors"][name]["shape"] = list(tensors[name].shape)
    (folder / "config.json").write_text(json.dumps(seal(config)))


FOLDERS = {
    "cut short": (
        cut_short,
        "model.safetensors is cut short: it has .* bytes but config.json lists",
        "again",
    ),
    "changed": (changed, "model.safetensors.*SHA-256", "again"),
    "of a newer schema": (newer, "config.json is of schema 2.*reads up to schema 1", "Install a newer Saiki"),
    "with an unknown key": (unknown_key, "options.*'horizn'.*did you mean 'horizon'", ""),
    "with a tensor of another shape": (other_shape, r"weight_hh_l0.*\(11, 3\).*\(12, 3\)", ""),
    "without its tensors": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors", ""),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_model_folder(case: str, folder: Path, tmp_path: Path) -> None:
    spoil, said, todo = FOLDERS[case]
    copy = copied(folder, tmp_path / "m")
    spoil(copy)
    with pytest.raises(SaikiError, match=said) as error:
        load(copy)
    assert todo in str(error.value)


def test_no_model_at_all(tmp_path: Path) -> None:
    with pytest.raises(SaikiError, match="none is not a folder, so there is no model in it"):
        load(tmp_path / "none")
    with pytest.raises(SaikiError, match=r"nothing was trained|no model"):
        load(tmp_path)


def test_a_folder_that_holds_a_model_is_kept(folder: Path, tmp_path: Path) -> None:
    copy = copied(folder, tmp_path / "m")
    before = {file.name: file.read_bytes() for file in copy.iterdir()}
    model = load(folder)
    with pytest.raises(SaikiError, match=r"already holds a model.*--force"):
        model.save(copy)
    assert {file.name: file.read_bytes() for file in copy.iterdir()} == before
    model.save(copy, force=True)


def test_a_frame_that_lacks_a_covariate(folder: Path) -> None:
    model = load(folder)
    frame = pd.read_csv(folder.parent / "data.csv")
    with pytest.raises(SaikiError, match="'open'"):
        model.forecast(frame.drop(columns="open"))
    with pytest.raises(
        SaikiError, match=r"needs the covariates 'open' .* to come, but 0 were.*Give future=TABLE"
    ):
        model.forecast(frame)  # the covariate is known ahead, so its next five values are needed
    ahead = pd.DataFrame({"day": [f"2020-03-0{k}" for k in range(1, 6)], "opne": 1.0})
    with pytest.raises(SaikiError, match="'open'"):
        model.forecast(frame, future=ahead)


def test_a_sequence_frame_that_lacks_a_column() -> None:
    frame = long_frame()
    model = SequenceClassifier(id="who", time="when", columns=["x", "y"], **QUICK).fit(frame, "kind")
    with pytest.raises(SaikiError, match="X lacks a column that this model reads: unknown column 'y'"):
        model.predict(frame.drop(columns="y"))


@pytest.mark.usefixtures("untrained")
def test_good_data_does_get_to_the_training() -> None:
    with pytest.raises(AssertionError, match="training started"):
        SequenceClassifier(**QUICK).fit(arrays(), Y)
