"""The trainer against a loop written out, and its promise: the same bits, whatever happens on the way."""

import logging
import math

import pytest
import torch
from problems import OPTIMISERS, SCHEDULES, Net, digest, ragged, sequences, sources, timeless

from saiki import learning as L
from saiki import losses, nn
from saiki.cells import LSTM
from saiki.core.errors import (
    CheckpointError,
    DataError,
    DTypeError,
    LengthError,
    NonFiniteError,
    OptionError,
    ShapeError,
    UsageError,
)
from saiki.learning.rules import RuleState, objective, sequence_weights


class Killed(BaseException):
    """Ends a run as a kill would: nothing is saved on the way out."""


def ending(after, error=Killed):
    """A squared loss that ends the run in the middle of its n-th gradient."""
    calls = 0

    def squared(outputs, targets, mask):
        nonlocal calls
        if torch.is_grad_enabled():
            calls += 1
            if calls > after:
                raise error
        return losses.squared(outputs, targets, mask)

    squared.__qualname__, squared.__module__ = "squared", "tests"  # the loss's name is part of the options
    return squared


NEVER = 10**9


def fit(trainer, network, data, loss=None, **options):
    train, validation, everything = data
    return trainer.fit(network, loss or ending(NEVER), train, validation, all_data=everything, **options)


# -------------------------------------------------------------------- against a loop written out


@pytest.mark.parametrize("clip", [None, 0.05])
def test_it_does_what_a_loop_in_plain_torch_does(clip):
    train, _, _ = sources()
    network, twin = Net(dropout=0.0), Net(dropout=0.0)
    trainer = L.Trainer(
        training=L.Training(optimizer="sgd", clip_norm=clip, shuffle=False, bucket=False),
        lr=0.1,
        max_epochs=2,
        batch_size=5,
    )
    record = trainer.fit(network, "squared", train)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    seen, norms = [], []
    for _ in range(2):
        for indices in torch.arange(len(train)).split(5):
            batch = train.batch(indices)
            loss = ((twin(batch.inputs) - batch.targets) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            norms.append(torch.cat([p.grad.flatten() for p in twin.parameters()]).norm().item())
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(twin.parameters(), clip)
            optimizer.step()
            seen.append(loss.item())
    for name, w in twin.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], w, rtol=2e-5, atol=1e-6)  # float32, 10 updates
    assert [u[0] for u in record.updates] == list(range(1, 11))
    assert [u[1] for u in record.updates] == pytest.approx(seen, rel=1e-4)
    assert [u[2] for u in record.updates] == pytest.approx(norms, rel=1e-4)
    by_size = torch.tensor([5.0, 5, 5, 5, 2])
    assert record.epochs[0].loss == pytest.approx(
        float((torch.tensor(seen[:5]) * by_size).sum() / by_size.sum()), rel=1e-4
    )
    assert not network.training and all(p.grad is None for p in network.parameters())


def test_batch_mini_batch_and_single_sample_learning():
    train, validation, _ = sources()
    for size, updates in ((None, 3), ("all", 3), (1, 66), (8, 9)):
        history = L.History()
        L.Trainer(max_epochs=3, batch_size=size, lr=0.01).fit(
            Net(), "squared", train, validation, observers=[history]
        )
        assert len(history.updates) == updates


def test_the_gradient_is_that_of_the_weighted_mean_over_what_was_observed(rng):
    X, y = sequences(6, per_step=True)
    mask = [torch.rand(t.shape, generator=rng) < 0.6 for t in y]
    weights = torch.rand(6, generator=rng)
    network = Net(dropout=0.0, per_step=True)
    batch = L.RaggedSource(X, y, mask=mask, weights=weights).batch(torch.tensor([3, 0, 5, 1]))
    before = [p.grad for p in network.parameters()]
    value, gradients, state = L.BPTT().gradient(network, losses.squared, batch, L.BPTT().start(network, 4))
    top = bottom = 0.0
    for i in (3, 0, 5, 1):
        errors = (network(ragged_of(X[i])).data - y[i]) ** 2
        top = top + weights[i] * errors[mask[i]].sum() / 2
        bottom = bottom + weights[i] * mask[i].sum() / 2
    expected = torch.autograd.grad(top / bottom, list(network.parameters()))
    for (name, _), g in zip(network.named_parameters(), expected):
        torch.testing.assert_close(gradients[name], g, rtol=1e-5, atol=1e-7)
    assert [p.grad for p in network.parameters()] == before == [None] * 4
    assert state == RuleState()
    shares = sequence_weights(batch)
    torch.testing.assert_close(
        float((shares * value).sum() / shares.sum()), float((top / bottom).detach()), rtol=1e-5, atol=0
    )


