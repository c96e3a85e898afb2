"""tenon_http_schema: what a request may contain, without a service."""

from datetime import UTC, date, datetime

import pytest
from pydantic import ValidationError

import tenon_http_schema
from conftest import col
from tenon_step import Signature


def instance(column):
    output = col("y", "float64")
    signature = Signature.parse({"task": "regression", "input": [column], "output": output})
    model = tenon_http_schema.instance_model(signature, {})
    return model, tenon_http_schema.example(signature.input)


@pytest.mark.parametrize(
    ("kind", "low", "high", "inside", "outside"),
    [
        ("date", "2024-01-01", "2024-12-31", ["2024-01-01", "2024-12-31"], ["2023-12-31", "2025-01-01"]),
        (
            "timestamp",
            "2024-01-01T00:00:00",
            "2024-12-31T00:00:00.500000",
            ["2024-01-01T00:00:00", "2024-12-31T00:00:00.500000"],
            ["2023-12-31T23:59:59.999999", "2024-12-31T00:00:00.500001"],
        ),
        (
            "timestamptz",
            "2024-01-01T00:00:00Z",
            "2024-12-31T00:00:00Z",
            ["2024-01-01T01:00:00+01:00", "2024-12-31T00:00:00Z"],
            ["2024-01-01T00:59:59+01:00", "2024-12-31T00:00:01Z"],
        ),
    ],
)
def test_times_have_bounds(kind, low, high, inside, outside):
    model, example = instance(col("t", kind, min=low, max=high))
    for text in [*inside, example["t"]]:
        model.model_validate_json(f'{{"t": "{text}"}}')
    for text in outside:
        with pytest.raises(ValidationError, match="Input should be (greater|less) than or equal to"):
            model.model_validate_json(f'{{"t": "{text}"}}')
    with pytest.raises(ValidationError, match="wanted an ISO 8601 string"):
        model.model_validate_json('{"t": 5}')
    shown = model.model_json_schema()["properties"]["t"]
    assert (shown["formatMinimum"], shown["formatMaximum"]) == (low, high)


@pytest.mark.parametrize(
    ("bounds", "want"),
    [
        ({}, "2024-05-17"),
        ({"min": "2024-05-18"}, "2024-05-18"),
        ({"max": "2024-05-16"}, "2024-05-16"),
        ({"min": "2024-01-01", "max": "2024-12-31"}, "2024-05-17"),
    ],
)
def test_the_example_is_within_the_bounds(bounds, want):
    model, example = instance(col("t", "date", **bounds))
    assert example == {"t": want}
    assert model.model_validate(example).c0 == date.fromisoformat(want)


def test_a_time_without_bounds_says_nothing_of_them():
    model, _ = instance(col("t", "timestamptz", nullable=True))
    assert "formatMinimum" not in str(model.model_json_schema())
    assert model.model_validate({"t": None}).c0 is None
    at = datetime(2024, 1, 1, tzinfo=UTC)
    assert model.model_validate({"t": "2024-01-01T00:00:00Z"}).c0 == at
