"""Sequences from long tables and from archives."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from saiki.core.errors import DataError, OptionError
from saiki.data import load_npz, read_table, sequences_from_table, steps_first

LONG = "id,t,x,z,label,mark\na,0,1,2,up,0.5\na,1,3,4,up,0.5\nb,0,5,6,down,0.25\n"


def test_long_table():
    table = read_table(io.StringIO(LONG), id="id")
    arrays, labels = sequences_from_table(table, ["x", "z"], "label")
    assert [array.tolist() for array in arrays] == [[[1, 2], [3, 4]], [[5, 6]]]
    assert labels.tolist() == ["up", "down"]
    assert arrays[0].base is arrays[1].base
    arrays, marks = sequences_from_table(table, target="mark")
    assert arrays[0].shape == (2, 2) and marks.tolist() == [0.5, 0.25]
    assert sequences_from_table(table, ["x"])[1] is None


@pytest.mark.parametrize(
    ("text", "options", "target", "words"),
    [
        (LONG, {}, None, "has no id column"),
        (LONG, {"id": "id"}, "x", "column 'x' must be constant within a series"),
        (LONG, {"id": "id"}, "lable", "has no target column 'lable'.*Did you mean 'label'"),
        (
            "id,t,x,y\na,0,1,\nb,0,2,u\n",
            {"id": "id"},
            "y",
            "series 'a' has no value in the target column 'y'",
        ),
        ("id,t,k\na,0,u\nb,0,v\n", {"id": "id"}, None, "has no number column to use as a feature"),
    ],
)
def test_long_table_refusals(text, options, target, words):
    table = (
        read_table(io.StringIO(text), time="t", gaps="keep", **options)
        if options
        else read_table(io.StringIO(text), time=False)
    )
    with pytest.raises(DataError, match=words):
        sequences_from_table(table, target=target)


@pytest.fixture
def archive(tmp_path):
    def write(**arrays):
        path = tmp_path / "set.npz"
        np.savez(path, **arrays)
        return path

    return write


def test_npz_end_to_end(archive):
    path = archive(
        x_train=np.arange(10.0).reshape(5, 2), len_train=np.array([3, 0, 2]), y_train=np.array([0, 1, 0]),
        x_test=np.zeros((1, 2)), len_test=np.array([1]), y_test=np.array([1]), classes=["no", "yes"],
    )  # fmt: skip
    train = load_npz(path)
    assert [sequence.shape for sequence in train.sequences] == [(3, 2), (0, 2), (2, 2)]
    assert train.sequences[2].tolist() == [[6, 7], [8, 9]] and train.y.tolist() == [0, 1, 0]
    assert train.classes == ("no", "yes") and train.task == "classify" and train.name == "set"
    assert len(load_npz(path, "test")) == 1


def test_npz_of_equal_lengths(archive):
    found = load_npz(archive(x_train=np.zeros((4, 8, 2), dtype=np.uint8), y_train=np.array([0.5, 1, 2, 3])))
    assert len(found.sequences) == 4 and found.task == "regress" and found.sequences[0].dtype == np.float64


@pytest.mark.parametrize(
    ("arrays", "part", "words"),
    [
        (
            {"x_train": np.zeros((2, 1))},
            "trian",
            "has no part 'trian'; its parts are train. Did you mean 'train'",
        ),
        ({"x_train": np.zeros((2, 1))}, "train", r"expected \(n, T, F\)"),
        (
            {"x_train": np.zeros((2, 1)), "len_train": np.array([1, 2])},
            "train",
            "adds up to 3 but x_train has 2 rows",
        ),
        (
            {"x_train": np.zeros((2, 1)), "len_train": np.array([3, -1])},
            "train",
            "whole lengths of at least 0",
        ),
        ({"x_train": np.zeros((2, 1)), "len_train": np.array([1.5, 0.5])}, "train", "whole lengths"),
        (
            {"x_train": np.zeros((2, 1, 1)), "y_train": np.zeros(3)},
            "train",
            r"is \(3,\) but there are 2 sequences",
        ),
        (
            {"x_train": np.zeros((2, 1, 1)), "y_train": np.array([0, 2]), "classes": ["a", "b"]},
            "train",
            "codes from 0 to 1",
        ),
        ({"x_train": np.array([[["a"]]])}, "train", "expected numbers"),
    ],
)
def test_npz_refusals(archive, arrays, part, words):
    with pytest.raises(DataError, match=words):
        load_npz(archive(**arrays), part)


def test_npz_of_objects_is_never_unpickled(archive):
    with pytest.raises(DataError, match=r"no \.npz archive of plain arrays"):
        load_npz(archive(x_train=np.array([{}], dtype=object)))


def test_damaged_npz(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        load_npz(tmp_path / "none.npz")
    for content in (b"", b"PK\x03\x04 cut short", b"text"):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(DataError, match=r"bad\.npz is no \.npz archive"):
            load_npz(tmp_path / "bad.npz")


def test_shared_archives_where_they_are_there():
    folder = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "classification"
    if not folder.is_dir():
        pytest.skip("the shared archives are not here")
    vowels = load_npz(folder / "JapaneseVowels.npz")
    assert (
        len(vowels) == 270
        and {len(s) for s in vowels.sequences} <= set(range(7, 30))
        and len(vowels.classes) == 9
    )
    assert len(load_npz(folder / "optdigits_8x8.npz", "test")) == 1797


def test_channels_first():
    with pytest.raises(DataError) as caught:
        steps_first(np.zeros((5, 3, 100)))
    assert str(caught.value).startswith("X is (5, 3, 100), read as 5 sequences of 3 steps with 100 features.")
    assert "If it is right as it is, use layout='steps_first'." in str(caught.value)
    assert steps_first(np.zeros((5, 3, 100)), "channels_first").shape == (5, 100, 3)
    assert steps_first(np.zeros((5, 3, 100)), "steps_first").shape == (5, 3, 100)
    assert steps_first(np.zeros((5, 100, 3))).shape == (5, 100, 3)
    with pytest.raises(DataError, match="expected"):
        steps_first(np.zeros((5, 3)))
    with pytest.raises(OptionError):
        steps_first(np.zeros((5, 3, 2)), "time_first")
