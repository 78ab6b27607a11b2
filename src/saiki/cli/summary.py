"""`saiki summary MODEL`: the network's table, layer by layer."""

from __future__ import annotations

from typing import Annotated

import typer

from saiki.cli import options as o
from saiki.cli.console import emit_json, say


def summary(
    model: o.ModelFolder,
    steps: Annotated[int | None, typer.Option(help="Steps to write into the output shapes.", min=1)] = None,
    as_json: o.Json = False,
) -> None:
    """Print the layers of a trained model with their output shapes and parameters."""
    import saiki

    estimator = saiki.load(model)
    table = estimator.summary(steps)
    if as_json:
        emit_json(
            {
                "task": estimator.task,
                "layers": [
                    {
                        "name": row.name,
                        "kind": row.kind,
                        "shape": row.shape_text,
                        "parameters": row.parameters,
                    }
                    for row in table.rows
                ],
                "trainable": table.trainable,
                "non_trainable": table.non_trainable,
                "total": table.total,
            }
        )
        return
    print(table)
    say(estimator.parameter_note_)
