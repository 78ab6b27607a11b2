"""Atomic files: what stands after any call to the system fails, and what a reader sees."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from contextlib import contextmanager

import pytest

from saiki.core import files
from saiki.core.errors import DiskError
from saiki.core.files import atomic_write, remove_leftovers, sha256, sync_folder, write_folder

CALLS = ("open", "write", "fsync", "replace", "rename", "mkdir", "chmod", "fchmod", "close")
REASONS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES, errno.EDQUOT)


@contextmanager
def failing(monkeypatch, call, nth, number):
    """The `nth` os.`call` fails with this error; yields a list that has an entry once it has happened."""
    real, count, happened = getattr(os, call), 0, []

    def fail(*arguments, **options):
        nonlocal count
        count += 1
        if count == nth:
            happened.append(nth)
            if call == "close":
                real(*arguments, **options)  # the descriptor is gone even if close reports an error
            raise OSError(number, os.strerror(number))
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        yield happened


def refused(work):
    """The DiskError that this raises, or None."""
    try:
        work()
    except DiskError as error:
        return error
    return None


def every_failure(monkeypatch, calls, work):
    """Run `work` with each call failing at its first, second, … occurrence until it no longer occurs."""
    seen = 0
    for call in calls:
        for nth in range(1, 100):
            with failing(monkeypatch, call, nth, REASONS[nth % len(REASONS)]) as happened:
                work(call, nth, happened)
            if not happened:
                break
            seen += 1
    return seen


def test_the_content_the_mode_and_the_replacement(tmp_path):
    path = tmp_path / "a.bin"
    for content in (b"", b"one", bytearray(b"two" * 1000), memoryview(b"three")):
        atomic_write(path, content)
        assert path.read_bytes() == bytes(content)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == ["a.bin"]
    assert sha256(path) == hashlib.sha256(b"three").hexdigest()


def test_short_writes_are_continued(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:7]))
    atomic_write(tmp_path / "a", bytes(range(100)))
    assert (tmp_path / "a").read_bytes() == bytes(range(100))


def test_a_write_that_takes_nothing_is_an_error_not_a_loop(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "write", lambda fd, data: 0)
    with pytest.raises(DiskError, match=r"the disk took no bytes"):
        atomic_write(tmp_path / "a", b"x")
    assert os.listdir(tmp_path) == []


def test_every_failing_call_leaves_the_old_file_or_the_new_one(tmp_path, monkeypatch):
    path = tmp_path / "model.bin"
    old, new = b"old" * 50, b"new" * 40

    def work(call, nth, happened):
        path.write_bytes(old)
        raised = refused(lambda: atomic_write(path, new))
        assert os.listdir(tmp_path) == ["model.bin"], (call, nth)
        assert (raised is not None) == bool(happened)
        if raised is None:
            assert path.read_bytes() == new
            return
        assert str(path) in str(raised) and raised.errno in REASONS and raised.filename == str(path)
        # only the fsync of the folder, after the rename, may leave the new file and still be an error
        at_the_end = (call, nth) in (("open", 2), ("fsync", 2), ("close", 2))
        assert path.read_bytes() == (new if at_the_end else old), (call, nth)
        assert ("may not outlive a power cut" in str(raised)) == at_the_end

    assert every_failure(monkeypatch, CALLS, work) == 9  # open, fsync and close twice; write, fchmod, replace


@pytest.mark.parametrize(
    ("number", "hint"),
    [(errno.ENOSPC, "The disk is full"), (errno.EROFS, "read-only"), (errno.EIO, "reports an error")],
)
def test_the_error_says_what_to_do(tmp_path, monkeypatch, number, hint):
    with (
        failing(monkeypatch, "write", 1, number),
        pytest.raises(DiskError, match=r"cannot write .*a\.bin: ") as error,
    ):
        atomic_write(tmp_path / "a.bin", b"x")
    assert hint in error.value.hint and "untouched" in error.value.message


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(DiskError, match=r"The folder does not exist: create it first"):
        atomic_write(tmp_path / "no" / "a", b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DiskError, match=r"cannot write .*folder"):
        atomic_write(tmp_path / "folder", b"x")
    with pytest.raises(DiskError, match=r"cannot write"):
        atomic_write(str(tmp_path / "a\0b"), b"x")
    with pytest.raises(DiskError, match=r"cannot read .*nothing"):
        sha256(tmp_path / "nothing")
    assert os.listdir(tmp_path) == ["folder"]


def test_an_interrupt_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "a", b"x")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_knows_no_fsync_is_no_error(tmp_path, monkeypatch):
    with failing(monkeypatch, "fsync", 1, errno.EINVAL):
        sync_folder(tmp_path)
    with failing(monkeypatch, "fsync", 1, errno.EIO), pytest.raises(OSError):
        sync_folder(tmp_path)


def test_the_temporary_file_is_new_private_and_beside_the_target(tmp_path, monkeypatch):
    seen = []
    real = os.open

    def record(path, flags, mode=0o777, **options):
        seen.append((str(path), flags, mode))
        return real(path, flags, mode, **options)

    monkeypatch.setattr(os, "open", record)
    atomic_write(tmp_path / "a", b"x")
    path, flags, mode = seen[0]
    assert (
        os.path.dirname(path) == str(tmp_path) and flags & os.O_EXCL and flags & os.O_CREAT and mode == 0o600
    )


def test_leftovers_of_a_kill_are_removed_and_nothing_else(tmp_path):
    left = files._temporary(tmp_path / "model.bin")
    left.write_bytes(b"half")
    (tmp_path / ".bashrc.tmp").write_bytes(b"mine")
    remove_leftovers(tmp_path)
    remove_leftovers(tmp_path / "absent")
    assert os.listdir(tmp_path) == [".bashrc.tmp"]


def test_a_folder_comes_whole(tmp_path):
    write_folder(tmp_path / "000001", {"a": b"1", "b.json": b"{}"})
    assert {path.name: path.read_bytes() for path in (tmp_path / "000001").iterdir()} == {
        "a": b"1",
        "b.json": b"{}",
    }
    assert stat.S_IMODE((tmp_path / "000001").stat().st_mode) == 0o755
    with pytest.raises(DiskError, match=r"something of that name exists"):
        write_folder(tmp_path / "000001", {})
    for name in ("", "..", "a/b", "/etc/x", "a\0"):
        with pytest.raises(DiskError, match=r"not a plain file name"):
            write_folder(tmp_path / "2", {name: b""})
    assert os.listdir(tmp_path) == ["000001"]


def test_every_failing_call_leaves_no_folder_or_a_whole_one(tmp_path, monkeypatch):
    content = {"a": b"1" * 10, "b": b"2" * 10}

    def work(call, nth, happened):
        target = tmp_path / f"{call}{nth}"
        raised = refused(lambda: write_folder(target, content))
        assert (raised is not None) == bool(happened)
        if raised is not None:
            assert str(target) in str(raised)
            if "may not outlive" not in str(raised):
                assert os.listdir(tmp_path) == [], (call, nth)
                return
        assert {path.name: path.read_bytes() for path in target.iterdir()} == content
        for path in target.iterdir():
            path.unlink()
        target.rmdir()

    assert every_failure(monkeypatch, CALLS, work) == 19
