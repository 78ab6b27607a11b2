"""Writing files so that a kill, a full disk or a power cut never leaves half of one.

The recipe: a temporary file beside the target (created anew, readable by its owner alone), written, fsynced,
renamed over the target, and the folder fsynced. Until the rename the old file stands untouched; after it the
new one is complete. Every refusal of the disk becomes a `DiskError` that names the path.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

from saiki.core.errors import DiskError

__all__ = ["atomic_write", "remove_leftovers", "sha256", "sync_folder", "write_folder"]

FILE_MODE = 0o644
FOLDER_MODE = 0o755
_CHUNK = 1 << 20
_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{16}\.tmp")  # what `_temporary` makes
_HINTS = {
    errno.ENOSPC: "The disk is full: free some space and try again.",
    errno.EDQUOT: "Your quota is used up: free some space and try again.",
    errno.EROFS: "The file system is read-only: choose another folder.",
    errno.EACCES: "You may not write there: choose another folder or change its permissions.",
    errno.EPERM: "You may not write there: choose another folder or change its permissions.",
    errno.EIO: "The disk reports an error: check it, or choose a folder on another disk.",
    errno.ENOENT: "The folder does not exist: create it first.",
}


def atomic_write(path: str | os.PathLike[str], data: bytes | bytearray | memoryview) -> None:
    """Put `data` into the file `path`, whole or not at all, durable when this returns.

    Args:
        path: the file; its folder must exist. A file there is replaced.
        data: the whole content.
    Raises:
        DiskError: the disk refused. The old file is untouched and no temporary file is left; should only the
            last step fail, the fsync of the folder, the new file stands but may not outlive a power cut.
    """
    target = Path(path)
    temporary = _temporary(target)
    with _naming(target, "the file that was there before is untouched"):
        try:
            _write_new(temporary, data)
            os.replace(temporary, target)
        except BaseException:
            _remove_quietly(temporary)
            raise
    with _naming(target, "the new file stands but may not outlive a power cut"):
        sync_folder(target.parent)


def write_folder(folder: str | os.PathLike[str], files: Mapping[str, bytes]) -> None:
    """Make a new folder with these files, whole or not at all, durable when this returns.

    Args:
        folder: must not exist; its parent must.
        files: content by plain file name, written in this order.
    Raises:
        DiskError: the folder exists, a name is no plain file name, or the disk refused; nothing is left then.
    """
    target = Path(folder)
    for name in files:
        if name in ("", ".", "..") or Path(name).name != name or "\0" in name:
            raise DiskError(f"cannot write {target / '?'}: {name!r} is not a plain file name.")
    if os.path.lexists(target):
        raise DiskError(
            f"cannot make the folder {target}: something of that name exists.", "Choose another name."
        )
    temporary = _temporary(target)
    with _naming(target, "nothing was made"):
        try:
            os.mkdir(temporary, 0o700)
            for name, data in files.items():
                _write_new(temporary / name, data)
            os.chmod(temporary, FOLDER_MODE)
            sync_folder(temporary)
            os.rename(temporary, target)
        except BaseException:
            for name in files:
                _remove_quietly(temporary / name)
            with contextlib.suppress(OSError):
                os.rmdir(temporary)
            raise
    with _naming(target, "the new folder stands but may not outlive a power cut"):
        sync_folder(target.parent)


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's content, 64 hexadecimal digits.

    Raises:
        DiskError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise DiskError(f"cannot read {os.fspath(path)}: {error.strerror or error}.") from error
    return digest.hexdigest()


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Make the names in a folder durable; where the system cannot fsync a folder, this does nothing."""
    if os.name == "nt":  # Windows cannot open a folder; NTFS journals the names by itself
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (
            errno.EINVAL,
            errno.ENOTSUP,
        ):  # some network file systems know no fsync of folders
            raise
    finally:
        os.close(descriptor)


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Remove the temporary files of killed `atomic_write`s from a folder that nobody else is writing to."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if _LEFTOVER.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                _remove_quietly(Path(entry.path))


def _temporary(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")


def _write_new(path: Path, data: bytes | bytearray | memoryview) -> None:
    # O_EXCL and 0600: nobody can have laid a link there, and nobody reads a half-written file
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, 0o600)
    try:
        rest = memoryview(data).cast("B")
        while rest:
            written = os.write(descriptor, rest[: 64 * _CHUNK])
            if written <= 0:
                raise OSError(errno.EIO, "the disk took no bytes")
            rest = rest[written:]
        if hasattr(os, "fchmod"):
            os.fchmod(descriptor, FILE_MODE)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_quietly(path: Path) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


@contextlib.contextmanager
def _naming(path: Path, state: str) -> Iterator[None]:
    """Turn an OSError into a DiskError that names the path and says what stands there now."""
    try:
        yield
    except DiskError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        number = getattr(error, "errno", None)
        raised = DiskError(f"cannot write {path}: {reason}; {state}.", _HINTS.get(number or 0))
        raised.errno = number
        raised.filename = str(path)
        raise raised from error
