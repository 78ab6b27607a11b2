"""CTC against what other projects assert: Graves' own numbers with gradients, warp-ctc, MXNet, Keras."""

import json
from functools import cache

import pytest
import torch

from saiki.losses import ctc_loss

pytestmark = pytest.mark.peer


@cache
def read(path):
    return {case["id"]: case for case in json.loads(path.read_text())}


@pytest.fixture
def vectors(golden):
    return read(golden / "ctc" / "loss.json")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_graves(vectors, dtype):
    case = vectors["tf.ctc_loss_op_test.testBasic"]
    logits = torch.tensor(case["probs_btc"], dtype=dtype).log().transpose(0, 1)
    logits = torch.cat((logits, torch.full((2, 2, 6), float("nan"), dtype=dtype))).requires_grad_()
    loss = ctc_loss(logits, case["labels"], case["lengths"], blank=case["blank"])
    expected = torch.tensor(case["loss"], dtype=dtype)
    torch.testing.assert_close(loss, expected, rtol=0, atol=case["loss_atol"])
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    wanted = torch.tensor(case["grad_logits_btc"], dtype=dtype).transpose(0, 1)
    torch.testing.assert_close(gradient[:5], wanted, rtol=0, atol=case["grad_atol"])
    assert (gradient[5:] == 0).all()


@pytest.mark.parametrize(
    "name", ["warpctc.test_cpu.small_test", "mxnet.test_operator.ctc_1", "mxnet.test_operator.ctc_2"]
)
def test_losses(vectors, name):
    case = vectors[name]
    if "logits_btc" in case:
        logits = torch.tensor(case["logits_btc"]).transpose(0, 1)
    else:
        logits = torch.tensor(case["logits_tbc"], dtype=torch.float32)
    loss = ctc_loss(logits, case["labels"], blank=case.get("blank", 0))
    torch.testing.assert_close(loss, torch.tensor(case["loss"]), rtol=0, atol=case["loss_atol"])


def test_blank_last(vectors):
    case = vectors["mxnet.gluon.test_ctc_loss.blank_last"]
    loss = ctc_loss(torch.ones(20, 2, 4), case["labels"], case["lengths"], blank=3)
    torch.testing.assert_close(loss, torch.tensor(case["loss"]), rtol=0, atol=case["loss_atol"])


def test_a_label_of_no_probability(vectors, rng):
    case = vectors["warpctc.test_cpu.inf_test"]
    labels = torch.randint(1, 15, (1, 10), generator=rng)
    labels[0, 0] = 2
    logits = torch.randn(50, 1, 15, generator=rng)
    logits[:, :, 2] = -1e30
    logits.requires_grad_()
    loss = ctc_loss(logits, labels)
    assert float(loss.detach()) == float(case["loss"])
    assert (torch.autograd.grad(loss.sum(), logits)[0] == 0).all()


def test_keras(golden):
    case = read(golden / "keras3" / "ctc.json")["ops.nn_test.test_ctc_loss"]
    logits, labels = torch.tensor(case["logits"]).transpose(0, 1), torch.tensor(case["labels"])
    loss = ctc_loss(logits, labels, case["logit_length"], case["label_length"], blank=case["blank"])
    torch.testing.assert_close(loss, torch.tensor(case["expected"]), rtol=0, atol=case["atol"])
