"""From a network's outputs to an answer: greedy and beam decoding of CTC, language models, lexica.

Decoders take a batch in any form that `Ragged.of` reads and give, for each utterance, hypotheses: labels,
scores, and the frames in which each label was spoken.
"""

from saiki.decoding.greedy import ctc_collapse, ctc_greedy
from saiki.decoding.hypothesis import Hypothesis, Word

__all__ = [
    "Hypothesis",
    "Word",
    "ctc_collapse",
    "ctc_greedy",
]
