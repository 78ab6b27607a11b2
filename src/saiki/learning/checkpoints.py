"""Checkpoints that survive a kill at any instant, a full disk and a failing one.

    FOLDER/000012/model.safetensors      the weights one would use if training ended here
           000012/training.safetensors   what training needs besides: optimiser, rule, generators, current
           weights 000012/state.json             position, schedule, early stopping, record, fingerprints
           000012/manifest.json          size and SHA-256 of every other file; written last

A checkpoint is written into a temporary folder beside it, each file synced, the manifest last, then the
folder is renamed and its parent synced. Older ones go only after that; the two newest are kept. Nothing is
pickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import safetensors.torch
from torch import Tensor

from saiki.core.errors import CheckpointError, DiskError, SaikiError, SchemaError
from saiki.core.files import sync_folder, write_folder
from saiki.core.log import logger
from saiki.core.schema import read_json

SCHEMA = 1
KEEP = 2
MODEL, TRAINING, STATE, MANIFEST = "model.safetensors", "training.safetensors", "state.json", "manifest.json"
_NAME = re.compile(r"\d{6,12}")
_TEMPORARY = re.compile(r"\.\d{6,12}\.[0-9a-f]{16}\.tmp")  # what write_folder and _remove make
_JSON_LIMIT = 64 * 2**20  # a record of 2,000 updates and 100,000 epochs is 20 MiB


@final
@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that has been read and verified.

    Args:
        number: counted from 0, which was written before the first update.
        path: its folder.
        model: the weights one would use if training ended here, by name in the network's state.
        training: everything else that is tensors.
        state: everything else that is not; JSON.
        files: further files that the caller of the trainer had put beside them.
        rejected: newer checkpoints that did not verify, each with its reason.
    """

    number: int
    path: Path
    model: dict[str, Tensor]
    training: dict[str, Tensor]
    state: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)
    rejected: tuple[str, ...] = ()


