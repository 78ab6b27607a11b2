"""`rule=` on the estimators: by name, in TOML and on the command line, in the folder, in the report."""

from __future__ import annotations

import numpy as np
import pytest

import saiki
from saiki import Forecaster, SequenceClassifier, SequenceRegressor
from saiki.cli.job import Job, build
from saiki.cli.options import rule_words
from saiki.core.errors import OptionError, SchemaError, UsageError
from saiki.learning import BPTT, Training, TruncatedBPTT

WINDOW = {"type": "truncated_bptt", "window": 6}
SMALL = {"hidden_size": 4, "max_epochs": 2, "random_state": 0, "verbose": False, "baselines": False}


def delayed(n=6, T=20):
    source = np.random.default_rng(0)
    X = [source.normal(size=(T + k, 2)) for k in range(n)]
    return X, [np.concatenate([[0.0], x[:-1, 0]]) for x in X]


def test_every_estimator_takes_a_rule_and_clones():
    from sklearn.base import clone

    for kind in (Forecaster, SequenceClassifier, SequenceRegressor):
        assert kind().rule is None
        assert clone(kind(rule=WINDOW)).rule == WINDOW


def test_a_rule_trains_is_saved_and_told(tmp_path):
    X, y = delayed()
    model = SequenceRegressor(rule=WINDOW, cell="gru", **SMALL).fit(X, y)
    assert len(model.record_.epochs) == 2
    steps = model.record_.training_values // 2
    assert model.record_.epochs[0].updates == 5 and steps > 100  # one batch of up to 25 steps, six at a time
    model.save(tmp_path / "m")
    again = saiki.load(tmp_path / "m")
    assert again.rule == TruncatedBPTT(6)
    page = (tmp_path / "m" / "report.html").read_text()
    assert "cut off after 6 steps" in page and "truncated_bptt (window 6)" in page
    assert np.array_equal(np.concatenate(again.predict(X)), np.concatenate(model.predict(X)))


def test_a_window_over_everything_trains_as_bptt_does():
    X, y = delayed()
    one = SequenceRegressor(rule={"type": "truncated_bptt", "window": 50}, **SMALL).fit(X, y)
    two = SequenceRegressor(**SMALL).fit(X, y)
    for name, weight in one.network_.state_dict().items():
        assert np.array_equal(weight.numpy(), two.network_.state_dict()[name].numpy()), name


@pytest.mark.parametrize("once", [False, True], ids=["a target a step", "a target a sequence"])
def test_real_time_recurrent_learning_trains_as_bptt_does(once):
    X, y = delayed()
    if once:
        y = [float(row[-1]) for row in y]
    one = SequenceRegressor(rule="rtrl", dtype="float64", **SMALL).fit(X, y)
    two = SequenceRegressor(dtype="float64", **SMALL).fit(X, y)
    for name, weight in one.network_.state_dict().items():
        np.testing.assert_allclose(
            weight, two.network_.state_dict()[name], rtol=1e-8, atol=1e-12, err_msg=name
        )


def test_once_a_sequence():
    X, _ = delayed()
    labels = ["up" if x[-2:, 0].sum() > 0 else "down" for x in X]
    model = SequenceClassifier(rule=WINDOW, validation=None, **SMALL).fit(X, labels)
    assert model.record_.epochs[-1].updates == 2  # one batch, one chunk, two epochs


def test_old_folders_have_no_rule(tmp_path):
    from saiki.models.regressor import RegressorOptions

    X, y = delayed()
    options = SequenceRegressor(**SMALL).fit(X, y)._options()
    del options["rule"]
    assert saiki.core.schema.strict(RegressorOptions, options, "options").rule is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rule": "rtlr"}, "unknown learning rule 'rtlr'"),
        ({"rule": "truncated_bptt"}, "needs 'window'"),
        ({"rule": WINDOW, "bidirectional": True}, "bidirectional.*future is not there yet"),
        (
            {"rule": WINDOW, "training": Training(rule=TruncatedBPTT(9))},
            "rule is .*window=6.* training has another",
        ),
    ],
)
def test_rules_that_do_not_fit(options, says):
    X, y = delayed()
    model = SequenceRegressor(**{**SMALL, **options})
    with pytest.raises(OptionError, match=says):
        model.fit(X, y)
    assert not hasattr(model, "network_")


def test_trainings_rule_stays_where_rule_is_none():
    assert SequenceRegressor(training=Training(rule=WINDOW))._training().checked().rule == TruncatedBPTT(6)
    assert SequenceRegressor(rule=BPTT())._training().checked().rule == BPTT()


def test_a_forecaster_of_windows_learns_by_bptt():
    model = Forecaster(horizon=2, context=4, rule=WINDOW, **SMALL)
    with pytest.raises(OptionError, match="forecaster of windows starts each of them anew"):
        model.fit(np.sin(np.arange(60.0)))


def test_on_the_command_line_and_in_toml():
    assert rule_words("truncated_bptt window=50 stride=10") == {
        "type": "truncated_bptt",
        "window": 50,
        "stride": 10,
    }
    assert rule_words("bptt") == {"type": "bptt"}
    with pytest.raises(UsageError, match="'window' is no OPTION=VALUE"):
        rule_words("truncated_bptt window")
    for job in (Job(model={"rule": WINDOW}), Job(training={"rule": WINDOW})):
        assert build("regressor", job, "job.toml")._training().checked().rule == TruncatedBPTT(6)


def test_a_rule_in_a_file_is_checked(tmp_path):
    import json

    from saiki.core.schema import seal

    X, y = delayed()
    SequenceRegressor(rule=WINDOW, **SMALL).fit(X, y).save(tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    config = json.loads(path.read_text())
    config["options"]["rule"]["window"] = 0
    path.write_text(json.dumps(seal(config)))
    with pytest.raises(SchemaError, match="options: window is 0"):
        saiki.load(tmp_path / "m")
