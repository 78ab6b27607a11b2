"""Draw the handbook's pictures with the library itself: no number here comes from anywhere else.

Run by conf.py at each build; `python docs/pictures.py FOLDER` draws them by hand.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import numpy as np
import torch

import saiki
from saiki import cells, insight, nn
from saiki.core.ragged import Ragged
from saiki.data import load
from saiki.insight import (
    figures,
    figures_attention,
    figures_features,
    figures_gates,
    figures_online,
    figures_reach,
)
from saiki.learning import prequential

F64 = torch.float64


def unroll(cell: cells.Cell, parameters: dict[str, object], x: np.ndarray) -> dict[str, np.ndarray]:
    """Step a cell over x (T, I) from its initial state; every state and gate, (T, H) each."""
    named = {name: torch.zeros(shape, dtype=F64) for name, shape in cell.parameter_shapes().items()}
    for name, value in parameters.items():
        named[name][...] = torch.as_tensor(value, dtype=F64)
    params, state = cell.params(named), cell.initial_state(1, dtype=F64)
    rows: dict[str, list[np.ndarray]] = {}
    for x_t in torch.as_tensor(x, dtype=F64):
        state, gates = cell.step_with_gates(params, state, x_t[None])
        for name, value in {**gates, **state._asdict()}.items():
            rows.setdefault(name, []).append(value[0].numpy())
    return {name: np.stack(values) for name, values in rows.items()}


def elman() -> str:
    """One pulse into three units that differ only in their recurrent weight."""
    x = np.zeros((40, 1))
    x[4] = 1.0
    weights = (0.5, 0.9, 1.0)
    cell = cells.Elman(1, len(weights))
    h = unroll(cell, {"weight_ih": [[1.0]] * len(weights), "weight_hh": np.diag(weights)}, x)["h"]
    lines = {f"R = {weight:g}": h[:, k] for k, weight in enumerate(weights)}
    return figures.traces({"input x": {"x": x[:, 0]}, "hidden state h": lines}, row_height=170)


def jordan() -> str:
    """A step into a Jordan network that feeds back its output alone, with three signs of feedback."""
    x = np.zeros((40, 1))
    x[4:24] = 0.5
    lines = {}
    for feedback in (-0.9, 0.0, 0.6):
        cell = cells.Jordan(1, 1, 1, hidden_feedback=False)
        parameters = {"weight_ih": 1.0, "weight_yh": feedback, "weight_hy": 1.0}
        lines[f"V = {feedback:g}"] = unroll(cell, parameters, x)["y"][:, 0]
    return figures.traces({"input x": {"x": x[:, 0]}, "output y": lines}, row_height=170)


def _marked() -> np.ndarray:
    """(value, write, clear): noise in the value at every step, two writes and one clear."""
    rng = np.random.default_rng(5)
    x = np.zeros((60, 3))
    x[:, 0] = rng.uniform(-1, 1, 60)
    x[8, :2], x[34, :2] = (0.8, 1.0), (-0.6, 1.0)
    x[26, 2] = 1.0
    return x


def lstm() -> str:
    """A hand-set LSTM keeps what was marked: i opens on `write`, f shuts on `clear`."""
    x = _marked()
    cell = cells.LSTM(3, 1)  # rows i f g o; columns value, write, clear
    weights = [[0, 16, 0], [0, -12, -12], [1.5, 0, 0], [0, 0, 0]]
    t = unroll(cell, {"weight_ih": weights, "bias": [-8.0, 6.0, 0.0, 4.0]}, x)
    return figures.traces(
        {
            "input": {"value": x[:, 0]},
            "marks": {"write": x[:, 1], "clear": x[:, 2]},
            "gates": {"i": t["i"][:, 0], "f": t["f"][:, 0], "o": t["o"][:, 0]},
            "state": {"c": t["c"][:, 0], "h": t["h"][:, 0]},
        },
        row_height=130,
    )


def gru() -> str:
    """The same task for a GRU: the update gate holds the old state, and lets go on either mark."""
    x = _marked()
    cell = cells.GRU(3, 1)  # rows r z n
    weights = [[0, 0, 0], [0, -16, -16], [1.5, 0, 0]]
    weights[2][2] = 0.0
    x[26, 0] = 0.0  # what a GRU lets in while it clears is its candidate, so the value is 0 there
    t = unroll(cell, {"weight_ih": weights, "bias": [0.0, 8.0, 0.0]}, x)
    return figures.traces(
        {
            "input": {"value": x[:, 0]},
            "marks": {"write": x[:, 1], "clear": x[:, 2]},
            "gates": {"r": t["r"][:, 0], "z": t["z"][:, 0]},
            "state": {"n": t["n"][:, 0], "h": t["h"][:, 0]},
        },
        row_height=130,
    )


def elementwise() -> str:
    """One pulse into three units of an elementwise LSTM that differ only in how they hear themselves."""
    x = np.zeros((40, 1))
    x[4] = 1.0
    heard = (-1.0, 0.0, 0.25)
    cell = cells.ElementwiseLSTM(1, len(heard))
    H = len(heard)
    parameters = {
        "weight_ih": [[0.0]] * 2 * H + [[2.0]] * H + [[0.0]] * H,
        "weight_hh": [[0.0] * H, [0.0] * H, heard, [0.0] * H],
        "bias": [0.0] * H + [2.0] * H + [0.0] * H + [2.0] * H,
    }
    c = unroll(cell, parameters, x)["c"]
    lines = {f"r = {weight:g}": c[:, k] for k, weight in enumerate(heard)}
    return figures.traces({"input x": {"x": x[:, 0]}, "cell state c": lines}, row_height=170)


@functools.cache
def _forecaster() -> saiki.Forecaster:
    """A small network on the CO₂ record, five years held out; a few epochs, half a minute at most."""
    model = saiki.Forecaster(
        horizon=52,
        context=104,
        missing="mask",
        test="1997-01-01",
        hidden_size=16,
        max_epochs=8,
        random_state=0,
        verbose=False,
    )
    return model.fit(load("co2").table)


def forecast() -> str:
    """The last forecast of the held-out years beside what came."""
    model, table = _forecaster(), load("co2").table
    found = model.backtest_.forecasts
    start, H = int(found.origins[-1]), found.point.shape[1]
    seen, ahead = slice(start - 104, start), slice(start, start + H)
    return figures.forecast_fan(
        table.times[ahead],
        {level: found.quantiles[-1, :, 0, k] for k, level in enumerate(found.levels)},
        truth=found.truth[-1, :, 0],
        past_times=table.times[seen],
        past=table["co2"][seen],
        name="CO₂",
        unit="ppm",
    )


def horizon() -> str:
    """The error of the same network at each week ahead, beside the simple methods."""
    result = _forecaster().backtest_
    rows = {**result.baselines_by_horizon, "LSTM": [row["mae"] for row in result.by_horizon]}
    return figures.error_by_horizon(rows, model="LSTM", unit="ppm", step="week")


def curves() -> str:
    """Its learning curves."""
    return figures.learning_curves(_forecaster().record_, loss="quantile loss, scaled", width=840)


def gradients() -> str:
    """The norm of its gradient, and where it was clipped."""
    return figures.gradient_norm(_forecaster().record_, clip_norm=1.0, width=840)


def confusion() -> str:
    """Which digits a small classifier takes for which, on its validation part."""
    digits = load("digits")
    model = saiki.SequenceClassifier(
        hidden_size=16, max_epochs=10, baselines=False, random_state=0, verbose=False
    )
    model.fit(digits.X, digits.y)
    return figures.confusion(model.details_["confusion"], model.details_["labels"])


@functools.cache
def _recall() -> tuple[saiki.SequenceRegressor, list[torch.Tensor]]:
    """A small GRU that learned to say at the end which value was marked at the beginning, and its data.

    40 steps of a value in (-1, 1) and a mark; the mark stands at one of the first ten steps.
    """
    rng = np.random.default_rng(0)
    n, steps = 500, 40
    X = np.zeros((n, steps, 2))
    X[..., 0] = rng.uniform(-1, 1, (n, steps))
    where = (np.arange(n), rng.integers(0, 10, n))
    X[..., 1][where] = 1.0
    model = saiki.SequenceRegressor(
        cell="gru",
        hidden_size=16,
        lr=1e-2,
        max_epochs=80,
        patience=None,
        scaling=None,
        baselines=False,
        random_state=0,
        verbose=False,
    )
    model.fit(X, X[..., 0][where])
    return model, [torch.tensor(x, dtype=torch.float32) for x in X[:32]]


def reach() -> str:
    """How far its gradient reached before training, with the same first weights, and after."""
    model, x = _recall()
    fresh = insight.untrained(model.network_, torch.Generator().manual_seed(0))
    return figures_reach.gradient_reach(
        {
            "before training": insight.gradient_reach(fresh, x),
            "after training": insight.gradient_reach(model.network_, x),
        }
    )


def steps() -> str:
    """What one of its steps does to a change of the state."""
    model, x = _recall()
    return figures_reach.step_jacobians(insight.step_jacobians(model.network_, x))


def bound() -> str:
    """An Elman network as it starts, R orthogonal: its bound says nothing, and yet it vanishes."""
    network = nn.Stack.build([nn.RNNConfig(hidden_size=16)], 3, generator=torch.Generator().manual_seed(0))
    source = torch.Generator().manual_seed(1)
    x = [torch.randn(60, 3, generator=source) for _ in range(16)]
    return figures_reach.vanishing_bound(
        insight.gradient_reach(network, x), insight.step_jacobians(network, x)
    )


def gates() -> str:
    """How its gates are used."""
    model, x = _recall()
    return figures_gates.gates(insight.gate_use(model.network_, x))


def constants() -> str:
    """How long its units keep what they hold."""
    model, x = _recall()
    return figures_gates.time_constants(insight.gate_use(model.network_, x))


def units() -> str:
    """Which of its units are saturated."""
    model, x = _recall()
    return figures_gates.units(insight.gate_use(model.network_, x))


def norms() -> str:
    """The size of its state over time."""
    model, x = _recall()
    return figures_gates.state_norms(insight.gate_use(model.network_, x))


def filters() -> str:
    """What its gates listen to."""
    found = [one for one in insight.filters(_recall()[0].network_) if one.name == "gru"]
    return figures_features.filters(found, inputs=["value", "mark"])


def exciting() -> str:
    """What its first unit would like to see."""
    model, x = _recall()
    found = insight.exciting_input(model.network_, x, 0, steps=30)
    return figures_features.exciting_input(found, inputs=["value", "mark"])


def letters() -> str:
    """Two numbers a letter, learned from random words and their share of vowels; nobody said which are."""
    rng = np.random.default_rng(0)
    words = [rng.integers(0, 26, size=rng.integers(4, 12)) for _ in range(500)]
    vowels = [ord(letter) - ord("a") for letter in "aeiou"]
    model = saiki.SequenceRegressor(
        network=[nn.EmbeddingConfig(num_embeddings=26, size=2), nn.MeanConfig()],
        lr=3e-2,
        max_epochs=60,
        baselines=False,
        random_state=0,
        verbose=False,
    )
    model.fit(words, np.array([np.isin(word, vowels).mean() for word in words]))
    (found,) = insight.embeddings(model.network_)
    return figures_features.embedding_map(found, names="abcdefghijklmnopqrstuvwxyz")


def online() -> str:
    """A model that learns from a stream whose pattern changes, and the same model frozen."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(800, 2))
    y = np.concatenate([[0.0], x[:-1, 0]])
    y[400:] *= -1
    runs = {}
    for name, learns in (("goes on learning", True), ("frozen after row 200", False)):
        model = saiki.SequenceRegressor(
            cell="gru",
            hidden_size=8,
            rule={"type": "truncated_bptt", "window": 8, "stride": 4},
            lr=0.02,
            random_state=0,
        )
        first = prequential(model, (x[:200], y[:200]), block=4)
        rest = prequential(model, (x[200:], y[200:]), block=4, learn=learns)
        runs[name] = np.concatenate([first.error, rest.error])
    marks = {400: "the pattern changes"}
    return figures_online.running_error(runs, window=60, rows=np.arange(4, 800), marks=marks, width=840)


