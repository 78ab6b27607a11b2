"""Write vectors/cells.json: small sequences through every kind of cell; outputs, last states and gradients.

Independent of the library: numpy alone, equations typed from the papers, gradients by complex steps,

    ∂L/∂w = Im L(w + i·ε) / ε,   ε = 1e-30

which has no difference to cancel, so every number is good to the last digits of float64.
L = Σ_t Σ_j (j + 1) · output_tj.

    python vectors/make_cells.py          writes the file
    python vectors/make_cells.py --check  fails if the file differs from what would be written
"""

# ruff: noqa: D103 - the equations say it

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

T, I, H, K = 4, 2, 3, 2
EPSILON = 1e-30
FILE = Path(__file__).with_name("cells.json")


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def split(a, gates):
    return {gate: a[k * H : (k + 1) * H] for k, gate in enumerate(gates)}


def elman(p, x, s):
    h = np.tanh(p["weight_ih"] @ x + p["weight_hh"] @ s["h"] + p["bias"])
    return {"h": h}, h


def jordan(p, x, s):
    h = np.tanh(p["weight_ih"] @ x + p["weight_hh"] @ s["h"] + p["weight_yh"] @ s["y"] + p["bias"])
    y = p["weight_hy"] @ h + p["bias_y"]
    return {"h": h, "y": y}, y


def lstm(p, x, s):
    a = split(p["weight_ih"] @ x + p["weight_hh"] @ s["h"] + p["bias"], "ifgo")
    c = sigmoid(a["f"]) * s["c"] + sigmoid(a["i"]) * np.tanh(a["g"])
    h = sigmoid(a["o"]) * np.tanh(c)
    return {"h": h, "c": c}, h


def lstm_peepholes(p, x, s):
    """Gers 2002: i and f see the old c, o the new."""
    a = split(p["weight_ih"] @ x + p["weight_hh"] @ s["h"] + p["bias"], "ifgo")
    p_i, p_f, p_o = p["weight_ph"]
    c = sigmoid(a["f"] + p_f * s["c"]) * s["c"] + sigmoid(a["i"] + p_i * s["c"]) * np.tanh(a["g"])
    h = sigmoid(a["o"] + p_o * c) * np.tanh(c)
    return {"h": h, "c": c}, h


def lstm_coupled(p, x, s):
    """Greff 2017: f = 1 - i; here with peepholes."""
    a = split(p["weight_ih"] @ x + p["weight_hh"] @ s["h"] + p["bias"], "igo")
    p_i, p_o = p["weight_ph"]
    i = sigmoid(a["i"] + p_i * s["c"])
    c = (1 - i) * s["c"] + i * np.tanh(a["g"])
    h = sigmoid(a["o"] + p_o * c) * np.tanh(c)
    return {"h": h, "c": c}, h


def lstm_original(p, x, s):
    """Hochreiter & Schmidhuber 1997: no forget gate, g in (-2, 2), h of c in (-1, 1)."""
    a = split(p["weight_ih"] @ x + p["weight_hh"] @ s["h"] + p["bias"], "igo")
    c = s["c"] + sigmoid(a["i"]) * (4 * sigmoid(a["g"]) - 2)
    h = sigmoid(a["o"]) * (2 * sigmoid(c) - 1)
    return {"h": h, "c": c}, h


def gru_before(p, x, s):
    """Cho 2014: R meets r * h."""
    W, R, b = split(p["weight_ih"], "rzn"), split(p["weight_hh"], "rzn"), split(p["bias"], "rzn")
    r = sigmoid(W["r"] @ x + R["r"] @ s["h"] + b["r"])
    z = sigmoid(W["z"] @ x + R["z"] @ s["h"] + b["z"])
    n = np.tanh(W["n"] @ x + R["n"] @ (r * s["h"]) + b["n"])
    h = z * s["h"] + (1 - z) * n
    return {"h": h}, h


def gru_after(p, x, s):
    """torch and cuDNN: r meets R h + b_hn."""
    W, R, b = split(p["weight_ih"], "rzn"), split(p["weight_hh"], "rzn"), split(p["bias"], "rzn")
    r = sigmoid(W["r"] @ x + R["r"] @ s["h"] + b["r"])
    z = sigmoid(W["z"] @ x + R["z"] @ s["h"] + b["z"])
    n = np.tanh(W["n"] @ x + b["n"] + r * (R["n"] @ s["h"] + p["bias_hn"]))
    h = z * s["h"] + (1 - z) * n
    return {"h": h}, h


