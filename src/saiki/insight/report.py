"""The HTML report: plain dataclasses in, one self-contained page out. It knows no model.

A caller fills a `ReportData` with what it measured and `report` turns it into a page that needs nothing else:
the style sheet and the pictures are inside, and no request leaves the reader's machine. Text from data
(column names, class names, notes) is escaped. jinja2 is loaded on first use.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from saiki.core.errors import OptionError, ShapeError
from saiki.insight import figures

if TYPE_CHECKING:
    from saiki.core.record import FitRecord
    from saiki.insight.findings import Finding

TEMPLATE = "report.html.jinja"
WIDE = 860
"""Width in pixels of a picture that fills the page."""
NARROW = 360
"""Width in pixels of its second drawing, for telephones."""
HALF = 408
"""Width in pixels of a picture that shares its row."""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One line of a list of facts: `name`, a value and its unit.

    Args:
        name: what it is.
        value: a number (written with thousands apart) or words.
        unit: of the number.
        note: a few words more.
    """

    name: str
    value: str | float
    unit: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Split:
    """One part of the data: what it served for and how much of it there was.

    Args:
        name: `training`, `validation`, `test`.
        count: of rows, windows or sequences.
        unit: what is counted.
        span: from when to when, or which share.
        missing: how many values were not measured; None where that was not counted.
    """

    name: str
    count: int
    unit: str
    span: str = ""
    missing: int | None = None


