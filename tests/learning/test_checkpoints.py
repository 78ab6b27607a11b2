"""Checkpoints: verified when read, whole when written, whatever the disk does."""

import errno
import json
import os
import re
import time

import pytest
import torch
from problems import Net, digest, sources

from saiki import learning as L
from saiki.core.errors import CheckpointError, DiskError
from saiki.learning import trainer as trainer_module
from saiki.learning.checkpoints import remove_strays, save_checkpoint


def save(folder, number, value=0.0, **options):
    return save_checkpoint(
        folder,
        number,
        model={"w": torch.full((3,), value)},
        training={"optimizer/w/step": torch.tensor(value), "generator/x": torch.zeros(5, dtype=torch.uint8)},
        state={"position": {"update": number}, "best": 0.1 + 0.2},
        **options,
    )


def test_what_is_written_is_read_again(tmp_path):
    save(tmp_path / "new" / "deep", 0, 1.5, files={"config.json": b"{}"})
    checkpoint = L.newest_verified(tmp_path / "new" / "deep")
    assert checkpoint.number == 0 and checkpoint.path.name == "000000"
    assert checkpoint.model["w"].tolist() == [1.5] * 3
    assert checkpoint.training["generator/x"].dtype == torch.uint8
    assert checkpoint.state == {"position": {"update": 0}, "best": 0.1 + 0.2}  # floats to the last bit
    assert checkpoint.files == {"config.json": b"{}"}
    assert checkpoint.rejected == ()
    names = {p.name for p in checkpoint.path.iterdir()}
    assert names == {
        "model.safetensors",
        "training.safetensors",
        "state.json",
        "manifest.json",
        "config.json",
    }


def test_tied_and_strided_weights_are_written_as_they_are(tmp_path):
    w = torch.arange(6.0).reshape(2, 3)
    save_checkpoint(tmp_path, 0, model={"a": w, "b": w, "c": w.T, "d": w[:, ::2]}, training={}, state={})
    read = L.newest_verified(tmp_path).model
    assert torch.equal(read["c"], w.T) and torch.equal(read["b"], w) and torch.equal(read["d"], w[:, ::2])


def test_the_two_newest_stay(tmp_path):
    for number in range(5):
        save(tmp_path, number)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000003", "000004"]


def damage(path):
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-3])


def test_a_checkpoint_that_does_not_verify_is_passed_over(tmp_path, caplog):
    for name, harm, reason in (
        ("model.safetensors", damage, "SHA-256"),
        ("training.safetensors", truncate, "cut short"),
        ("state.json", damage, "SHA-256"),
        ("manifest.json", truncate, "not JSON"),
        ("model.safetensors", lambda p: p.unlink(), "No such file"),
        ("manifest.json", lambda p: p.unlink(), "No such file"),
    ):
        folder = tmp_path / f"{name} {harm.__name__}"
        save(folder, 0, 1.0)
        harm(save(folder, 1, 2.0) / name)
        checkpoint = L.newest_verified(folder)
        assert checkpoint.number == 0 and checkpoint.model["w"][0] == 1.0
        assert len(checkpoint.rejected) == 1 and "000001" in checkpoint.rejected[0], name
        assert reason in checkpoint.rejected[0]
        harm(folder / "000000" / name)
        with pytest.raises(CheckpointError, match=r"no checkpoint in .* is whole: 000001 .*; 000000 "):
            L.newest_verified(folder)
    assert "is passed over" in caplog.text


def test_a_hostile_manifest_is_refused(tmp_path):
    def manifest(change):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        path = save(folder, 0) / "manifest.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
        return folder

    cases = {
        "no plain name": lambda m: m["files"].update({"../000000/state.json": m["files"]["state.json"]}),
        "reads 1": lambda m: m.update(schema=2),
        "not the manifest of a checkpoint": lambda m: m.update(format="other"),
        "lacks training.safetensors": lambda m: m["files"].pop("training.safetensors"),
        "says nothing useful": lambda m: m["files"].update({"state.json": {"size": "9"}}),
        "must have": lambda m: m["files"]["state.json"].update(size=10**15),
    }
    for match, change in cases.items():
        with pytest.raises(CheckpointError, match=match):
            L.newest_verified(manifest(change))


