"""What the tagger is measured by, and the simple methods beside it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from saiki.metrics import Score, span_counts
from saiki.metrics.spans import is_span_tag, marks_spans, total
from saiki.models.tagger_codes import Codes
from saiki.models.tagger_input import Part

SAMPLES = 12  # sentences a report shows
CONFUSED = 24  # tags a confusion matrix shows


def figures(
    truth: Part,
    tags: Sequence[Sequence[str]],
    labels: Sequence[str] | None,
    codes: Codes,
    *,
    spans: bool,
) -> dict[str, float]:
    """The figures of some answers.

    Args:
        truth: sentences with their answers.
        tags: what was said of each word.
        labels: what was said of each sentence; None where nothing was.
        codes: which words were known.
        spans: whether tags mark spans.
    Returns:
        `accuracy` over words, `unknown_accuracy` over words not seen in training, `span_f1`,
        `span_precision`, `span_recall`, `label_accuracy`, and `sentence_accuracy` (everything right), those
        that can be measured.
    """
    right = [[a == b for a, b in zip(wanted, said)] for wanted, said in zip(truth.tags, tags)]
    found: dict[str, float] = {"accuracy": _share([hit for line in right for hit in line])}
    strange = [
        hit
        for line, words in zip(right, truth.words)
        for hit, word in zip(line, words)
        if codes.key(word) not in codes.words
    ]
    if strange:
        found["unknown_accuracy"] = _share(strange)
    if spans:
        counts = total(span_counts(truth.tags, tags).values())
        found["span_f1"] = float(Score(counts.f1, counts.true))
        found["span_precision"], found["span_recall"] = counts.precision, counts.recall
    whole = [all(line) for line in right]
    if truth.labels is not None and labels is not None:
        same = [a == b for a, b in zip(truth.labels, labels)]
        found["label_accuracy"] = _share(same)
        whole = [a and b for a, b in zip(whole, same)]
    found["sentence_accuracy"] = _share(whole)
    return found


def spans_in(codes: Codes, truth: Part) -> bool:
    """Whether spans can be counted: the tags of training mark them, and those of these sentences too."""
    seen = {tag for line in truth.tags for tag in line}
    return marks_spans(codes.tags.tokens) and all(is_span_tag(tag) for tag in seen)


def baselines(train: Part, validation: Part, codes: Codes, *, spans: bool, seed: int) -> list[dict[str, Any]]:
    """The simple methods' figures on the validation part.

    The most frequent tag of each word as it is written, of one never seen the most frequent tag of the words
    seen once; and for labels of sentences a logistic regression on the words that occur.

    Args:
        train: what they learn from.
        validation: what they are asked.
        codes: which words were known to the network, for the share right among the others.
        spans: whether tags mark spans.
        seed: of the regression.
    """
    tags = most_frequent(train, validation.words)
    row: dict[str, Any] = figures(Part(validation.words, validation.tags), tags, None, codes, spans=spans)
    rows = [{"name": "most frequent tag of the word", **row}]
    if train.labels is not None and validation.labels is not None and len(set(train.labels)) > 1:
        said = bag_of_words(train, validation.words, seed)
        share = _share([a == b for a, b in zip(validation.labels, said)])
        rows.append({"name": "logistic regression on the words", "label_accuracy": share})
    return rows


def most_frequent(train: Part, words: Sequence[Sequence[str]]) -> list[list[str]]:
    """Each word's most frequent tag, ties to the one seen first; of a new word that of the rare ones."""
    seen: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for sentence, tags in zip(train.words, train.tags):
        for word, tag in zip(sentence, tags):
            seen[word][tag] += 1
    best = {word: counts.most_common(1)[0][0] for word, counts in seen.items()}
    rare: Counter[str] = Counter(best[word] for word, counts in seen.items() if sum(counts.values()) == 1)
    every: Counter[str] = Counter(tag for tags in train.tags for tag in tags)
    other = (rare or every).most_common(1)[0][0]
    return [[best.get(word, other) for word in sentence] for sentence in words]


