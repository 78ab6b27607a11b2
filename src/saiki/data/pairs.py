"""Pairs of texts, source and target: from files, from Python, and gathered by their source.

    pairs.tsv              one pair a line, a tab between source and target
    train.en, train.de     two files, line by line
    any of them gzipped    told by its first bytes

A line is taken as it stands but for its end; nothing is stripped, lower-cased or normalised here.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from saiki.core.errors import DataError, DTypeError, LengthError
from saiki.data.tokens import require_texts

__all__ = ["gathered", "read_lines", "read_pairs", "require_full", "require_pairs"]


def read_lines(path: str | Path) -> list[str]:
    """The lines of a text file in UTF-8, without their ends; it may be gzipped.

    Raises:
        DataError: the file is missing, not UTF-8 (the line is named), a damaged or cut gzip file, or empty.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                f"{path} is a damaged gzip file: {error}.", "Fetch or write the file again."
            ) from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line} is not UTF-8 (byte 0x{content[error.start]:02x}).",
            "Convert the file: iconv -f ENCODING -t UTF-8.",
        ) from error
    lines = text.replace("\r\n", "\n").split("\n")
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise DataError(f"{path} is empty.", "Give a file with one text a line.")
    return lines


def read_pairs(path: str | Path, target: str | Path | None = None) -> tuple[list[str], list[str]]:
    """Pairs of a .tsv file (source, tab, target), or of two files line by line.

    Args:
        path: the .tsv file, or the file of the sources where `target` is given.
        target: the file of the targets.
    Returns:
        Sources and targets.
    Raises:
        DataError: a file cannot be read, a line has not two columns, the files differ in length, or a text
            is empty; file and line are named.
    """
    path = Path(path)
    if target is None:
        sources, targets = [], []
        for number, line in enumerate(read_lines(path), start=1):
            columns = line.split("\t")
            if len(columns) != 2:
                raise DataError(
                    f"{path}, line {number} has {len(columns)} column{'s' if len(columns) != 1 else ''} but "
                    "must have two, source and target, with a tab between.",
                    "For two files line by line, name the second one as the target file.",
                )
            sources.append(columns[0])
            targets.append(columns[1])
        places = (str(path), str(path))
    else:
        sources, targets = read_lines(path), read_lines(target)
        if len(sources) != len(targets):
            raise DataError(
                f"{path} has {len(sources)} lines but {target} has {len(targets)}; line n of one must be "
                "the translation of line n of the other.",
                "Check that both are of the same part of the data.",
            )
        places = (str(path), str(target))
    for place, what, texts in zip(places, ("source", "target"), (sources, targets)):
        for number, text in enumerate(texts, start=1):
            if not text.strip():
                raise DataError(f"{place}, line {number}: the {what} is empty.", "Leave such lines out.")
    return sources, targets


def require_full(texts: object, name: str) -> list[str]:
    """A list of texts of which none is empty.

    Args:
        texts: a list, tuple, array or column.
        name: the argument's name, for messages.
    Raises:
        DTypeError: one text in place of a list, or an entry that is no text.
        LengthError: there is none, or one is empty.
    """
    found = require_texts(texts, name)
    if not found:
        raise LengthError(f"{name} holds no text.", "Give at least one.")
    for index, text in enumerate(found):
        if not text.strip():
            raise LengthError(f"{name}[{index}] is an empty text.", "Leave empty texts out.")
    return found


def require_pairs(
    sources: object, targets: object, names: tuple[str, str] = ("X", "y")
) -> tuple[list[str], list[list[str]]]:
    """Sources and, for each, its right answers: one text, or a list of several.

    Args:
        sources: n texts.
        targets: n texts, or n lists of texts.
        names: what messages call the two.
    Raises:
        DTypeError, LengthError: see `require_full`; or the two differ in length.
    """
    first, second = names
    X = require_full(sources, first)
    if targets is None or isinstance(targets, str | bytes) or not isinstance(targets, Iterable):
        raise DTypeError(
            f"{second} is {type(targets).__name__} but must be a list of texts, the targets of {first}."
        )
    several = [list(one) if isinstance(one, list | tuple) else [one] for one in targets]
    if len(several) != len(X):
        raise LengthError(
            f"{first} has {len(X)} texts but {second} has {len(several)}.", "Give one target a source."
        )
    for index, one in enumerate(several):
        if len(one) != 1:
            require_full(one, f"{second}[{index}]")
    flat = require_full([text for one in several for text in one], second)
    ends = np.cumsum([len(one) for one in several]).tolist()
    return X, [flat[end - len(one) : end] for one, end in zip(several, ends)]


def gathered(sources: Sequence[str], targets: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Each source once, with all its right answers in the order in which they came.

    Args:
        sources: n texts.
        targets: n lists of texts.
    """
    found: dict[str, list[str]] = {}
    for source, several in zip(sources, targets):
        known = found.setdefault(source, [])
        known.extend(text for text in several if text not in known)
    return list(found), list(found.values())