def ragged_of(x):
    from saiki.core.ragged import Ragged

    return Ragged.from_list([x])


def test_a_batch_without_anything_observed_teaches_nothing():
    X, y = sequences(4)
    source = L.RaggedSource(X, torch.full_like(y, float("nan")), mask=torch.zeros_like(y, dtype=torch.bool))
    network = Net()
    before = digest(network)
    record = L.Trainer(max_epochs=2, lr=0.1).fit(network, "squared", source)
    assert digest(network) == before
    assert record.training_values == 0 and record.epochs[0].loss == 0
    with pytest.raises(DataError, match="no observed target"):
        L.Trainer(max_epochs=1).fit(Net(), "squared", L.RaggedSource(X, y), source)


def test_answers_once_a_sequence_where_targets_are_one_a_step():
    X, y = sequences(4, per_step=True)
    with pytest.raises(
        ShapeError, match="the network answers once a sequence, but the targets have one row a step"
    ):
        L.Trainer(max_epochs=1).fit(Net(), "squared", L.RaggedSource(X, y))
    X, y = sequences(4)
    with pytest.raises(ShapeError, match="answers at every step, but the targets have one row a sequence"):
        L.Trainer(max_epochs=1).fit(Net(per_step=True), "squared", L.RaggedSource(X, y))


# -------------------------------------------------------------------- stopping, best weights, refit


def test_the_best_weights_come_back():
    data = sources()
    history = L.History()
    network = Net()
    trainer = L.Trainer(
        training=L.Training(optimizer="sgd", clip_norm=None), lr=3.0, max_epochs=30, patience=4
    )
    record = fit(trainer, network, data, observers=[history])
    values = [v.loss for v in history.validations]
    best = min(range(len(values)), key=values.__getitem__)
    assert len(values) == best + 1 + 4 and record.stopped_because == "no new best for 4 evaluations"
    assert record.best_epoch == best + 1
    assert L.evaluate(network, losses.squared, data[1]) == pytest.approx(values[best], rel=1e-6)
    assert [v.is_best for v in history.validations].index(True, best) == best
    assert [e.validation_loss for e in record.epochs] == values


def test_validation_every_few_updates():
    history = L.History()
    trainer = L.Trainer(training=L.Training(every=3), lr=0.01, max_epochs=2, batch_size=4, patience=None)
    record = fit(trainer, Net(), sources(), observers=[history])  # 6 updates an epoch
    assert [v.update for v in history.validations] == [3, 6, 9, 12]
    assert [(e.epoch, e.updates) for e in record.epochs] == [(1, 3), (1, 6), (2, 9), (2, 12)]
    long = L.Trainer(training=L.Training(every=50), lr=0.01, max_epochs=2, batch_size=4)
    history = L.History()
    fit(long, Net(), sources(), observers=[history])
    assert [v.update for v in history.validations] == [12]  # at least once, at the end


def test_stopping_in_the_middle_of_an_epoch():
    history = L.History()
    trainer = L.Trainer(
        training=L.Training(every=1, optimizer="sgd", clip_norm=None),
        lr=20.0,
        max_epochs=5,
        batch_size=4,
        patience=2,
    )
    record = fit(trainer, Net(), sources(), observers=[history])
    assert record.stopped_because == "no new best for 2 evaluations"
    assert len(history.updates) == len(history.validations) == history.validations[-1].update
    assert history.validations[-1].waited == 2 and history.validations[-3].is_best


def test_without_validation_the_last_weights_stay():
    train, _, _ = sources()
    network, history = Net(), L.History()
    record = L.Trainer(max_epochs=3, patience=1, lr=0.1).fit(network, "squared", train, observers=[history])
    assert len(record.epochs) == 3 and record.best_epoch is None
    assert record.notes == ["No validation data: training did not stop early and the last weights were kept."]
    assert all(e.validation_loss is None for e in record.epochs)


