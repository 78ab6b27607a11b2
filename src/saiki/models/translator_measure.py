"""The figures of translations beside their right answers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec

from saiki import metrics
from saiki.data.tokens import Tokenizer
from saiki.metrics.edits import edit_distance
from saiki.models.translator_data import Pairs
from saiki.models.translator_options import bleu_tokenization

logger = logging.getLogger("saiki")


def figures_of(asked: Pairs, said: Sequence[str], tokenizer: Tokenizer, bleu: str | None) -> dict[str, float]:
    """Share of exact translations, edits a token of the nearest right answer, and BLEU where it makes sense.

    Args:
        asked: sources with their right answers.
        said: a translation each.
        tokenizer: of the targets, whose tokens the edits are counted in.
        bleu: the translator's option.
    """
    edits = wanted = 0
    for text, answers in zip(said, asked.answers):
        tokens = tokenizer.split(text)
        right = [tokenizer.split(answer) for answer in answers]
        distance, length = min((edit_distance(one, tokens), len(one)) for one in right)
        edits, wanted = edits + distance, wanted + length
    found = {
        "exact": float(metrics.exact_match(asked.answers, said)),
        "token_error_rate": edits / wanted if wanted else float("nan"),
    }
    words = bleu_tokenization(bleu, tokenizer)
    if words is not None and (bleu != "auto" or _has_sacrebleu()):
        found["bleu"] = float(metrics.bleu(asked.answers, said, tokenize=words))
    return found


@cache
def _has_sacrebleu() -> bool:
    """Whether BLEU can be computed; where it cannot, that is said once."""
    if find_spec("sacrebleu") is not None:
        return True
    logger.info("BLEU is left out: it needs the package sacrebleu (pip install 'saiki[text]').")
    return False
