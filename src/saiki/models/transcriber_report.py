"""The transcriber's part of the report: error rates beside simple models', alignments, samples, confusions.

What is drawn is measured once, when the fit ends, and kept in `details_`, so a saved model has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from saiki.core.checks import listed
from saiki.core.ragged import Ragged
from saiki.insight import Fact, Metric, Picture, Split, picture
from saiki.insight.figures_alignment import Said, alignment, pooled_for_eye
from saiki.insight.samples import samples
from saiki.losses import ctc_align
from saiki.metrics import edits
from saiki.models.options import Array
from saiki.models.reporting import compare, model_name, page
from saiki.models.transcriber_parts import Part, pace
from saiki.models.transcripts import Labels

if TYPE_CHECKING:
    from saiki.models.transcriber import Transcriber

ALIGNED = 3  # utterances whose alignment is drawn
STEPS = 400  # of each, the first
SAMPLES = 12  # transcripts shown
CONFUSIONS = 12  # pairs shown


def details(
    model: Transcriber, validation: Part, outputs: Sequence[Array], said: Sequence[Any]
) -> dict[str, Any]:
    """What the report shows of the validation part, as JSON.

    Args:
        model: fitted as far as its network and labels.
        validation: utterances and what was said in them.
        outputs: (T', K) log-probabilities of each.
        said: what the model understood of each.
    """
    labels = model.labels_
    right = [labels.split(answer) for answer in validation.answers]
    ours = [labels.split(answer if isinstance(answer, str) else list(answer)) for answer in said]
    wrong = Counter[tuple[str | None, str | None]]()
    for r, h in zip(right, ours):
        wrong.update((a, b) for a, b in edits(r, h).pairs if a != b)
    # half of the samples and an alignment from where the model errs most, so that they are no advertisement
    errors = np.array([edits(r, h).distance for r, h in zip(right, ours)])
    worst = [int(i) for i in np.argsort(-errors, kind="stable") if errors[i] > 0]
    if worst:
        most = errors[worst[min(len(worst), SAMPLES // 2) - 1]]
        worst = _spread([i for i in worst if errors[i] >= most], SAMPLES // 2)
    shown = list(dict.fromkeys([*worst, *_spread(list(range(len(right))), SAMPLES)]))[:SAMPLES]
    heard = [i for i in range(len(right)) if len(outputs[i]) > 0]
    drawn = list(
        dict.fromkeys(
            [*_spread(heard, ALIGNED - 1), *(i for i in worst if i in heard), *_spread(heard, ALIGNED)]
        )
    )
    return {
        "alignments": [_aligned(model, validation, i, outputs[i]) for i in drawn[:ALIGNED]],
        "samples": [
            {
                "name": validation.utterances.names[i],
                "right": _text(right[i], labels),
                "said": _text(ours[i], labels),
                "errors": int(errors[i]),
            }
            for i in shown
        ],
        "confusions": [[a, b, count] for (a, b), count in wrong.most_common(CONFUSIONS)],
    }


def _spread(places: list[int], count: int) -> list[int]:
    """At most so many of them, evenly taken."""
    if not places:
        return []
    chosen = np.unique(np.linspace(0, len(places) - 1, count).round().astype(int))
    return [places[int(i)] for i in chosen]


def _text(tokens: Sequence[str], labels: Labels) -> str:
    return labels.codec.tokenizer.join(list(tokens)) if labels.kind == "text" else " ".join(tokens)


def _aligned(model: Transcriber, validation: Part, place: int, log_p: Array) -> dict[str, Any]:
    """One utterance's picture in numbers: probabilities of the labels that matter, both alignments."""
    labels = model.labels_
    ids = labels.ids(validation.answers[place], validation.utterances.names[place])
    path = ctc_align(Ragged.from_list([torch.from_numpy(log_p)]), [ids.tolist()], blank=labels.blank)[0]
    reference = [(labels.tokens[int(k)], int(a), int(b)) for k, a, b in zip(ids, path.starts, path.ends)]
    found = model._decode([log_p], None)[0][0]
    said = [(labels.tokens[k], a, b) for k, a, b in zip(found.labels, found.starts, found.ends)]
    kept = [*sorted({labels.codec.vocabulary.id(t) for t, _, _ in [*reference, *said]}), labels.blank]
    frames = validation.utterances.frames[place]
    step = pace(model.network_)
    T = min(len(log_p), STEPS)
    heard = frames[: T * step]
    if model.audio_ is not None:
        heard = model.audio_.levels(heard)
    return {
        "name": validation.utterances.names[place],
        "labels": [labels.tokens[k] for k in kept],
        "posteriors": np.exp(log_p[:T, kept].astype(np.float64)).round(3).tolist(),
        "heard": pooled_for_eye(heard).round(2).tolist() if heard.shape[1] > 1 else None,
        "reference": [list(span) for span in reference if span[1] < T],
        "said": [list(span) for span in said if span[1] < T],
        "seconds_a_step": None if model.audio_ is None else model.audio_.seconds * step,
    }


def page_of(model: Transcriber) -> str:
    """The report of a fitted transcriber."""
    labels, splits = model.labels_, model.details_.get("splits", [])
    held = next((s["utterances"] for s in splits if s["name"] == "validation"), 0)
    text = labels.kind == "text"
    shown = [("label_error_rate", Metric(name=f"{labels.unit} error rate", percent=True))]
    if text and labels.unit != "character":
        shown.append(("cer", Metric(name="character error rate", percent=True)))
    if text and labels.unit != "word":
        shown.append(("wer", Metric(name="word error rate", percent=True)))
    shown.append(("exact", Metric(name="right as a whole", lower_is_better=False, percent=True)))
    heard = "frames" if model.audio_ is None else "recordings"
    return page(
        model,
        title="Transcriber",
        summary=f"{'Text' if text else 'Labels'} from {heard} of {model.n_features_in_} features a frame, by "
        "connectionist temporal classification.",
        comparison=compare(
            shown,
            model.metrics_,
            model.baselines_,
            name=model_name(model),
            measured_on=f"{held} validation utterances, "
            + ("given by the user" if isinstance(model.validation, tuple) else "chosen by the seed"),
        ),
        pictures=_pictures(model),
        data=_facts(model),
        splits=[Split(name=s["name"], count=s["utterances"], unit="utterances") for s in splits],
        loss="CTC loss, nats an utterance",
        notes=model.details_.get("notes", []),
    )


def _facts(model: Transcriber) -> list[Fact]:
    labels, audio = model.labels_, model.audio_
    names = [repr(t) if t.strip() != t else t for t in labels.codec.vocabulary.tokens]
    facts = [
        Fact(name=f"{labels.unit}s", value=float(len(labels)), note=listed(names, 40)),
        Fact(name="features a frame", value=float(model.n_features_in_)),
    ]
    if audio is not None:
        facts += [
            Fact(name="features", value="log-mel" if audio.kind == "log_mel" else "MFCC"),
            Fact(name="rate", value=float(audio.rate_hz), unit="Hz"),
            Fact(name="window", value=audio.window_ms, unit="ms"),
            Fact(name="hop", value=audio.hop_ms, unit="ms"),
        ]
    for split in model.details_.get("splits", []):
        name, frames = f"sound in the {split['name']} part", float(split["frames"])
        if audio is None:
            facts.append(Fact(name=f"frames in the {split['name']} part", value=frames, unit="frames"))
        else:
            facts.append(Fact(name=name, value=round(frames * audio.seconds / 60, 1), unit="minutes"))
    return facts


def _pictures(model: Transcriber) -> list[Picture]:
    found = model.details_
    drawn = [_alignment(one) for one in found.get("alignments", [])]
    if found.get("samples"):
        rows = [(s["name"], s["right"], s["said"]) for s in found["samples"]]
        drawn.append(
            samples(
                "Transcripts",
                "From the validation part; up to half of them are those with the most errors.",
                ("utterance", "what was said", "what the model understood"),
                rows,
                right=[s["errors"] == 0 for s in found["samples"]],
            )
        )
    if found.get("confusions"):
        drawn.append(
            samples(
                "What was confused",
                "The commonest errors on the validation part.",
                ("said", "understood", "times"),
                [
                    (_shown(a, "(nothing: inserted)"), _shown(b, "(nothing: left out)"), str(count))
                    for a, b, count in found["confusions"]
                ],
            )
        )
    return drawn


def _alignment(one: dict[str, Any]) -> Picture:
    legend = "In grey the blank, in colour each label."
    if one["reference"]:
        legend += " Below, the right labels where the best path through them lies, and what the model said."
    return picture(
        f"Alignment of {one['name']}",
        f"What was heard, and how probable each label was at each time. {legend}",
        lambda width: alignment(
            one["posteriors"],
            one["labels"],
            heard=one["heard"],
            reference=[Said(*span) for span in one["reference"]],
            said=[Said(*span) for span in one["said"]],
            seconds_a_step=one["seconds_a_step"],
            width=width,
        ),
    )


def _shown(label: str | None, nothing: str) -> str:
    return nothing if label is None else "␣" if label == " " else label
