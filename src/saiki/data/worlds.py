"""Small worlds: people move, take things and put them down; a question needs one, two or three facts.

    one      where a person is: the last place the person went to
    two      where a thing is: who had it last, and where that person was
    three    where a thing was before it came to a place: who carried it, from where, and to where

The form of the questions follows Weston et al. 2015, tasks 1 to 3; names, words and the rules of the world
are our own.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from saiki.core.checks import require_int
from saiki.core.errors import DataError, OptionError, ValueRangeError
from saiki.core.files import atomic_write

__all__ = ["Story", "read_stories", "worlds", "write_stories"]

PEOPLE = ("Anna", "Bela", "Chen", "Dora")
PLACES = ("kitchen", "garden", "office", "cellar", "library", "attic")
THINGS = ("apple", "lamp", "ball")
WENT = ("went to", "moved to", "walked to")
TOOK = ("took", "picked up")
LEFT = ("dropped", "put down")
LENGTHS = {1: (2, 10), 2: (4, 16), 3: (8, 24)}  # sentences, by the facts a question needs
_TRIES = 10_000


@dataclass(frozen=True)
class Story:
    """Some sentences, a question about them, and its answer.

    Attributes:
        sentences: in the order in which things happened.
        question: about them.
        answer: one word, or several written as one.
        support: the sentences that the answer follows from, counted from 0; empty where it is not known.
    """

    sentences: tuple[str, ...]
    question: str
    answer: str
    support: tuple[int, ...] = ()


def worlds(n: int, facts: int = 1, *, length: tuple[int, int] | None = None, seed: int = 0) -> list[Story]:
    """Stories of small worlds, each with one question.

    Args:
        n: how many.
        facts: 1, 2 or 3, the sentences an answer follows from.
        length: fewest and most sentences; None takes (2, 10), (4, 16) or (8, 24).
        seed: of the worlds.
    Raises:
        OptionError: facts is not 1, 2 or 3.
        ValueRangeError: no story of that length has such a question.
    """
    require_int(n, "n", 1)
    require_int(seed, "seed", 0)
    if facts not in LENGTHS:
        raise OptionError(f"facts is {facts!r} but must be 1, 2 or 3.")
    low, high = LENGTHS[facts] if length is None else length
    require_int(low, "the fewest sentences", 1)
    require_int(high, "the most sentences", low)
    rng = np.random.default_rng(seed)
    made: list[Story] = []
    for _ in range(n):
        for _ in range(_TRIES):
            world = _World(rng)
            for _ in range(int(rng.integers(low, high + 1))):
                world.happen(things=facts > 1)
            story = world.ask(facts)
            if story is not None:
                made.append(story)
                break
        else:
            raise ValueRangeError(
                f"no world of {low} to {high} sentences has a question of {facts} facts.",
                "Allow longer stories.",
            )
    return made


class _World:
    """Where everybody and everything is, and which sentence says so."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.sentences: list[str] = []
        self.place: dict[str, tuple[str, int]] = {}  # person -> place, and the sentence of going there
        self.holder: dict[str, tuple[str, int]] = {}  # thing -> person, and the sentence of taking it
        self.lies: dict[str, tuple[str, tuple[int, int]]] = {}  # thing -> place, and what says so
        self.path: dict[str, list[tuple[str, int, int]]] = {}  # thing -> (place, going there, taking it)

    def _one(self, words: Sequence[str]) -> str:
        return words[int(self.rng.integers(len(words)))]

    def happen(self, things: bool) -> None:
        """One more sentence."""
        person = self._one(PEOPLE)
        at = len(self.sentences)
        if things and person in self.place and self.rng.random() < 0.5:
            place, went = self.place[person]
            held = [thing for thing, (who, _) in self.holder.items() if who == person]
            here = [
                thing
                for thing in THINGS
                if thing not in self.holder and (thing not in self.lies or self.lies[thing][0] == place)
            ]
            if held and (not here or self.rng.random() < 0.4):
                thing = self._one(held)
                del self.holder[thing]
                self.lies[thing] = (place, (at, went))
                self.sentences.append(f"{person} {self._one(LEFT)} the {thing}.")
                return
            if here:
                thing = self._one(here)
                self.holder[thing] = (person, at)
                self.lies.pop(thing, None)
                self._moved(thing, place, went, at)
                self.sentences.append(f"{person} {self._one(TOOK)} the {thing}.")
                return
        old = self.place[person][0] if person in self.place else None
        place = self._one([name for name in PLACES if name != old])
        self.place[person] = (place, at)
        for thing, (who, took) in self.holder.items():
            if who == person:
                self._moved(thing, place, at, took)
        self.sentences.append(f"{person} {self._one(WENT)} the {place}.")

    def _moved(self, thing: str, place: str, went: int, took: int) -> None:
        path = self.path.setdefault(thing, [])
        if not path or path[-1][0] != place:
            path.append((place, went, took))

    def ask(self, facts: int) -> Story | None:
        """A question that needs so many facts; None where this world has none."""
        if facts == 1:
            person = self._one(tuple(self.place))
            place, went = self.place[person]
            return self._story(f"Where is {person}?", place, (went,))
        if facts == 2:
            known = sorted({*self.holder, *self.lies})
            if not known:
                return None
            thing = self._one(known)
            if thing in self.holder:
                person, took = self.holder[thing]
                place, went = self.place[person]
                return self._story(f"Where is the {thing}?", place, (took, went))
            place, support = self.lies[thing]
            return self._story(f"Where is the {thing}?", place, support)
        long = sorted(thing for thing, path in self.path.items() if len(path) > 1)
        if not long:
            return None
        thing = self._one(long)
        (before, went_before, _), (place, went, took) = self.path[thing][-2:]
        if took == went_before:
            return None
        return self._story(f"Where was the {thing} before the {place}?", before, (went_before, took, went))

    def _story(self, question: str, answer: str, support: Sequence[int]) -> Story:
        return Story(tuple(self.sentences), question, answer, tuple(sorted(support)))


