"""Pure functions, one value a row; the caller reduces.

A row is a sequence for a network that gives one answer a sequence, and a time step for one that answers at
every step. Every loss is there twice: as a function with its parameters spelled out (`quantile(outputs,
targets, quantiles)`) and as a small frozen value that carries them (`Quantile((0.1, 0.5, 0.9))`), which is
what `get_loss` gives and the trainer takes: `loss(outputs, targets, mask) -> (N,)`. A loss of whole sequences
(`SequenceLoss`) takes the outputs and the targets of B sequences instead, of lengths of their own, and gives
(B,).
"""

from saiki.losses.absolute import Absolute, absolute
from saiki.losses.crf import CRF, crf, crf_log_partition, crf_marginals, crf_score
from saiki.losses.cross_entropy import CrossEntropy, cross_entropy
from saiki.losses.ctc import CTC, Alignment, ctc_align, ctc_loss, ctc_posteriors
from saiki.losses.gaussian import Gaussian, gaussian, gaussian_parameters
from saiki.losses.huber import Huber, huber
from saiki.losses.quantile import Quantile, quantile
from saiki.losses.registry import LOSSES, Custom, get_loss
from saiki.losses.rows import Loss, RowLoss, SequenceLoss, observed_share
from saiki.losses.squared import Squared, squared

__all__ = [
    "CRF",
    "CTC",
    "LOSSES",
    "Absolute",
    "Alignment",
    "CrossEntropy",
    "Custom",
    "Gaussian",
    "Huber",
    "Loss",
    "Quantile",
    "RowLoss",
    "SequenceLoss",
    "Squared",
    "absolute",
    "crf",
    "crf_log_partition",
    "crf_marginals",
    "crf_score",
    "cross_entropy",
    "ctc_align",
    "ctc_loss",
    "ctc_posteriors",
    "gaussian",
    "gaussian_parameters",
    "get_loss",
    "huber",
    "observed_share",
    "quantile",
    "squared",
]
