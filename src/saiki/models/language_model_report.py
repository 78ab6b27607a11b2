"""The language model's report: beside n-grams, samples at several temperatures, entropy, and the curves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from saiki.insight import Fact, Metric, Picture, Split, picture
from saiki.insight.figures_language import entropy_by_temperature
from saiki.insight.samples import samples
from saiki.models.reporting import compare, model_name, page

if TYPE_CHECKING:
    from saiki.models.language_model import LanguageModel

WIDTH = 620
LINES = 8  # of a sample
FORM_WORDS = {"text": "one text", "lines": "lines", "documents": "documents"}


def report(model: LanguageModel) -> str:
    """The report of a fitted language model as one HTML page."""
    details, unit = model.details_, token_name(model)
    parts = details.get("parts", [])
    held = next((p for p in parts if p["name"] == "validation"), None)
    return page(
        model,
        title="Language model",
        summary=f"Says the next {unit} of a text from all before it; it knows {len(model.codec_):,} {unit}s.",
        comparison=compare(
            [
                ("perplexity", Metric(name="perplexity")),
                ("bits_per_character", Metric(name="bits a character", unit="bits")),
                ("loss", Metric(name="loss", unit=f"nats a {unit}")),
            ],
            model.metrics_,
            model.baselines_,
            name=model_name(model),
            measured_on="" if held is None else f"{held['tokens']:,} {unit}s of the validation part",
        ),
        pictures=_pictures(model, unit),
        data=[
            Fact(name="tokenizer", value=model.codec_.tokenizer.name),
            Fact(name="read as", value=FORM_WORDS[model.form_]),
            Fact(name="vocabulary", value=float(len(model.codec_)), unit="tokens"),
            Fact(name="streams read side by side", value=float(model.streams_)),
            *(
                Fact(
                    name=f"unknown {unit}s in the {p['name']} part",
                    value=float(p["unknown"]),
                    note=f"{100 * p['unknown'] / p['tokens']:.2g} %, read as <unk>",
                )
                for p in parts
                if p["unknown"]
            ),
        ],
        splits=[Split(name=p["name"], count=p["tokens"], unit=f"{unit}s") for p in parts],
        loss=f"cross-entropy, nats a {unit}",
        notes=_notes(details, held),
    )


def token_name(model: LanguageModel) -> str:
    """What one token is called: character, word or piece."""
    name = model.codec_.tokenizer.name
    return {"characters": "character", "sentencepiece": "piece"}.get(name, "word")


def _pictures(model: LanguageModel, unit: str) -> list[Picture]:
    details: dict[str, Any] = model.details_
    drawn = []
    if details.get("samples"):
        rows = [(_named(row["temperature"]), _shortened(row["text"])) for row in details["samples"]]
        drawn.append(
            samples(
                "Samples",
                "Written by the model from nothing.",
                ("temperature", "text"),
                rows,
            )
        )
    if details.get("entropy"):
        x, y = ([row[key] for row in details["entropy"]] for key in ("temperature", "bits"))
        loss = model.metrics_.get("loss")
        drawn.append(
            picture(
                "Entropy against temperature",
                f"How uncertain the draw of the next {unit} is on average; it rises with the temperature. "
                "At 1 it equals the loss where the model is as sure as it is right.",
                lambda width: entropy_by_temperature(
                    x,
                    y,
                    most=math.log2(len(model.codec_)),
                    loss=None if loss is None else loss / math.log(2),
                    width=width,
                ),
                width=WIDTH,
            )
        )
    return drawn


def _shortened(text: str) -> str:
    """The first lines of a sample, without empty ones between."""
    lines = [line for line in text.split("\n") if line.strip()]
    return "\n".join(lines[:LINES]) + (" …" if len(lines) > LINES else "")


def _named(temperature: float) -> str:
    return "0 (greedy)" if temperature == 0 else f"{temperature:g}"


def _notes(details: dict[str, Any], held: dict[str, Any] | None) -> list[str]:
    notes = []
    if held is not None and held["unknown"] > 0.05 * held["tokens"]:
        notes.append(
            f"{100 * held['unknown'] / held['tokens']:.0f} % of the validation part is unknown and counts as "
            "the one token <unk>, which makes the perplexity lower than it would be with all words known."
        )
    return notes
