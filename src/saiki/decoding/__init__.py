"""From a network's outputs to an answer: CTC decoders, sequences made step by step, the best path of a chain.

The CTC decoders (`ctc_greedy`, `PrefixBeam`) take a batch in any form that `Ragged.of` reads and give, for
each utterance, hypotheses: labels, scores, and the frames in which each label was spoken. `greedy`, `beam`
and `sample` drive any network that makes one token a step; `viterbi` finds the best labels of a chain.
"""

from saiki.decoding.ctc_beam import BeamSession, PrefixBeam
from saiki.decoding.greedy import ctc_collapse, ctc_greedy
from saiki.decoding.hypothesis import Hypothesis, Word
from saiki.decoding.language import Fusion, LabelNGram, LanguageScorer, WordNGram
from saiki.decoding.lexicon import Lexicon
from saiki.decoding.ngram import NGram
from saiki.decoding.sequence import Decoded, Rows, StepState, beam, draw, greedy, sample
from saiki.decoding.viterbi import BestPath, viterbi

__all__ = [
    "BeamSession",
    "BestPath",
    "Decoded",
    "Fusion",
    "Hypothesis",
    "LabelNGram",
    "LanguageScorer",
    "Lexicon",
    "NGram",
    "PrefixBeam",
    "Rows",
    "StepState",
    "Word",
    "WordNGram",
    "beam",
    "ctc_collapse",
    "ctc_greedy",
    "draw",
    "greedy",
    "sample",
    "viterbi",
]
