"""Small worlds: the answer follows from the supporting sentences, and from nothing less."""

from __future__ import annotations

import re

import pytest

from saiki.core.errors import DataError, OptionError, ValueRangeError
from saiki.data.worlds import LENGTHS, Story, read_stories, worlds, write_stories


def solve(story: Story) -> str:
    """The answer, by reading the sentences one after the other."""
    at: dict[str, str] = {}
    has: dict[str, str] = {}
    path: dict[str, list[str]] = {}
    for sentence in story.sentences:
        person, verb, _, what = re.fullmatch(
            r"(\w+) (went to|moved to|walked to|took|picked up|dropped|put down) (the) (\w+)\.", sentence
        ).groups()
        if verb.endswith("to"):
            at[person] = what
            for thing in (thing for thing, holder in has.items() if holder == person):
                path[thing].append(what)
        elif verb in ("took", "picked up"):
            assert what not in has, "taken while somebody has it"
            has[what] = person
            if path.setdefault(what, []) and path[what][-1] != at[person]:
                raise AssertionError("taken from elsewhere")
            path[what].append(at[person])
        else:
            assert has.pop(what) == person
    places = {
        thing: [p for k, p in enumerate(way) if k == 0 or way[k - 1] != p] for thing, way in path.items()
    }
    words = story.question.rstrip("?").split()
    if "before" in words:
        way = places[words[3]]
        assert way[-1] == words[-1]
        return way[-2]
    return places[words[-1]][-1] if words[2] == "the" else at[words[-1]]


@pytest.mark.parametrize("facts", [1, 2, 3])
def test_answers_follow(facts):
    made = worlds(200, facts, seed=3)
    assert made == worlds(200, facts, seed=3) != worlds(200, facts, seed=4)
    low, high = LENGTHS[facts]
    for story in made:
        assert solve(story) == story.answer
        assert len(story.support) == len(set(story.support)) == facts
        assert low <= len(story.sentences) <= high and max(story.support) < len(story.sentences)
    assert len({story.answer for story in made}) == 6  # every place


def test_the_support_names_what_is_asked():
    for story in worlds(50, 2, seed=1):
        thing = story.question.rstrip("?").split()[-1]
        told = [story.sentences[place] for place in story.support]
        assert any(thing in sentence for sentence in told)
        assert any(story.answer in sentence for sentence in told)


def test_file_and_back(tmp_path):
    made = [*worlds(5, 1, seed=0), *worlds(5, 3, seed=0)]
    write_stories(tmp_path / "stories.txt", made)
    assert read_stories(tmp_path / "stories.txt") == made
    # a question between sentences sees what came before it, and the numbers go on
    (tmp_path / "two.txt").write_text(
        "1 Anna went to the attic.\n2 Where is Anna?\tattic\t1\n3 Anna went to the cellar.\n"
        "4 Where is Anna?\tcellar\t3\n1 Bela went to the attic.\n2 Where is Bela?\tattic\n"
    )
    first, second, third = read_stories(tmp_path / "two.txt")
    assert first == Story(("Anna went to the attic.",), "Where is Anna?", "attic", (0,))
    assert second.sentences == ("Anna went to the attic.", "Anna went to the cellar.")
    assert second.support == (1,) and third.support == ()
    (tmp_path / "open.txt").write_text("1 Anna went to the attic.\n2 Where is Anna?\n")
    assert read_stories(tmp_path / "open.txt", answers=False)[0].answer == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no question"),
        ("1 Anna went.\n", "has no question: no line has a tab"),
        ("Anna went.\n", r"line 1 of .* is 'Anna went.' but must be a number and a sentence"),
        ("1 A.\n2 Q?\t\t1\n", "the question in line 2 of .* has no answer"),
        ("1 A.\n2 Q?\tx\t7\n", "line 2 of .* names the supporting sentence '7'"),
    ],
)
def test_bad_files_are_named(tmp_path, text, said):
    (tmp_path / "bad.txt").write_text(text)
    with pytest.raises(DataError, match=said):
        read_stories(tmp_path / "bad.txt")
    with pytest.raises(DataError, match="there is no file"):
        read_stories(tmp_path / "absent.txt")


def test_bad_options_are_named():
    with pytest.raises(OptionError, match="facts is 4 but must be 1, 2 or 3"):
        worlds(1, 4)
    with pytest.raises(ValueRangeError, match="no world of 1 to 1 sentences has a question of 2 facts"):
        worlds(1, 2, length=(1, 1))