@dataclass(frozen=True, kw_only=True)
class NetworkRow:
    """One layer of the network table.

    Args:
        layer: its name and kind.
        shape: of its output, as words.
        parameters: how many it has.
        trainable: how many of them are learned.
    """

    layer: str
    shape: str
    parameters: int
    trainable: int


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What a column of the comparison measures.

    Args:
        name: in words, `mean absolute error`.
        unit: of the values; empty for pure numbers.
        lower_is_better: which way is good.
        percent: values are shares from 0 to 1 and are shown in per cent.
    """

    name: str
    unit: str = ""
    lower_is_better: bool = True
    percent: bool = False

    @property
    def shown_unit(self) -> str:
        """The unit as it is written behind a number."""
        return "%" if self.percent else self.unit


@dataclass(frozen=True, kw_only=True)
class Score:
    """One method's row of the comparison.

    Args:
        name: of the method.
        values: one a metric, in the metrics' order; NaN where it was not measured.
        ours: whether this is the model the report is about.
        note: a few words, such as the setting that was chosen.
        sibling: whether it is our model with something left out, which is no simple method: it has its row,
            and the verdict speaks of the others.
    """

    name: str
    values: tuple[float, ...]
    ours: bool = False
    note: str = ""
    sibling: bool = False


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Which method won, in words.

    Args:
        sentence: who won by the first metric and by how much.
        ours_won: whether our model was best by the first metric; None where there was nothing to compare.
        elsewhere: the other metrics at which another method was better than ours, in sentences.
    """

    sentence: str
    ours_won: bool | None
    elsewhere: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The model beside the honest simple methods, on the same held-out data.

    Args:
        metrics: the first one decides who won.
        scores: exactly one of them `ours`.
        measured_on: the data in words, as in "Measured on 208 origins of 52 weeks in 1997-2001".
    Raises:
        ShapeError: a row has not one value a metric.
        OptionError: not exactly one row is `ours`, or there is no metric.
    """

    metrics: tuple[Metric, ...]
    scores: tuple[Score, ...]
    measured_on: str = ""

    def __post_init__(self) -> None:
        if not self.metrics:
            raise OptionError("Comparison: give at least one metric")
        for score in self.scores:
            if len(score.values) != len(self.metrics):
                raise ShapeError(
                    f"Comparison: {score.name!r} has {len(score.values)} values but there are "
                    f"{len(self.metrics)} metrics; give one a metric, NaN where it was not measured"
                )
        if (count := sum(score.ours for score in self.scores)) != 1:
            raise OptionError(f"Comparison: exactly one score must be ours=True, got {count}")

    @property
    def ours(self) -> Score:
        """The row of our model."""
        return next(score for score in self.scores if score.ours)

    def best(self, column: int) -> Score | None:
        """The best row by one metric, ours where it is level; None where nothing was measured."""
        measured = [s for s in self.scores if math.isfinite(s.values[column])]
        sign = 1.0 if self.metrics[column].lower_is_better else -1.0
        return min(measured, key=lambda s: (sign * s.values[column], not s.ours), default=None)

    def verdict(self) -> Verdict:
        """Who won, said plainly: also where a simple method beat the model."""
        metric, ours = self.metrics[0], self.ours
        if not math.isfinite(ours.values[0]):
            return Verdict(sentence=f"The model's {metric.name} could not be measured.", ours_won=None)
        others = [s for s in self.scores if not (s.ours or s.sibling) and math.isfinite(s.values[0])]
        if not others:
            sentence = (
                f"The {metric.name} of {ours.name} is {_value(ours, self, 0)}; "
                "no simple method was measured beside it."
            )
            return Verdict(sentence=sentence, ours_won=None)
        sign = 1.0 if metric.lower_is_better else -1.0
        rival = min(others, key=lambda s: sign * s.values[0])
        won = sign * ours.values[0] <= sign * rival.values[0]
        level = ours.values[0] == rival.values[0]
        mine, its = _value(ours, self, 0), _value(rival, self, 0)
        if level:
            sentence = f"Level: the {metric.name} of {ours.name} and of {rival.name} is {mine}."
        elif won:
            sentence = (
                f"{_capital(ours.name)} won: its {metric.name} is {mine}, {_distance(ours, rival, metric)} "
                f"the best simple method, {rival.name} ({its})."
            )
        else:
            sentence = (
                f"A simple method won: the {metric.name} of {rival.name} is {its}, that of {ours.name} "
                f"{mine}, {_distance(ours, rival, metric)} it. "
                f"Prefer {rival.name} unless you need what only the model gives."
            )
        better: dict[str, list[int]] = {}  # method -> the other metrics at which it beat ours
        for k in range(1, len(self.metrics)):
            best = self.best(k)
            if best is not None and not best.ours and math.isfinite(ours.values[k]):
                better.setdefault(best.name, []).append(k)
        elsewhere = []
        for name, columns in better.items():
            best = next(score for score in self.scores if score.name == name)
            if len(columns) > 1:
                also = " too" if not won and name == rival.name else ""
                by = _join([self.metrics[k].name for k in columns])
                elsewhere.append(f"{_capital(name)} is better by {by}{also}.")
                continue
            (k,) = columns
            elsewhere.append(
                f"By {self.metrics[k].name}, {name} is better: {_value(best, self, k)} "
                f"against {_value(ours, self, k)} for {ours.name}."
            )
        return Verdict(sentence=sentence, ours_won=won, elsewhere=tuple(elsewhere))


@dataclass(frozen=True, kw_only=True)
class HorizonErrors:
    """The error at each step ahead, a row a method.

    Args:
        errors: method -> (horizon,) errors in `unit`.
        model: which of them is ours.
        metric: what they measure.
        unit: of the errors.
        step: what one step is, in the singular (`week`).
    """

    errors: Mapping[str, ArrayLike]
    model: str
    metric: str = "mean absolute error"
    unit: str = ""
    step: str = "step"

    def sentence(self) -> str:
        """At which steps another method was better than ours, in one sentence."""
        rows = {name: np.asarray(row, dtype=float) for name, row in self.errors.items()}
        ours = rows.pop(self.model)
        if not rows:
            return f"The {self.metric} of {self.model} at each {self.step} ahead."
        stacked = np.stack(list(rows.values()))
        known = np.isfinite(stacked).any(axis=0) & np.isfinite(ours)
        lowest = np.where(np.isfinite(stacked), stacked, np.inf).min(axis=0)
        worse = known & (lowest < ours)
        if not known.any():
            return "No step was measured for both the model and a simple method."
        if not worse.any():
            return f"{_capital(self.model)} has the lowest error at every {self.step} ahead."
        winners = sorted(
            {list(rows)[int(np.where(np.isfinite(c), c, np.inf).argmin())] for c in stacked.T[worse]}
        )
        where = _spans(np.flatnonzero(worse) + 1)
        if worse[known].all():
            return (
                f"A simple method ({_join(winners)}) has a lower error than {self.model} "
                f"at every {self.step} ahead."
            )
        best, of = int((known & ~worse).sum()), int(known.sum())
        return (
            f"{_capital(self.model)} has the lowest error at {best} of {of} {self.step}s; {_join(winners)} "
            f"{'is' if len(winners) == 1 else 'are'} better at {self.step} {where}."
        )


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A drawing with its title and a caption of one plain sentence.

    Args:
        title: what it shows, in a few words.
        caption: the sentence under it.
        svg: the drawing, from `saiki.insight.figures`. It goes into the page as it is.
        narrow: the same drawing for a narrow screen; empty where one serves both.
        half: it may share its row with the next one.
    """

    title: str
    caption: str
    svg: str
    narrow: str = ""
    half: bool = False


