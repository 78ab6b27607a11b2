"""Errors, names, log, extras, checks, random generators, and what importing the package loads."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

import saiki.core
from saiki.core import checks, errors
from saiki.core.extras import require
from saiki.core.log import logger, say_once
from saiki.core.names import choose, nearest, unknown
from saiki.core.random import generator, permutation, seed_from

FAMILY = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, errors.SaikiError) and value is not errors.SaikiError
]
STANDARD = {
    "ShapeError": ValueError,
    "LengthError": ValueError,
    "DTypeError": TypeError,
    "ValueRangeError": ValueError,
    "LabelError": ValueError,
    "OptionError": ValueError,
    "DataError": ValueError,
    "SchemaError": ValueError,
    "ModelFolderError": OSError,
    "CheckpointError": OSError,
    "DiskError": OSError,
    "NonFiniteError": ArithmeticError,
    "ExtraError": ImportError,
    "EngineError": RuntimeError,
    "UsageError": RuntimeError,
}


def test_every_error_is_listed_here_and_exported():
    assert {kind.__name__ for kind in FAMILY} == set(STANDARD)
    assert {*STANDARD, "SaikiError", "SaikiWarning"} == set(errors.__all__)


@pytest.mark.parametrize("kind", FAMILY, ids=lambda kind: kind.__name__)
def test_an_error_is_a_standard_one_and_keeps_its_hint(kind):
    error = kind("what came", "what to do")
    assert isinstance(error, STANDARD[kind.__name__])
    assert (
        str(error) == "what came what to do" and error.hint == "what to do" and error.message == "what came"
    )
    assert str(kind("alone")) == "alone" and kind("alone").hint is None
    again = pickle.loads(pickle.dumps(error))  # how multiprocessing hands an error to its parent
    assert type(again) is kind and str(again) == str(error) and again.hint == error.hint


@pytest.mark.parametrize(
    ("name", "known", "guess"),
    [
        ("lstn", ["lstm", "gru"], "lstm"),
        ("Hidden-Size", ["hidden_size", "hx"], "hidden_size"),
        ("q", ["lstm"], None),
    ],
)
def test_nearest(name, known, guess):
    assert nearest(name, known) == guess


def test_choose_offers_the_nearest():
    assert choose("b", {"a": 1, "b": 2}, "letter") == 2
    with pytest.raises(
        errors.OptionError, match=r"unknown cell 'lstn'; did you mean 'lstm'\? Known: lstm, gru\."
    ):
        choose("lstn", {"lstm": 1, "gru": 2}, "cell")
    with pytest.raises(errors.OptionError, match=r"unknown cell 7\. Known: lstm\."):
        choose(7, {"lstm": 1}, "cell")
    with pytest.raises(errors.OptionError):
        choose(["lstm"], {"lstm": 1}, "cell")
    assert len(unknown("x" * 10**6, ["lstm"], "cell")) < 200


def test_say_once(caplog):
    with caplog.at_level("WARNING", logger="saiki"):
        assert say_once("test_say_once", "heard") and not say_once("test_say_once", "heard")
    assert [record.message for record in caplog.records] == ["heard"] and logger.name == "saiki"


def test_a_missing_extra_says_how_to_install_it():
    assert require("json", "none", "nothing") is sys.modules["json"]
    with pytest.raises(
        errors.ExtraError, match=r"reading X needs the package 'no_such_package'.*'saiki\[parquet\]'"
    ):
        require("no_such_package.inner", "parquet", "reading X")


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, saiki, saiki.core, saiki.core.errors, saiki.core.names, saiki.core.checks\n"
        "import saiki.core.log, saiki.core.extras, saiki.core.files, saiki.core.schema, saiki.core.record\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'narwhals', 'sklearn', 'matplotlib', 'safetensors'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_core_finds_every_name_it_lists():
    for name in dir(saiki.core):
        assert getattr(saiki.core, name) is not None
    with pytest.raises(AttributeError, match=r"no attribute 'raged'"):
        saiki.core.raged  # noqa: B018


# -------------------------------------------------------------------- checks


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (0, errors.ValueRangeError, r"hidden_size is 0 but must be a whole number between 1 and 8\."),
        (9, errors.ValueRangeError, "hidden_size is 9"),
        (2.0, errors.DTypeError, r"hidden_size is 2\.0"),
        (True, errors.DTypeError, "hidden_size is True"),
        ("4", errors.DTypeError, "hidden_size is '4'"),
        (None, errors.DTypeError, "hidden_size is None"),
        (float("nan"), errors.DTypeError, "hidden_size is nan"),
        (10**400, errors.ValueRangeError, "hidden_size is 1000"),
    ],
)
def test_require_int_refuses(value, kind, message):
    with pytest.raises(kind, match=message):
        checks.require_int(value, "hidden_size", 1, 8)


def test_require_int_accepts_numpy_integers():
    got = checks.require_int(np.int32(4), "n", low=0)
    assert got == 4 and type(got) is int


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), 10**400])
def test_require_positive_refuses_the_range(value):
    with pytest.raises(errors.ValueRangeError, match=r"lr is .* but must be a finite number greater than 0"):
        checks.require_positive(value, "lr")


@pytest.mark.parametrize("value", ["1", None, True, 1j, [1.0]])
def test_require_positive_refuses_the_kind(value):
    with pytest.raises(errors.DTypeError, match=r"lr is"):
        checks.require_positive(value, "lr")


def test_numbers_in_range_pass():
    assert checks.require_positive(np.float32(0.5), "lr") == 0.5
    assert checks.require_probability(1, "p") == 1.0
    with pytest.raises(errors.ValueRangeError, match=r"p is 1.5 but must be a finite number between 0 and 1"):
        checks.require_probability(1.5, "p")
    assert checks.require_bool(np.True_, "b") is True
    with pytest.raises(errors.DTypeError, match=r"bias is 1 but must be True or False"):
        checks.require_bool(1, "bias")


@pytest.mark.parametrize(
    ("x", "options", "kind", "message"),
    [
        ([1.0], {}, errors.DTypeError, "x is list but must be a torch.Tensor"),
        (torch.zeros(2, dtype=torch.int64), {}, errors.DTypeError, "x holds torch.int64"),
        (torch.zeros(2, dtype=torch.complex64), {"floating": False}, errors.DTypeError, "real"),
        (torch.zeros(2).to_sparse(), {}, errors.DTypeError, "sparse_coo"),
        (torch.zeros(2, 3), {"ndim": 3}, errors.ShapeError, r"x is \(2, 3\), 2 axes, but must have 3 axes"),
        (torch.zeros(()), {"ndim": (2, 3)}, errors.ShapeError, "must have 2 or 3 axes"),
        (torch.zeros(2), {"dtype": torch.float64}, errors.DTypeError, "must hold torch.float64"),
        (
            torch.zeros(2, device="meta"),
            {"device": torch.device("cpu")},
            errors.ValueRangeError,
            "on meta but must",
        ),
        (torch.nested.nested_tensor([torch.zeros(2)], layout=torch.jagged), {}, errors.DTypeError, "nested"),
    ],
)
def test_require_tensor_refuses(x, options, kind, message):
    with pytest.raises(kind, match=message):
        checks.require_tensor(x, "x", **options)


def test_require_shape_names_what_must_be():
    checks.require_shape(torch.zeros(4, 8), "h", (None, 8))
    with pytest.raises(errors.ShapeError, match=r"state.h is \(4, 8\) but must be \(B, H\) = \(4, 16\)\."):
        checks.require_shape(torch.zeros(4, 8), "state.h", (4, 16), "(B, H)")
    with pytest.raises(errors.ShapeError, match=r"must be \(any,\)"):
        checks.require_shape(np.zeros((4, 8)), "h", (None,))


@pytest.mark.parametrize(
    ("lengths", "kind", "message"),
    [
        ([1, 2], errors.ShapeError, r"lengths is \(2,\) but must be \(B,\) = \(3,\)"),
        ([[1, 2, 3]], errors.ShapeError, "one length a sequence"),
        (
            [1, -1, 2],
            errors.LengthError,
            r"lengths\[1\] is -1 but sequence 1 must have between 0 and 5 steps",
        ),
        ([1, 2, 6], errors.LengthError, r"lengths\[2\] is 6"),
        ([1, 2, 2**62], errors.LengthError, r"lengths\[2\] is 4611686018427387904"),
        ([1.0, 2.0, 3.0], errors.DTypeError, "float64"),
        ([1.0, float("nan"), 3.0], errors.DTypeError, "float64"),
        (torch.tensor([1.0, 2, 3]), errors.DTypeError, "float32"),
        ([True, False, True], errors.DTypeError, "bool"),
        (["1", "2", "3"], errors.DTypeError, "text"),
        ([1, None, 3], errors.DTypeError, "objects"),
        ([[1], [2, 3], [4]], errors.ShapeError, "lengths cannot be read"),
        (None, errors.DTypeError, "lengths is None"),
        (3, errors.ShapeError, r"lengths is \(\)"),
        (np.array(["2020-01-01"] * 3, dtype="M8[D]"), errors.DTypeError, "dates"),
        (np.ma.masked_array([1, 2, 3], mask=[0, 1, 0]), errors.DTypeError, "masked"),
    ],
)
def test_require_lengths_refuses(lengths, kind, message):
    with pytest.raises(kind, match=message):
        checks.require_lengths(lengths, T=5, B=3)


@pytest.mark.parametrize(
    "lengths",
    [[0, 5, 3], (0, 5, 3), np.array([0, 5, 3], dtype=np.uint8), torch.tensor([0, 5, 3], dtype=torch.int32)],
)
def test_require_lengths_gives_a_tensor_of_its_own(lengths):
    got = checks.require_lengths(lengths, T=5, B=3)
    assert got.dtype == torch.int64 and got.tolist() == [0, 5, 3]
    got[0] = 4
    assert list(map(int, lengths)) == [0, 5, 3]
    assert checks.require_lengths([], T=5, B=0).tolist() == []


def test_require_finite_names_the_place():
    x = torch.zeros(4, 5, 2)
    checks.require_finite(x, "X")
    checks.require_finite(np.arange(3), "X")
    x[2, 1, 1] = float("nan")
    with pytest.raises(
        errors.ValueRangeError, match=r"X is NaN \(missing\) at row 2, step 1, feature 1, where"
    ):
        checks.require_finite(x, "X")
    x[2, 1, 0] = -float("inf")
    with pytest.raises(
        errors.ValueRangeError, match=r"X is infinite at row 2, step 1, feature 0.*2 values in all"
    ):
        checks.require_finite(x, "X")
    with pytest.raises(errors.ValueRangeError, match=r"X, row 1 is NaN \(missing\) at step 0, feature 1"):
        checks.require_finite([np.zeros((2, 2)), np.array([[0.0, np.nan]])], "X")
    with pytest.raises(errors.ValueRangeError, match=r"X is on the meta device"):
        checks.require_finite(torch.zeros(2, device="meta"), "X")
    with pytest.raises(errors.ValueRangeError, match=r"X is NaN"):
        checks.require_finite(torch.tensor(float("nan"), dtype=torch.bfloat16), "X")


def test_channels_first_is_explained():
    hint = checks.explain_channels_first((8, 3, 100), "X")
    assert (
        hint is not None
        and "8 sequences of 3 steps with 100 features" in hint
        and "transpose(0, 2, 1)" in hint
    )
    assert (
        checks.explain_channels_first((8, 100, 3)) is None and checks.explain_channels_first((8, 100)) is None
    )
    assert checks.explain_channels_first((8, 10, 12)) is None
    assert checks.explain_channels_first((8, 10, 12), features=10) is not None
    assert checks.explain_channels_first((8, 3, 100), features=100) is None


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0)[::-1],
        np.arange(12.0).reshape(3, 4)[:, ::2],
        np.arange(4).astype(">f4"),
        np.arange(4, dtype=np.uint16),
        np.arange(4, dtype=np.uint32),
        np.broadcast_to(np.float32(3), (2, 2)),
        np.array([True, False]),
        [[1, 2], [3, 4]],
        3.5,
    ],
)
def test_as_tensor_reads_every_real_array(array):
    tensor = checks.as_tensor(array, "x")
    assert tensor.tolist() == np.asarray(array).tolist()
    tensor += 1 if tensor.dtype != torch.bool else False  # it may be written to


@pytest.mark.parametrize(
    "value",
    [np.array([1, "a"], dtype=object), ["a"], b"abc", {"a": 1}, None, np.array([1j]), np.zeros(2, "M8[s]")],
)
def test_as_tensor_refuses_what_is_no_number(value):
    with pytest.raises(errors.DTypeError, match=r"x "):
        checks.as_tensor(value, "x")


def test_as_tensor_refuses_what_torch_does_not_have():
    with pytest.raises(errors.DTypeError, match=r"uint64, which has no tensor type"):
        checks.as_tensor(np.zeros(2, dtype=np.uint64), "x")
    with pytest.raises(errors.DTypeError, match=r"no tensor type"):
        checks.as_tensor(np.zeros(2, dtype=np.longdouble), "x")
    with pytest.raises(errors.ShapeError, match=r"x\[1\]|x cannot be read"):
        checks.as_tensor([[1], [2, 3]], "x")


# -------------------------------------------------------------------- random


def test_a_generator_depends_on_seed_and_purpose_alone():
    draw = lambda g: torch.rand(4, generator=g).tolist()
    assert draw(generator(0, "weights")) == draw(generator(0, "weights"))
    assert draw(generator(0, "weights")) != draw(generator(0, "dropout"))
    assert draw(generator(0, "weights")) != draw(generator(1, "weights"))
    assert draw(generator(0)) == draw(generator(np.int64(0)))
    assert draw(generator(None)) != draw(generator(None))


def test_the_streams_do_not_change_between_versions():
    """A seed must mean the same weights in a year; the digits are from sha256sum of "0:weights"."""
    assert generator(0, "weights").initial_seed() == 7641235289212098617
    assert generator(2**63 - 1).initial_seed() == 963195757104777530


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.Generator().manual_seed(3),
        lambda: np.random.RandomState(3),
        lambda: np.random.default_rng(3),
    ],
)
def test_a_generator_given_moves_on_reproducibly(make):
    one, two = make(), make()
    first, second = seed_from(one), seed_from(one)
    assert first != second and [seed_from(two), seed_from(two)] == [first, second]
    assert 0 <= first < 2**63 - 1
    assert torch.equal(
        torch.rand(3, generator=generator(make(), "a")), torch.rand(3, generator=generator(make(), "a"))
    )


def test_a_torch_generator_without_purpose_is_itself():
    own = torch.Generator()
    assert generator(own) is own and generator(own, "x") is not own


@pytest.mark.parametrize("seed", ["0", 1.0, True, [1]])
def test_a_seed_of_the_wrong_kind_is_refused(seed):
    with pytest.raises(errors.DTypeError, match=r"a seed is"):
        generator(seed)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(errors.ValueRangeError, match=r"seed is"):
        generator(seed)


def test_permutation_is_a_pure_function():
    one = permutation(100, 7, 3)
    torch.rand(5)
    assert torch.equal(one, permutation(100, 7, 3)) and torch.equal(one.sort().values, torch.arange(100))
    assert not torch.equal(one, permutation(100, 7, 4)) and not torch.equal(one, permutation(100, 8, 3))
    assert permutation(0, 0, 0).tolist() == [] and permutation(1, 0, 0).tolist() == [0]
    for wrong in ((-1, 0, 0), (3, -1, 0), (3, 0, -1)):
        with pytest.raises(errors.ValueRangeError):
            permutation(*wrong)
