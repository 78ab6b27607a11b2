"""Runs that stop early: what they leave loads or says why not, and resuming ends in the same bits."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil

import numpy as np
import pytest
import torch

from saiki import SequenceClassifier, SequenceRegressor, load
from saiki.core.errors import CheckpointError, ModelFolderError, OptionError, SchemaError
from saiki.learning import Observer

QUICK = {"hidden_size": 6, "max_epochs": 6, "verbose": False, "patience": None, "dropout": 0.2}


def data() -> tuple[list[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((t, 2)) for t in rng.integers(2, 7, size=50)], np.arange(50) % 2


class _StopAfter(Observer):
    """Copies the folder away after so many checkpoints, as a kill at that moment would leave it."""

    def __init__(self, folder, away, count: int) -> None:
        self.folder, self.away, self.left = folder, away, count

    def on_checkpoint(self, event) -> None:
        self.left -= 1
        if self.left == 0:
            shutil.copytree(self.folder, self.away)


def _weights(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.network_.state_dict().items()}


def _stopped_after(count: int, tmp_path, **options):
    """A whole run's model, and the folder as it was after `count` checkpoints."""
    X, y = data()
    folder, away = tmp_path / "whole", tmp_path / "run" / "checkpoints"
    away.parent.mkdir()
    model = SequenceClassifier(**{**QUICK, "random_state": 5, **options})
    model.fit(X, y, checkpoint=folder, observers=[_StopAfter(folder, away, count)])
    return model, away


@pytest.mark.parametrize("count", [2, 4])
def test_an_unfinished_run_loads_and_says_so(count, tmp_path, caplog):
    _, away = _stopped_after(count, tmp_path)
    for folder in (away, away.parent):  # the checkpoints themselves, or the model folder around them
        with caplog.at_level(logging.WARNING, logger="saiki"):
            model = load(folder)
        assert f"the weights are those of checkpoint {count - 1:06d}" in caplog.text
        assert any("This run had not finished" in note for note in model.record_.notes)
        assert model.predict(data()[0]).shape == (50,)
        assert model.seed_ == 5 and len(model.record_.epochs) == count - 1
    model.save(tmp_path / "saved")  # and it can be kept
    np.testing.assert_array_equal(load(tmp_path / "saved").predict(data()[0]), model.predict(data()[0]))


def test_nothing_trained_yet_is_a_clear_error(tmp_path):
    _, away = _stopped_after(1, tmp_path)
    with pytest.raises(ModelFolderError, match="from before the first update: nothing was trained yet"):
        load(away.parent)


def test_a_broken_newest_checkpoint_is_passed_over(tmp_path, caplog):
    _, away = _stopped_after(4, tmp_path)
    newest = sorted(p for p in away.iterdir() if p.name.isdigit())[-1]
    (newest / "model.safetensors").write_bytes(b"cut")
    with caplog.at_level(logging.WARNING, logger="saiki"):
        model = load(away)
    assert "000003 is passed over" in caplog.text.replace(str(newest), "000003")
    assert any("Passed over: 000003" in note for note in model.record_.notes)


@pytest.mark.parametrize("count", [1, 3])
def test_resume_ends_in_the_same_bits(count, tmp_path):
    whole, away = _stopped_after(count, tmp_path)
    X, y = data()
    resumed = SequenceClassifier(**QUICK, random_state=5).fit(X, y, checkpoint=away, resume=True)
    for name, value in _weights(whole).items():
        assert torch.equal(value, resumed.network_.state_dict()[name]), name
    np.testing.assert_array_equal(whole.predict_proba(X), resumed.predict_proba(X))


def test_resume_finds_the_seed_of_a_run_without_one(tmp_path):
    whole, away = _stopped_after(2, tmp_path, random_state=None)
    X, y = data()
    resumed = SequenceClassifier(**QUICK, random_state=None).fit(X, y, checkpoint=away, resume=True)
    assert resumed.seed_ == whole.seed_
    np.testing.assert_array_equal(whole.predict_proba(X), resumed.predict_proba(X))


def test_other_data_or_options_are_refused(tmp_path):
    _, away = _stopped_after(2, tmp_path)
    X, y = data()
    with pytest.raises(CheckpointError, match="made with other data"):
        SequenceClassifier(**QUICK, random_state=5).fit([X[0] + 1, *X[1:]], y, checkpoint=away, resume=True)
    with pytest.raises(CheckpointError, match="made with other options"):
        SequenceClassifier(**{**QUICK, "dropout": 0.1}, random_state=5).fit(
            X, y, checkpoint=away, resume=True
        )


def test_checkpoints_of_another_run_are_not_overwritten(tmp_path):
    _, away = _stopped_after(2, tmp_path)
    X, y = data()
    before = sorted(p.name for p in away.iterdir())
    with pytest.raises(CheckpointError, match=r"already holds checkpoints of another run.*resume=True"):
        SequenceClassifier(**QUICK, random_state=5).fit(X, y, checkpoint=away)
    assert sorted(p.name for p in away.iterdir()) == before


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("speed", 3, "unknown key 'speed'"),
        ("schema", 2, "is of schema 2, written by a newer Saiki"),
        ("task", "oracle", "unknown task 'oracle'"),
        ("network", {"layers": []}, "network.input_size is missing"),
    ],
)
def test_what_a_checkpoint_says_of_the_estimator_is_read_strictly(key, value, said, tmp_path):
    _, away = _stopped_after(2, tmp_path)
    for path in away.iterdir():
        file = path / "estimator.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
        manifest = json.loads((path / "manifest.json").read_text())
        content = file.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        manifest["files"]["estimator.json"] = {"size": len(content), "sha256": digest}
        (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(SchemaError, match=said):
        load(away)


def test_resume_needs_a_folder():
    with pytest.raises(OptionError, match="resume=True needs checkpoint=FOLDER"):
        SequenceClassifier(**QUICK).fit(*data(), resume=True)


def test_a_custom_loss_resumes_and_loads(tmp_path):
    """Nothing that differs between processes, such as a function's address, may be in the fingerprint."""
    X, y = data()

    def mine(outputs, targets):
        return ((outputs - targets) ** 2).mean(dim=1)

    folder, away = tmp_path / "a", tmp_path / "b"
    options = {**QUICK, "random_state": 1, "max_epochs": 3}
    whole = SequenceRegressor(**options, loss=mine)
    whole.fit(X, y, checkpoint=folder, observers=[_StopAfter(folder, away, 2)])

    def again():
        def mine(outputs, targets):
            return ((outputs - targets) ** 2).mean(dim=1)

        return mine

    mine_again = again()
    mine_again.__qualname__ = mine.__qualname__
    resumed = SequenceRegressor(**options, loss=mine_again).fit(X, y, checkpoint=away, resume=True)
    np.testing.assert_array_equal(whole.predict(X), resumed.predict(X))
