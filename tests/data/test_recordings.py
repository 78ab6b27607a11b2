"""Recordings from tables, archives and folders, and what is wrong with those that are not."""

from __future__ import annotations

import numpy as np
import pytest

from saiki.core.errors import DataError
from saiki.data import Audio
from saiki.data.recordings import load_recordings

SAMPLES = np.arange(-20, 20, dtype=np.int16) * 100


def archive(path, **more):
    lengths = np.array([10, 25, 5])
    np.savez(path, audio=SAMPLES, length=lengths, digit=np.array([7, 0, 3]), **more)
    return path


def test_a_table_of_paths_and_texts(tmp_path):
    file = tmp_path / "clips.csv"
    file.write_text('who,Path,text\nanna,a.wav,"one, two"\nben,sub/b.flac,three\n')
    found = load_recordings(file, group="who")
    assert [tmp_path / "a.wav", tmp_path / "sub/b.flac"] == found.X
    assert found.y == ["one, two", "three"] and found.groups == ["anna", "ben"]
    assert load_recordings(file, answers=False).y is None
    tabs = tmp_path / "clips.tsv"
    tabs.write_text("clip\twords\na.wav\tone\n")
    assert load_recordings(tabs, audio="clip", text="words").y == ["one"]


def test_an_archive_of_samples(tmp_path):
    found = load_recordings(archive(tmp_path / "anna.npz", rate_hz=8000))
    assert [len(a.samples) for a in found.X] == [10, 25, 5] and found.y == [7, 0, 3]
    assert isinstance(found.X[1], Audio) and found.X[1].rate_hz == 8000 and found.X[1].name == "anna 1"
    np.testing.assert_array_equal(found.X[2].samples, SAMPLES[35:] / 32768)
    assert found.groups is None


def test_a_folder_of_archives_is_grouped_by_file(tmp_path):
    for name in ("ben", "anna"):
        archive(tmp_path / f"{name}.npz")
    found = load_recordings(tmp_path, rate_hz=8000, text="digit")
    assert found.groups == ["anna"] * 3 + ["ben"] * 3 and found.y == [7, 0, 3] * 2
    assert load_recordings(tmp_path, rate_hz=8000, group="file").groups == found.groups
    assert load_recordings(tmp_path / "ben.npz", rate_hz=8000, group="file").groups == ["ben"] * 3
    assert load_recordings(tmp_path / "ben.npz", rate_hz=8000, group="length").groups == ["10", "25", "5"]


def test_a_folder_of_sounds_with_texts_beside_them(tmp_path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.wav").write_bytes(b"")
        (tmp_path / f"{name}.txt").write_text(f"this is\n{name}\n")
    found = load_recordings(tmp_path)
    assert [x.name for x in found.X] == ["a.wav", "b.wav"] and found.y == ["this is a", "this is b"]
    (tmp_path / "a.txt").unlink()
    with pytest.raises(DataError, match=r"a\.wav has no a\.txt beside it"):
        load_recordings(tmp_path)
    assert len(load_recordings(tmp_path, answers=False).X) == 2
    assert [tmp_path / "a.wav"] == load_recordings(tmp_path / "a.wav", answers=False).X


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("a,b\n1,2\n", {}, "has no column for the recordings' paths by a usual name; it has a, b"),
        ("path,b\n1,2\n", {}, "has no column for what is said"),
        ("path,text\n1,2\n", {"text": "tekst"}, "unknown column 'tekst'; did you mean 'text'"),
        ("path,text\na.wav\n", {}, "line 2 has 1 fields but the head has 2"),
        ("path,text\na.wav,one\n,two\n", {}, "line 3 names no recording"),
        ("path,text\n", {}, "has a head but no row"),
    ],
)
def test_tables_that_cannot_be_read_are_named(tmp_path, content, options, said):
    file = tmp_path / "clips.csv"
    file.write_text(content)
    with pytest.raises(DataError, match=said):
        load_recordings(file, **options)


def test_archives_and_folders_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(DataError, match="does not say how many samples"):
        load_recordings(archive(tmp_path / "a.npz"))
    with pytest.raises(DataError, match="unknown array 'digits'; did you mean 'digit'"):
        load_recordings(tmp_path / "a.npz", text="digits", rate_hz=8000)
    np.savez(tmp_path / "b.npz", audio=SAMPLES, length=np.array([3, 4]))
    with pytest.raises(DataError, match="length adds up to 7 but audio has 40"):
        load_recordings(tmp_path / "b.npz", rate_hz=8000)
    np.savez(tmp_path / "c.npz", x=SAMPLES)
    with pytest.raises(DataError, match="has no array 'audio' of one axis; it has x"):
        load_recordings(tmp_path / "c.npz", rate_hz=8000)
    (tmp_path / "d.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"d\.npz cannot be read as an archive"):
        load_recordings(tmp_path / "d.npz", rate_hz=8000)
    with pytest.raises(DataError, match="there is no file or folder"):
        load_recordings(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no sound file"):
        load_recordings(tmp_path / "empty")
