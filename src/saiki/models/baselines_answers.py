"""The simple models beside the answerer, and an LSTM that reads the whole story, on the same split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from saiki import metrics
from saiki.data.tokens import TextCodec, Whitespace
from saiki.data.worlds import Story
from saiki.models.sequence_text import Text, bag_of_tokens

if TYPE_CHECKING:
    from saiki.models.answerer import Answerer

LSTM_SIZE = 64
LSTM_EPOCHS = 60


def answer_baselines(
    model: Answerer, train: Sequence[Story], validation: Sequence[Story]
) -> list[dict[str, Any]]:
    """The most frequent answer, softmax regression on the words, an LSTM over story and question.

    Args:
        model: fitted; its reader, seed and place of work are used.
        train: stories that were learned from.
        validation: stories to measure on.
    Returns:
        One dict a model: its name and its figures.
    """
    from saiki.models.classifier import SequenceClassifier

    reader = model.reader_
    x, new = ([reader.flat(story) for story in part] for part in (train, validation))
    y, truth = reader.classes(train), reader.classes(validation)
    codec = TextCodec.fit(x, Whitespace())
    arrays = [[codec.encode(text)[:, None].astype(np.float64) for text in part] for part in (x, new)]
    known = bag_of_tokens(arrays[0], y, arrays[1], size=len(codec), classes=len(reader.answers))
    names = {"majority class": "most frequent answer"}
    found = [
        {
            "name": names.get(name, name),
            "accuracy": float(metrics.accuracy(truth, shares.argmax(axis=1))),
            "log_loss": float(metrics.log_loss(truth, shares)),
        }
        for name, shares in known.items()
    ]
    lstm = SequenceClassifier(
        text=Text(tokenizer="whitespace"),
        hidden_size=LSTM_SIZE,
        max_epochs=LSTM_EPOCHS,
        validation=(new, truth),
        baselines=False,
        random_state=model.seed_,
        device=model.device,
        dtype=model.dtype,
        engine=model.engine,
        verbose=model.verbose,
    ).fit(x, y)
    figures = {name: lstm.metrics_[name] for name in ("accuracy", "log_loss")}
    return [*found, {"name": f"LSTM of {LSTM_SIZE} units reading the whole story", **figures}]
