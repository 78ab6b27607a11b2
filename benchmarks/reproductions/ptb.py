"""Penn Treebank words, Zaremba's small LSTM: the test perplexity, and the time beside torch.nn.

Zaremba, Sutskever & Vinyals 2014, table 1, "non-regularized LSTM": two layers of 200 units, 20 streams, 20
steps, every weight uniform in ±0.1, plain SGD at rate 1 for 4 epochs, then halved each epoch, 13 epochs, the
gradient's norm clipped at 5. They sum the loss over the 20 steps and we take the mean, so their rate 1 is our
20 and their 5 our 0.25. One bias vector here, two there.

The same model of torch.nn.Embedding, LSTM and Linear is trained for one epoch on the same streams, with
torch's loss, clipping and SGD, and updates of the two are timed turn by turn, so that a busy machine slows
both. `--data` must hold lm/ptb. `--checkpoints FOLDER` lets a run that was stopped go on; `--so-far` measures
what the newest checkpoint there has reached, and trains nothing. `--quick` reads a hundredth of the text.
"""

from __future__ import annotations

import argparse
import gzip
import math
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from torch import Tensor

import saiki
from benchmarks.common import print_header, print_table
from benchmarks.reproductions.shared.options import data_folder, picture_file
from benchmarks.reproductions.shared.runs import Kept, Run
from saiki.learning import Observer, Training, ValidationEvent, clip_by_norm, global_norm
from saiki.learning.optimisers import Updater, get_optimizer
from saiki.learning.schedules import SCHEDULES, Schedule, ScheduleState
from saiki.losses import get_loss
from saiki.models.baselines_language import NGramModel
from saiki.models.language_model import LanguageModel
from saiki.models.language_model_network import VocabularyLoss, head_of
from saiki.models.language_model_text import encode

PUBLISHED = {"validation": 120.7, "test": 114.5}  # Zaremba et al. 2014, table 1
PUBLISHED_5GRAM = 141.0  # Kneser-Ney; Mikolov & Zweig 2012
SETTINGS: dict[str, Any] = {
    "hidden_size": 200,
    "num_layers": 2,
    "window": 20,
    "batch_size": 20,
    "initial": 0.1,
    "lr": 20.0,
    "clip_norm": 0.25,
    "hold": 4,
    "epochs": 13,
}
RACE = 100  # updates of each, turn by turn


