"""`saiki answer MODEL STORIES`: each answer, how sure it is, and what it looked at, as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from saiki.cli import options as o
from saiki.cli.console import emit_json, write_columns
from saiki.core.errors import UsageError


def answer(
    model: o.ModelFolder,
    data: Annotated[
        Path | None,
        typer.Argument(metavar="[STORIES]", help="Numbered lines; questions may come without answers."),
    ] = None,
    sentence: Annotated[
        list[str] | None,
        typer.Option("--sentence", help="A sentence of a story; repeat. Instead of STORIES."),
    ] = None,
    question: Annotated[str | None, typer.Option("--question", help="The question about it.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new CSV file, instead of stdout.")
    ] = None,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Answer questions about stories."""
    import saiki
    from saiki.data.worlds import Story, read_stories

    if (data is None) == (question is None):
        raise UsageError(
            "no story was given" if data is None else "both a file and --question were given",
            hint="name a file, or give --sentence TEXT … --question TEXT",
        )
    if data is not None and sentence:
        raise UsageError("both a file and --sentence were given", hint="leave one out")
    estimator: Any = saiki.load(model)
    if estimator.task != "answerer":
        raise UsageError(f"{model} holds a {estimator.task}", hint="give the folder of an answerer")
    if data is not None:
        stories = read_stories(data, answers=False)
    else:
        stories = [Story(tuple(sentence or ()), str(question), "")]
    shares = estimator.predict_proba(stories)
    looked = estimator.attention(stories)
    told = [estimator.reader_.sentences(story) for story in stories]
    said = [str(estimator.classes_[row.argmax()]) for row in shares]
    sure = [float(row.max()) for row in shares]
    if as_json:
        emit_json(
            {
                "answers": [
                    {
                        "question": story.question,
                        "answer": one,
                        "probability": share,
                        "hops": [
                            [{"sentence": text, "weight": float(w)} for text, w in zip(texts, hop)]
                            for hop in weights
                        ],
                    }
                    for story, one, share, texts, weights in zip(stories, said, sure, told, looked)
                ]
            }
        )
        return
    columns: dict[str, Any] = {
        "question": [story.question for story in stories],
        "answer": said,
        "probability": sure,
    }
    for hop in range(int(estimator.hops)):
        columns[f"hop {hop + 1}"] = [
            texts[int(weights[hop].argmax())] if texts else "" for texts, weights in zip(told, looked)
        ]
    write_columns(columns, output, force)
