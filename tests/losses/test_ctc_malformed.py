"""No malformed call of CTC ends the process or answers from outside its buffers (as ../test_bad_calls.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from saiki.core.errors import SaikiError
from saiki.core.ragged import Ragged
from saiki.losses import ctc_align, ctc_loss, ctc_posteriors
from test_bad_calls import NUMBERS, ODD, RULES, Call, in_a_child, length_arguments, surround, tensors

FUNCTIONS = {"ctc_loss": ctc_loss, "ctc_posteriors": ctc_posteriors, "ctc_align": ctc_align}


@st.composite
def logit_arguments(draw: st.DrawFn, B: int, K: int) -> object:
    kind = draw(st.sampled_from([*["padded"] * 5, *["ragged"] * 4, "any"]))
    if kind == "padded":
        return draw(tensors(shape=(draw(st.integers(0, 6)), B, K), floats=True))
    if kind == "any":
        return draw(st.one_of(tensors(), ODD))
    lengths = draw(st.lists(st.integers(0, 6), min_size=max(B, 1), max_size=max(B, 1)))
    whole = surround(torch.randn(sum(lengths), K, generator=torch.Generator().manual_seed(B)), "contiguous")
    return Ragged.from_list(list(whole.split(lengths)))


@st.composite
def target_arguments(draw: st.DrawFn, B: int, K: int) -> object:
    good = draw(st.integers(0, 3)) < 3  # 0 is drawn more often than its share
    label = st.integers(1, max(K - 1, 1)) if good else st.one_of(st.integers(-2, K + 1), st.just(2**40))
    kind = draw(st.sampled_from([*["lists"] * 3, *["padded"] * 3, *["ragged"] * 3, "row", "odd"]))
    if kind == "padded":
        L = draw(st.integers(0, 4))
        rows = draw(st.lists(st.lists(label, min_size=L, max_size=L), min_size=B, max_size=B))
        dtype = draw(st.sampled_from([torch.int64, torch.int64, torch.int32, torch.float32, torch.uint8]))
        table = torch.tensor(rows, dtype=torch.int64).reshape(B, L).to(dtype)
        return surround(table, draw(st.sampled_from(["contiguous", "strided", "transposed"])))
    if kind == "row":
        return torch.tensor(draw(st.lists(label, max_size=6)), dtype=torch.int64)
    if kind == "odd":
        return draw(st.one_of(ODD, tensors()))
    rows = draw(st.lists(st.lists(label, max_size=4), min_size=B, max_size=B))
    if kind == "lists" or not rows:
        return rows
    return Ragged.from_list([torch.tensor(row, dtype=torch.int64) for row in rows])


def lengths_of(B: int) -> st.SearchStrategy[object]:
    exact = st.lists(st.integers(0, 4), min_size=B, max_size=B)
    tensor = exact.map(lambda n: torch.tensor(n, dtype=torch.int64))
    return st.one_of(*[st.none()] * 5, exact, tensor, length_arguments())  # guessed lengths seldom fit


@st.composite
def calls(draw: st.DrawFn) -> Call:
    B, K = draw(st.sampled_from([1, 2, 3, 4, 0])), draw(st.integers(2, 5))
    name = draw(st.sampled_from(sorted(FUNCTIONS)))
    x, y = draw(logit_arguments(B, K)), draw(target_arguments(B, K))
    lengths, counts = (None if isinstance(a, Ragged) else draw(lengths_of(B)) for a in (x, y))
    if isinstance(y, list):
        counts = None
    blank: Any = draw(NUMBERS) if draw(st.integers(0, 5)) == 5 else 0

    def do() -> object:
        data = x.data if isinstance(x, Ragged) else x
        if isinstance(data, Tensor) and data.is_floating_point():
            data = data.detach().requires_grad_()
        given = x.with_data(data) if isinstance(x, Ragged) else data
        result: Any = FUNCTIONS[name](given, y, lengths, counts, blank=blank)  # type: ignore[operator]
        if name == "ctc_align":
            return [[a.states, a.starts, a.ends, a.scores, a.score] for a in result]
        if name == "ctc_loss" and result.requires_grad:
            return [result.detach(), torch.autograd.grad(result.sum(), data)[0]]
        return result

    words = f"{name}({x!r}, {y!r}, {lengths!r}, {counts!r}, blank={blank!r})"
    return Call(words, do)


@settings(RULES, max_examples=8)
@given(st.lists(calls(), min_size=20, max_size=25))
def test_malformed_calls_are_typed_errors_or_right_answers(some: list[Call]) -> None:
    assert in_a_child(some) == ""


@pytest.mark.long
@settings(RULES, max_examples=500)
@given(st.lists(calls(), min_size=20, max_size=25))
def test_ten_thousand_malformed_calls(some: list[Call]) -> None:
    assert in_a_child(some) == ""


def test_many_of_the_calls_are_good() -> None:
    """The test of the test: what is drawn also reaches the kernels."""
    answered = []

    @settings(RULES, max_examples=300)  # the first examples are the odd ones
    @given(calls())
    def count(call: Call) -> None:
        try:
            call.do()
        except SaikiError:
            answered.append(False)
        else:
            answered.append(True)

    count()
    assert np.mean(answered) > 0.2