@pytest.mark.parametrize("schedule", ["plateau", "linear"])
def test_refit_is_training_on_all_data_from_the_same_start_for_the_best_number_of_updates(schedule):
    data = sources()
    history = L.History()
    network, twin = Net(), Net()
    options = {"optimizer": "momentum", "schedule": schedule, "clip_norm": None}
    trainer = L.Trainer(
        training=L.Training(refit="all", **options), lr=0.4, max_epochs=6, batch_size=5, seed=4
    )
    fit(trainer, network, data, observers=[history])
    best = next(v for v in reversed(history.validations) if v.is_best)
    again = [u for u in history.updates if u.phase == "refit"]
    first = [u for u in history.updates if u.phase == "fit"]
    assert len(again) == best.update < len(first)
    assert [u.lr for u in again] == [u.lr for u in first[: best.update]]
    # the same, written out
    updater = L.Updater(L.Momentum(), twin, lr=0.4)
    ambient = torch.get_rng_state()
    from saiki.core import random

    torch.manual_seed(random.generator(4, "torch cpu").initial_seed())
    made, epoch = 0, 0
    while made < best.update:
        epoch += 1
        for indices in L.batches(data[2].lengths, 5, seed=4, epoch=epoch):
            if made < best.update:
                batch = data[2].batch(indices)
                _, g, _ = L.BPTT().gradient(twin, losses.squared, batch, RuleState())
                updater.step(g, again[made].lr / 0.4)
                made += 1
    torch.set_rng_state(ambient)
    for name, w in twin.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], w, rtol=1e-5, atol=1e-6)


def test_refit_needs_all_data_and_without_validation_has_nothing_to_do():
    train, validation, _ = sources()
    trainer = L.Trainer(training=L.Training(refit="all"), max_epochs=1)
    with pytest.raises(OptionError, match="refit='all' needs the data"):
        trainer.fit(Net(), "squared", train, validation)
    record = trainer.fit(Net(), "squared", train)
    assert not any("again" in note for note in record.notes)


# -------------------------------------------------------------------- the same bits


def test_the_same_seed_gives_the_same_bits_and_torchs_generator_is_left_alone():
    data, results = sources(), []
    for seed in (3, 3, 4):
        network = Net()
        torch.rand(seed + 7)  # whatever the user did before
        state = torch.get_rng_state()
        record = fit(L.Trainer(seed=seed, max_epochs=3, lr=0.05, batch_size=4), network, data)
        assert torch.equal(torch.get_rng_state(), state)
        results.append((digest(network), timeless(record)))
    assert results[0] == results[1] != results[2]


class Meddler(L.Observer):
    """Draws numbers, switches gradients off, writes into what it gets, and fails."""

    def __init__(self, fails=False):
        self.heard, self.fails = [], fails

    def _meddle(self, name, event):
        self.heard.append(name)
        torch.rand(100)
        torch.set_grad_enabled(False)
        with pytest.raises((AttributeError, TypeError)):
            event.loss = 0.0
        if self.fails and name == "on_update":
            raise RuntimeError("a fault of the observer's own")

    def __getattribute__(self, name):
        if name.startswith("on_"):
            return lambda event: object.__getattribute__(self, "_meddle")(name, event)
        return object.__getattribute__(self, name)


def test_observers_cannot_change_the_result(caplog):
    data = sources()
    trainer = L.Trainer(max_epochs=3, lr=0.05, batch_size=4)
    alone, watched = Net(), Net()
    fit(trainer, alone, data)
    meddler, broken, history = Meddler(), Meddler(fails=True), L.History()
    with caplog.at_level(logging.ERROR, "saiki"):
        fit(trainer, watched, data, observers=[meddler, broken, history])
    assert digest(watched) == digest(alone)
    assert torch.is_grad_enabled()
    assert broken.heard == ["on_start", "on_update"]  # then dropped
    assert len(caplog.records) == 1 and "observer Meddler failed in on_update" in caplog.text
    assert set(meddler.heard) == {"on_start", "on_update", "on_validation", "on_epoch", "on_end"}
    assert len(history.updates) == 18 and history.end.record["stopped_because"] == "max_epochs reached"


def test_an_interruption_in_an_observer_passes():
    class Stop(L.Observer):
        def on_update(self, event):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(L.Trainer(), Net(), sources(), observers=[Stop()])