def picture(title: str, caption: str, draw: Callable[[int], str], *, width: int = WIDE) -> Picture:
    """Draw a wide picture twice, at full width and for a narrow screen.

        picture("Confusion matrix", "…", lambda width: confusion(counts, labels, width=width), width=620)

    Args:
        title: what it shows.
        caption: one plain sentence.
        draw: width in pixels -> SVG; a function of `saiki.insight.figures` with its data.
        width: of the wide drawing, pixels.
    Returns:
        The picture for `ReportData.pictures`.
    """
    return Picture(title=title, caption=caption, svg=draw(width), narrow=draw(NARROW))


@dataclass(frozen=True, kw_only=True)
class Inside:
    """What was seen inside the network: the doctor's verdict, what it rests on, and the pictures.

    Args:
        verdict: one sentence.
        findings: the worst first.
        pictures: made with `picture`.
        halves: pictures that share a row, two and two.
        note: what it was measured on.
    """

    verdict: str
    findings: tuple[Finding, ...] = ()
    pictures: tuple[Picture, ...] = ()
    halves: tuple[Picture, ...] = ()
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """All that a report shows. What is empty is left out of the page.

    Args:
        title: of the page, such as `CO₂ at Mauna Loa`.
        task: what the model does, such as `forecaster`.
        record: what the fit left behind: learning curves, gradient norms, time, machine, seed and versions.
        summary: one sentence on data and model for under the title.
        comparison: the model beside the simple methods.
        horizon: the error at each step ahead.
        pictures: made with `picture`: a forecast fan, a confusion matrix, attention.
        data: facts about the data.
        splits: which part served for what.
        network: the layers.
        options: the settings of the fit, name -> value, as the user wrote them.
        loss: what the training loss is, with its unit.
        clip_norm: the gradient norm at which training clipped.
        inside: what was seen inside the network.
        notes: further sentences for the reader.
        created: date and time of the report, as it should be printed.
    """

    title: str
    task: str
    record: FitRecord | None = None
    summary: str = ""
    comparison: Comparison | None = None
    horizon: HorizonErrors | None = None
    pictures: tuple[Picture, ...] = ()
    data: tuple[Fact, ...] = ()
    splits: tuple[Split, ...] = ()
    network: tuple[NetworkRow, ...] = ()
    options: Mapping[str, object] = field(default_factory=dict)
    loss: str = "loss"
    clip_norm: float | None = None
    inside: Inside | None = None
    notes: tuple[str, ...] = ()
    created: str = ""


def report(data: ReportData) -> str:
    """Write the page.

    Args:
        data: what to show.
    Returns:
        A complete HTML document: no scripts, no external files, fit for a telephone, the dark and paper.
    """
    from jinja2 import Environment, StrictUndefined

    source = resources.files("saiki.insight").joinpath(TEMPLATE).read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["count"] = _count
    environment.filters["tied"] = _tied
    record = data.record
    page = environment.from_string(source).render(
        d=data,
        light=figures.variables(),
        dark=figures.variables(dark=True),
        verdict=None if data.comparison is None else data.comparison.verdict(),
        highlights=_highlights(data),
        table=None if data.comparison is None else _table(data.comparison),
        pictures=_pictures(data),
        training=_training(data),
        training_sentence="" if record is None else _training_sentence(record),
        facts=[(f.name, _fact(f), f.note) for f in data.data],
        runtime=_runtime(record),
        options=[(name, _plain(value)) for name, value in data.options.items()],
        notes=[*data.notes, *(record.notes if record is not None else ())],
    )
    return page if page.endswith("\n") else page + "\n"


