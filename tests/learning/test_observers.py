"""The observers that come with the library."""

import re
import subprocess
import sys

import pytest
from problems import Net, sources

from saiki import learning as L
from saiki.core import extras
from saiki.core.errors import ExtraError


def run(*observers, **training):
    train, validation, everything = sources()
    trainer = L.Trainer(training=L.Training(**training), max_epochs=3, batch_size=8, lr=0.05)
    return trainer.fit(Net(), "squared", train, validation, all_data=everything, observers=observers)


def test_history_keeps_what_happened():
    history = L.History()
    record = run(history)
    assert [u.update for u in history.updates] == list(range(1, 10))
    assert history.epochs == record.epochs
    assert history.end == L.EndEvent("max_epochs reached", False, record.to_json())
    first = history.updates[0]
    assert first.gradient_norm > 0 and first.lr == 0.05 and first.seconds >= 0
    assert first.clipped is (first.gradient_norm > 1.0)


def test_the_progress_bar_shows_loss_and_time_left_on_stderr_alone(capfd):
    run(L.ProgressBar(force=True), refit="all")
    out, err = capfd.readouterr()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", err)
    assert out == ""
    assert re.search(r"epoch 3/3 .*loss \d\.\d+ +validation \d\.\d+ \(best \d\.\d+\) +left", plain)
    assert "all data, epoch" in plain


def test_the_progress_bar_is_quiet_where_stderr_is_no_terminal(capfd):
    run(L.ProgressBar())
    run(L.ProgressBar(force=False))
    assert capfd.readouterr() == ("", "")


def test_the_progress_bar_ends_with_an_error():
    bar = L.ProgressBar(force=True)
    with pytest.raises(ArithmeticError):
        L.Trainer().fit(Net(), lambda o, t: o[:, 0] / 0, sources()[0], observers=[bar])
    assert bar._bar is None


def test_tensorboard_gets_the_curves(tmp_path):
    pytest.importorskip("tensorboard")
    run(L.TensorBoard(tmp_path))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"fit/loss", "fit/gradient_norm", "fit/lr", "validation/loss"}
    assert [e.step for e in events.Scalars("fit/loss")] == list(range(1, 10))
    assert len(events.Scalars("validation/loss")) == 3


def test_without_tensorboard_the_extra_is_named(tmp_path, monkeypatch):
    def absent(module):
        raise ModuleNotFoundError(name=module)

    monkeypatch.setattr(extras.importlib, "import_module", absent)
    with pytest.raises(ExtraError, match=r"pip install 'saiki\[tensorboard\]'"):
        L.TensorBoard(tmp_path)


def test_the_room_loads_nothing_it_may_not_need():
    code = (
        "import sys, saiki.learning; "
        "print([m for m in ('rich', 'tensorboard', 'sklearn', 'matplotlib', 'pandas') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
