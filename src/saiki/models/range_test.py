"""The learning-rate range test of an estimator: its own preparation, network and loss, and no training."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sklearn.base import clone
from torch import Tensor

from saiki.learning import LRRange, Source, lr_range_test

if TYPE_CHECKING:
    from saiki.models.base import Estimator
    from saiki.nn import Stack


class _Measured(Exception):
    def __init__(self, found: LRRange) -> None:
        super().__init__()
        self.found = found


def lr_range(estimator: Estimator, *data: Any, low: float, high: float, steps: int) -> LRRange:  # noqa: ANN401
    """Everything `fit` does up to its training, and the range test in its place.

    Args:
        estimator: its options are used; it stays as it is.
        data: what its `fit` takes.
        low: the lowest rate.
        high: the highest.
        steps: updates.
    """
    probe: Any = clone(estimator)

    def instead(network: Stack, loss: Callable[..., Tensor], train: Source, *_: object, **__: object) -> None:
        raise _Measured(
            lr_range_test(
                network,
                loss,
                train,
                training=probe._training(),
                low=low,
                high=high,
                steps=steps,
                batch_size=probe.batch_size,
                lr=float(probe.lr),
                seed=probe.seed_,
            )
        )

    probe._train = instead
    try:
        probe.fit(*data)
    except _Measured as measured:
        return measured.found
    raise AssertionError("fit ended without training")