# ---------------------------------------------------------------------------------------- what the page says


def _highlights(data: ReportData) -> list[tuple[str, str, str]]:
    """(number, unit, label) of the few figures that stand first."""
    found = []
    if data.comparison is not None and math.isfinite(data.comparison.ours.values[0]):
        metric = data.comparison.metrics[0]
        value = _written(data.comparison.ours.values[0], metric, _decimals(data.comparison, 0))
        found.append((value, metric.shown_unit, metric.name))
    record = data.record
    if record is not None:
        found.append((_count(record.parameters), "", "parameters"))
        found.append((_count(record.training_values), "", "training values"))
        seconds = float(record.seconds)
        found.append((*_duration(seconds), "training time"))
    return found


def _table(comparison: Comparison) -> dict[str, Any]:
    """The comparison for the template: rows from best to worst, numbers as text, a bar a row."""
    decimals = [_decimals(comparison, k) for k in range(len(comparison.metrics))]
    best = [comparison.best(k) for k in range(len(comparison.metrics))]
    sign = 1.0 if comparison.metrics[0].lower_is_better else -1.0
    order = sorted(
        comparison.scores,
        key=lambda s: (
            not math.isfinite(s.values[0]),
            sign * s.values[0] if math.isfinite(s.values[0]) else 0.0,
        ),
    )
    largest = max((abs(s.values[0]) for s in order if math.isfinite(s.values[0])), default=0.0)
    rows = []
    for score in order:
        cells = [
            (_written(v, metric, d), best[k] is score)
            for k, (v, metric, d) in enumerate(zip(score.values, comparison.metrics, decimals))
        ]
        known = math.isfinite(score.values[0]) and largest > 0
        rows.append(
            {
                "name": score.name,
                "note": score.note,
                "ours": score.ours,
                "cells": cells,
                "bar": round(100 * abs(score.values[0]) / largest, 1) if known else 0.0,
                "won": best[0] is score,
            }
        )
    heads = [
        (m.name, m.shown_unit, "lower is better" if m.lower_is_better else "higher is better")
        for m in comparison.metrics
    ]
    return {"heads": heads, "rows": rows, "measured_on": comparison.measured_on}


def _pictures(data: ReportData) -> list[Picture]:
    drawn = list(data.pictures)
    if data.horizon is not None:
        h = data.horizon
        drawn.append(
            picture(
                "Error by horizon",
                h.sentence(),
                lambda width: figures.error_by_horizon(
                    h.errors, model=h.model, unit=h.unit, metric=h.metric, step=h.step, width=width
                ),
            )
        )
    return drawn


def _training(data: ReportData) -> list[Picture]:
    record = data.record
    if record is None:
        return []
    drawn = []
    if record.epochs:
        validated = any(e.validation_loss is not None for e in record.epochs)
        which = "Training and validation loss" if validated else "Training loss"
        kept = "last" if record.best_epoch is None else f"best (epoch {record.best_epoch})"
        drawn.append(
            Picture(
                title="Learning curves",
                caption=f"{which} at {len(record.epochs)} evaluations; the {kept} weights were kept.",
                svg=figures.learning_curves(record, loss=data.loss, width=HALF),
                half=True,
            )
        )
    if record.updates:
        drawn.append(
            Picture(
                title="Gradient norm",
                caption=_gradient_sentence(record, data.clip_norm),
                svg=figures.gradient_norm(record, clip_norm=data.clip_norm, width=HALF),
                half=True,
            )
        )
    return drawn


def _gradient_sentence(record: FitRecord, clip_norm: float | None) -> str:
    norms = np.array([float("nan") if n is None else float(n) for _, _, n in record.updates])
    sentence = f"The length of the gradient before each of {_count(int(record.updates[-1][0]))} updates"
    if clip_norm is None:
        return sentence + "."
    if not (norms > clip_norm).any():
        return f"{sentence}; none of those shown was above {clip_norm:g}, where gradients are clipped."
    above = int((norms > clip_norm).sum())
    share = f"{100 * above / len(norms):.0f} %" if above >= len(norms) / 100 else f"{above}"
    verb = "was" if share == "1" else "were"
    return f"{sentence}; {share} of those shown {verb} above {clip_norm:g} and clipped to it."


