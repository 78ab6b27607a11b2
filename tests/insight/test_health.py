"""Training health: what is read off a record, and where a loss is said to jump."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from saiki.core.errors import ShapeError, ValueRangeError
from saiki.core.record import FitRecord
from saiki.insight import Finding, Inside, ReportData, figures, figures_health, report
from saiki.insight.health import loss_spikes, training_health
from saiki.learning.lr_range import read_off


def record():
    made = FitRecord(clip_norm=1.0, ratio_names=["layers.lstm.weight_hh_l0", "layers.lstm.bias_l0"])
    for update in range(1, 101):
        norm = 2.0 if update % 4 == 0 else 0.5
        made.add_update(update, 5.0 if update == 60 else 1.0 / update, norm, clipped=norm > 1)
        if made.wants_ratios(update):
            made.add_ratios(update, [0.04 if update <= 16 else 0.001, 1.0])
    return made


def test_what_a_record_holds_is_read_off_it():
    health = training_health(record())
    assert health.updates.tolist() == list(range(1, 101)) and health.loss[1] == 0.5
    assert health.share_clipped == 0.25 and health.clipped.nonzero()[0].tolist() == list(range(3, 100, 4))
    assert health.weights.tolist() == [True, False]
    assert (health.early_ratio, health.weight_ratio) == (0.04, 0.001)  # the bias is left out
    assert health.spikes == (60,)
    told = health.to_json()
    assert told["share_clipped"] == 0.25 and told["gradient_norm_median"] == 0.5
    assert told["ratios"] == {"layers.lstm.weight_hh_l0": 0.001, "layers.lstm.bias_l0": 1.0}


def test_a_weight_that_starts_at_zero_does_not_count():
    made = FitRecord(ratio_names=["stack.weight_hh_l0", "head.weight"])
    for update in range(1, 20):
        made.add_ratios(update, [0.002, 1 / update])
    health = training_health(made)
    assert health.weights.tolist() == [True, True] and health.started.tolist() == [True, False]
    assert health.early_ratio == health.weight_ratio == 0.002


def test_a_record_without_updates_or_of_an_older_version():
    nothing = training_health(FitRecord())
    assert nothing.to_json()["share_clipped"] is None and np.isnan(nothing.early_ratio)
    older = FitRecord(updates=[(1, 0.5, 1.0)])
    assert training_health(older).ratios.shape == (0, 0) and training_health(older).updates.tolist() == [1]


def test_noise_has_no_spikes_and_a_jump_is_found_once():
    rng = np.random.default_rng(0)
    noise = np.exp(-np.arange(400) / 100) * (1 + 0.1 * rng.standard_normal(400))
    assert loss_spikes(noise).tolist() == []
    jumped = noise.copy()
    jumped[[150, 151, 152]] *= [3, 9, 4]  # three in a row are one
    jumped[300] *= 5
    assert loss_spikes(jumped).tolist() == [151, 300]


def test_a_loss_that_hardly_varies_may_jump_a_little():
    flat = np.ones(50)
    flat[30] = 1.4
    assert loss_spikes(flat).tolist() == [] and loss_spikes(flat, share=0.3).tolist() == [30]
    assert loss_spikes(np.ones(3)).tolist() == [] and loss_spikes([]).tolist() == []


def test_what_is_refused():
    with pytest.raises(ShapeError, match=r"loss is \(2, 2\) but must be \(n,\)"):
        loss_spikes(np.ones((2, 2)))
    with pytest.raises(ValueRangeError, match="window"):
        loss_spikes([1.0], window=1)


# --------------------------------------------------------------------------------------------------- pictures


def marks(svg):
    """How many dots a picture has, and its words."""
    root = ElementTree.fromstring(svg)
    words = [element.text for element in root.iter() if element.tag.endswith("text") and element.text]
    return sum(element.tag.endswith("use") for element in root.iter()), words


def test_clipped_updates_have_a_dot():
    with_dots, words = marks(figures.gradient_norm(record(), clip_norm=1.0))
    without, _ = marks(figures.gradient_norm(FitRecord(updates=record().updates), clip_norm=1.0))
    assert with_dots - without >= 25 and "clipped above" in words


def test_ratios_are_drawn_with_the_names_of_their_weights():
    _, words = marks(figures_health.update_ratios(training_health(record())))
    assert "lstm weight_hh" in words and not any("bias" in word for word in words)
    with pytest.raises(ValueRangeError, match="no update-to-weight ratio"):
        figures_health.update_ratios(training_health(FitRecord()))


def test_a_jump_of_the_loss_is_marked():
    dots, words = marks(figures_health.batch_loss(training_health(record())))
    calm = record()
    calm.updates[59] = (60, 1 / 60, 0.5)
    none, _ = marks(figures_health.batch_loss(training_health(calm)))
    assert dots > none and "loss of the batch" in words
    with pytest.raises(ValueRangeError, match="no update"):
        figures_health.batch_loss(training_health(FitRecord()))


@pytest.mark.parametrize("width", [360, 840])
def test_a_range_test_is_drawn_with_its_rate(width):
    lr = np.geomspace(1e-6, 1, 61)
    loss = 1 - 0.8 / (1 + np.exp(-8 * (np.log10(lr) + 3)))
    _, words = marks(figures_health.lr_range(read_off(lr, loss, np.ones(61), "high reached"), width=width))
    assert "lr = 0.001" in words and "learning rate" in words
    flat = read_off(lr[:3], np.ones(3), np.ones(3), "high reached")
    assert flat.suggested is None and "smoothed" in marks(figures_health.lr_range(flat, width=width))[1]


def test_the_section_of_a_report_says_what_was_found_and_escapes_it():
    found = Finding(
        rule="dead", severity="ill", sentence="In <b> 5 of 8 units are dead.", advice="Start & go."
    )
    page = report(
        ReportData(title="t", task="regressor", inside=Inside(verdict="Units are dead.", findings=(found,)))
    )
    assert "<h2>Inside</h2>" in page and "Units are dead." in page
    assert "In &lt;b&gt; 5 of 8" in page.replace("\u00a0", " ") and "Start &amp; go." in page
    assert "<h2>Inside</h2>" not in report(ReportData(title="t", task="regressor"))
