"""The report: says plainly who won, escapes what comes from data, asks for nothing from elsewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from saiki.core.errors import OptionError, ShapeError
from saiki.core.record import EpochRecord, FitRecord
from saiki.insight import (
    Comparison,
    Fact,
    HorizonErrors,
    Metric,
    NetworkRow,
    ReportData,
    Score,
    Split,
    figures,
    picture,
    report,
)

MAE = Metric(name="mean absolute error", unit="ppm")
ACCURACY = Metric(name="accuracy", percent=True, lower_is_better=False)
NAN = float("nan")


def compare(ours, *others, metrics=(MAE,)):
    rows = [Score(name="LSTM", values=ours, ours=True)]
    rows += [Score(name=name, values=values) for name, values in others]
    return Comparison(metrics=metrics, scores=tuple(rows))


def record(**changes):
    epochs = [
        EpochRecord(epoch=k, updates=10 * k, loss=1 / k, validation_loss=2 / k, lr=0.1, seconds=k)
        for k in range(1, 7)
    ]
    fields = {
        "epochs": epochs,
        "updates": [(k, 0.5, 0.1 * k) for k in range(1, 61)],
        "best_epoch": 6,
        "stopped_because": "max_epochs",
        "parameters": 223_927,
        "training_values": 1870,
        "training_sequences": 12,
        "seed": 7,
        "versions": {"torch": "2.13.0"},
        "machine": {"processor": "x86_64"},
        "seconds": 71.4,
        "notes": ["a note of the fit"],
    }
    return FitRecord(**{**fields, **changes})


def full(**changes):
    fields = {
        "title": "CO₂",
        "task": "forecaster",
        "record": record(),
        "comparison": compare((0.41,), ("ridge on lags", (0.5,))),
        "horizon": HorizonErrors(errors={"LSTM": [1.0, 2.0], "ridge": [0.5, 3.0]}, model="LSTM", step="week"),
        "pictures": (
            picture("Confusion matrix", "Rows are true.", lambda w: figures.confusion([[1]], ["a"], width=w)),
        ),
        "data": (Fact(name="rows", value=2284, unit="weeks"),),
        "splits": (Split(name="training", count=1715, unit="weeks", span="1958-1991", missing=59),),
        "network": (NetworkRow(layer="LSTM 64", shape="104 × 64", parameters=16_896, trainable=16_000),),
        "options": {
            "network": [{"type": "lstm", "hidden_size": 9}, {"type": "last"}],
            "training": {"optimizer": {"type": "adam", "eps": 1e-8}, "l1": 0.0},
            "cell": "lstm",
            "quantiles": (0.1, 0.9),
            "validation": None,
            "bidirectional": False,
        },
        "clip_norm": 1.0,
        "notes": ("another note",),
        "created": "2026-11-21",
    }
    return ReportData(**{**fields, **changes})


class Reader(HTMLParser):
    """Collects tags, attributes and visible text, and checks that tags nest."""

    VOID = ("meta", "path", "rect", "br")

    def __init__(self):
        super().__init__()
        self.stack, self.attributes, self.text, self.tags = [], [], [], set()

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, k, v) for k, v in attrs]
        self.tags.add(tag)
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, k, v) for k, v in attrs]
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.stack and self.stack[-1] == tag, (tag, self.stack[-3:])
        self.stack.pop()

    def handle_data(self, data):
        if "style" not in self.stack:
            self.text.append(data)


def read(page):
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.stack == []
    reader.words = re.sub(r"\s+", " ", " ".join(reader.text))
    return reader


def test_the_page_holds_everything_and_asks_for_nothing():
    reader = read(report(full()))
    for text in (
        "LSTM won: its mean absolute error is 0.410 ppm, 18 % under the best simple method, ridge "
        "on lags (0.500 ppm).",
        "223,927", "1:11", "2,284 weeks", "1,715 weeks", "16,896", "16,000", "non-trainable", "896",
        "Learning curves", "Gradient norm", "clipped to it", "Error by horizon", "Confusion matrix",
        "a note of the fit", "another note",
        "seed", "torch", "2.13.0", "x86_64", "0.1, 0.9", "none", "no",
        "type lstm, hidden_size 9; type last", "optimizer type adam, eps 1e-08, l1 0", "Stopped: max_epochs.",
    ):  # fmt: skip
        assert text in reader.words, text
    assert not reader.tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    for tag, key, value in reader.attributes:
        assert key not in ("src", "srcset", "action") and not key.startswith("on"), (tag, key)
        if key in ("href", "xlink:href"):
            assert value.startswith("#")
    page = report(full())
    assert not re.findall(r"@import|url\((?!#)", page)
    assert set(re.findall(r"https?://[^\"' <>]+", page)) <= {
        "http://www.w3.org/2000/svg"
    }  # a name, not an address


def test_ids_are_unique_and_the_same_data_give_the_same_page():
    page = report(full())
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert ids and len(ids) == len(set(ids))
    assert page == report(full())


def test_text_from_data_is_escaped():
    evil = "<script>alert(1)</script>"
    data = full(
        title=evil,
        task=evil,
        summary=evil,
        notes=(evil,),
        options={evil: evil},
        data=(Fact(name=evil, value=evil, note=evil),),
        splits=(Split(name=evil, count=1, unit=evil, span=evil),),
        network=(NetworkRow(layer=evil, shape=evil, parameters=1, trainable=1),),
        record=record(machine={evil: evil}, versions={evil: evil}, notes=[evil], stopped_because=evil),
        comparison=Comparison(
            metrics=(Metric(name=evil, unit=evil),),
            scores=(
                Score(name=evil, values=(1.0,), ours=True, note=evil),
                Score(name=evil + "2", values=(2.0,)),
            ),
            measured_on=evil,
        ),
        horizon=HorizonErrors(
            errors={evil: [1.0], "b": [2.0]}, model=evil, metric=evil, unit=evil, step=evil
        ),
        pictures=(picture(evil, evil, lambda w: figures.confusion([[1]], [evil], width=w)),),
        created=evil,
        loss=evil,
    )
    page = report(data)
    assert "<script" not in page and "script" not in read(page).tags and page.count("&lt;script&gt;") > 20


@pytest.mark.parametrize("empty", [None, "record", "comparison"])
def test_what_is_missing_is_left_out(empty):
    data = ReportData(title="a", task="classifier") if empty is None else full(**{empty: None})
    reader = read(report(data))
    assert ("Time, machine" in reader.words) == (data.record is not None)
    assert ("Beside the simple methods" in reader.words) == (data.comparison is not None)


def test_a_fit_that_never_finished_an_epoch_still_has_a_page():
    words = read(
        report(full(record=record(epochs=[], updates=[], best_epoch=None, stopped_because="")))
    ).words
    assert "Learning curves" not in words and "Time, machine" in words


def test_a_simple_method_that_wins_is_said_first_and_marked():
    page = report(full(comparison=compare((0.56,), ("ridge on lags", (0.5,)), ("seasonal naive", (1.4,)))))
    words = read(page).words
    said = (
        "A simple method won: the mean absolute error of ridge on lags is 0.500 ppm, that of LSTM 0.560 ppm, "
        "12 % above it."
    )
    assert said in words and words.index(said) < words.index("Confusion matrix")
    assert 'class="verdict short lost"' in page
    rows = re.findall(r"<tr(?: class=\"ours\")?><td>([^<]+)(<span class=\"tag\">best</span>)?", page)
    assert [(name, bool(best)) for name, best in rows[:3]] == [
        ("ridge on lags", True),
        ("LSTM", False),
        ("seasonal naive", False),
    ]


@pytest.mark.parametrize(
    ("comparison", "sentence", "won"),
    [
        (
            compare((0.5,), ("ridge", (0.5,))),
            "Level: the mean absolute error of LSTM and of ridge is 0.500 ppm.",
            True,
        ),
        (
            compare((0.5,)),
            "The mean absolute error of LSTM is 0.500 ppm; no simple method was measured beside it.",
            None,
        ),
        (compare((NAN,), ("ridge", (0.5,))), "The model's mean absolute error could not be measured.", None),
        (
            compare((0.963,), ("logistic regression", (0.95,)), metrics=(ACCURACY,)),
            "LSTM won: its accuracy is 96.3 %, 1.3 points above the best simple method, logistic "
            "regression (95.0 %).",
            True,
        ),
        (
            compare((0.93,), ("logistic regression", (0.95,)), metrics=(ACCURACY,)),
            "A simple method won: the accuracy of logistic regression is 95.0 %, that of LSTM 93.0 "
            "%, 2.0 points under it.",
            False,
        ),
        (
            compare((0.49,), ("ridge", (0.5,)), ("broken", (NAN,))),
            "LSTM won: its mean absolute error is 0.490 ppm, 2.0 % under the best simple method, "
            "ridge (0.500 ppm).",
            True,
        ),
    ],
)
def test_the_verdict_in_words(comparison, sentence, won):
    verdict = comparison.verdict()
    assert verdict.sentence.startswith(sentence) and verdict.ours_won is won


def test_other_metrics_at_which_a_simple_method_is_better_are_named():
    both = (MAE, Metric(name="root mean squared error", unit="ppm"))
    verdict = compare((0.4, 0.6), ("ridge", (0.5, 0.55)), metrics=both).verdict()
    assert verdict.ours_won is True
    assert verdict.elsewhere == (
        "By root mean squared error, ridge is better: 0.550 ppm against 0.600 ppm for LSTM.",
    )
    three = (*both, Metric(name="MASE"), Metric(name="sMAPE"))
    verdict = compare((0.6, 0.6, 0.6, 0.1), ("ridge", (0.5, 0.55, 0.5, 0.2)), metrics=three).verdict()
    assert verdict.elsewhere == ("Ridge is better by root mean squared error and MASE too.",)


@pytest.mark.parametrize(
    ("errors", "sentence"),
    [
        ({"LSTM": [1, 1, 1]}, "The mean absolute error of LSTM at each week ahead."),
        ({"LSTM": [1, 1], "ridge": [2, 1]}, "LSTM has the lowest error at every week ahead."),
        (
            {"LSTM": [3, 3], "ridge": [2, 1]},
            "A simple method (ridge) has a lower error than LSTM at every week ahead.",
        ),
        (
            {"LSTM": [3, 3, 1, 3], "ridge": [2, 2, 2, 5], "LASSO": [9, 9, 9, 2]},
            "LSTM has the lowest error at 1 of 4 weeks; LASSO and ridge are better at week 1–2 and 4.",
        ),
        (
            {"LSTM": [3, NAN, 1], "ridge": [2, 2, NAN]},
            "A simple method (ridge) has a lower error than LSTM at every week ahead.",
        ),
        ({"LSTM": [NAN], "ridge": [1]}, "No step was measured for both the model and a simple method."),
    ],
)
def test_the_horizon_in_words(errors, sentence):
    assert HorizonErrors(errors=errors, model="LSTM", step="week").sentence() == sentence


def test_a_comparison_that_does_not_fit_is_refused():
    with pytest.raises(ShapeError, match="has 2 values but there are 1 metrics"):
        compare((0.1, 0.2))
    with pytest.raises(OptionError, match="exactly one score must be ours"):
        Comparison(metrics=(MAE,), scores=(Score(name="a", values=(1.0,)),))
    with pytest.raises(OptionError, match="at least one metric"):
        Comparison(metrics=(), scores=(Score(name="a", values=(), ours=True),))


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ((0.4121, 1.4), ["0.412", "1.400"]),
        ((1234.4, 99999.0), ["1,234", "99,999"]),
        ((-2.5, NAN), ["−2.50", "–"]),
    ],
)
def test_a_column_is_written_with_the_same_decimals(values, written):
    page = report(full(comparison=compare(values[:1], ("b", values[1:])), horizon=None))
    cells = re.findall(r'<td class="n(?: best)?">([^<]+)</td>', page)[:2]
    assert sorted(cells) == sorted(written)


@pytest.mark.parametrize(
    ("seconds", "text"), [(8.44, "8.4 s"), (59.97, "1:00 min"), (71.4, "1:11 min"), (7500, "2:05 h")]
)
def test_times_are_written_with_their_unit(seconds, text):
    assert f"training time {text}" in read(report(full(record=record(seconds=seconds)))).words


def test_gradients_that_were_clipped_are_counted():
    words = read(
        report(full(record=record(updates=[(k, 0.1, n) for k, n in enumerate([0.5, 2.0, 3.0, np.inf])])))
    ).words
    assert "75 % of those shown were above 1 and clipped to it" in words
    words = read(report(full(clip_norm=1e9))).words
    assert "none of those shown was above 1e+09" in words
    calm = [(k, 0.1, 0.5) for k in range(300)]
    words = read(report(full(record=record(updates=[*calm, (300, 0.1, 2.0)])))).words
    assert "; 1 of those shown was above 1 and clipped to it" in words
    words = read(report(full(record=record(updates=[*calm, (300, 0.1, 2.0), (301, 0.1, 2.0)])))).words
    assert "; 2 of those shown were above 1 and clipped to it" in words
