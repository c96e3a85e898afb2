"""tenon_model: numbers reach a model as they are, or are refused by column and value."""

from datetime import date, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import tenon_model
from conftest import col, model_out
from tenon_model import NoPredictionError, RefusedValueError
from tenon_step import Signature, StepError

RIDGE = "sklearn.linear_model.Ridge"


def signature(*inputs, label=None, task="regression"):
    return Signature.parse({"task": task, "input": list(inputs), "output": label or col("y", "float64")})


@pytest.mark.parametrize("value", [0, 1, -(2**53), 2**53, 2**60, -(2**63), 3 * 2**60, 2**53 + 2])
def test_integers_that_a_float64_holds_are_exact(value):
    tenon_model.check_exact(np.array([value], dtype=np.int64), "n")
    assert int(float(value)) == value


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63) + 1, 2**60 + 1])
def test_integers_that_no_float64_holds_are_refused_by_column_row_and_value(value):
    with pytest.raises(RefusedValueError, match=f"column n: .*cannot hold this integer: {value} in row 2"):
        tenon_model.check_exact(np.array([1, value], dtype=np.int64), "n")


def test_large_unsigned_integers():
    tenon_model.check_exact(np.array([2**63], dtype=np.uint64), "n")
    with pytest.raises(RefusedValueError):
        tenon_model.check_exact(np.array([2**64 - 1], dtype=np.uint64), "n")


def test_nullable_integers_become_floats_only_if_they_are_exact():
    given = signature(col("n", "int64", nullable=True))
    frame = tenon_model.prepare({"n": pa.array([2**53, None, -1])}, given)
    assert frame["n"].tolist()[::2] == [2**53, -1]
    assert np.isnan(frame["n"][1])
    with pytest.raises(RefusedValueError, match="the input: column n: .* 9007199254740993 in row 3"):
        tenon_model.prepare({"n": pa.array([1, None, 2**53 + 1])}, given)


@pytest.mark.parametrize(
    ("component", "params"),
    [
        ("train.sklearn", {"estimator": RIDGE}),
        ("train.sklearn", {"estimator": RIDGE, "preprocess": "none"}),
        ("train.xgboost", {"rounds": 2}),
        ("train.lightgbm", {"rounds": 2}),
    ],
)
def test_every_trainer_refuses_what_is_not_exact(lab, component, params):
    inputs, label = [col("n", "int64"), col("x", "float64")], col("y", "float64")
    rows = {"n": [2**53 + 1, 1, 2, 3] * 10, "x": [0.5] * 40, "y": [1.0, 2, 3, 4] * 10}
    table = lab.table(rows, [*inputs, label])
    outputs = model_out("regression", inputs, label)
    got = lab.error(component, params=params, inputs={"train": table}, outputs=outputs)
    assert (
        "column n: the model needs a float64, which cannot hold this integer: 9007199254740993 in row 1"
        in got
    )


def test_labels_of_a_regression_are_exact_and_finite():
    large = signature(label=col("y", "int64"))
    with pytest.raises(StepError, match="column y: .* 9007199254740993 in row 2"):
        tenon_model.labels({"y": [1, 2**53 + 1]}, large)
    for bad in (np.nan, np.inf):
        with pytest.raises(StepError, match=f"label y is {bad} in 1 of 2 rows, the first of which is row 2"):
            tenon_model.labels(pa.table({"y": [1.0, bad]}), signature())


def test_classes_may_be_large_integers():
    large = signature(label=col("y", "int64"), task="classification")
    y = tenon_model.labels({"y": [2**53 + 1, 2**53]}, large)
    assert tenon_model.describe(y, large) == {"classes": [2**53, 2**53 + 1]}
    model = tenon_model.Model(large, {"classes": [2**53, 2**53 + 1]}, None)
    assert model._label == np.dtype("int64")
    assert pd.Series(np.array(model.classes, dtype=model._label)).tolist() == [2**53, 2**53 + 1]


