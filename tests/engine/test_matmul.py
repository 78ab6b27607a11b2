"""The general matrix product: right for all shapes and layouts, the same bits for any number of threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from grids import pairwise

_native = pytest.importorskip("saiki._native", reason="the native extension was not built")

SIZES = [1, 2, 3, 5, 8, 13, 16, 17, 31, 48, 65, 130]
FACTORS: dict[str, Any] = {
    "M": SIZES,
    "N": SIZES,
    "K": SIZES,
    "a": ["dense", "transposed", "apart"],
    "b": ["dense", "transposed", "apart"],
    "out": ["dense", "apart"],
    "bias": [False, True],
    "accumulate": [False, True],
    "threads": [1, 2, 3],
    "dtype": ["float32", "float64"],
    "target": _native.targets(),
}
PAIRS = pairwise(FACTORS)
every_target = pytest.mark.parametrize("target", _native.targets())


def require_near(out: np.ndarray, truth: np.ndarray, sizes: np.ndarray, K: int) -> None:
    """Some √K roundings of at most the sum of the terms' sizes."""
    bound = 4 * np.sqrt(K + 3) * np.finfo(out.dtype).eps / 2 * sizes
    assert (np.abs(out - truth) <= bound).all()


def matrix(values: np.ndarray, layout: str, dtype: str) -> np.ndarray:
    """The values in another layout; what lies between them is NaN."""
    if layout == "transposed":
        return np.asfortranarray(values.astype(dtype))
    wide = np.full((values.shape[0], values.shape[1] + 3 * (layout == "apart")), np.nan, dtype)
    wide[:, : values.shape[1]] = values
    return wide[:, : values.shape[1]]


def check(case: dict[str, Any], seed: int) -> None:
    """Against numpy in float64."""
    draws = np.random.default_rng(seed)
    M, N, K, dtype = case["M"], case["N"], case["K"], case["dtype"]
    a, b, bias, before = (
        draws.standard_normal(shape).astype(np.float32).astype(np.float64)  # which both types can hold
        for shape in ((M, K), (K, N), N, (M, N))
    )
    added = np.where(case["bias"], bias, 0), np.where(case["accumulate"], before, 0)
    truth = a @ b + sum(added)
    sizes = np.abs(a) @ np.abs(b) + sum(map(np.abs, added))
    out = matrix(before if case["accumulate"] else np.full((M, N), np.nan), case["out"], dtype)
    _native.matmul(
        matrix(a, case["a"], dtype),
        matrix(b, case["b"], dtype),
        bias.astype(dtype) if case["bias"] else None,
        out,
        case["accumulate"],
        case["threads"],
        case["target"],
    )
    require_near(out, truth, sizes, K)
    if case["out"] == "apart":
        assert np.isnan(out.base[:, N:]).all()


@pytest.mark.parametrize("target", FACTORS["target"])
def test_any_two_circumstances_together(target):
    for seed, case in enumerate(PAIRS):
        if case["target"] == target:
            check(case, seed)


@pytest.mark.long
@pytest.mark.parametrize("N", SIZES)
@pytest.mark.parametrize("target", FACTORS["target"])
def test_all_shapes_and_layouts(target, N):
    for seed, (M, K, a, b) in enumerate(
        (M, K, a, b) for M in SIZES for K in SIZES for a in FACTORS["a"] for b in FACTORS["b"]
    ):
        rest = {"N": N, "target": target, "out": FACTORS["out"][seed % 2], "bias": bool(seed // 2 % 2)}
        rest |= {"accumulate": bool(seed // 4 % 2), "threads": 1 + seed % 3}
        check({"M": M, "K": K, "a": a, "b": b, "dtype": FACTORS["dtype"][seed // 3 % 2], **rest}, seed)


@every_target
@pytest.mark.parametrize(
    ("M", "N", "K"), [(700, 33, 90), (33, 700, 90), (5, 40, 5000), (260, 260, 260), (1, 2000, 300)]
)
@pytest.mark.parametrize("a_layout", ["dense", "transposed"])
@pytest.mark.parametrize("b_layout", ["dense", "transposed"])
def test_beyond_a_block_and_for_any_number_of_threads(target, M, N, K, a_layout, b_layout):
    draws = np.random.default_rng(3)
    for dtype in ("float32", "float64"):
        a = matrix(draws.standard_normal((M, K)), a_layout, dtype)
        b = matrix(draws.standard_normal((K, N)), b_layout, dtype)
        truth = a.astype(np.float64) @ b.astype(np.float64)
        found = []
        for threads in (1, 2, 3, 4, 1):
            out = np.full((M, N), np.nan, dtype)
            _native.matmul(a, b, None, out, False, threads, target)
            found.append(out)
        require_near(found[0], truth, np.abs(a) @ np.abs(b), K)
        assert all(np.array_equal(out, found[0]) for out in found)


@every_target
@pytest.mark.parametrize("b_layout", ["dense", "transposed"])
def test_a_row_does_not_depend_on_the_rows_beside_it(target, b_layout):
    """Not its bits, and not whether it is NaN."""
    draws = np.random.default_rng(4)
    a = draws.standard_normal((37, 65)).astype(np.float32)
    b = matrix(draws.standard_normal((65, 50)), b_layout, "float32")
    together, sick = np.empty((37, 50), np.float32), np.empty((37, 50), np.float32)
    _native.matmul(a, b, None, together, False, 2, target)
    for row in (0, 1, 17, 36):
        alone = np.empty((1, 50), np.float32)
        _native.matmul(a[row : row + 1], b, None, alone, False, 1, target)
        assert np.array_equal(alone[0], together[row])
    a[17, 3] = np.nan
    _native.matmul(a, b, None, sick, False, 2, target)
    assert np.isnan(sick[17]).all()
    assert np.array_equal(np.delete(sick, 17, 0), np.delete(together, 17, 0))


@every_target
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nothing_to_add_and_nowhere_to_write(target, dtype):
    """An empty sum is 0; a product without rows or columns leaves all alone."""
    bias, out = np.arange(4, dtype=dtype), np.full((3, 4), np.nan, dtype)
    nothing = np.empty((3, 0), dtype), np.empty((0, 4), dtype)
    _native.matmul(*nothing, None, out, target=target)
    assert not out.any()
    _native.matmul(*nothing, bias, out, target=target)
    assert (out == bias).all()
    _native.matmul(*nothing, bias, out, accumulate=True, target=target)
    assert (out == 2 * bias).all()
    for M, N, K in ((0, 4, 2), (3, 0, 2), (0, 0, 0)):
        shapes = np.zeros((M, K), dtype), np.zeros((K, N), dtype)
        _native.matmul(*shapes, None, np.empty((M, N), dtype), target=target)