def test_nothing_trained_yet(tmp_path):
    with pytest.raises(CheckpointError, match=r"there is no checkpoint in .*none: nothing was trained yet"):
        L.newest_verified(tmp_path / "none")
    (tmp_path / "000000").write_text("a file")
    (tmp_path / "other").mkdir()
    with pytest.raises(CheckpointError, match="nothing was trained yet"):
        L.newest_verified(tmp_path)


def test_leftovers_of_a_killed_run_are_removed_and_nothing_else(tmp_path):
    strays = [tmp_path / ".000007.0123456789abcdef.tmp", tmp_path / ".000001.ffffffffffffffff.tmp"]
    others = [tmp_path / ".tmp", tmp_path / "000001", tmp_path / ".000007.0123.tmp"]
    for path in strays + others:
        path.mkdir()
        (path / "model.safetensors").write_bytes(b"half")
    remove_strays(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(others)
    remove_strays(tmp_path / "none")


CALLS = (
    "open",
    "write",
    "fsync",
    "close",
    "replace",
    "rename",
    "mkdir",
    "chmod",
    "fchmod",
    "rmdir",
    "unlink",
)


class FailingDisk:
    """Lets n calls pass, then answers each with an error."""

    def __init__(self, monkeypatch, allowed, number, once):
        self.left, self.number, self.once, self.failed = allowed, number, once, 0
        for name in CALLS:
            monkeypatch.setattr(os, name, self.wrapped(getattr(os, name)))

    def wrapped(self, function):
        def call(*arguments, **options):
            self.left -= 1
            if self.left < 0 and not (self.once and self.failed):
                self.failed += 1
                raise OSError(self.number, os.strerror(self.number))
            return function(*arguments, **options)

        return call


@pytest.mark.parametrize("once", [True, False], ids=["one call", "from then on"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS], ids=lambda n: errno.errorcode[n])
def test_whatever_call_fails_the_older_checkpoint_stands(number, once, tmp_path):
    """The n-th call of the operating system fails, for every n, until a save goes through."""
    met = 0
    for allowed in range(500):
        folder = tmp_path / str(allowed)
        for old in range(3):
            save(folder, old, float(old))
        with pytest.MonkeyPatch.context() as patch:
            disk = FailingDisk(patch, allowed, number, once)
            try:
                save(folder, 3, 3.0)
                error = None
            except DiskError as caught:
                error = caught
        if not disk.failed:
            assert error is None
            break
        met += 1
        newest = L.newest_verified(folder)
        assert newest.number in (2, 3) and newest.model["w"][0] == newest.number
        assert newest.rejected == ()
        if error is None:  # the harm was to something that may fail, such as putting the permissions right
            assert newest.number == 3
        else:
            assert str(folder / "000003") in str(error) or "000001" in str(error)
            assert "older" in str(error) or "before it are intact" in str(error)
    else:
        pytest.fail("the save never went through")
    assert met > 25  # five files of several calls each


def test_a_full_disk_during_training_ends_with_an_error_and_the_run_resumes(tmp_path):
    data = sources()
    trainer = L.Trainer(max_epochs=4, lr=0.05, batch_size=8)
    whole = Net()
    trainer.fit(whole, "squared", data[0], data[1])
    with pytest.MonkeyPatch.context() as patch:
        FailingDisk(patch, 90, errno.ENOSPC, once=False)
        with pytest.raises(
            DiskError, match=r"No space left on device.*are intact: free some space"
        ) as caught:
            trainer.fit(Net(), "squared", data[0], data[1], checkpoint=tmp_path)
    assert str(tmp_path) in str(caught.value)
    number = L.newest_verified(tmp_path).number
    assert number >= 1
    again = Net(seed=6)
    trainer.fit(again, "squared", data[0], data[1], checkpoint=tmp_path, resume=True)
    assert digest(again) == digest(whole)
    assert all(not p.name.startswith(".") for p in tmp_path.iterdir())


def test_resume_falls_back_to_the_checkpoint_that_verifies(tmp_path):
    data = sources()
    trainer = L.Trainer(max_epochs=4, lr=0.05, batch_size=8)
    whole = Net()
    trainer.fit(whole, "squared", data[0], data[1], checkpoint=tmp_path)
    newest = L.newest_verified(tmp_path)
    truncate(newest.path / "model.safetensors")
    again = Net(seed=6)
    trainer.fit(again, "squared", data[0], data[1], checkpoint=tmp_path, resume=True)
    assert digest(again) == digest(whole)
    assert L.newest_verified(tmp_path).number == newest.number + 1


def test_a_state_that_is_not_ours_is_refused(tmp_path):
    data = sources()
    trainer = L.Trainer(max_epochs=1, batch_size=8)
    trainer.fit(Net(), "squared", data[0], data[1], checkpoint=tmp_path / "good")
    good = L.newest_verified(tmp_path / "good")
    cases = {
        "position": lambda s: s["position"].update(epoch="1"),
        "record": lambda s: s["record"].update(more=1),
        "stopping": lambda s: s["stopping"].update(best="low"),
        "schedule": lambda s: s.update(schedule={"x": 1}),
        "lacks": lambda s: s.pop("position"),
        "options": lambda s: s.update(options={}),
    }
    for k, (match, change) in enumerate(cases.items()):
        state = json.loads(json.dumps(good.state))
        change(state)
        folder = tmp_path / str(k)
        save_checkpoint(folder, 0, model=good.model, training=good.training, state=state)
        with pytest.raises(CheckpointError, match=match):
            trainer.fit(Net(), "squared", data[0], data[1], checkpoint=folder, resume=True)
    tensors = {
        "optimiser's state": {**good.training, "optimizer/none/step": torch.zeros(())},
        "random generators": {n: t for n, t in good.training.items() if not n.startswith("generator")},
        "weights of": {**good.training, "network/first.weight": torch.zeros(2, 2)},
    }
    for match, training in tensors.items():
        folder = tmp_path / match
        save_checkpoint(folder, 0, model=good.model, training=training, state=good.state)
        with pytest.raises(CheckpointError, match=match):
            trainer.fit(Net(), "squared", data[0], data[1], checkpoint=folder, resume=True)


def test_resuming_under_other_versions_is_said(tmp_path, caplog):
    """Bits are promised for the same versions and threads; elsewhere the run goes on and says so."""
    data = sources()
    trainer = L.Trainer(max_epochs=1, batch_size=8)
    trainer.fit(Net(), "squared", data[0], data[1], checkpoint=tmp_path / "here")
    good = L.newest_verified(tmp_path / "here")
    state = json.loads(json.dumps(good.state))
    state["record"]["versions"]["torch"] = "2.0.0"
    state["record"]["machine"]["threads"] = 64
    save_checkpoint(tmp_path / "there", 0, model=good.model, training=good.training, state=state)
    record = trainer.fit(Net(), "squared", data[0], data[1], checkpoint=tmp_path / "there", resume=True)
    expected = [
        f"Resumed with torch {torch.__version__} where it was 2.0.0: bits may differ.",
        f"Resumed with threads {torch.get_num_threads()} where it was 64: bits may differ.",
    ]
    assert record.notes[-2:] == expected
    assert all(note in caplog.text for note in expected)


def test_a_run_that_mostly_saves_is_told_how_to_save_less(tmp_path, caplog, monkeypatch):
    slow = trainer_module.save_checkpoint

    def slower(*arguments, **options):
        time.sleep(0.2)
        return slow(*arguments, **options)

    train, *_ = sources()
    for folder in ("quick", "slow"):
        L.Trainer(max_epochs=2).fit(Net(), "squared", train, checkpoint=tmp_path / folder)
        said = [record.getMessage() for record in caplog.records if "every_minutes" in record.getMessage()]
        if folder == "quick":
            assert said == []
            monkeypatch.setattr(trainer_module, "LONG_RUN", 0.1)
            monkeypatch.setattr(trainer_module, "save_checkpoint", slower)
        else:
            assert len(said) == 1
            assert re.search(r"checkpoints took \d+ % of the 1 s: every_minutes=1 writes fewer", said[0])