@final
@dataclass(frozen=True)
class HoldThenHalve(Schedule):
    """The rate stays for `hold` epochs and is halved at the beginning of each one after."""

    hold: int
    updates: int  # an epoch
    type: ClassVar[str] = "hold_then_halve"

    def factor(self, update: int, state: ScheduleState) -> float:
        """See `Schedule.factor`."""
        return float(0.5 ** max(0, update // self.updates + 1 - self.hold))


class Clock(Observer):
    """Processor seconds and the validation perplexity after each epoch."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, float, float]] = []

    def on_validation(self, event: ValidationEvent) -> None:
        """Take the time."""
        self.rows.append((event.epoch, math.exp(event.loss), time.process_time()))
        print(f"  epoch {event.epoch}: validation {math.exp(event.loss):.2f}", flush=True)


def arguments(parser: argparse.ArgumentParser) -> None:
    """`--seeds`, `--threads`, `--checkpoints`."""
    parser.add_argument("--seeds", type=int, default=1, help="runs (default 1)")
    parser.add_argument("--threads", type=int, default=2, help="processor cores used (default 2)")
    parser.add_argument("--checkpoints", type=Path, metavar="FOLDER", help="where a stopped run goes on from")
    parser.add_argument("--so-far", action="store_true", help="measure the newest of the --checkpoints")


def run(options: argparse.Namespace) -> dict[str, object]:
    """Train, measure, print the table."""
    torch.set_num_threads(options.threads)
    kept = Kept(options)
    texts = {part: _text(data_folder(options), part, options.quick) for part in ("train", "valid", "test")}
    settings = {**SETTINGS, "threads": options.threads}
    if options.quick:
        settings |= {"hidden_size": 32, "epochs": 2, "hold": 1}
    if options.so_far:
        return _so_far(options, kept, texts, settings)
    found = [
        kept.run(
            f"lstm seed {seed}",
            {**settings, "seed": seed},
            lambda seed=seed: _ours(texts, settings, seed, options.checkpoints),  # type: ignore[misc]
        )
        for seed in range(options.seeds)
    ]
    twin = kept.run("torch.nn, one epoch", settings, lambda: _theirs(texts, settings))
    race = kept.run("turn by turn", settings, lambda: _race(texts, settings, 10 if options.quick else RACE))
    counts = kept.run("n-grams", {}, lambda: _ngrams(texts))
    print_header("Penn Treebank, word perplexity of Zaremba's small LSTM", kept.machine)
    print_table(
        ("", "validation", "test", "published", "epochs", "processor min", "min"),
        [
            *(
                (
                    f"saiki, seed {seed}",
                    f"{row['validation']:.1f}",
                    f"{row['test']:.1f}",
                    f"{PUBLISHED['test']:.1f}",
                    row["epochs"],
                    f"{row['processor_seconds_an_epoch'] * row['epochs'] / 60:.1f}",
                    f"{row['training_seconds'] / 60:.1f}",
                )
                for seed, row in enumerate(found)
            ),
            ("saiki, one epoch", f"{found[0]['curve'][0][1]:.1f}", "", "", 1, *_minutes(found[0])),
            (
                "torch.nn, one epoch",
                f"{twin['validation']:.1f}",
                "",
                "",
                1,
                f"{twin['processor_seconds'] / 60:.1f}",
                f"{twin['training_seconds'] / 60:.1f}",
            ),
            (
                "Kneser-Ney 5-grams",
                f"{counts['valid']:.1f}",
                f"{counts['test']:.1f}",
                f"{PUBLISHED_5GRAM:.1f}",
                "",
                "",
                "",
            ),
        ],
    )
    _say(race)
    file = picture_file(options)
    if file is not None:
        draw(found, file)
    return kept.content(
        {
            "published": {**PUBLISHED, "kneser_ney_5": PUBLISHED_5GRAM},
            "ours": {part: statistics.mean(row[part] for row in found) for part in PUBLISHED},
        }
    )


def _so_far(
    options: argparse.Namespace, kept: Kept, texts: dict[str, str], settings: dict[str, Any]
) -> dict[str, object]:
    """The figures of the newest checkpoint of seed 0, which is the best by the validation part so far."""
    if options.checkpoints is None:
        sys.exit("ptb: --so-far measures checkpoints: name their folder with --checkpoints.")
    SCHEDULES.setdefault(HoldThenHalve.type, HoldThenHalve)  # load() knows the library's own alone
    model = saiki.load(options.checkpoints / "seed-0")
    assert isinstance(model, LanguageModel)
    curve = [(e.epoch, math.exp(e.validation_loss)) for e in model.record_.epochs if e.validation_loss]

    def measure() -> Run:
        figures = {part: model.evaluate(texts[part])["perplexity"] for part in ("valid", "test")}
        return {
            "validation": figures["valid"],
            "test": figures["test"],
            "epochs": len(curve),
            "curve": curve,
            "training_seconds": model.record_.seconds,
            "parameters": model.record_.parameters,
        }

    row = kept.run(f"lstm seed 0, {len(curve)} of {settings['epochs']} epochs", settings, measure)
    race = kept.run("turn by turn", settings, lambda: _race(texts, settings, 10 if options.quick else RACE))
    counts = kept.run("n-grams", {}, lambda: _ngrams(texts))
    print_header("Penn Treebank, word perplexity of Zaremba's small LSTM, not finished", kept.machine)
    print_table(
        ("", "validation", "test", "published, 13 epochs", "epochs"),
        [
            ("saiki, seed 0", *_both(row), f"{PUBLISHED['test']:.1f}", row["epochs"]),
            (
                "Kneser-Ney 5-grams",
                f"{counts['valid']:.1f}",
                f"{counts['test']:.1f}",
                f"{PUBLISHED_5GRAM:.1f}",
                "",
            ),
        ],
    )
    _say(race)
    file = picture_file(options)
    if file is not None:
        draw([row], file)
    ours = {part: row[part] for part in PUBLISHED}
    published = {**PUBLISHED, "kneser_ney_5": PUBLISHED_5GRAM}
    return kept.content({"published": published, "ours": ours, "finished": False})


def _both(row: Run) -> tuple[str, str]:
    return f"{row['validation']:.1f}", f"{row['test']:.1f}"


def _say(race: Run) -> None:
    minutes = {who: race[f"{who}_ms"] * race["updates_an_epoch"] / 60_000 for who in ("saiki", "torch")}
    print(
        f"\none update, median of {race['updates']} turns: saiki {race['saiki_ms']:.1f} ms, torch.nn "
        f"{race['torch_ms']:.1f} ms; torch.nn takes {race['ratio']:.2f} times as long.\n"
        f"At that pace an epoch is {minutes['saiki']:.1f} min in saiki, {minutes['torch']:.1f} in torch.nn."
    )


def _minutes(row: Run) -> tuple[str, str]:
    return (
        f"{row['processor_seconds_an_epoch'] / 60:.1f}",
        f"{row['training_seconds'] / row['epochs'] / 60:.1f}",
    )


def _text(data: Path, part: str, quick: bool) -> str:
    with gzip.open(data / "lm" / "ptb" / f"ptb.{part}.txt.gz", "rt", encoding="utf-8") as file:
        text = file.read()
    return text[: len(text) // 100] if quick else text


def _model(settings: dict[str, Any], seed: int, validation: str, tokens: int) -> LanguageModel:
    updates = math.ceil(math.ceil(tokens / settings["batch_size"]) / settings["window"])
    return LanguageModel(
        tokenizer="whitespace",
        min_count=1,
        hidden_size=settings["hidden_size"],
        num_layers=settings["num_layers"],
        dropout=0.0,
        tied=False,
        initial=settings["initial"],
        window=settings["window"],
        batch_size=settings["batch_size"],
        validation=validation,
        lr=settings["lr"],
        max_epochs=settings["epochs"],
        patience=None,
        training=Training(
            optimizer="sgd",
            clip_norm=settings["clip_norm"],
            schedule=HoldThenHalve(settings["hold"], updates),
        ),
        baselines=False,
        random_state=seed,
        verbose=False,
    )


def _tokens(text: str) -> int:
    return len(text.split()) + len(text.splitlines())


def _ours(texts: dict[str, str], settings: dict[str, Any], seed: int, checkpoints: Path | None) -> Run:
    model = _model(settings, seed, texts["valid"], _tokens(texts["train"]))
    folder = None if checkpoints is None else checkpoints / f"seed-{seed}"
    clock, begun = Clock(), time.process_time()
    resume = folder is not None and folder.is_dir() and any(folder.iterdir())
    model.fit(texts["train"], checkpoint=folder, resume=resume, observers=[clock])
    validation, test = (model.evaluate(texts[part]) for part in ("valid", "test"))
    times = [begun, *(row[2] for row in clock.rows)]
    epochs = [(e.epoch, math.exp(e.validation_loss)) for e in model.record_.epochs if e.validation_loss]
    return {
        "validation": validation["perplexity"],
        "test": test["perplexity"],
        "bits_per_character": test["bits_per_character"],
        "vocabulary": len(model.vocabulary_),
        "parameters": model.record_.parameters,
        "epochs": len(epochs),
        "best_epoch": model.record_.best_epoch,
        "curve": epochs,
        "training_seconds": model.record_.seconds,
        "processor_seconds_an_epoch": (times[-1] - times[0]) / max(len(times) - 1, 1),
        "resumed": resume,
    }


# ---- the same model in torch.nn ---------------------------------------------------------------------------


class Twin(torch.nn.Module):
    """Embedding, LSTM and Linear of torch.nn, every weight uniform in ±initial."""

    def __init__(self, vocabulary: int, settings: dict[str, Any]) -> None:
        super().__init__()
        H = settings["hidden_size"]
        self.embedding = torch.nn.Embedding(vocabulary, H)
        self.lstm = torch.nn.LSTM(H, H, settings["num_layers"])
        self.head = torch.nn.Linear(H, vocabulary)
        for p in self.parameters():
            torch.nn.init.uniform_(p, -settings["initial"], settings["initial"])

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:  # noqa: ANN401  torch's (h, c)
        """Scores (T, B, V) and the state."""
        y, state = self.lstm(self.embedding(x), state)
        return self.head(y), state


class _Torch:
    """Updates of the twin on the streams of our model."""

    def __init__(
        self, settings: dict[str, Any], read: list[Tensor], said: list[Tensor], vocabulary: int
    ) -> None:
        torch.manual_seed(0)
        self.settings = settings
        steps = min(map(len, read))
        self.read, self.said = (torch.stack([s[:steps] for s in part], dim=1) for part in (read, said))
        self.network = Twin(vocabulary, settings)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=settings["lr"])
        self.state: Any = None
        self.updates = -(-steps // settings["window"])

    def update(self, k: int) -> None:
        """The k-th of an epoch."""
        T = self.settings["window"]
        x, y = (part[k * T : (k + 1) * T] for part in (self.read, self.said))
        scores, state = self.network(x, self.state)
        self.state = tuple(s.detach() for s in state)
        loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), y.flatten())
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings["clip_norm"])
        self.optimizer.step()
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f"torch.nn diverged at update {k}")


def _prepared(texts: dict[str, str], settings: dict[str, Any]) -> tuple[LanguageModel, Any]:
    """Our model as it stands before training, and its streams."""
    model = _model({**settings, "epochs": 1}, 0, texts["valid"], _tokens(texts["train"]))
    caught: list[Any] = []

    class _Enough(Exception):
        pass

    def instead(network: Any, loss: object, train: Any, *_: object, **__: object) -> None:  # noqa: ANN401
        caught.extend([network, train])
        raise _Enough

    model._train = instead  # type: ignore[assignment, method-assign]
    try:
        model.fit(texts["train"])
    except _Enough:
        model.network_ = caught[0]
    return model, caught[1].batch(torch.arange(len(caught[1])))


def _theirs(texts: dict[str, str], settings: dict[str, Any]) -> Run:
    model, batch = _prepared(texts, settings)
    said = batch.inputs.with_data(batch.targets).to_list()
    twin = _Torch(settings, batch.inputs.to_list(), said, len(model.vocabulary_))
    begun, worked = time.perf_counter(), time.process_time()
    for k in range(twin.updates):
        twin.update(k)
    seconds, processor = time.perf_counter() - begun, time.process_time() - worked
    return {
        "validation": _perplexity(twin.network.eval(), model, texts["valid"]),
        "training_seconds": seconds,
        "processor_seconds": processor,
        "parameters": sum(p.numel() for p in twin.network.parameters()),
    }


def _perplexity(network: Twin, model: LanguageModel, text: str) -> float:
    corpus = encode(text.splitlines(), model.codec_, model.form_)
    ids = torch.from_numpy(corpus.ids)
    start = torch.tensor([model.vocabulary_.id("</s>")])
    read, total, state = torch.cat([start, ids[:-1]]), 0.0, None
    with torch.inference_mode():
        for at in range(0, len(ids), 500):
            scores, state = network(read[at : at + 500, None], state)
            loss = torch.nn.functional.cross_entropy(scores[:, 0], ids[at : at + 500], reduction="sum")
            total += float(loss)
    return math.exp(total / len(ids))


def _race(texts: dict[str, str], settings: dict[str, Any], updates: int) -> Run:
    """Updates of both, turn by turn: gradient, clipping, SGD step, and the check that the loss is finite."""
    model, batch = _prepared(texts, settings)
    said = batch.inputs.with_data(batch.targets).to_list()
    twin = _Torch(settings, batch.inputs.to_list(), said, len(model.vocabulary_))
    network = model.network_.train()
    loss = get_loss(VocabularyLoss(head_of(network)))
    rule: Any = model._training().rule
    updater = Updater(get_optimizer("sgd"), network, lr=settings["lr"])
    state = rule.start(network, batch.B)
    chunks = list(rule.chunks(batch))
    ours: list[float] = []
    theirs: list[float] = []
    for k in range(min(updates, len(chunks), twin.updates)):
        begun = time.perf_counter()
        losses, gradients, state = rule.gradient(network, loss, chunks[k], state)
        if not bool(torch.isfinite(losses).all()):
            raise FloatingPointError(f"our loss diverged at update {k}")
        gradients = clip_by_norm(gradients, settings["clip_norm"], global_norm(gradients))
        updater.step(gradients)
        between = time.perf_counter()
        twin.update(k)
        ours.append(between - begun)
        theirs.append(time.perf_counter() - between)
    return {
        "updates": len(ours),
        "updates_an_epoch": len(chunks),
        "saiki_ms": 1e3 * statistics.median(ours),
        "torch_ms": 1e3 * statistics.median(theirs),
        "ratio": statistics.median(b / a for a, b in zip(ours, theirs)),
    }


def _ngrams(texts: dict[str, str]) -> Run:
    from saiki.models.language_model_text import learn_codec

    lines = texts["train"].splitlines()
    codec = learn_codec(lines, "whitespace", None, 1)
    train = encode(lines, codec, "lines").ids
    model = NGramModel(train, len(codec), 5)
    found = {}
    for part in ("valid", "test"):
        ids = encode(texts[part].splitlines(), codec, "lines").ids
        found[part] = math.exp(-model.log_probabilities(ids).mean())
    return found


def draw(found: list[Run], file: Path) -> None:
    """The validation perplexity after each epoch."""
    from benchmarks.reproductions.shared.labels import plain_log
    from benchmarks.reproductions.shared.pictures import BLUE, level, panels, save

    figure, (ax,) = panels(1, 1, 6.0, 3.6)
    for row in found:
        ax.plot(*zip(*row["curve"]), color=BLUE, lw=1.4, marker="o", ms=3)
    plain_log(ax)
    level(ax, PUBLISHED["validation"], "published, after 13 epochs")
    ax.set_title("Penn Treebank, validation perplexity")
    ax.set_xlabel("epoch")
    save(figure, file)