def alignment() -> str:
    """What a network that writes letters backwards looked at."""
    from saiki.decoding.sequence import greedy
    from saiki.losses import CrossEntropy

    letters, ids = "abcdefgh", 10  # <s>, </s> and the letters
    draw = torch.Generator().manual_seed(0)
    config = nn.EncoderDecoderConfig(source_size=ids, target_size=ids, hidden_size=32, embedding_size=16)
    network = nn.EncoderDecoder(config, generator=draw)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(200):
        lengths = torch.randint(4, 10, (64,), generator=draw).tolist()
        words = [torch.randint(2, ids, (n,), generator=draw) for n in lengths]
        inputs, wanted = nn.EncoderDecoderInput.of(words, [w.flip(0) for w in words], start=0, end=1)
        optimiser.zero_grad()
        CrossEntropy()(network(inputs).data, wanted.data).mean().backward()
        optimiser.step()
    word = next(w for w in words if len(w) == 9)
    state = network.start(Ragged.from_list([word]))
    one = greedy(network.step, state, torch.tensor([0]), end=1, max_steps=12)[0]
    written = [letters[k - 2] for k in one.tokens] + ["</s>"] * one.ended
    return figures_attention.alignment(one.attention, [letters[k - 2] for k in word.tolist()], written)


PICTURES = {
    "elman": elman,
    "jordan": jordan,
    "lstm": lstm,
    "gru": gru,
    "elementwise": elementwise,
    "forecast": forecast,
    "horizon": horizon,
    "curves": curves,
    "gradients": gradients,
    "confusion": confusion,
    "online": online,
    "reach": reach,
    "steps": steps,
    "bound": bound,
    "gates": gates,
    "constants": constants,
    "units": units,
    "norms": norms,
    "filters": filters,
    "exciting": exciting,
    "letters": letters,
    "alignment": alignment,
}


def draw_all(folder: Path) -> None:
    """Write every picture as `folder`/NAME.svg, unless it is newer than all of the library and this file."""
    torch.set_num_threads(1)  # small networks: as quick as many threads, and the same bits on any machine
    folder.mkdir(exist_ok=True)
    library = Path(saiki.__file__).parent
    newest = max(path.stat().st_mtime for path in (Path(__file__), *library.rglob("*.py")))
    for name, draw in PICTURES.items():
        path = folder / f"{name}.svg"
        if not path.exists() or path.stat().st_mtime < newest:
            path.write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    draw_all(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/_pictures"))