def classifier(label="string", classes=("a", "b", "c"), flavour="script", /, **gives):
    """A model whose methods give what is given."""
    predictor = type("Given", (), {n: staticmethod(lambda _, v=v: np.array(v)) for n, v in gives.items()})()
    given = signature(col("x", "float64"), label=col("y", label), task="classification")
    return tenon_model.Model(given, {"flavour": flavour, "classes": list(classes)}, predictor)


X = pd.DataFrame({"x": [1.0, 2.0]})


@pytest.mark.parametrize(
    ("second", "says"),
    [
        ([0.2, 1.25, -0.45], "row 2: the probability of the class c is -0.45, not between 0 and 1"),
        ([0.2, 1.25, 0.0], "row 2: the probability of the class b is 1.25, not between 0 and 1"),
        ([0.2, 0.8, 2e-6 + 1], "row 2: the probability of the class c is 1.000002, not between"),
        ([0.2, 0.2, 0.2], r"row 2: .* add up to 0.6, not to 1 \(a 0.2, b 0.2, c 0.2\)"),
        ([0.9, 0.9, 0.9], "row 2: .* add up to 2.7, not to 1"),
        ([0.0, 0.0, 0.0], "row 2: .* add up to 0, not to 1"),
        ([0.2, np.nan, 0.8], "row 2: it is nan"),
    ],
)
def test_what_is_no_probability_is_refused_by_row_class_and_value(second, says):
    model = classifier(predict_proba=[[0.2, 0.3, 0.5], second], predict=["c", "b"])
    with pytest.raises(NoPredictionError, match=says):
        model.outcome(X)


@pytest.mark.parametrize(
    "second",
    [
        [0.0, 0.0, 1.0],
        [-1e-9, 0.5, 0.5 + 1e-9],
        [0.0, 0.0, 1 + 1e-7],
        [0.3333, 0.3333, 0.3333],
        np.array([1 / 3] * 3, dtype=np.float16),
    ],
)
def test_probabilities_may_be_rounded(second):
    model = classifier(predict_proba=[[0.2, 0.3, 0.5], second], predict=["c", "b"])
    p = model.predict_proba(X)
    assert p.shape == (2, 3)
    assert p.min() >= 0
    assert p.max() <= 1


def test_of_two_classes_the_one_with_a_number_is_named():
    model = classifier("bool", (False, True), "xgboost", predict_proba=[[0.5, 0.5], [-2.5, 3.5]])
    with pytest.raises(NoPredictionError, match=r"class true is 3\.5, .*; leave out the objective, which"):
        model.predict_proba(X)


def test_no_rows_have_no_wrong_probability():
    assert classifier(predict_proba=np.empty((0, 3))).predict_proba(X.head(0)).shape == (0, 3)


@pytest.mark.parametrize(
    ("kind", "low", "high", "inside", "outside"),
    [
        ("date", "2024-01-01", "2024-12-31", ["2024-01-01", "2024-12-31"], ["2023-12-31", "2025-01-01"]),
        (
            "timestamp",
            "2024-01-01T00:00:00",
            "2024-12-31T12:00:00.500000",
            ["2024-01-01T00:00:00", "2024-12-31T12:00:00.500000"],
            ["2023-12-31T23:59:59.999999", "2024-12-31T12:00:00.500001"],
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
def test_times_out_of_their_bounds_are_refused(kind, low, high, inside, outside):
    given = signature(col("t", kind, min=low, max=high, nullable=True))
    parse = date.fromisoformat if kind == "date" else datetime.fromisoformat
    arrow = tenon_model.tenon_step.arrow_type(kind)

    def check(*texts):
        values = pa.array([parse(t) if t else None for t in texts], arrow)
        tenon_model.check_bounds(pa.record_batch([values], ["t"]), given)

    check(*inside, None)
    for text, wanted in zip(outside, ["at least", "at most"], strict=True):
        with pytest.raises(RefusedValueError, match=f"column t: wanted {wanted} 2024-.* in row 3"):
            check(*inside, text)
