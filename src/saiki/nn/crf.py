"""The parameters of a linear-chain conditional random field, and the potentials that they make of scores."""

from __future__ import annotations

from typing import final

import torch

from saiki.core.checks import require_int
from saiki.core.ragged import Ragged
from saiki.nn.flow import require_dtype, require_features, require_ragged

MAX_CLASSES = 4_096  # classes of a chain; K² potentials a step, so more of them is a mistake


@final
class CRF(torch.nn.Module):
    """Scores of single labels become potentials of neighbouring ones.

        ψ_t(i, j) = e_t(j) + A_ij                    from label i at t - 1 to label j at t
        ψ_1(i, j) = e_1(j) + s_j                     the same for every i: nothing stands before
        ψ_T(i, j) = … + z_j                          at the last step besides

    The probability of a path y is exp(Σ_t ψ_t(y_{t-1}, y_t)) / Z: `saiki.losses.crf` takes its logarithm,
    `saiki.losses.crf_marginals` the probability of each label at each step, `saiki.decoding.viterbi` the best
    path. With all parameters zero, as they start, labels are independent and each step is a softmax.

    Args:
        num_classes: K.
        device: where the parameters live.
        dtype: of the parameters; torch's default if not given.
    Shapes:
        Ragged (N, K) scores e in, Ragged (N, K, K) potentials out. Parameters: `transitions` A (K, K), row i
        the label before; `start` s (K,), `end` z (K,).
    Raises:
        ShapeError, DTypeError: the scores do not fit.
    Source: Lafferty, McCallum & Pereira 2001, eq. 1; Lample et al. 2016, section 2.2 (over a recurrent
    network).
    """

    def __init__(
        self,
        num_classes: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        K = self.num_classes = require_int(num_classes, "num_classes", 1, MAX_CLASSES)
        dtype = require_dtype(dtype)
        self.transitions = torch.nn.Parameter(torch.zeros((K, K), dtype=dtype, device=device))
        self.start = torch.nn.Parameter(torch.zeros(K, dtype=dtype, device=device))
        self.end = torch.nn.Parameter(torch.zeros(K, dtype=dtype, device=device))

    def forward(self, scores: Ragged) -> Ragged:
        """Make the potentials; see the class."""
        scores = require_ragged(scores, "CRF")
        require_features(scores, self.num_classes, self.transitions, "CRF")
        e, K = scores.data, self.num_classes
        # the last step of each sequence gets z besides: an index_add of whole rows, not a mask of zeros
        e = e.index_add(0, scores.last_rows[scores.lengths > 0], self.end.expand(scores.live, K))
        first = (e[: scores.live] + self.start).unsqueeze(1).expand(-1, K, K)
        rest = e[scores.live :].unsqueeze(1) + self.transitions
        return scores.with_data(torch.cat([first, rest]))

    def extra_repr(self) -> str:
        """Options for print()."""
        return str(self.num_classes)
