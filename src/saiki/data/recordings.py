"""Recordings with their transcripts from files: a table, an archive, or a folder.

clips.csv             a column with the sound files' paths (from the table's folder on), one with the texts
digits.npz            `audio`, all samples in a row, and `length` (n,); a label each under its own name
folder of .npz        all of them; the file's name tells the group (a speaker, say)
folder of sounds      a.wav with a.txt beside it, and so on
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from saiki.core.errors import DataError
from saiki.core.names import unknown
from saiki.data.audio import Audio
from saiki.data.pairs import read_lines

SOUNDS = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".au")
FILE = "file"  # the group that is an archive's own name
AUDIO_COLUMNS = ("path", "file", "audio", "wav", "filename", "file_name", "recording")
TEXT_COLUMNS = ("text", "transcript", "sentence", "transcription", "label", "digit")


@dataclass(frozen=True)
class Recordings:
    """What `load_recordings` found.

    Attributes:
        X: files or `Audio`, one an utterance.
        y: what was said in each, a text or a whole number; None where it was not asked for.
        groups: whose each is; None where nothing says it.
    """

    X: list[Any]
    y: list[Any] | None
    groups: list[str] | None


def load_recordings(
    path: str | Path,
    *,
    audio: str | None = None,
    text: str | None = None,
    group: str | None = None,
    rate_hz: int | None = None,
    answers: bool = True,
) -> Recordings:
    """Read recordings and transcripts.

    Args:
        path: a table (.csv or .tsv, perhaps gzipped), an .npz archive, a folder of either archives or sounds
            with texts beside them, or a single sound file.
        audio: the table's column of paths; None finds one of the usual names.
        text: the column, or the archive's array, with the transcripts; None finds one of the usual names.
        group: the column, or array, that says whose each is; "file" for archives takes their names.
        rate_hz: samples a second of an archive that does not say it (in `rate_hz`).
        answers: False where only the recordings are wanted.
    Raises:
        DataError: something is not there, or is not what it should be; file and line are named.
    """
    source = Path(path)
    if source.is_dir():
        return _folder(source, text, group, rate_hz, answers)
    if not source.is_file():
        raise DataError(f"there is no file or folder {source}.", "Check the path.")
    if source.suffix == ".npz":
        return _archive(source, text, group, rate_hz, answers)
    if source.suffix.lower() in SOUNDS:
        if answers:
            raise DataError(
                f"{source} is one recording, and nothing says what is said in it.",
                "Give a table with the columns path and text, or a folder.",
            )
        return Recordings([source], None, None)
    return _table(source, audio, text, group, answers)


def _table(path: Path, audio: str | None, text: str | None, group: str | None, answers: bool) -> Recordings:
    tabs = ".tsv" in path.suffixes
    rows = list(csv.reader(io.StringIO("\n".join(read_lines(path))), delimiter="\t" if tabs else ","))
    head = [name.strip() for name in rows[0]]
    places = {
        "paths": _column(path, head, audio, AUDIO_COLUMNS, "the recordings' paths", "audio"),
        "texts": _column(path, head, text, TEXT_COLUMNS, "what is said", "text") if answers else None,
        "groups": None if group is None else _column(path, head, group, (), "the groups", "group"),
    }
    found: dict[str, list[Any]] = {name: [] for name in places}
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) != len(head):
            raise DataError(
                f"{path}, line {number} has {len(row)} fields but the head has {len(head)}.",
                "Quote a field that holds the separator.",
            )
        for name, place in places.items():
            if place is not None:
                found[name].append(row[place])
    if not found["paths"]:
        raise DataError(f"{path} has a head but no row.", "Give at least one recording.")
    for number, name in enumerate(found["paths"], start=2):
        if not name.strip():
            raise DataError(f"{path}, line {number} names no recording.", "Leave the line out.")
    return Recordings(
        [path.parent / name.strip() for name in found["paths"]],
        found["texts"] if answers else None,
        found["groups"] if group is not None else None,
    )


def _column(
    path: Path, head: Sequence[str], name: str | None, usual: Sequence[str], what: str, flag: str
) -> int:
    """The place of a column that was named, or that has a usual name."""
    if name is not None:
        if name not in head:
            raise DataError(f"{path}: {unknown(name, head, 'column')}")
        return list(head).index(name)
    low = [each.lower() for each in head]
    for each in usual:
        if each in low:
            return low.index(each)
    raise DataError(
        f"{path} has no column for {what} by a usual name; it has {', '.join(head)}.", f"Name it: {flag}=…"
    )


def _archive(
    path: Path, text: str | None, group: str | None, rate_hz: int | None, answers: bool
) -> Recordings:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{path} cannot be read as an archive of arrays: {error}.") from error
    for name in ("audio", "length"):
        if name not in arrays or arrays[name].ndim != 1 or arrays[name].dtype.kind not in "iuf":
            raise DataError(
                f"{path} has no array {name!r} of one axis; it has {', '.join(arrays) or 'none'}.",
                "An archive of recordings has audio, all samples in a row, and length, samples of each.",
            )
    lengths = arrays["length"].astype(np.int64)
    if (lengths < 0).any() or int(lengths.sum()) != len(arrays["audio"]):
        raise DataError(
            f"{path}: length adds up to {int(lengths.sum())} but audio has {len(arrays['audio'])} samples."
        )
    rate = int(arrays["rate_hz"]) if "rate_hz" in arrays else rate_hz
    if rate is None:
        raise DataError(f"{path} does not say how many samples there are a second.", "Give rate_hz=.")
    parts = np.split(arrays["audio"], np.cumsum(lengths)[:-1])
    return Recordings(
        [Audio(part, rate, f"{path.stem} {k}") for k, part in enumerate(parts)],
        _of_archive(path, arrays, text, len(parts)) if answers else None,
        _groups(path, arrays, group, len(parts)),
    )


def _groups(path: Path, arrays: dict[str, Any], group: str | None, n: int) -> list[str] | None:
    if group is None:
        return None
    return [path.stem] * n if group == FILE else [str(v) for v in _of_archive(path, arrays, group, n)]


def _of_archive(path: Path, arrays: dict[str, Any], name: str | None, n: int) -> list[Any]:
    """One value a recording out of an archive's array."""
    if name is None:
        name = next((each for each in TEXT_COLUMNS if each in arrays), None)
        if name is None:
            raise DataError(
                f"{path} has no array of transcripts by a usual name; it has {', '.join(arrays)}.",
                "Name it: text=…",
            )
    if name not in arrays:
        raise DataError(f"{path}: {unknown(name, list(arrays), 'array')}")
    if arrays[name].shape != (n,):
        raise DataError(f"{path}: {name} is {arrays[name].shape} but there are {n} recordings.")
    return list(arrays[name].tolist())


def _folder(
    path: Path, text: str | None, group: str | None, rate_hz: int | None, answers: bool
) -> Recordings:
    archives = sorted(path.glob("*.npz"))
    if archives:
        each = [_archive(file, text, group, rate_hz, answers) for file in archives]
        groups = [
            name
            for file, one in zip(archives, each)
            for name in (one.groups if one.groups is not None else [file.stem] * len(one.X))
        ]
        return Recordings(
            [sound for one in each for sound in one.X],
            [said for one in each for said in one.y or []] if answers else None,
            groups,
        )
    sounds = sorted(file for file in path.iterdir() if file.suffix.lower() in SOUNDS)
    if not sounds:
        raise DataError(
            f"{path} holds no sound file ({', '.join(SOUNDS)}) and no .npz archive.", "Check the path."
        )
    if not answers:
        return Recordings(list(sounds), None, None)
    texts = []
    for sound in sounds:
        beside = sound.with_suffix(".txt")
        if not beside.is_file():
            raise DataError(
                f"{sound} has no {beside.name} beside it that says what is said.",
                "Write one, or give a table with the columns path and text.",
            )
        texts.append(" ".join(read_lines(beside)))
    return Recordings(list(sounds), texts, None)