def resumed(trainer, data, folder, after, error, **options):
    """End a run at its n-th gradient, resume it with a network of other weights."""
    with pytest.raises(error):
        fit(trainer, Net(), data, ending(after, error), checkpoint=folder, **options)
    network = Net(seed=77)
    record = fit(trainer, network, data, ending(NEVER), checkpoint=folder, resume=True, **options)
    return network, record


PAIRS = [
    pytest.param(
        optimizer,
        schedule,
        id=f"{optimizer!r} {schedule.type}",
        # every optimiser and every schedule is met; the whole grid takes its time
        marks=[] if j == i % len(SCHEDULES) else [pytest.mark.long],
    )
    for i, optimizer in enumerate(OPTIMISERS)
    for j, schedule in enumerate(SCHEDULES)
]


@pytest.mark.parametrize("refit", [None, "all"])
@pytest.mark.parametrize(("optimizer", "schedule"), PAIRS)
def test_a_resumed_run_ends_in_the_same_bits(optimizer, schedule, refit, tmp_path):
    """Ended in the middle of the fit, and for a refit of that too; dropout from two generators."""
    data = sources()
    lr = {"adagrad": 0.2, "sgd": 0.5}.get(optimizer.type, 0.05)
    trainer = L.Trainer(
        training=L.Training(optimizer=optimizer, schedule=schedule, refit=refit, l1=1e-3, weight_decay=0.01),
        lr=lr,
        max_epochs=3,
        batch_size=8,
        patience=2,
    )
    network, history = Net(), L.History()
    record = fit(trainer, network, data, observers=[history])
    if "plateau" in (schedule.type, getattr(schedule, "then", schedule).type):
        rates = {u.lr for u in history.updates[4:]}
        assert len(rates) > 1  # the plateau was met, so its memory matters
    for k, after in enumerate((5, 10) if refit else (5,)):
        # by minutes: a checkpoint after every update, so the run is taken up in the middle of an epoch
        again, record_again = resumed(trainer, data, tmp_path / str(k), after, Killed, every_minutes=0)
        assert digest(again) == digest(network)
        assert timeless(record_again) == timeless(record)


@pytest.mark.parametrize("after", range(1, 16))
@pytest.mark.parametrize("kind", [Killed, KeyboardInterrupt])
def test_it_may_end_anywhere(after, kind, tmp_path):
    """A kill falls back to the last epoch's checkpoint; an interruption saves where it is."""
    data = sources()
    trainer = L.Trainer(
        training=L.Training(refit="all", every=2, schedule="plateau", optimizer="sgd"),
        lr=0.1,
        max_epochs=3,
        batch_size=8,
        patience=9,
    )
    network, history = Net(), L.History()
    record = fit(trainer, network, data, observers=[history])
    assert len(history.updates) > 15
    again, record_again = resumed(trainer, data, tmp_path, after, kind)
    assert digest(again) == digest(network)
    assert timeless(record_again) == timeless(record)