def _training_sentence(record: FitRecord) -> str:
    said = []
    if record.epochs:
        last = record.epochs[-1]
        said.append(f"{_count(last.epoch)} epochs, {_count(last.updates)} updates of the weights.")
    if record.stopped_because:
        said.append(f"Stopped: {record.stopped_because}.".replace("..", "."))
    return " ".join(said)


def _runtime(record: FitRecord | None) -> list[tuple[str, str]]:
    if record is None:
        return []
    value, unit = _duration(float(record.seconds))
    rows = [("training time", f"{value} {unit}".strip()), ("seed", _plain(record.seed))]
    rows += [(str(name), _plain(value)) for name, value in record.machine.items()]
    rows += [(str(name), _plain(value)) for name, value in record.versions.items()]
    return rows


# ----------------------------------------------------------------------------------------- words and numbers


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _tied(text: str) -> str:
    """The text with each number tied to the unit behind it, so that no line ends between the two."""
    return re.sub(r"(?<=\d) (?=%|[^\W\d_]{1,4}\b)", "\u00a0", text)


def _duration(seconds: float) -> tuple[str, str]:
    """(number, unit): 8.4 s, 1:11 min, 2:05 h."""
    if seconds < 59.95:
        return f"{seconds:.1f}", "s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}", "min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d}", "h"


def _fact(fact: Fact) -> str:
    if isinstance(fact.value, str):
        written = fact.value
    elif float(fact.value).is_integer():
        written = _count(fact.value)
    else:
        written = f"{fact.value:,.4g}"
    return f"{written} {fact.unit}".strip()


def _plain(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    if isinstance(value, Sequence) and value and all(isinstance(inner, Mapping) for inner in value):
        return "; ".join(_plain(inner) for inner in value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_plain(v) for v in value)
    return str(value)


def _decimals(comparison: Comparison, column: int) -> int:
    """As many decimals as show three digits of ours and of the best value of the column."""
    scale = 100.0 if comparison.metrics[column].percent else 1.0
    shown = [score for score in (comparison.ours, comparison.best(column)) if score is not None]
    sizes = [scale * abs(s.values[column]) for s in shown if math.isfinite(s.values[column])]
    smallest = min((s for s in sizes if s > 0), default=1.0)
    if comparison.metrics[column].percent:
        return 1
    return min(6, max(0, 2 - math.floor(math.log10(smallest))))


def _written(value: float, metric: Metric, decimals: int) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{100 * value if metric.percent else value:,.{decimals}f}".replace("-", "−")


def _value(score: Score, comparison: Comparison, column: int) -> str:
    metric = comparison.metrics[column]
    return (
        f"{_written(score.values[column], metric, _decimals(comparison, column))} {metric.shown_unit}".strip()
    )


def _distance(ours: Score, rival: Score, metric: Metric) -> str:
    """How far ours lies from the rival: in points for shares, in per cent of the rival's value otherwise."""
    mine, its = ours.values[0], rival.values[0]
    word = "under" if mine < its else "above"
    if metric.percent:
        return f"{100 * abs(mine - its):.1f} points {word}"
    if its == 0:
        return word
    share = 100 * abs(mine - its) / abs(its)
    return f"{share:.0f} % {word}" if share >= 9.5 else f"{share:.1f} % {word}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _join(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _spans(steps: ArrayLike) -> str:
    """1, 2, 3, 7 as `1-3 and 7`."""
    whole = [int(s) for s in np.asarray(steps)]
    runs: list[list[int]] = []
    for step in whole:
        if runs and step == runs[-1][1] + 1:
            runs[-1][1] = step
        else:
            runs.append([step, step])
    written = [str(a) if a == b else f"{a}–{b}" for a, b in runs]
    return _join(written) if len(written) <= 6 else _join([*written[:5], f"{len(written) - 5} further spans"])
