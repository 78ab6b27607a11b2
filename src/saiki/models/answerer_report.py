"""The answerer's report: figures beside simple models, and stories with what each hop looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from saiki.data.worlds import Story
from saiki.models.answerer_data import Reader
from saiki.models.options import Array

if TYPE_CHECKING:
    from saiki.insight import Picture
    from saiki.models.answerer import Answerer

WRONG_SHOWN, RIGHT_SHOWN = 2, 4  # stories drawn


def details_of(
    reader: Reader, stories: Sequence[Story], scores: Array, looked: Sequence[Array]
) -> dict[str, Any]:
    """What the report shows of the validation part, as JSON.

    `support` is the share of the known supporting sentences that were looked at most by some hop; None where
    no story says what supports its answer.
    """
    truth, said = reader.classes(stories), scores.argmax(axis=1)
    right = np.flatnonzero(said == truth)
    wrong = np.flatnonzero(said != truth)
    found = wanted = 0
    for story, weights in zip(stories, looked):
        # a sentence without a word is in no memory, and then the numbers of the others do not fit
        if story.support and weights.shape[1] == len(story.sentences):
            wanted += len(story.support)
            found += len(set(weights.argmax(axis=1).tolist()) & set(story.support))
    return {
        "support": found / wanted if wanted else None,
        "stories": [
            {
                "sentences": reader.sentences(stories[i]),
                "question": stories[i].question,
                "wanted": stories[i].answer,
                "said": reader.answers[int(said[i])],
                "support": list(stories[i].support),
                "weights": looked[i].round(4).tolist(),
            }
            for i in (*right[:RIGHT_SHOWN].tolist(), *wrong[:WRONG_SHOWN].tolist())
        ],
    }


def report_of(model: Answerer) -> str:
    """The report of a fitted answerer as one HTML page."""
    from saiki.insight import Fact, Split
    from saiki.models.reporting import compare, page

    splits = model.details_.get("splits", [])
    held = next((part["stories"] for part in splits if part["name"] == "validation"), 0)
    slots = "its sentences" if model.memory == "sentences" else "its words, each found by its sentence"
    facts = [
        Fact(name="answers", value=float(len(model.classes_)), note=", ".join(model.classes_[:12])),
        Fact(name="vocabulary", value=float(len(model.reader_.codec)), unit="words"),
    ]
    support = model.details_.get("support")
    if support is not None:
        facts.append(
            Fact(
                name="supporting sentences that some hop looked at most",
                value=f"{100 * support:.1f} %",
                note="of the validation part",
            )
        )
    return page(
        model,
        title="Answers from stories",
        summary=f"A story is a memory of {slots}; it is read {model.hops} times before the answer.",
        comparison=compare(
            model._figures_shown(),
            model.metrics_,
            model.baselines_,
            name="this memory network",
            measured_on=f"{held} validation stories",
        ),
        pictures=[_picture(one) for one in model.details_.get("stories", [])],
        data=facts,
        splits=[Split(name=part["name"], count=part["stories"], unit="stories") for part in splits],
        loss="cross-entropy, nats",
    )


def _picture(one: Mapping[str, Any]) -> Picture:
    from saiki.insight.figures_memory import hops

    right = one["said"] == one["wanted"]
    marked = " A point marks a sentence that the answer follows from." if one["support"] else ""
    return hops(
        "What each hop looked at" if right else "What each hop looked at, and the answer was wrong",
        f"A validation story; the weights of a hop sum to 100 %.{marked}",
        one["sentences"],
        np.array(one["weights"]).reshape(len(one["weights"]), len(one["sentences"])),
        question=one["question"],
        said=one["said"],
        wanted=one["wanted"],
        support=one["support"],
    )
