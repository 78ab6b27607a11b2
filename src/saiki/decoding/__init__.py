"""From a network's outputs to an answer: greedy and beam decoding of CTC, language models, lexica.

Decoders take a batch in any form that `Ragged.of` reads and give, for each utterance, hypotheses: labels,
scores, and the frames in which each label was spoken.
"""

from saiki.decoding.ctc_beam import BeamSession, PrefixBeam
from saiki.decoding.greedy import ctc_collapse, ctc_greedy
from saiki.decoding.hypothesis import Hypothesis, Word
from saiki.decoding.language import Fusion, LabelNGram, LanguageScorer, WordNGram
from saiki.decoding.lexicon import Lexicon
from saiki.decoding.ngram import NGram

__all__ = [
    "BeamSession",
    "Fusion",
    "Hypothesis",
    "LabelNGram",
    "LanguageScorer",
    "Lexicon",
    "NGram",
    "PrefixBeam",
    "Word",
    "WordNGram",
    "ctc_collapse",
    "ctc_greedy",
]
