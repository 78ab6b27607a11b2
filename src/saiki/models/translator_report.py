"""The translator's part of the report: samples, where it looked, and the comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from saiki.core.errors import OptionError
from saiki.insight import Fact, Metric, Picture, Split, picture
from saiki.insight.figures_attention import alignment
from saiki.insight.samples import samples
from saiki.models.reporting import NAMES, compare, page
from saiki.models.translator_data import Pairs
from saiki.models.translator_decode import Translation

if TYPE_CHECKING:
    from saiki.models.translator import Translator

SHOWN, DRAWN = 12, 3  # samples and attention matrices of a report
FIGURES = (
    ("exact", Metric(name="share of exact translations", lower_is_better=False, percent=True)),
    ("token_error_rate", Metric(name="token error rate", percent=True)),
    ("bleu", Metric(name="BLEU", lower_is_better=False)),
)


def details_of(model: Translator, asked: Pairs, said: Sequence[str]) -> dict[str, Any]:
    """What the report will show of these translations, as JSON.

    Args:
        model: fitted.
        asked: what was translated.
        said: the translations.
    """
    some = asked.sample(SHOWN)
    answers = dict(zip(asked.sources, said))
    found: dict[str, Any] = {
        "samples": [[x, right, answers[x]] for x, right in zip(some.sources, some.answers)]
    }
    if model.context == "attention":
        drawn = model.translate(asked.sample(DRAWN).sources, attention=True)
        found["attention"] = [best[0].to_json() for best in drawn]
    return found


def report_of(model: Translator) -> str:
    """The page."""
    details, metrics = model.details_, model.metrics_
    shown = [(key, metric) for key, metric in FIGURES if key in metrics]
    if "bleu" in metrics and model.target_.tokenizer.name != "whitespace":
        shown.sort(key=lambda one: one[0] != "bleu")  # of sentences few are exact: BLEU decides
    cell = NAMES.get(model.cell, model.cell)
    how = {
        "attention": f"with {model.attention} attention",
        "initial": "told the source once, as one vector",
        "every_step": "told the source at every step, as one vector",
    }[model.context]
    measured = int(details.get("measured", 0))
    held = next((part["sources"] for part in details.get("splits", []) if part["name"] == "validation"), 0)
    what = "validation sources" + ("" if measured == held else f" of {held:,}, evenly taken")
    return page(
        model,
        title="Translator",
        summary=f"{_said(model, 'source')} to {_said(model, 'target')}: {cell} encoder and decoder, {how}.",
        comparison=compare(
            shown,
            metrics,
            model.baselines_,
            name=f"this {cell} translator",
            measured_on=f"{measured:,} {what}",
        ),
        pictures=_pictures(details),
        data=_facts(model),
        splits=[Split(name=part["name"], count=part["pairs"], unit="pairs") for part in details["splits"]],
        loss="cross-entropy, nats a token"
        + (f" (smoothed by {model.smoothing:g})" if model.smoothing else ""),
        notes=_notes(model),
    )


def attention_figure(one: Translation, width: int = 620) -> str:
    """Where each token of a translation looked, as a drawing.

    Args:
        one: with its attention.
        width: of the drawing, pixels.
    Raises:
        OptionError: it was translated without.
    """
    if one.attention is None:
        raise OptionError("this translation has no weights to draw.", "Translate with attention=True.")
    blanks = {" ": "␣"}
    return alignment(
        one.attention,
        [blanks.get(token, token) for token in one.source],
        [blanks.get(token, token) for token in one.tokens],
        title=one.text,
        width=width,
    )


def _pictures(details: dict[str, Any]) -> list[Picture]:
    drawn = []
    for kept in details.get("attention", []):
        one, text = Translation.from_json(kept), str(kept["text"])
        drawn.append(
            picture(
                f"Where it looked: {text if len(text) <= 60 else text[:60] + '…'}",
                "Each row is a token that was said, </s> being the end, each column one of the source.",
                lambda width, one=one: attention_figure(one, width),  # type: ignore[misc]
                width=620,
            )
        )
    if details.get("samples"):
        rows = [(source, " | ".join(right), said) for source, right, said in details["samples"]]
        marks = [said in right for _, right, said in details["samples"]]
        drawn.insert(
            0,
            samples(
                "Samples",
                "From the validation part, evenly taken; several right answers stand side by side.",
                ("source", "wanted", "said"),
                rows,
                marks,
            ),
        )
    return drawn


def _said(model: Translator, side: str) -> str:
    codec = model.source_ if side == "source" else model.target_
    word = {"sentencepiece": "pieces of words", "whitespace": "tokens"}.get(
        codec.tokenizer.name, codec.tokenizer.name
    )
    return f"{len(codec):,} {word}"


def _facts(model: Translator) -> list[Fact]:
    facts = []
    for side, codec in (("source", model.source_), ("target", model.target_)):
        specials = ", ".join(codec.vocabulary.specials)
        facts.append(
            Fact(
                name=f"{side} vocabulary",
                value=float(len(codec)),
                unit="tokens",
                note=f"{codec.tokenizer.name}; with {specials}",
            )
        )
    facts.append(
        Fact(name="longest target", value=float(model.longest_), unit="tokens", note="its end counted")
    )
    return facts


def _notes(model: Translator) -> list[str]:
    notes = [
        f"Translations are the best of a beam of {model.beam}, scored by Σ ln p / T^{model.normalisation:g}."
        if model.beam > 1
        else "Translations take the likeliest token at each step."
    ]
    if model.scheduled_sampling:
        notes.append(
            f"Scheduled sampling: in training, {100 * model.scheduled_sampling:g} % of the tokens before "
            "were the network's own."
        )
    return notes
