"""The digits that come with scikit-learn, and training an epoch at a time, to look inside in between."""

from __future__ import annotations

import torch

from saiki.core.ragged import Ragged
from saiki.learning import BPTT, RaggedSource, Updater, batches, clip_by_norm
from saiki.losses import RowLoss

CLASSES = 10


def halves(seed: int, steps: int) -> tuple[RaggedSource, RaggedSource]:
    """Half of the 1,797 digits to learn and half to test, each read in so many steps (1, 8 or 64).

    Pixels have mean 0 and variance 1 over the learning half as a whole.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    x, test_x, y, test_y = train_test_split(
        digits.data, digits.target, test_size=0.5, stratify=digits.target, random_state=seed
    )
    mean, deviation = x.mean(), x.std()

    def source(images: object, labels: object) -> RaggedSource:
        rows = (torch.as_tensor(images, dtype=torch.float32) - mean) / deviation
        rows = rows.reshape(len(rows), steps, -1)
        return RaggedSource(
            Ragged.from_padded(rows, [steps] * len(rows), batch_first=True), torch.as_tensor(labels)
        )

    return source(x, y), source(test_x, test_y)


def epoch(
    net: torch.nn.Module,
    loss: RowLoss,
    source: RaggedSource,
    updater: Updater,
    *,
    number: int,
    seed: int,
    batch_size: int = 32,
    clip: float | None = None,
) -> float:
    """One pass in a new order; the mean loss on the way, NaN where it blew up."""
    rule = BPTT()
    total = count = 0.0
    for indices in batches(source.lengths, batch_size, seed=seed, epoch=number):
        batch = source.batch(indices)
        losses, gradients, _ = rule.gradient(net, loss, batch, rule.start(net, batch.B))
        updater.step(gradients if clip is None else clip_by_norm(gradients, clip))
        total += float(losses.sum())
        count += len(losses)
    return total / count
