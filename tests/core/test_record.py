"""The record of a fit: JSON in and out, and a curve that thins itself alike after a resume."""

from __future__ import annotations

import json

import pytest

from saiki.core.errors import SchemaError
from saiki.core.record import MAX_UPDATES, EpochRecord, FitRecord


def filled():
    return FitRecord(
        epochs=[
            EpochRecord(epoch=1, updates=10, loss=0.5, validation_loss=0.25, lr=1e-3, seconds=1.5),
            EpochRecord(epoch=2, updates=20, loss=0.25, lr=1e-3, seconds=3.0),
        ],
        updates=[(1, 0.5, 2.0), (2, 0.25, 1.0)],
        best_epoch=1,
        stopped_because="max_epochs reached",
        parameters=11,
        training_values=100,
        training_sequences=10,
        seed=2**62,
        versions={"torch": "2.13.0"},
        machine={"cores": 2, "system": "Linux"},
        seconds=3.25,
        notes=["more values than parameters"],
    )


def test_json_and_back_is_the_same():
    record = filled()
    assert FitRecord.from_json(json.loads(json.dumps(record.to_json()))) == record
    assert FitRecord.from_json({}) == FitRecord()


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"epocs": []}, r"record: unknown key 'epocs'; did you mean 'epochs'\?"),
        ({"epochs": [{"epoch": 1}]}, r"record: epochs\[0\]\.updates is missing\."),
        (
            {"epochs": [{**filled().to_json()["epochs"][0], "los": 1}]},
            r"epochs\[0\]: unknown key 'los'; .*'loss'",
        ),
        ({"updates": [[1, 0.5]]}, r"record: updates\[0\]\[2\] is missing"),
        ({"seed": 1.5}, r"record: seed is 1\.5 but must be a valid integer"),
        ({"seconds": "3"}, r"record: seconds is '3' but must be a valid number"),
        ([], r"record is \[\] but must be a table"),
    ],
)
def test_a_malformed_record_is_refused(mapping, message):
    with pytest.raises(SchemaError, match=message):
        FitRecord.from_json(mapping)


def test_a_record_with_nan_does_not_become_json():
    record = filled()
    record.add_update(3, float("nan"), 1.0)
    with pytest.raises(SchemaError, match=r"value\.updates\[2\]\[1\] is nan, which JSON cannot hold"):
        record.to_json()


def test_the_curve_thins_itself_and_resuming_changes_nothing():
    straight, resumed = FitRecord(), FitRecord()
    for update in range(1, 9001):
        straight.add_update(update, update / 2, update / 4)
        resumed.add_update(update, update / 2, update / 4)
        if update in (1, 1999, 2001, 5555):
            resumed = FitRecord.from_json(resumed.to_json())
        assert len(straight.updates) <= MAX_UPDATES
    assert straight == resumed and straight.update_stride == 8 and len(straight.updates) == 1125
    assert straight.updates[0] == (8, 4.0, 2.0) and straight.updates[-1][0] == 9000