def write_stories(path: str | os.PathLike[str], stories: Iterable[Story]) -> None:
    """Write stories as numbered lines: a sentence a line, then the question, a tab, the answer, a tab and the
    numbers of the supporting sentences. A new story begins with number 1.
    """
    lines = []
    for story in stories:
        lines += [f"{number} {sentence}" for number, sentence in enumerate(story.sentences, start=1)]
        support = " ".join(str(place + 1) for place in story.support)
        lines.append(f"{len(story.sentences) + 1} {story.question}\t{story.answer}\t{support}")
    atomic_write(path, ("\n".join(lines) + "\n").encode())


def read_stories(path: str | os.PathLike[str], *, answers: bool = True) -> list[Story]:
    """Read stories as `write_stories` writes them; the form of the bAbI tasks.

    A question stands after the sentences it is about, and more may follow it: each question gives a story of
    the sentences before it.

    Args:
        path: a text file in UTF-8.
        answers: False allows questions without an answer, marked by their tab or question mark.
    Raises:
        DataError: no such file, no question, or a line that is neither sentence nor question; it is named.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"there is no file {path}.", "Check the path of the stories.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text.", "Give stories as numbered lines.") from None
    stories: list[Story] = []
    sentences: dict[int, str] = {}
    for row, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        number, _, rest = line.strip().partition(" ")
        if not number.isdigit() or not rest:
            raise DataError(
                f"line {row} of {path} is {line[:60]!r} but must be a number and a sentence.",
                "For instance: 1 Anna went to the kitchen.",
            )
        if int(number) == 1:
            sentences = {}
        question, *given = rest.split("\t")
        asked = bool(given) or (not answers and question.rstrip().endswith("?"))
        if not asked:
            sentences[int(number)] = rest
            continue
        answer = given[0].strip() if given else ""
        if answers and not answer:
            raise DataError(f"the question in line {row} of {path} has no answer after its tab.")
        stories.append(_story(sentences, question.strip(), answer, given[1:], f"line {row} of {path}"))
    if not stories:
        raise DataError(
            f"{path} has no question: no line has a tab and an answer.",
            "For instance: 3 Where is Anna?\tkitchen\t1",
        )
    return stories


def _story(sentences: dict[int, str], question: str, answer: str, given: list[str], where: str) -> Story:
    places = {number: place for place, number in enumerate(sentences)}
    support = []
    for word in given[0].split() if given else []:
        if not word.isdigit() or int(word) not in places:
            raise DataError(f"{where} names the supporting sentence {word!r}, which is not in its story.")
        support.append(places[int(word)])
    return Story(tuple(sentences.values()), question, answer, tuple(support))