def bag_of_words(train: Part, words: Sequence[Sequence[str]], seed: int) -> list[str]:
    """The label of each sentence by logistic regression on which words occur in it."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    counter = CountVectorizer(analyzer=_lowered, binary=True)
    x = counter.fit_transform(train.words)
    model = LogisticRegression(C=10.0, max_iter=200, random_state=seed).fit(
        x, train.labels, sample_weight=train.weights
    )
    return [str(label) for label in model.predict(counter.transform(words))]


def _lowered(sentence: Sequence[str]) -> list[str]:
    return [word.lower() for word in sentence]


def _share(hits: Sequence[bool]) -> float:
    return float(np.mean(hits)) if hits else float("nan")


# --------------------------------------------------------------------------------------- what a report shows


def details(
    truth: Part, tags: Sequence[Sequence[str]], labels: Sequence[str] | None, *, spans: bool
) -> dict[str, Any]:
    """The validation part looked at more closely, as JSON: by tag, who was taken for whom, some sentences."""
    pairs = Counter((a, b) for wanted, said in zip(truth.tags, tags) for a, b in zip(wanted, said))
    found: dict[str, Any] = {"by_tag": _by_tag(pairs), "confusion": _confusion(pairs)}
    if spans:
        found["by_span"] = [
            [kind, c.true, c.found, c.precision, c.recall, c.f1]
            for kind, c in span_counts(truth.tags, tags).items()
        ]
    if truth.labels is not None and labels is not None:
        found["label_confusion"] = _confusion(Counter(zip(truth.labels, labels)))
    found["samples"] = _samples(truth, tags, labels)
    return found


def _by_tag(pairs: Counter[tuple[str, str]]) -> list[list[Any]]:
    """Rows of tag, how often true, how often said, precision, recall, F1; the most frequent first."""
    true: Counter[str] = Counter()
    said: Counter[str] = Counter()
    for (a, b), count in pairs.items():
        true[a] += count
        said[b] += count
    rows = []
    for tag in {*true, *said}:
        right = pairs[tag, tag]
        precision = right / said[tag] if said[tag] else 0.0
        recall = right / true[tag] if true[tag] else 0.0
        f1 = 2 * right / (true[tag] + said[tag])
        rows.append([tag, true[tag], said[tag], precision, recall, f1])
    return sorted(rows, key=lambda row: (-row[1], row[0]))


def _confusion(pairs: Counter[tuple[str, str]]) -> dict[str, Any]:
    """Counts of true by said over the tags that were confused most, or all where they are few.

    Of many tags, those are shown that take part in the most mistakes; what falls outside is counted.
    """
    everything = sorted({tag for pair in pairs for tag in pair})
    shown = everything
    if len(everything) > CONFUSED:
        mistakes: Counter[str] = Counter()
        for (a, b), count in pairs.items():
            if a != b:
                mistakes[a] += count
                mistakes[b] += count
        worst = sorted(everything, key=lambda tag: (-mistakes[tag], tag))[:CONFUSED]
        shown = sorted(worst)
    matrix = [[pairs[a, b] for b in shown] for a in shown]
    return {"labels": shown, "matrix": matrix, "of": len(everything)}


def _samples(
    truth: Part, tags: Sequence[Sequence[str]], labels: Sequence[str] | None
) -> list[dict[str, Any]]:
    """Some sentences, those with a mistake among them: at most half are right throughout."""
    wrong: list[int] = []
    right: list[int] = []
    for number in range(len(truth)):
        label_right = truth.labels is None or labels is None or truth.labels[number] == labels[number]
        good = list(tags[number]) == truth.tags[number] and label_right
        (right if good else wrong).append(number)
    some = SAMPLES // 2
    chosen = _evenly(wrong, SAMPLES - min(some, len(right))) + _evenly(right, some)
    rows = []
    for number in sorted(chosen):
        row: dict[str, Any] = {
            "words": truth.words[number],
            "tags": truth.tags[number],
            "said": list(tags[number]),
        }
        if truth.labels is not None and labels is not None:
            row["label"], row["said_label"] = truth.labels[number], labels[number]
        rows.append(row)
    return rows


def _evenly(numbers: Sequence[int], count: int) -> list[int]:
    """At most so many, evenly taken."""
    if len(numbers) <= count:
        return list(numbers)
    places = np.linspace(0, len(numbers) - 1, count).round().astype(int)
    return [numbers[int(place)] for place in places]