def test_an_interruption_saves_the_very_update(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit(
            L.Trainer(batch_size=4, max_epochs=2),
            Net(),
            sources(),
            ending(4, KeyboardInterrupt),
            checkpoint=tmp_path,
        )
    assert L.newest_verified(tmp_path).state["position"]["update"] == 4


def test_resuming_a_finished_run_gives_its_result(tmp_path):
    data = sources()
    trainer = L.Trainer(max_epochs=2, lr=0.05)
    first, second = Net(), Net(seed=5)
    record = fit(trainer, first, data, checkpoint=tmp_path)
    again = fit(trainer, second, data, checkpoint=tmp_path, resume=True)
    assert digest(first) == digest(second) and timeless(again) == timeless(record)


def test_checkpoint_zero_comes_before_the_first_update_then_one_an_epoch(tmp_path):
    history = L.History()
    fit(L.Trainer(max_epochs=3, batch_size=8), Net(), sources(), checkpoint=tmp_path, observers=[history])
    assert [(c.number, c.update) for c in history.checkpoints] == [(0, 0), (1, 3), (2, 6), (3, 9), (4, 9)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000003", "000004"]  # the last one: finished
    with pytest.raises(CheckpointError, match=r"already holds checkpoints of another run.*resume=True"):
        fit(L.Trainer(), Net(), sources(), checkpoint=tmp_path)


def test_the_files_of_the_caller_travel_with_every_checkpoint(tmp_path):
    files = {"config.json": b"{}", "scaler.safetensors": b"\x00\x01"}
    fit(L.Trainer(max_epochs=1), Net(), sources(), checkpoint=tmp_path, files=files)
    checkpoint = L.newest_verified(tmp_path)
    assert checkpoint.files == files
    assert set(checkpoint.model) == {"first.weight", "first.bias", "second.weight", "second.bias"}


def test_other_data_or_options_than_the_checkpoints_are_refused(tmp_path):
    data = sources()
    options = {"lr": 0.05, "max_epochs": 2, "batch_size": 8, "patience": 3, "seed": 1}
    fit(L.Trainer(**options), Net(), data, checkpoint=tmp_path, fingerprint="a")

    def refuses(match, *, trainer=None, network=None, data=data, loss=None, fingerprint="a"):
        with pytest.raises(CheckpointError, match=match):
            fit(
                trainer or L.Trainer(**options),
                network or Net(),
                data,
                loss,
                checkpoint=tmp_path,
                resume=True,
                fingerprint=fingerprint,
            )

    refuses(r"other options: lr is 0\.1 now and was 0\.05 there", trainer=L.Trainer(**{**options, "lr": 0.1}))
    refuses("seed is 2 now and was 1", trainer=L.Trainer(**{**options, "seed": 2}))
    refuses(
        r"training\.optimizer is .*'sgd'.* now and was .*'adam'",
        trainer=L.Trainer(training=L.Training(optimizer="sgd"), **options),
    )
    refuses("fingerprint is 'b' now and was 'a' there", fingerprint="b")
    refuses("loss is 'Squared", loss="squared")
    wider = Net()
    wider.second = torch.nn.Linear(4, 3)
    refuses(r"the network has 'second: Linear\(in_features=4, out_features=3, ", network=wider)
    other = L.RaggedSource(*sequences(22, seed=9))
    refuses("other data: the training data are not the same", data=(other, *data[1:]))
    refuses("the refit data are not the same; the validation data are", data=(data[0], other, other))
    with pytest.raises(OptionError, match="resume needs a folder"):
        fit(L.Trainer(), Net(), data, resume=True)
    with pytest.raises(CheckpointError, match="nothing was trained yet"):
        fit(L.Trainer(), Net(), data, resume=True, checkpoint=tmp_path / "none")


def swish(a):
    return a * torch.sigmoid(a)


def test_another_option_of_a_layer_is_refused_though_every_shape_agrees(tmp_path):
    def built(p=0.5, cell=LSTM, **options):
        layer = nn.Recurrent(cell(3, 4, **{"activation": swish, **options}))
        return nn.Stack([layer, nn.Dropout(p), nn.Last(), nn.Dense(4, 2, activation=swish)])

    data = sources()
    fit(L.Trainer(max_epochs=1), built(), data, checkpoint=tmp_path)
    for other, match in (
        (built(p=0.25), "Dropout.p=0.25, .* now and had .*p=0.5"),
        (built(activation="softsign"), "activation='softsign'.* now and had .*activation=swish"),
        (built(gate_activation="hard_sigmoid"), "hard_sigmoid"),
        (built(cell=Twin), "Recurrent.Twin, .* now and had .*Recurrent.LSTM, "),
    ):
        with pytest.raises(CheckpointError, match=f"other options: the network has .*{match}"):
            fit(L.Trainer(max_epochs=1), other, data, checkpoint=tmp_path, resume=True)
    fit(L.Trainer(max_epochs=1), built(), data, checkpoint=tmp_path, resume=True)


class Twin(LSTM):
    """Another class with the same parameters."""


# -------------------------------------------------------------------- what must not be


def test_a_loss_that_is_not_finite_stops_before_the_update(tmp_path):
    X, y = sequences(20, shortest=1)
    X[13] = X[13].clone()
    X[13][0, 0] = math.inf
    y[13] = math.inf
    network, history = Net(dropout=0.0), L.History()
    trainer = L.Trainer(training=L.Training(shuffle=False, bucket=False), batch_size=5, lr=0.25)
    with pytest.raises(
        NonFiniteError, match=r"the loss became (nan|inf) at update 3, epoch 1, first in training seq"
    ):
        trainer.fit(network, "squared", L.RaggedSource(X, y), checkpoint=tmp_path, observers=[history])
    with pytest.raises(NonFiniteError, match=r"sequence 13;.*lower rate \(lr is 0\.25\), clipping .*scaling"):
        trainer.fit(network, "squared", L.RaggedSource(X, y))
    assert all(torch.isfinite(p).all() for p in network.parameters())
    assert L.newest_verified(tmp_path).number == 0
    assert history.end.error and "NonFiniteError" in history.end.reason and len(history.updates) == 2


def test_a_gradient_that_is_not_finite_names_its_parameter():
    def rooted(outputs, targets):
        return (outputs[:, 0] - outputs[:, 0].detach()).abs().sqrt() + outputs[:, 1] ** 2  # slope ∞ at 0

    network = Net(dropout=0.0)
    before = digest(network)
    with pytest.raises(
        NonFiniteError, match=r"gradient of (first|second)\.(weight|bias) became nan at update 1"
    ):
        L.Trainer().fit(network, rooted, sources()[0])
    assert digest(network) == before


def test_weights_or_a_validation_loss_that_are_not_finite_are_not_kept(tmp_path):
    train, validation, _ = sources()
    trainer = L.Trainer(
        training=L.Training(optimizer="sgd", clip_norm=None), lr=1e38, batch_size="all", max_epochs=3
    )
    with pytest.raises(NonFiniteError, match=r"the validation loss is (nan|inf) after update 1"):
        trainer.fit(Net(), "squared", train, validation, checkpoint=tmp_path)
    broken = Net()
    with torch.no_grad():
        broken.second.bias[0] = math.nan
    with pytest.raises(
        NonFiniteError, match=r"the parameter second\.bias is no longer finite after update 0"
    ):
        L.Trainer().fit(broken, "squared", train, checkpoint=tmp_path / "none")
    assert L.newest_verified(tmp_path).number == 0


# -------------------------------------------------------------------- options


def test_frozen_groups_stay_and_ask_for_gradients_again_afterwards():
    network = Net()
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    trainer = L.Trainer(training=L.Training(groups=(("first.*", {"frozen": True}),)), lr=0.1, max_epochs=1)
    record = fit(trainer, network, sources())
    assert record.parameters == 10
    for name, p in network.named_parameters():
        assert torch.equal(p, before[name]) is name.startswith("first")
        assert p.requires_grad and p.grad is None


def test_l1_makes_weights_exactly_zero():
    network = Net(dropout=0.0)
    fit(
        L.Trainer(training=L.Training(l1=0.5, optimizer="sgd"), lr=0.1, max_epochs=40, patience=None),
        network,
        sources(),
    )
    assert (network.first.weight == 0).any() and not (network.first.bias == 0).any()


def test_the_record_says_what_there_is_to_say():
    record = fit(L.Trainer(max_epochs=2, lr=0.01, seed=9), Net(), sources())
    assert record.parameters == 3 * 4 + 4 + 4 * 2 + 2
    assert (record.training_sequences, record.training_values, record.seed) == (22, 44, 9)
    assert (
        record.versions["torch"] == str(torch.__version__)
        and record.machine["threads"] == torch.get_num_threads()
    )
    assert record.seconds > 0 and record.epochs[-1].lr == 0.01
    assert record.stopped_because == "max_epochs reached" and record.best_epoch in (1, 2)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"lr": 0.0}, "lr is 0.0"),
        ({"lr": math.nan}, "lr is nan"),
        ({"max_epochs": 0}, "max_epochs is 0"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"patience": 0}, "patience is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"training": L.Training(optimizer="adan")}, "did you mean 'adam'"),
        ({"training": L.Training(schedule="linaer")}, "did you mean 'linear'"),
        ({"training": L.Training(clip_norm=-1)}, "clip_norm is -1"),
        ({"training": L.Training(clip_value=0)}, "clip_value is 0"),
        ({"training": L.Training(weight_decay=-1)}, "weight_decay is -1"),
        ({"training": L.Training(l1=-1)}, "l1 is -1"),
        ({"training": L.Training(every="week")}, "every is 'week' but must be 'epoch'"),
        ({"training": L.Training(every=0)}, "every is 0"),
        ({"training": L.Training(refit="some")}, "refit is 'some'"),
        ({"training": L.Training(rule="bppt")}, "did you mean 'bptt'"),
        ({"training": L.Training(rule=3)}, "rule is 3 but must be"),
        (
            {"training": L.Training(groups=(("*", {"rate": 1}),))},
            "unknown option of a parameter group 'rate'",
        ),
        ({"training": L.Training(groups=("*",))}, "is no parameter group"),
        ({"training": L.Training(groups=({"lr": 1},))}, "has no pattern"),
    ],
)
def test_options_are_checked_before_anything_happens(options, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        fit(L.Trainer(**options), Net(), sources(), checkpoint=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_sources_are_checked():
    X, y = sequences(4, shortest=1)
    empty = L.RaggedSource(ragged(4).select([]), torch.zeros(0, 2))
    with pytest.raises(DataError, match="train holds no sequence"):
        L.Trainer().fit(Net(), "squared", empty)
    with pytest.raises(LengthError, match=r"targets are \(3, 2\) but there are 4 sequences"):
        L.RaggedSource(X, y[:3])
    with pytest.raises(LengthError, match="A target a step needs as many rows"):
        L.RaggedSource(X, [x[1:, :2] for x in X])
    with pytest.raises(LengthError, match=r"weights are \(3,\)"):
        L.RaggedSource(X, y, weights=torch.ones(3))
    with pytest.raises(DTypeError, match=r"mask holds torch\.float32"):
        L.RaggedSource(X, y, mask=torch.ones(4, 2))
    with pytest.raises(ShapeError, match=r"mask is \(4,\) but must be \(4, 2\)"):
        L.RaggedSource(X, y, mask=torch.ones(4, dtype=torch.bool))
    with pytest.raises(DTypeError, match="network is int"):
        L.Trainer().fit(3, "squared", L.RaggedSource(X, y))
    whole = L.RaggedSource(X, y).fingerprint()
    changed = y.clone()
    changed[2, 1] += 1e-6
    assert whole == L.RaggedSource(X, y.clone()).fingerprint()
    others = [
        L.RaggedSource(X, changed),
        L.RaggedSource(X[::-1], y),
        L.RaggedSource(X, y, weights=torch.ones(4)),
        L.RaggedSource(X, y, mask=torch.ones(4, 2, dtype=torch.bool)),
    ]
    assert len({whole, *(s.fingerprint() for s in others)}) == 5


def test_training_options_as_a_mapping_and_for_scikit_learn():
    from sklearn.base import BaseEstimator, clone

    training = L.Training.from_mapping(
        {
            "optimizer": {"type": "momentum", "textbook": True},
            "schedule": {"type": "warmup", "steps": 5, "then": "cosine"},
            "clip_norm": 2.0,
            "every": 10,
            "groups": [{"pattern": "*bias*", "lr": 0.1}],
        }
    )
    assert training.optimizer == L.Momentum(textbook=True) and training.groups == (L.Group("*bias*", lr=0.1),)
    assert L.Training.from_mapping(training.to_mapping()) == training
    with pytest.raises(OptionError, match="unknown training option 'clip_nrom'; did you mean 'clip_norm'"):
        L.Training.from_mapping({"clip_nrom": 1.0})

    class Model(BaseEstimator):
        def __init__(self, training=None):
            self.training = training

    model = Model(L.Training())
    copy = clone(model).set_params(training__clip_norm=0.5)
    assert copy.training.clip_norm == 0.5 and model.training.clip_norm == 1.0
    assert copy.get_params()["training__clip_norm"] == 0.5
    with pytest.raises(OptionError, match="did you mean 'clip_norm'"):
        copy.set_params(training__clip_nom=0.5)


# -------------------------------------------------------------------- a rule that learns while the sequence
# runs


class Cut:
    """Cuts each batch into windows and carries a value of each sequence from one to the next."""

    type = "cut"
    window = 3

    def start(self, network, batch_size):
        return RuleState({"carried": torch.zeros(batch_size, 2)})

    def chunks(self, batch):
        X, y = batch.inputs.to_list(), batch.inputs.with_data(batch.targets).to_list()
        for t in range(0, max(batch.inputs.T, 1), self.window):
            end = t + self.window
            part = L.RaggedSource([x[t:end] for x in X], [v[t:end] for v in y])
            yield part.batch(torch.arange(len(X)))

    def updates(self, steps):
        return max(1, -(-steps // self.window))

    def gradient(self, network, loss, batch, state):
        carried = state.tensors["carried"]
        out = network(batch.inputs)
        shifted = out.with_data(out.data + 0.3 * carried[out.row_sequence])
        value, sums, _ = objective(loss, shifted, batch)
        names = dict(network.named_parameters())
        gradients = torch.autograd.grad(value, list(names.values()), allow_unused=True)
        fresh = torch.tanh(carried + out.sequence_sum(out.data).detach())
        return sums, {n: g for n, g in zip(names, gradients) if g is not None}, RuleState({"carried": fresh})


@pytest.mark.parametrize("after", [1, 4, 7, 11])
def test_a_rule_with_memory_updates_inside_the_sequence_and_resumes_there(after, tmp_path, monkeypatch):
    from saiki.learning import options as naming
    from saiki.learning import training as options

    monkeypatch.setattr(options, "mapping_of", lambda c: naming.mapping_of(c) if c.type != "cut" else {})
    data = sources(per_step=True)
    trainer = L.Trainer(training=L.Training(rule=Cut()), lr=0.05, max_epochs=2, batch_size=8)
    network, history = Net(per_step=True), L.History()
    record = fit(trainer, network, data, observers=[history])
    assert len(history.updates) == 12  # 3 batches an epoch, of which the windows
    with pytest.raises(Killed):
        fit(trainer, Net(per_step=True), data, ending(after), checkpoint=tmp_path, every_minutes=0)
    checkpoint = L.newest_verified(tmp_path)
    if checkpoint.state["position"]["chunk"]:
        assert checkpoint.training["rule/carried"].abs().sum() > 0
    again = Net(seed=8, per_step=True)
    record_again = fit(trainer, again, data, checkpoint=tmp_path, resume=True, every_minutes=0)
    assert digest(again) == digest(network) and timeless(record_again) == timeless(record)


def test_a_rule_that_gives_no_chunk_is_refused(monkeypatch):
    monkeypatch.setattr(L.BPTT, "chunks", lambda self, batch: ())
    with pytest.raises(UsageError, match=r"BPTT\(\) gave no chunk for a batch of 22 sequences"):
        fit(L.Trainer(), Net(), sources())


def test_the_state_of_a_rule_is_a_value():
    state = RuleState({"h": torch.ones(3, 2)})
    fresh = state.reset(torch.tensor([True, False, False]))
    assert fresh.tensors["h"].tolist() == [[0, 0], [1, 1], [1, 1]] and state.tensors["h"].sum() == 6
    copy = RuleState.from_tensors(state.to_tensors())
    assert torch.equal(copy.tensors["h"], state.tensors["h"]) and copy.tensors["h"] is not state.tensors["h"]
    assert isinstance(L.BPTT(), L.LearningRule) and isinstance(Cut(), L.LearningRule)


def test_evaluation_leaves_the_training_flags_as_they_were():
    network = Net()
    network.torchs.eval()
    first = L.evaluate(network, losses.squared, sources()[1])
    assert network.training and not network.torchs.training
    assert first == L.evaluate(network, losses.squared, sources()[1], batch_size=3) or math.isclose(
        first, L.evaluate(network, losses.squared, sources()[1], batch_size=3), rel_tol=1e-6
    )


def stack(seed):
    """Our own layers: dropout between layers and after, learned initial states, attention."""
    return nn.Stack.build(
        [
            nn.LSTMConfig(hidden_size=4, num_layers=2, dropout=0.3, learn_initial_state=True),
            nn.DropoutConfig(p=0.3, locked=True),
            nn.AttentionPoolConfig(),
        ],
        3,
        2,
        generator=torch.Generator().manual_seed(seed),
    )


def test_our_own_layers_resume_bit_for_bit_and_decay_w_and_r_only(tmp_path):
    assert L.penalised(stack(1)) == {
        "layers.lstm.weight_ih_l0",
        "layers.lstm.weight_hh_l0",
        "layers.lstm.weight_ih_l1",
        "layers.lstm.weight_hh_l1",
        "layers.attention_pool.weight",
        "layers.head.weight",
    }
    train, validation, everything = sources()
    trainer = L.Trainer(
        training=L.Training(refit="all", weight_decay=0.1), lr=0.02, max_epochs=2, batch_size=8
    )
    whole, again = stack(1), stack(2)
    options = {"all_data": everything, "every_minutes": 0}
    trainer.fit(whole, "squared", train, validation, all_data=everything)
    with pytest.raises(Killed):
        trainer.fit(stack(1), ending(4), train, validation, checkpoint=tmp_path, **options)
    trainer.fit(again, ending(NEVER), train, validation, checkpoint=tmp_path, resume=True, **options)
    assert digest(again) == digest(whole)
