"""CTC beam search beside a plain Python beam and pyctcdecode.

    python -m benchmarks.ctc_decoders [--quick] [--threads N] [--golden FOLDER] [--json FILE]

Method. Utterances are drawn: a text of words, every letter lasting some frames with blanks between, and the
outputs of a network that is sure of most frames and torn in some. With `--golden`, the folder of other
projects' vectors, pyctcdecode's own LibriSpeech utterance is decoded too, alone and sixteen times over; its
network is sure of nearly every frame, so there is little to search, and what a call costs counts. Rows that
FILE has are kept. Contestants of a case take turns, A B A B, each after a run that is not timed; figures are
medians, a whole batch from float32 logits to hypotheses.
Times are the processor's, which other work on the machine does not lengthen. With `--threads 2`, over
utterances, they are those on the wall; the Python contestants have one thread then too.

    plain        the textbook's search in Python: a dictionary from prefix to two probabilities, every class
                 of every frame tried; no time stamps, which ours always computes
    pyctcdecode  with its own pruning (classes under e⁻⁵, prefixes 10 nats under the best), and ours with the
                 same; with a model over words where its package kenlm is there

`error` is the largest difference of the best hypotheses' scores; where labels differ, the row says so.
pyctcdecode keeps a prefix that ends in a blank and the same one that ends in a label as two, so at the same
width it loses more of the sum, and its scores are a little lower.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import circumstances, print_header, write_json
from saiki.decoding import Fusion, Hypothesis, LabelNGram, NGram, PrefixBeam, WordNGram

Row = dict[str, Any]
BLOCK_S = 0.01  # a sample is the mean of as many runs as fit
MOST_ROUNDS = 25
LABEL_FLOOR, MARGIN = math.exp(-5), 10.0  # pyctcdecode's defaults
LETTERS = [chr(97 + k) for k in range(26)]


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Args:
        T, B, K: frames, utterances, classes; the first is the blank, the second stands between words.
        width: prefixes kept.
        language: "", "letters" or "words".
        pruned: with pyctcdecode's pruning.
        peer: "plain" or "pyctcdecode".
    """

    T: int
    B: int
    K: int
    width: int
    language: str = ""
    pruned: bool = False
    peer: str = "plain"


QUICK = (
    Case(150, 4, 28, 25),
    Case(371, 2, 28, 100, pruned=True, peer="pyctcdecode"),
    Case(150, 4, 28, 25, language="letters"),
)
FULL = (
    Case(150, 4, 28, 10),
    Case(150, 4, 28, 25),
    Case(150, 2, 28, 100),
    Case(500, 1, 128, 25),
    Case(60, 1, 5000, 10),
    Case(150, 4, 28, 25, language="letters"),
    Case(150, 16, 28, 100, pruned=True, peer="pyctcdecode"),
    Case(500, 4, 128, 100, pruned=True, peer="pyctcdecode"),
    Case(150, 16, 28, 100, language="words", pruned=True, peer="pyctcdecode"),
)
LIBRISPEECH = tuple(Case(371, B, 29, 100, pruned=True, peer="pyctcdecode") for B in (1, 16))


def main() -> int:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="three cases, to see how things stand")
    parser.add_argument("--threads", type=int, default=1, help="ours, over utterances")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each contestant of a case")
    parser.add_argument("--golden", type=Path, help="a folder that holds decoders/pyctcdecode_libri.npz")
    parser.add_argument("--json", type=Path, help="where the rows go")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    about = circumstances()
    print_header("CTC decoders", about)
    have = []
    if options.json is not None and options.json.exists():
        have = json.loads(options.json.read_text(encoding="utf-8"))["rows"]
    rows = measure(options.quick, options.seconds, options.golden, [_key(row) for row in have])
    rows = [row | {"date": about["date"], "commit": about["commit"]} for row in rows]
    write_json(options.json, {"about": about, "rows": have + rows})
    return 0


def measure(
    quick: bool, seconds: float, golden: Path | None = None, have: Sequence[tuple[object, ...]] = ()
) -> list[Row]:
    """Time all cases whose peer is installed, with as many threads as torch has, printing a line each.

    Args:
        quick: three cases instead of all.
        seconds: for each contestant of a case.
        golden: where other projects' vectors are.
        have: keys of rows that are there already.
    """
    print(
        "    T   B     K  width  language  pruned  peer              ours, ms    peer, ms   ratio     error"
    )
    rows = []
    cases: list[tuple[Case, Path | None]] = [(case, None) for case in (QUICK if quick else FULL)]
    if golden is not None:
        cases += [(case, golden / "decoders") for case in LIBRISPEECH]
    for case, folder in cases:
        if _key(_about(case, folder)) in have:
            continue
        try:
            row = _measure(case, seconds, folder)
        except ImportError as error:
            print(f"{case}: left out: {error}", file=sys.stderr)
            continue
        rows.append(row)
        print(
            f"{case.T:5}{case.B:4}{case.K:6}{case.width:7}  {case.language or '-':<8}"
            f"{'yes' if case.pruned else 'no':>8}  {case.peer:<12}"
            f"{row['saiki_ms']:10.3f}{row['peer_ms']:12.1f}{row['ratio']:8.1f}{row['error']:10.1e}"
            + ("" if row["same_labels"] else "  labels differ"),
            flush=True,
        )
    return rows


