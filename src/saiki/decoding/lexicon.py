"""A lexicon: which label sequences are words, as a deterministic automaton over labels.

State 0 is the beginning of a word. With a separator the automaton is the prefix tree of the spellings, and
the separator leads from the end of a word back to state 0. Without one, words follow each other directly, or
there is one word alone; where several readings are open at once ("a" + "b" or the beginning of "abc"), a
state is the set of them (the subset construction), so that one label sequence always stands in one state.

Source: Rabin & Scott 1959, section 3 (subset construction).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from saiki.core.checks import require_bool
from saiki.core.errors import DTypeError, LabelError, OptionError

__all__ = ["Lexicon"]

Ints = npt.NDArray[np.int64]
_MOST_STATES = 1 << 22


@dataclass(frozen=True, eq=False)
class Lexicon:
    """The words a decoder may write. Make one with `Lexicon.of`.

    Args:
        words: the words.
        classes: K, how many labels there are, the blank included.
        separator: the label between words; -1: none.
        first: (S + 1,) first arc of each of S states; those of state s are first[s] ≤ k < first[s + 1].
        label: labels of the arcs, rising within a state.
        target: the states the arcs lead to.
        word: (S,) the word that ends in each state; -1: none does.
        accepting: (S,) whether the sequence may end here.
    """

    words: tuple[str, ...]
    classes: int
    separator: int
    first: Ints
    label: Ints
    target: Ints
    word: Ints
    accepting: npt.NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        words: Iterable[str] | Mapping[str, Sequence[str] | Sequence[Sequence[str]]],
        tokens: Sequence[str],
        *,
        separator: str | None = " ",
        repeat: bool = True,
    ) -> Lexicon:
        """Spell words in labels.

        Args:
            words: the words, spelled letter by letter; or word → its tokens, or a list of such spellings.
                Of words spelled alike the first is kept.
            tokens: what each of the K classes stands for.
            separator: the token between words; it may also stand first, last and several times. None: words
                follow each other directly.
            repeat: without a separator, whether more than one word may come.
        Raises:
            LabelError: a spelling is empty or has a token that is none of `tokens`; the word is named.
            OptionError: no word at all, repeat=False beside a separator, more than 4 million states.
        """
        tokens = _tokens(tokens)
        numbers = {token: number for number, token in reversed(list(enumerate(tokens)))}
        require_bool(repeat, "repeat")
        if separator is not None and separator not in numbers:
            raise LabelError(
                f"the separator {separator!r} is none of the {len(tokens)} tokens.",
                "Name the token that stands between words, or separator=None.",
            )
        if separator is not None and not repeat:
            raise OptionError(
                "repeat=False is for one word alone, which needs no separator.", "Leave it out."
            )
        between = -1 if separator is None else numbers[separator]
        names: list[str] = []
        children: list[dict[int, int]] = [{}]
        ends: list[int] = [-1]
        for word, spelling in _spellings(words):
            labels = _labels(word, spelling, numbers, between)
            at = 0
            for number in labels:
                if number not in children[at]:
                    children[at][number] = len(children)
                    children.append({})
                    ends.append(-1)
                at = children[at][number]
            if ends[at] < 0:
                ends[at] = len(names)
                names.append(word)
        if not names:
            raise OptionError("the lexicon has no word.", "Give at least one.")
        if between >= 0:
            accepting = [True] + [end >= 0 for end in ends[1:]]
            children[0][between] = 0
            for state, end in enumerate(ends):
                if end >= 0:
                    children[state][between] = 0
        elif repeat:
            children, ends = _determined(children, ends)
            accepting = [state == 0 or end >= 0 for state, end in enumerate(ends)]
        else:
            accepting = [end >= 0 for end in ends]
        return _automaton(tuple(names), len(tokens), between, children, ends, accepting)

    @property
    def states(self) -> int:
        """S."""
        return len(self.word)

    def __len__(self) -> int:
        """How many words there are."""
        return len(self.words)

    def __repr__(self) -> str:
        return f"Lexicon({len(self)} words, {self.states} states, separator={self.separator})"

    def step(self, state: int, label: int) -> int:
        """The state after a label; -1 where no word goes on so, and after -1."""
        if state < 0:
            return -1
        low, high = int(self.first[state]), int(self.first[state + 1])
        k = low + int(np.searchsorted(self.label[low:high], label))
        return int(self.target[k]) if k < high and int(self.label[k]) == label else -1

    def accepts(self, labels: Iterable[int]) -> bool:
        """Whether this label sequence is made of whole words."""
        state = 0
        for label in labels:
            state = self.step(state, label)
        return state >= 0 and bool(self.accepting[state])


def _tokens(tokens: Sequence[str]) -> tuple[str, ...]:
    if isinstance(tokens, str):
        return tuple(tokens)
    found = tuple(tokens)
    for place, token in enumerate(found):
        if not isinstance(token, str):
            raise DTypeError(f"tokens[{place}] is {token!r} but must be a text.")
    return found


def _spellings(
    words: Iterable[str] | Mapping[str, Sequence[str] | Sequence[Sequence[str]]],
) -> Iterable[tuple[str, Sequence[str]]]:
    if isinstance(words, str):
        raise DTypeError(f"words is the text {words[:40]!r} but must be a list of words.", "Use [word, …].")
    if not isinstance(words, Mapping):
        for word in words:
            yield word, word
        return
    for word, given in words.items():
        if isinstance(given, str) or all(isinstance(token, str) for token in given):
            yield word, given  # type: ignore[misc]  # a list of texts is one spelling
        else:
            for spelling in given:
                yield word, spelling


def _labels(word: str, spelling: Sequence[str], numbers: Mapping[str, int], between: int) -> list[int]:
    if not isinstance(word, str):
        raise DTypeError(f"a word is {word!r} but must be a text.")
    if len(spelling) == 0:
        raise LabelError(f"the word {word!r} has an empty spelling.", "Leave it out.")
    labels = []
    for token in spelling:
        number = numbers.get(token, -1)
        if number < 0 or number == between:
            what = "is the separator" if number == between >= 0 else "is none of the tokens"
            raise LabelError(
                f"the word {word!r} is spelled with {token!r}, which {what}.",
                "Leave the word out, or give its spelling in tokens.",
            )
        labels.append(number)
    return labels


def _determined(children: list[dict[int, int]], ends: list[int]) -> tuple[list[dict[int, int]], list[int]]:
    """The automaton of one word after another: states are sets of tree nodes."""
    start = frozenset((0,))
    known = {start: 0}
    waiting = [start]
    arcs: list[dict[int, int]] = []
    ending: list[int] = []
    for readings in waiting:  # grows while it is walked
        ending.append(max(ends[node] for node in readings))
        open_nodes = set(readings)
        if ending[-1] >= 0:
            open_nodes.add(0)  # the next word may begin
        reached: dict[int, set[int]] = {}
        for node in open_nodes:
            for label, target in children[node].items():
                reached.setdefault(label, set()).add(target)
        here: dict[int, int] = {}
        for label in sorted(reached):
            target_set = frozenset(reached[label])
            if target_set not in known:
                known[target_set] = len(waiting)
                waiting.append(target_set)
                if len(waiting) > _MOST_STATES:
                    raise OptionError(
                        f"these words without a separator need more than {_MOST_STATES} states.",
                        "Give fewer words, or a separator.",
                    )
            here[label] = known[target_set]
        arcs.append(here)
    return arcs, ending


def _automaton(
    names: tuple[str, ...],
    classes: int,
    between: int,
    children: list[dict[int, int]],
    ends: list[int],
    accepting: list[bool],
) -> Lexicon:
    first = np.zeros(len(children) + 1, dtype=np.int64)
    first[1:] = np.cumsum([len(arcs) for arcs in children])
    arcs = [arc for state in children for arc in sorted(state.items())]
    table = np.array(arcs, dtype=np.int64).reshape(len(arcs), 2)
    return Lexicon(
        names,
        classes,
        between,
        first,
        np.ascontiguousarray(table[:, 0]),
        np.ascontiguousarray(table[:, 1]),
        np.array(ends, dtype=np.int64),
        np.array(accepting, dtype=np.bool_),
    )
