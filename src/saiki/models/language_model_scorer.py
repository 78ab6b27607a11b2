"""A language model as a beam search asks it: ln p of the next label for many prefixes that grow by one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, final

import numpy as np
import torch

from saiki.core.errors import LabelError
from saiki.data.vocabulary import END, UNKNOWN
from saiki.models.language_model_network import Reader, chosen_rows
from saiki.models.language_model_text import start_token
from saiki.models.options import Array
from saiki.nn import StackState

if TYPE_CHECKING:
    from saiki.models.language_model_speaking import LanguageSpeaker

REMEMBERED = 4096  # prefixes whose state is kept; a beam of 100 over 40 labels


class _Known(NamedTuple):
    log_p: Array  # (V,)
    state: StackState  # of the texts that were read together
    row: int  # this one's among them


@final
class Scorer:
    """The face that `saiki.decoding.Fusion` takes: `score`, `score_batch`, `end`.

    Each prefix is read from the state of the one that is shorter by a label, where that is remembered.

    Args:
        model: a fitted `LanguageModel`.
        tokens: what each of the K labels stands for.
        renamed: labels that the model calls otherwise.
    Raises:
        LabelError: the model knows none of the tokens.
    """

    def __init__(
        self, model: LanguageSpeaker, tokens: Sequence[str], renamed: Mapping[str, str] | None = None
    ) -> None:
        names = [(renamed or {}).get(token, token) for token in tokens]
        vocabulary = model.vocabulary_
        special = (UNKNOWN, END)
        self.numbers = np.array(
            [vocabulary.id(n) if n in vocabulary and n not in special else -1 for n in names], dtype=np.int64
        )
        if (self.numbers < 0).all():
            raise LabelError(
                f"the language model knows none of the {len(names)} tokens, such as "
                f"{', '.join(map(repr, names[:5]))}.",
                "It must have been fitted on text of the same characters.",
            )
        self._reader = Reader(model.network_)
        self._start = start_token(model.codec_, model.form_)
        self._end = vocabulary.id(END) if model.form_ != "text" else None
        self._known: OrderedDict[tuple[int, ...], _Known] = OrderedDict()

    def score(self, prefix: Sequence[int]) -> Array:
        """(K,) ln p of each label after a prefix, nats; -inf for one the model does not know."""
        return np.asarray(self.score_batch([prefix])[0])

    def score_batch(self, prefixes: Sequence[Sequence[int]]) -> Array:
        """(n, K) `score` of n prefixes."""
        keys = [tuple(int(label) for label in prefix) for prefix in prefixes]
        self._read(keys)
        table = np.stack([np.append(self._known[key].log_p, -np.inf) for key in keys])
        for key in keys:
            self._known.move_to_end(key)
        while len(self._known) > max(REMEMBERED, len(keys)):
            self._known.popitem(last=False)
        return np.asarray(table[:, self.numbers])

    def end(self, prefix: Sequence[int]) -> float:
        """ln p that a line or document ends after the prefix; 0 for a model of running text."""
        if self._end is None:
            return 0.0
        key = tuple(int(label) for label in prefix)
        self._read([key])
        return float(self._known[key].log_p[self._end])

    def _read(self, keys: Sequence[tuple[int, ...]]) -> None:
        """Read what is not known yet: from the shorter prefix in one batch, else from the start."""
        missing = list(dict.fromkeys(key for key in keys if key not in self._known))
        longer = [key for key in missing if key and key[:-1] in self._known]
        if longer:
            tokens = np.array([self._token(key[-1]) for key in longer], dtype=np.int64)
            self._keep(longer, *self._reader.step(tokens, self._states([key[:-1] for key in longer])))
        fresh = [key for key in missing if key not in self._known]
        if fresh:
            texts = [np.array([self._start, *map(self._token, key)], dtype=np.int64) for key in fresh]
            self._keep(fresh, *self._reader.read(texts))

    def _keep(self, keys: Sequence[tuple[int, ...]], log_p: Array, state: StackState) -> None:
        for row, key in enumerate(keys):
            self._known[key] = _Known(log_p[row], state, row)

    def _states(self, keys: Sequence[tuple[int, ...]]) -> StackState:
        """The states of known prefixes side by side: those that were read together are taken together."""
        known = [self._known[key] for key in keys]
        together = {id(each.state): each.state for each in known}
        places = {name: [k for k, each in enumerate(known) if id(each.state) == name] for name in together}
        parts = [
            chosen_rows(state, np.array([known[k].row for k in places[name]]))
            for name, state in together.items()
        ]
        whole: StackState = tuple(
            tuple(torch.cat(values, dim=1) for values in zip(*layers)) for layers in zip(*parts)
        )
        order = np.argsort(np.concatenate([places[name] for name in together]), kind="stable")
        return whole if len(together) == 1 else chosen_rows(whole, order)

    def _token(self, label: int) -> int:
        number = int(self.numbers[label]) if 0 <= label < len(self.numbers) else -1
        if number < 0:
            raise LabelError(f"label {label} stands for no token of the language model.")
        return number