def _about(case: Case, folder: Path | None) -> Row:
    return {
        "work": "beam",
        "utterances": "drawn" if folder is None else "LibriSpeech",
        "T": case.T,
        "B": case.B,
        "K": case.K,
        "width": case.width,
        "language": case.language,
        "pruned": case.pruned,
        "threads": torch.get_num_threads(),
        "peer": case.peer,
    }


def _key(row: Row) -> tuple[object, ...]:
    names = ("utterances", "T", "B", "K", "width", "language", "pruned", "threads", "peer")
    return tuple(row[name] for name in names)


def _measure(case: Case, seconds: float, folder: Path | None) -> Row:
    tokens, logits = utterances(case) if folder is None else _librispeech(folder, case.B)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.arpa"
        write_model(path, case, tokens)
        fusion = _fusion(case, path, tokens)
        beam = PrefixBeam(
            width=case.width,
            label_floor=LABEL_FLOOR if case.pruned else None,
            margin=MARGIN if case.pruned else None,
            language=fusion,
            blank=tokens.index(""),
        )
        peer = (
            _plain(case, beam, logits) if case.peer == "plain" else _pyctcdecode(case, path, tokens, logits)
        )

    def ours() -> list[Hypothesis]:
        return [found[0] for found in beam.decode(logits)]

    mine, theirs = ours(), peer()
    differences = [abs(h.score - score) for h, (_, score) in zip(mine, theirs)]
    same = [_words(h.text(tokens)) == _words(text) for h, (text, _) in zip(mine, theirs)]
    threads = torch.get_num_threads()
    clock = time.process_time if threads == 1 else time.perf_counter
    (our_s, peer_s), rounds = _medians((ours, peer), seconds, clock)
    return _about(case, folder) | {
        "saiki_ms": 1e3 * our_s,
        "peer_ms": 1e3 * peer_s,
        "ratio": peer_s / our_s,
        "error": max(differences),
        "same_labels": all(same),
        "clock": "processor" if threads == 1 else "wall",
        "rounds": rounds,
        "peer_version": _version(case.peer),
    }


def _words(text: str) -> list[str]:
    return text.split()


def _version(peer: str) -> str:
    if peer == "plain":
        return f"Python {sys.version.split()[0]}"
    try:
        return f"{peer} {version(peer)}"
    except PackageNotFoundError:
        return peer


# the utterances


def utterances(case: Case) -> tuple[list[str], Tensor]:
    """(tokens, (T, B, K) float32 logits); the same in every run."""
    draw = random.Random(case.T + case.K)
    tokens = ["", " ", *(LETTERS[: case.K - 2] if case.K <= 28 else _symbols(case.K - 2))]
    vocabulary = words(case, tokens)
    generator = torch.Generator().manual_seed(case.T * case.K)
    logits = 1.2 * torch.randn(case.T, case.B, case.K, generator=generator)
    for b in range(case.B):
        path: list[int] = []
        while len(path) < case.T:
            for letter in [*draw.choice(vocabulary), " "]:
                path += [0] * draw.randint(0, 3) + [tokens.index(letter)] * draw.randint(1, 3)
        for t, label in enumerate(path[: case.T]):
            logits[t, b, label] += 8.0
            if draw.random() < 0.15:  # torn between two
                logits[t, b, draw.randrange(case.K)] += 8.0
    return tokens, logits


def _librispeech(folder: Path, B: int) -> tuple[list[str], Tensor]:
    """pyctcdecode's own example."""
    cases = json.loads((folder / "pyctcdecode.json").read_text())
    tokens = next(case["labels"] for case in cases if case["id"] == "pyctcdecode.libri")
    logits = np.load(folder / "pyctcdecode_libri.npz")["logits"].astype(np.float32)
    return tokens, torch.from_numpy(logits).unsqueeze(1).repeat(1, B, 1)


def _symbols(count: int) -> list[str]:
    """As many characters, each one letter to Python."""
    return [chr(0x4E00 + k) for k in range(count)]


def words(case: Case, tokens: list[str]) -> list[str]:
    """Two hundred words of the tokens."""
    draw = random.Random(case.K)
    return ["".join(draw.choices(tokens[2:], k=draw.randint(2, 7))) for _ in range(200)]


def write_model(path: Path, case: Case, tokens: list[str]) -> None:
    """An ARPA file of bigrams: of letters, or of words."""
    draw = random.Random(1)
    units = ["<space>", *tokens[2:]] if case.language == "letters" else words(case, tokens)
    names = ["<s>", "</s>", "<unk>", *dict.fromkeys(units)]
    lines = []
    for first in names:
        if first not in ("</s>", "<unk>"):
            for second in draw.sample(names[3:], min(12, len(names) - 3)):
                lines.append(f"{-2 * draw.random():.5f} {first} {second}")
    head = ["\\data\\", f"ngram 1={len(names)}", f"ngram 2={len(lines)}", "", "\\1-grams:"]
    head += [f"{-3 * draw.random():.5f} {name} {-draw.random():.5f}" for name in names]
    path.write_text("\n".join([*head, "", "\\2-grams:", *lines, "", "\\end\\", ""]), encoding="utf-8")


