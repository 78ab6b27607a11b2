"""Texts beside the texts that were wanted: BLEU, by sacrebleu, and the share that is exactly right.

A source may have several right answers: `targets` then holds a list of texts for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from saiki.core.checks import require_bool
from saiki.core.errors import DTypeError, LengthError
from saiki.core.extras import require
from saiki.core.names import choose
from saiki.metrics.score import Score

Answers = str | Sequence[str]

TOKENIZATIONS = {"13a": "13a", "blanks": "none", "intl": "intl", "char": "char"}  # and sacrebleu's names


def exact_match(targets: Sequence[Answers], hypotheses: Sequence[str]) -> Score:
    """Share of the texts that equal one of their targets, 0 to 1.

    Args:
        targets: n texts, or n lists of texts of which any is right.
        hypotheses: n texts that were said.
    Raises:
        LengthError: not as many, or none at all. DTypeError: something that is no text.
    """
    right = _several(targets, hypotheses)
    return Score(sum(said in good for said, good in zip(hypotheses, right)) / len(right), len(right))


def bleu(
    targets: Sequence[Answers],
    hypotheses: Sequence[str],
    *,
    tokenize: str = "13a",
    lowercase: bool = False,
) -> Score:
    """BLEU of a whole test set, 0 to 100: how many of the n-grams, n = 1 to 4, were wanted, and whether
    enough was said.

        BLEU = 100 · min(1, exp(1 - r/c)) · exp(¼ Σ_n ln p_n)

    p_n is the share of the n-grams said that some target of the same source has, none counted more often than
    there; r and c are the lengths of the (nearest) targets and of what was said. It is taken over all
    sentences together and is no mean of theirs.

    Args:
        targets: n texts, or n lists of texts.
        hypotheses: n texts.
        tokenize: how sacrebleu cuts words: "13a" (its default, for plain text), "blanks" (for text that is
            tokenised already; it says none), "intl", "char".
        lowercase: compare without case.
    Returns:
        The score; `count` is the number of sentences.
    Raises:
        ExtraError: sacrebleu is not installed.
        LengthError, DTypeError: as in `exact_match`. OptionError: an unknown `tokenize`.
    Source: Papineni et al. 2002; the computation is sacrebleu's (Post 2018).
    """
    right = _several(targets, hypotheses)
    words = choose(tokenize, TOKENIZATIONS, "BLEU tokenization")
    require_bool(lowercase, "lowercase")
    package = require("sacrebleu", "text", "BLEU")
    metric = package.BLEU(tokenize=words, lowercase=lowercase, force=True)  # force: no advice on stderr
    most = max(map(len, right))
    streams = [[good[k] if k < len(good) else None for good in right] for k in range(most)]
    return Score(metric.corpus_score(list(hypotheses), streams).score, len(right))


def _several(targets: Sequence[Answers], hypotheses: Sequence[str]) -> list[list[str]]:
    """The right answers to each hypothesis, checked."""
    for name, given in (("targets", targets), ("hypotheses", hypotheses)):
        if isinstance(given, str) or not hasattr(given, "__len__"):
            raise DTypeError(f"{name} is {type(given).__name__} but must be a list of texts.")
    if len(targets) != len(hypotheses) or not len(targets):
        raise LengthError(
            f"there are {len(targets)} targets and {len(hypotheses)} hypotheses; there must be as many of "
            "both, and at least one."
        )
    right = [[one] if isinstance(one, str) else list(one) for one in targets]
    for index, (good, said) in enumerate(zip(right, hypotheses)):
        if not good:
            raise LengthError(f"targets[{index}] holds no text.", "Give at least one right answer.")
        for text in (*good, said):
            if not isinstance(text, str):
                raise DTypeError(f"entry {index} holds {type(text).__name__} but must be text.")
    return right
