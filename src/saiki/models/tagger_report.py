"""The tagger's report: what was measured, tag by tag, who was taken for whom, and some sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from saiki.core.checks import listed
from saiki.insight import Fact, Metric, Picture, Split, figures, picture
from saiki.insight.samples import samples
from saiki.models.reporting import compare, model_name, page

if TYPE_CHECKING:
    from saiki.models.tagger import SequenceTagger

# The figures of the comparison; the first one that was measured decides who won.
_FIGURES = (
    ("span_f1", Metric(name="F1 of spans", lower_is_better=False, percent=True)),
    ("accuracy", Metric(name="accuracy of tags", lower_is_better=False, percent=True)),
    ("unknown_accuracy", Metric(name="accuracy on unseen words", lower_is_better=False, percent=True)),
    ("label_accuracy", Metric(name="accuracy of labels", lower_is_better=False, percent=True)),
    ("sentence_accuracy", Metric(name="sentences all right", lower_is_better=False, percent=True)),
)
ROWS = 20  # tags or kinds of spans that a table lists


def page_of(tagger: SequenceTagger) -> str:
    """The report of a fitted tagger as one HTML page."""
    splits = tagger.details_.get("splits", [])
    held = next((s for s in splits if s["name"] == "validation"), None)
    chosen = "given by the user" if isinstance(tagger.validation, tuple) else "chosen by the seed"
    with_labels = " and a label of the whole" if tagger.labels_ is not None else ""
    chain = "a linear chain over the tags" if tagger.shape_.chain else "each step by itself"
    return page(
        tagger,
        title="Sequence tagger",
        summary=f"One of {len(tagger.tags_)} tags a word{with_labels}; {chain}.",
        comparison=compare(
            [(key, metric) for key, metric in _FIGURES if key in tagger.metrics_],
            tagger.metrics_,
            tagger.baselines_,
            name=model_name(tagger),
            measured_on=""
            if held is None
            else f"{held['sentences']:,} validation sentences of {held['words']:,} words, {chosen}",
        ),
        pictures=_pictures(tagger.details_),
        data=_facts(tagger, splits),
        splits=[Split(name=s["name"], count=s["sentences"], unit="sentences") for s in splits],
        loss="-ln p of tags" + (" and label" if tagger.labels_ is not None else "") + ", nats a word",
        notes=_notes(tagger),
    )


def _facts(tagger: SequenceTagger, splits: Sequence[Mapping[str, Any]]) -> list[Fact]:
    codes = tagger.codes_
    facts = [
        Fact(
            name="words known", value=float(len(codes.words) - 1), note="lower-cased" if codes.lower else ""
        ),
        Fact(name="tags", value=float(len(codes.tags)), note=listed(codes.tags.tokens, 12)),
    ]
    if codes.characters is not None:
        facts.insert(1, Fact(name="characters known", value=float(len(codes.characters) - 1)))
    if codes.labels is not None:
        facts.append(
            Fact(name="labels", value=float(len(codes.labels)), note=listed(codes.labels.tokens, 12))
        )
    facts += [
        Fact(name=f"words in the {s['name']} part", value=float(s["words"]), unit="words") for s in splits
    ]
    return facts


def _notes(tagger: SequenceTagger) -> list[str]:
    if tagger.details_.get("by_span") is None:
        return []
    return [
        "Spans are counted as conlleval counts them: right where kind, first and last word agree. "
        "Precision is the share of the spans said that are right, recall the share of the true ones found."
    ]


def _pictures(details: Mapping[str, Any]) -> list[Picture]:
    drawn: list[Picture] = []
    if "confusion" in details:
        drawn.append(_confusion("Who was taken for whom", "words", "tags", details["confusion"]))
    if "label_confusion" in details:
        drawn.append(_confusion("Labels of sentences", "sentences", "labels", details["label_confusion"]))
    if "by_span" in details:
        drawn.append(_by_span(details["by_span"]))
    if "by_tag" in details:
        drawn.append(_by_tag(details["by_tag"]))
    if details.get("samples"):
        drawn.append(_samples(details["samples"], "by_span" in details))
    return drawn


def _confusion(title: str, what: str, names: str, found: Mapping[str, Any]) -> Picture:
    matrix, labels = np.array(found["matrix"]), found["labels"]
    some = (
        "" if len(labels) == found["of"] else f" The {len(labels)} of {found['of']} {names} that erred most."
    )
    return picture(
        title,
        f"Validation {what}: rows are the true {names}, columns what the model said.{some}",
        lambda width: figures.confusion(matrix, labels, width=width),
        width=min(860, 240 + 46 * len(labels)),
    )


def _by_tag(rows: Sequence[Sequence[Any]]) -> Picture:
    return samples(
        "Tag by tag",
        "Validation words; the most frequent tags first." + _left_out(rows),
        ("tag", "true", "said", "precision, %", "recall, %", "F1, %"),
        [_row(row) for row in rows[:ROWS]],
    )


def _by_span(rows: Sequence[Sequence[Any]]) -> Picture:
    ordered = sorted(rows, key=lambda row: (-row[1], row[0]))
    return samples(
        "Spans by kind",
        "Validation spans; the most frequent kinds first." + _left_out(rows),
        ("kind", "true", "said", "precision, %", "recall, %", "F1, %"),
        [_row(row) for row in ordered[:ROWS]],
    )


def _row(row: Sequence[Any]) -> tuple[str, ...]:
    name, true, said, *shares = row
    return (str(name), f"{true:,}", f"{said:,}", *(f"{100 * share:.1f}" for share in shares))


def _left_out(rows: Sequence[object]) -> str:
    return "" if len(rows) <= ROWS else f" {len(rows) - ROWS} rarer ones are left out."


def _samples(rows: Sequence[Mapping[str, Any]], spans: bool) -> Picture:
    """Sentences with what was said of them; a wrong tag with the true one behind it."""
    lines: list[tuple[str, ...]] = []
    marks: list[bool] = []
    for row in rows:
        wrong = 0
        words = []
        for word, wanted, said in zip(row["words"], row["tags"], row["said"]):
            wrong += wanted != said
            tag = said if wanted == said else f"{said} (not {wanted})"
            words.append(word if spans and tag == "O" else f"{word}/{tag}")
        text = " ".join(words)
        if "label" in row:
            same = row["label"] == row["said_label"]
            wrong += not same
            said = row["said_label"] if same else f"{row['said_label']} (not {row['label']})"
            lines.append((said, text))
        else:
            lines.append((text,))
        marks.append(not wrong)
    with_label = bool(rows) and "label" in rows[0]
    return samples(
        "Sentences",
        "Validation sentences with the tags that the model gave, wrong ones with the true tag behind"
        + ("; words outside every span have none." if spans else "."),
        ("label", "words and tags") if with_label else ("words and tags",),
        lines,
        right=marks,
    )