def _fusion(case: Case, path: Path, tokens: list[str]) -> Fusion | None:
    if case.language == "letters":
        return Fusion(LabelNGram(NGram.read(path), tokens, {" ": "<space>"}), 0.5, 1.5)
    if case.language == "words":
        return Fusion(WordNGram.of(NGram.read(path), tokens), 0.5, 1.5)
    return None


# the others: each gives (text, score) an utterance


def _plain(case: Case, beam: PrefixBeam, logits: Tensor) -> Callable[[], list[tuple[str, float]]]:
    tokens, _ = utterances(case)
    fusion = beam.language
    added: dict[tuple[int, ...], Any] = {}

    def language(prefix: tuple[int, ...]) -> Any:  # noqa: ANN401
        last = prefix[-1:]  # all that a bigram model looks at, so asking costs next to nothing
        if last not in added:
            added[last] = fusion.added([last], case.K)[0].tolist() if fusion is not None else None
        return added[last]

    def run() -> list[tuple[str, float]]:
        found = []
        for rows in torch.log_softmax(logits, -1).transpose(0, 1).numpy():
            prefix, score = plain_beam(rows, case.width, 0, language if fusion is not None else None)
            if fusion is not None:
                score += fusion.finished(prefix)
            found.append(("".join(tokens[k] for k in prefix), score))
        return found

    return run


def plain_beam(
    rows: np.ndarray[Any, Any], width: int, blank: int, language: Callable[[tuple[int, ...]], Any] | None
) -> tuple[tuple[int, ...], float]:
    """The best prefix and its score: algorithm 1 of Hannun et al. 2014 as it is usually written in Python."""
    beam: dict[tuple[int, ...], tuple[float, float]] = {(): (1.0, 0.0)}  # ends in a blank, in a label
    weight: dict[tuple[int, ...], float] = {(): 1.0}  # what the language model says
    logarithm = 0.0
    for row in np.exp(rows.astype(np.float64)).tolist():
        grown: dict[tuple[int, ...], list[float]] = defaultdict(lambda: [0.0, 0.0])
        for prefix, (in_blank, in_label) in beam.items():
            last = prefix[-1] if prefix else -1
            total = in_blank + in_label
            entry = grown[prefix]
            entry[0] += total * row[blank]
            if prefix:
                entry[1] += in_label * row[last]
            told = language(prefix) if language is not None else None
            for label, p in enumerate(row):
                if label == blank:
                    continue
                longer = (*prefix, label)
                if told is not None and longer not in weight:
                    weight[longer] = weight[prefix] * math.exp(told[label])
                grown[longer][1] += (in_blank if label == last else total) * p
        if language is None:
            ranked = sorted(grown.items(), key=lambda item: -(item[1][0] + item[1][1]))[:width]
        else:
            ranked = sorted(grown.items(), key=lambda item: -(item[1][0] + item[1][1]) * weight[item[0]])[
                :width
            ]
            weight = {prefix: weight[prefix] for prefix, _ in ranked}
        scale = sum(ranked[0][1])  # or products of many frames would become 0
        logarithm += math.log(scale)
        beam = {prefix: (a / scale, b / scale) for prefix, (a, b) in ranked}
    prefix, (a, b) = next(iter(beam.items()))
    return prefix, logarithm + math.log(a + b) + (math.log(weight[prefix]) if language is not None else 0.0)


def _pyctcdecode(
    case: Case, path: Path, tokens: list[str], logits: Tensor
) -> Callable[[], list[tuple[str, float]]]:
    package = importlib.import_module("pyctcdecode")
    if case.language:
        importlib.import_module("kenlm")
        decoder = package.build_ctcdecoder(tokens, str(path), words(case, tokens))
    else:
        decoder = package.build_ctcdecoder(tokens)

    def run() -> list[tuple[str, float]]:
        found = []
        for rows in logits.transpose(0, 1).numpy():
            best = decoder.decode_beams(rows, beam_width=case.width)[0]
            found.append((best[0], float(best[-1])))  # the last is the score with the model
        return found

    return run


def _medians(
    contestants: tuple[Callable[[], object], ...], seconds: float, clock: Callable[[], float]
) -> tuple[list[float], int]:
    """Seconds a run of each, by turns, and how many turns."""
    once = [_time(work, 1, clock) for work in contestants]
    inner = [max(1, int(BLOCK_S / s)) for s in once]
    rounds = max(3, min(MOST_ROUNDS, int(seconds / max(n * s for n, s in zip(inner, once)))))
    times: list[list[float]] = [[] for _ in contestants]
    for _ in range(rounds):
        for work, count, found in zip(contestants, inner, times):
            found.append(_time(work, count, clock))
    return [statistics.median(found) for found in times], rounds


def _time(work: Callable[[], object], count: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(count):
        work()
    return (clock() - start) / count


if __name__ == "__main__":
    sys.exit(main())
