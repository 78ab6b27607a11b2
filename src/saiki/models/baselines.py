"""The honest simple things every fit is measured against, on the same split.

Forecasts, for a window with lags z_{t-C}, …, z_{t-1}:

    naive                   ŷ_{t+k} = z_{t-1}
    seasonal-naive          ŷ_{t+k} = z_{t+k-m⌈(k+1)/m⌉}       the same step of the last season, m steps long
    linear, ridge, LASSO    ŷ_{t+k} = a_k + Σ_i b_ki z_{t-i}    one regression a step ahead (direct)

each regression on raw lags and on window-scaled ones (the last value taken away before, given back after).
The penalties of ridge and LASSO are chosen on the tail of the training windows.

Sequences, one row or one row a step: the majority class or the mean, and logistic (softmax) or ridge
regression on features pooled over time (mean, spread, least, greatest, first, last, length), or on each
step's own features.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from saiki.core.errors import LengthError, ShapeError

Array: TypeAlias = NDArray[Any]
LagScaling: TypeAlias = Literal["raw", "window-scaled"]

LAG_SCALINGS: tuple[LagScaling, ...] = ("raw", "window-scaled")
RIDGE_ALPHAS = tuple(float(alpha) for alpha in 10.0 ** np.arange(-2, 5))
LASSO_ALPHAS = tuple(float(alpha) for alpha in 10.0 ** np.arange(-4, 0))
MOST_WINDOWS = (
    100_000  # windows a regression is fitted on; more are thinned evenly, which keeps a fit within seconds
)
_TAIL = 0.2  # share of the training windows, the latest, on which a penalty is chosen
_LASSO_STEPS = 6  # steps ahead, evenly spaced, that LASSO's penalty is chosen on
_LASSO_ROUNDS = (
    300  # rounds of coordinate descent; lags are nearly collinear, and the last digits do not matter
)


# ---- forecasts ---------------------------------------------------------------------------------------------


def seasonal_naive(history: Array, horizon: int, season: int | None) -> Array:
    """The last season again and again; the last value where there is no season.

    Args:
        history: (n, C) values up to the origin, C at least the season.
        horizon: H steps.
        season: m steps a season, or None.

    Returns:
        (n, H).

    Raises:
        LengthError: the history is shorter than a season.
    """
    m = 1 if season is None else season
    if history.shape[1] < m:
        raise LengthError(
            f"history has {history.shape[1]} steps but a season has {m}; give at least one season."
        )
    return history[:, history.shape[1] - m + np.arange(horizon) % m]


@dataclass(frozen=True, eq=False)
class LagRegression:
    """A fitted linear map from C lags to H steps ahead.

    Attributes:
        method: "linear", "ridge" or "lasso".
        scaling: "raw", or "window-scaled": the last lag is taken away before and given back after.
        weight: (H, C) b.
        bias: (H,) a.
        alpha: the penalty chosen; 0 for "linear".
        windows: training windows it was fitted on.
    """

    method: str
    scaling: LagScaling
    weight: Array
    bias: Array
    alpha: float
    windows: int

    @property
    def name(self) -> str:
        """What tables call it."""
        title = {"linear": "linear", "ridge": "ridge", "lasso": "LASSO"}[self.method]
        return f"{title} on {self.scaling} lags"

    def predict(self, lags: Array) -> Array:
        """(n, C) lags without gaps -> (n, H)."""
        offset = _offset(lags, self.scaling)
        return (lags - offset) @ self.weight.T + self.bias + offset


def _offset(lags: Array, scaling: LagScaling) -> Array:
    return lags[:, -1:] if scaling == "window-scaled" else np.zeros((len(lags), 1))


def fit_lag_regressions(
    lags: Array,
    targets: Array,
    gap: int = 0,
    order: Array | None = None,
    methods: Sequence[str] = ("linear", "ridge", "lasso"),
    scalings: Sequence[LagScaling] = LAG_SCALINGS,
) -> list[LagRegression]:
    """Regress each step ahead on the lags.

    Args:
        lags: (n, C) without gaps.
        targets: (n, H), NaN where missing; a step ahead is fitted on the windows that observed it.
        gap: time left out between head and tail when a penalty is chosen, so that they share no targets.
        order: (n,) time of each window where series are mixed; None: they are in time order.
        methods: which of "linear", "ridge", "lasso".
        scalings: which of "raw", "window-scaled".

    Returns:
        One regression a method and scaling; fewer where the windows are too few to fit one.

    Raises:
        ShapeError: lags and targets are not (n, C) and (n, H).
    """
    if lags.ndim != 2 or targets.ndim != 2 or len(lags) != len(targets):
        raise ShapeError(
            f"lags is {lags.shape} and targets {targets.shape} but they must be (n, C) and (n, H)."
        )
    when = np.arange(len(lags)) if order is None else order
    if len(lags) > MOST_WINDOWS:
        kept = np.linspace(0, len(lags) - 1, MOST_WINDOWS).astype(np.int64)
        lags, targets, when = lags[kept], targets[kept], when[kept]
    found = []
    for scaling in scalings:
        offset = _offset(lags, scaling)
        x, y = lags - offset, targets - offset
        for method in methods:
            fitted = _regress(method, x, y, when, gap)
            if fitted is not None:
                weight, bias, alpha = fitted
                found.append(LagRegression(method, scaling, weight, bias, alpha, len(x)))
    return found


def ridge_map(x: Array, y: Array, when: Array, gap: int) -> tuple[Array, Array, float] | None:
    """Ridge regression of each column of y on x, its penalty chosen on the tail.

    Args:
        x: (n, C) without gaps.
        y: (n, H), NaN where missing.
        when: (n,) time of each row.
        gap: rows left out before the tail, in time.

    Returns:
        weight (H, C), bias (H,) and the penalty; None where a column of y was never observed.
    """
    return _regress("ridge", x, y, when, gap)


def _regress(method: str, x: Array, y: Array, when: Array, gap: int) -> tuple[Array, Array, float] | None:
    if len(x) < 2 or np.isnan(y).all(axis=0).any():
        return None
    alphas: Sequence[float] = {"linear": (0.0,), "ridge": RIDGE_ALPHAS, "lasso": LASSO_ALPHAS}[method]
    alpha = alphas[0]
    if len(alphas) > 1:
        cut = np.quantile(when, 1 - _TAIL)
        head, tail = when < cut - gap, when >= cut
        steps = np.arange(y.shape[1])
        if method == "lasso":
            steps = np.unique(np.linspace(0, y.shape[1] - 1, _LASSO_STEPS).astype(np.int64))
        alpha = _best_alpha(method, alphas, x, y[:, steps], head, tail)
    weight, bias = _solve(method, alpha, x, y)
    return weight, bias, alpha


def _best_alpha(method: str, alphas: Sequence[float], x: Array, y: Array, head: Array, tail: Array) -> float:
    """The penalty with the least squared error on the tail; the middle one where the windows are too few."""
    middle = alphas[len(alphas) // 2]
    if head.sum() < 2 or np.isnan(y[head]).all(axis=0).any() or np.isnan(y[tail]).all():
        return middle
    errors = []
    for alpha in alphas:
        weight, bias = _solve(method, alpha, x[head], y[head])
        errors.append(np.nanmean((x[tail] @ weight.T + bias - y[tail]) ** 2))
    return alphas[int(np.argmin(errors))]


def _solve(method: str, alpha: float, x: Array, y: Array) -> tuple[Array, Array]:
    """weight (H, C) and bias (H,); columns of y with gaps are fitted one by one on the rows they have."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import Lasso, LinearRegression, Ridge
    from threadpoolctl import threadpool_limits

    model = {
        "linear": LinearRegression,
        "ridge": lambda: Ridge(alpha=alpha, solver="svd" if len(x) < x.shape[1] else "auto"),
        "lasso": lambda: Lasso(alpha=alpha, precompute=True, max_iter=_LASSO_ROUNDS),
    }[method]
    weight, bias = np.zeros((y.shape[1], x.shape[1])), np.zeros(y.shape[1])
    there = ~np.isnan(y)
    whole = there.all(axis=0)
    groups = [np.flatnonzero(whole)] if whole.any() else []
    groups += [np.array([column]) for column in np.flatnonzero(~whole)]
    # Many small systems: BLAS threads would wait for each other most of the time, the more on a busy machine.
    threads = 1 if len(groups) > 1 else None
    with warnings.catch_warnings(), threadpool_limits(threads, user_api="blas"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # see _LASSO_ROUNDS
        warnings.filterwarnings(
            "ignore", message="Ill-conditioned matrix"
        )  # nearly collinear lags are the rule
        for columns in groups:
            rows = there[:, columns[0]]
            fitted = model().fit(x[rows], y[rows][:, columns])
            weight[columns] = np.reshape(fitted.coef_, (len(columns), -1))
            bias[columns] = fitted.intercept_
    return weight, bias


# ---- sequences ---------------------------------------------------------------------------------------------

POOLED = ("mean", "spread", "least", "greatest", "first", "last")


def pooled_features(sequences: Sequence[Array]) -> Array:
    """Each sequence as one row: six figures a feature and the length; zeros for an empty sequence.

    Args:
        sequences: n arrays (T_i, F).

    Returns:
        (n, 6 F + 1).
    """
    rows = []
    for sequence in sequences:
        x = np.asarray(sequence, dtype=np.float64)
        x = x[:, None] if x.ndim == 1 else x
        if len(x):
            parts = [x.mean(axis=0), x.std(axis=0), x.min(axis=0), x.max(axis=0), x[0], x[-1]]
        else:
            parts = [np.zeros(x.shape[1])] * len(POOLED)
        rows.append(np.concatenate([*parts, [float(len(x))]]))
    return np.stack(rows) if rows else np.zeros((0, 1))


def majority(labels: Array, classes: Array, sample_weight: Array | None = None) -> Array:
    """(K,) share of each class, what the majority baseline says of every row."""
    weight = np.ones(len(labels)) if sample_weight is None else sample_weight
    counts = np.array([weight[labels == label].sum() for label in classes], dtype=np.float64)
    return counts / counts.sum() if counts.sum() > 0 else np.full(len(classes), 1 / len(classes))


def logistic(
    train: Array,
    labels: Array,
    test: Array,
    classes: Array,
    *,
    sample_weight: Array | None = None,
    class_weight: dict[Any, float] | str | None = None,
) -> Array:
    """Logistic (softmax) regression on standardised features.

    Args:
        train: (n, D) features.
        labels: (n,) labels.
        test: (m, D) features.
        classes: (K,) all classes; one that training lacks gets probability 0.
        sample_weight: (n,) or None.
        class_weight: scikit-learn's.

    Returns:
        (m, K) probabilities.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    out = np.zeros((len(test), len(classes)))
    present = np.unique(labels)
    if len(present) == 1:
        out[:, np.flatnonzero(classes == present[0])] = 1.0
        return out
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500, class_weight=class_weight))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        pipeline.fit(train, labels, logisticregression__sample_weight=sample_weight)
    places = [int(np.flatnonzero(classes == label)[0]) for label in pipeline[-1].classes_]
    out[:, places] = pipeline.predict_proba(test)
    return out


def ridge(train: Array, targets: Array, test: Array, *, sample_weight: Array | None = None) -> Array:
    """Ridge regression on standardised features, its penalty by leave-one-out.

    Args:
        train: (n, D) features.
        targets: (n, K).
        test: (m, D) features.
        sample_weight: (n,) or None.

    Returns:
        (m, K).
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train)
    model = RidgeCV(alphas=RIDGE_ALPHAS).fit(scaler.transform(train), targets, sample_weight=sample_weight)
    predicted: Array = np.asarray(model.predict(scaler.transform(test)))
    return predicted.reshape(len(test), -1)