def elementwise_lstm(p, x, s):
    """The LSTM with a diagonal R, kept as one row a gate."""
    r = dict(zip("ifgo", p["weight_hh"]))
    a = split(p["weight_ih"] @ x + p["bias"], "ifgo")
    i, f, o = (sigmoid(a[gate] + r[gate] * s["h"]) for gate in "ifo")
    c = f * s["c"] + i * np.tanh(a["g"] + r["g"] * s["h"])
    h = o * np.tanh(c)
    return {"h": h, "c": c}, h


def shapes(gates, peepholes=0):
    found = {"weight_ih": (gates * H, I), "weight_hh": (gates * H, H), "bias": (gates * H,)}
    return found | ({"weight_ph": (peepholes, H)} if peepholes else {})


HC = {"h": H, "c": H}
CELLS = {
    "elman": (elman, "elman", {}, shapes(1), {"h": H}),
    "jordan": (
        jordan,
        "jordan",
        {"output_size": K},
        shapes(1) | {"weight_yh": (H, K), "weight_hy": (K, H), "bias_y": (K,)},
        {"h": H, "y": K},
    ),
    "lstm": (lstm, "lstm", {}, shapes(4), HC),
    "lstm_peepholes": (lstm_peepholes, "lstm", {"peepholes": True}, shapes(4, 3), HC),
    "lstm_coupled": (lstm_coupled, "lstm", {"coupled": True, "peepholes": True}, shapes(3, 2), HC),
    "lstm_original": (
        lstm_original,
        "lstm",
        {"forget_gate": False, "activation": "sigmoid_pm2", "output_activation": "sigmoid_pm1"},
        shapes(3),
        HC,
    ),
    "gru_before": (gru_before, "gru", {"reset": "before"}, shapes(3), {"h": H}),
    "gru_after": (gru_after, "gru", {"reset": "after"}, shapes(3) | {"bias_hn": (H,)}, {"h": H}),
    "elementwise_lstm": (
        elementwise_lstm,
        "elementwise_lstm",
        {},
        shapes(4) | {"weight_hh": (4, H)},
        HC,
    ),
}


def unroll(step, params, x, state):
    outputs = []
    for x_t in x:
        state, output = step(params, x_t, state)
        outputs.append(output)
    return np.array(outputs), state


def loss(step, params, x, state):
    outputs, _ = unroll(step, params, x, state)
    return (outputs * np.arange(1, outputs.shape[1] + 1)).sum()


def gradient(step, params, x, state):
    """By complex steps, one number at a time."""
    named = {"params": params, "state": state, "x": {"x": x}}
    found = {}
    for group, values in named.items():
        found[group] = {}
        for name, value in values.items():
            slopes = np.zeros(value.shape)
            for place in np.ndindex(value.shape):
                moved = {g: {n: v.astype(complex) for n, v in vs.items()} for g, vs in named.items()}
                moved[group][name][place] += 1j * EPSILON
                slopes[place] = loss(step, moved["params"], moved["x"]["x"], moved["state"]).imag / EPSILON
            found[group][name] = slopes.tolist()
    return {"params": found["params"], "state": found["state"], "x": found["x"]["x"]}


def cases():
    draw = np.random.default_rng(1997)
    for name, (step, family, options, sizes, states) in CELLS.items():

        def values(*shape):
            return draw.uniform(-1, 1, shape).round(
                3
            )  # three digits, so that the file says exactly what went in

        params = {key: values(*shape) for key, shape in sizes.items()}
        state, x = {key: values(size) for key, size in states.items()}, values(T, I)
        outputs, last = unroll(step, params, x, state)
        yield {
            "id": name,
            "cell": family,
            "options": {"input_size": I, "hidden_size": H, **options},
            "params": {key: value.tolist() for key, value in params.items()},
            "state": {key: value.tolist() for key, value in state.items()},
            "x": x.tolist(),
            "output": outputs.tolist(),
            "last": {key: value.tolist() for key, value in last.items()},
            "gradient": gradient(step, params, x, state),
        }


def text():
    document = {
        "origin": "vectors/make_cells.py: numpy, gradients by complex steps; no code of the library",
        "loss": "sum over steps t and units j of (j + 1) * output[t][j], j from 0",
        "layout": "row-major; one sequence; output[t] is that of x[t]; weight rows by gate: i f g o, r z n",
        "cases": list(cases()),
    }
    return json.dumps(document, indent=1) + "\n"


def numbers(value):
    if isinstance(value, dict):
        return [n for part in value.values() for n in numbers(part)]
    if isinstance(value, list):
        return [n for part in value for n in numbers(part)]
    return [value] if isinstance(value, float) else []


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        there, here = numbers(json.loads(FILE.read_text())), numbers(json.loads(text()))
        # another mathematics library may round tanh and exp differently in the last place
        assert len(there) == len(here) and np.allclose(there, here, rtol=1e-13, atol=1e-14), (
            f"{FILE} is stale"
        )
    else:
        FILE.write_text(text())