def save_checkpoint(
    folder: Path,
    number: int,
    *,
    model: Mapping[str, Tensor],
    training: Mapping[str, Tensor],
    state: Mapping[str, Any],
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a checkpoint durably, then remove all but the two newest.

    Args:
        folder: where the checkpoints are; made if it is not there.
        number: of this one, larger than those before.
        model: see `Checkpoint`.
        training: see `Checkpoint`.
        state: see `Checkpoint`.
        files: more files to put beside them, by plain name.
    Returns:
        The checkpoint's folder.
    Raises:
        DiskError: the disk refused; the checkpoints that were there are untouched.
    """
    folder = Path(folder)
    final_path = folder / f"{number:06d}"
    contents = {
        **(files or {}),
        MODEL: safetensors.torch.save(_plain(model)),
        TRAINING: safetensors.torch.save(_plain(training)),
        STATE: json.dumps(state, allow_nan=False, sort_keys=True).encode(),
    }
    manifest = {
        "format": "saiki-checkpoint",
        "schema": SCHEMA,
        "number": number,
        "files": {
            name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in contents.items()
        },
    }
    contents[MANIFEST] = json.dumps(manifest, indent=1).encode()
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            sync_folder(folder.parent)
        write_folder(final_path, contents)
        for old in _numbered(folder)[:-KEEP]:
            _remove(old)
    except OSError as error:
        reason = error.message if isinstance(error, SaikiError) else str(error.strerror or error)
        raise DiskError(
            f"the checkpoint {final_path} failed: {reason.rstrip('.')}.",
            "The checkpoints before it are intact: free some space or mend the disk, then resume.",
        ) from error
    return final_path


def newest_verified(folder: Path | str) -> Checkpoint:
    """The newest checkpoint whose manifest verifies: every file there, of the right size and SHA-256.

    Raises:
        CheckpointError: there is none; those that were rejected are named with the reason.
    """
    folder = Path(folder)
    rejected: list[str] = []
    for path in reversed(_numbered(folder)):
        try:
            checkpoint = read_checkpoint(path)
        except CheckpointError as error:
            logger.warning("checkpoint %s is passed over: %s", path, error.message)
            rejected.append(f"{path.name} ({error.message})")
            continue
        return Checkpoint(**{**checkpoint.__dict__, "rejected": tuple(rejected)})
    if rejected:
        raise CheckpointError(f"no checkpoint in {folder} is whole: {'; '.join(rejected)}")
    raise CheckpointError(
        f"there is no checkpoint in {folder}: nothing was trained yet.", "Start without resume."
    )


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint and verify it.

    Raises:
        CheckpointError: a file is missing, cut short, changed, or of a newer schema; it is named.
    """
    try:
        if (path / MANIFEST).stat().st_size > _JSON_LIMIT:
            raise CheckpointError(f"{path / MANIFEST} is larger than any manifest of ours.")
        manifest = _json((path / MANIFEST).read_bytes(), path / MANIFEST)
        if manifest.get("format") != "saiki-checkpoint" or not isinstance(manifest.get("files"), dict):
            raise CheckpointError(f"{path / MANIFEST} is not the manifest of a checkpoint.")
        if manifest.get("schema") != SCHEMA:
            raise CheckpointError(
                f"{path} has schema {manifest.get('schema')!r} but this version reads {SCHEMA}.",
                "Use the version of Saiki that wrote it.",
            )
        contents = {name: _verified(path, name, entry) for name, entry in manifest["files"].items()}
    except OSError as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{error.filename or path} cannot be read: {error.strerror or error}."
        ) from error
    for name in (MODEL, TRAINING, STATE):
        if name not in contents:
            raise CheckpointError(f"{path} lacks {name}.")
    try:
        model, training = (safetensors.torch.load(contents.pop(name)) for name in (MODEL, TRAINING))
    except (safetensors.SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from error
    state = _json(contents.pop(STATE), path / STATE)
    return Checkpoint(int(path.name), path, model, training, state, contents)


def has_checkpoints(folder: Path) -> bool:
    """True if some checkpoint, whole or not, is there."""
    return bool(_numbered(folder))


def next_number(folder: Path) -> int:
    """One more than the newest checkpoint, verified or not; 0 where there is none."""
    there = _numbered(folder)
    return int(there[-1].name) + 1 if there else 0


def remove_strays(folder: Path) -> None:
    """Remove the temporary folders that killed runs have left behind."""
    if folder.is_dir():
        for path in folder.iterdir():
            if _TEMPORARY.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)


def _numbered(folder: Path) -> list[Path]:
    try:
        found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be read: {error.strerror or error}.") from error
    return sorted(found, key=lambda path: int(path.name))


def _remove(path: Path) -> None:
    # Renamed first, so that a half-removed checkpoint never looks like one.
    doomed = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    os.rename(path, doomed)
    shutil.rmtree(doomed)


def _verified(path: Path, name: str, entry: object) -> bytes:
    if name != os.path.basename(name) or name in ("", ".", "..", MANIFEST):
        raise CheckpointError(f"{path / MANIFEST} names the file {name!r}, which is no plain name.")
    if not isinstance(entry, dict) or set(entry) != {"size", "sha256"} or not isinstance(entry["size"], int):
        raise CheckpointError(f"{path / MANIFEST} says nothing useful about {name!r}.")
    file = path / name
    size = file.stat().st_size
    if size != entry["size"]:
        raise CheckpointError(
            f"{file} has {size} bytes but must have {entry['size']}: it was cut short or changed."
        )
    if name == STATE and size > _JSON_LIMIT:
        raise CheckpointError(f"{file} has {size} bytes, more than any checkpoint of ours.")
    data = file.read_bytes()
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise CheckpointError(f"{file} has been changed: its SHA-256 is not the manifest's.")
    return data


def _json(data: bytes, where: Path) -> dict[str, Any]:
    try:
        value = read_json(data, str(where), _JSON_LIMIT)
    except SchemaError as error:
        raise CheckpointError(error.message) from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{where} does not hold an object.")
    return value


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # Clones: safetensors refuses tensors that share memory, which tied weights do.
    return {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
