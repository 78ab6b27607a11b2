"""From a fitted estimator to the report's page: the parts every task has."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from saiki.insight import (
    Comparison,
    Fact,
    HorizonErrors,
    Metric,
    NetworkRow,
    Picture,
    ReportData,
    Score,
    Split,
    figures,
    picture,
)
from saiki.insight import report as write_page
from saiki.learning import BPTT, Training, get_rule
from saiki.models.inside import has_inside, section
from saiki.models.options import as_layer

if TYPE_CHECKING:
    from saiki.models.base import Estimator

SIBLING = "the same network"  # begins the name of a row that is our model with something left out
ATTENTION_SHOWN = 12  # sequences or windows whose attention a report draws

NAMES = {
    "lstm": "LSTM",
    "gru": "GRU",
    "elman": "Elman",
    "jordan": "Jordan",
    "elementwise_lstm": "elementwise LSTM",
}
SHORTHAND = ("cell", "hidden_size", "num_layers", "dropout")  # of the network, where none is given


def page(
    estimator: Estimator,
    *,
    title: str,
    summary: str = "",
    comparison: Comparison | None = None,
    horizon: HorizonErrors | None = None,
    pictures: Sequence[Picture] = (),
    data: Sequence[Fact] = (),
    splits: Sequence[Split] = (),
    loss: str = "loss",
    notes: Sequence[str] = (),
) -> str:
    """The report of a fitted estimator as one HTML page: what the task gives, and what all tasks have.

    Args:
        estimator: fitted.
        title: of the page.
        summary: one sentence for under the title.
        comparison: the model beside the simple models.
        horizon: the error at each step ahead.
        pictures: the task's own.
        data: facts about the data.
        splits: which part served for what.
        loss: what the training loss is, with its unit.
        notes: sentences for the reader.
    """
    training = estimator._training()
    now = datetime.datetime.now().astimezone()
    return write_page(
        ReportData(
            title=title,
            task=estimator.task,
            record=estimator.record_,
            summary=summary,
            comparison=comparison,
            horizon=horizon,
            pictures=tuple(pictures),
            data=tuple(data),
            splits=tuple(splits),
            network=network_rows(estimator.network_),
            options=shown_options(estimator),
            loss=loss,
            clip_norm=training.clip_norm,
            inside=section(estimator) if has_inside(estimator.network_) else None,
            notes=(*_rule_told(training), *notes),
            created=now.strftime("%Y-%m-%d %H:%M %Z"),
        )
    )


def _rule_told(training: Training) -> tuple[str, ...]:
    """A sentence about the learning rule, where it is not the one that everybody expects."""
    rule = get_rule(training.rule)
    return () if isinstance(rule, BPTT) else (str(getattr(rule, "sentence", f"Learned with {rule!r}.")),)


def model_name(estimator: Estimator) -> str:
    """What the report calls the model: "this LSTM network"."""
    if getattr(estimator, "network", None) is not None:
        return "this network"
    return f"this {NAMES.get(estimator.cell, estimator.cell)} network"


def shown_options(estimator: Estimator) -> dict[str, object]:
    """The settings worth a line: what was set, layers in short, no shorthand where `network` replaced it."""
    shown: dict[str, object] = {}
    replaced = getattr(estimator, "network", None) is not None
    for name, value in estimator._options().items():
        if name == "network" and value is not None:
            shown[name] = [_layer(entry) for entry in estimator.network or ()]
        elif name == "rule" and value is not None:
            said = [f"{key} {part}" for key, part in value.items() if key != "type" and part is not None]
            shown[name] = f"{value['type']} ({', '.join(said)})" if said else value["type"]
        elif value is not None and value != "" and not (replaced and name in SHORTHAND):
            shown[name] = value
    return shown


def _layer(entry: Any) -> str:  # noqa: ANN401  a config, (name, config) or a mapping
    """A layer by its kind and the options that differ from its defaults: `lstm (hidden_size 64)`."""
    layer = as_layer(entry, 1)
    config = layer[1] if isinstance(layer, tuple) else layer
    said = [
        f"{field.name} {getattr(config, field.name)}"
        for field in fields(config)
        if getattr(config, field.name) != field.default
    ]
    return f"{config.type} ({', '.join(said)})" if said else config.type


def network_rows(network: Any) -> tuple[NetworkRow, ...]:  # noqa: ANN401  a module with a summary
    """The network table's lines."""
    frozen = {
        name: sum(p.numel() for p in layer.parameters() if not p.requires_grad)
        for name, layer in getattr(network, "layers", {}).items()
    }
    return tuple(
        NetworkRow(
            layer=f"{row.name} ({row.kind})" if row.kind else row.name,
            shape=row.shape_text,
            parameters=row.parameters,
            trainable=row.parameters - frozen.get(row.name, 0),
        )
        for row in network.summary().rows
    )


def compare(
    metrics: Sequence[tuple[str, Metric]],
    ours: Mapping[str, float],
    baselines: Sequence[Mapping[str, Any]],
    *,
    name: str,
    measured_on: str,
) -> Comparison | None:
    """The model beside the simple models; None where nothing was measured.

    Args:
        metrics: (key of the figure, what it is), the one that decides first.
        ours: the model's figures.
        baselines: rows with a name and figures.
        name: the model's.
        measured_on: the data in words.
    """
    if not ours:
        return None
    keys = [key for key, _ in metrics]
    scores = [Score(name=name, values=tuple(_value(ours.get(key)) for key in keys), ours=True)]
    for row in baselines:
        values = tuple(_value(row.get(key)) for key in keys)
        scores.append(Score(name=row["name"], values=values, sibling=str(row["name"]).startswith(SIBLING)))
    return Comparison(metrics=tuple(m for _, m in metrics), scores=tuple(scores), measured_on=measured_on)


def attention_pictures(
    found: Sequence[Mapping[str, Any]], what: str = "validation sequences"
) -> list[Picture]:
    """Which past steps each AttentionPool looked at, a picture a layer.

    Args:
        found: a mapping a layer: its name as `layer`, and `weights`, one list a sequence, each summing to 1.
        what: the sequences, in words.
    """
    drawn = []
    for one in found:
        lengths = [len(row) for row in one["weights"]]
        weights = np.zeros((len(lengths), max(lengths)))
        for line, row in zip(weights, one["weights"]):
            line[: len(row)] = row
        drawn.append(
            picture(
                "Attention over past steps",
                f"How much the layer {one['layer']!r} looks at each step, for {len(lengths)} {what}, "
                "a strip each: the weights of a strip sum to 1.",
                lambda width, w=weights, n=lengths: figures.attention_over_steps(  # type: ignore[misc]
                    w, lengths=n, width=width
                ),
            )
        )
    return drawn


def _value(figure: object) -> float:
    return float(figure) if isinstance(figure, (int, float)) else float("nan")
