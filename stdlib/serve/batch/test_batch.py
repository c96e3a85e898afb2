"""serve.batch: predictions beside the keys."""

import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tenon_model
from conftest import FEATURES, col, model_out, table_out
from tenon_step import StepError


def test_batch_keeps_keys_and_adds_predictions(lab, made):
    inputs = {"model": {"kind": "model", "path": str(made["late"])}, "table": made["test"]}
    schema = [
        col("id", "uint64"),
        col("at", "timestamp"),
        col("prediction", "bool"),
        col("probability", "float64"),
    ]
    outputs = {"out": {"kind": "table", "format": "parquet", "schema": schema}}
    got = lab.ok("serve.batch", params={"batch": 64}, inputs=inputs, outputs=outputs)
    spoiled = {**inputs, "table": lab.spoiled(made["test"], but=["id", *FEATURES])}
    again = lab.ok("serve.batch", params={"batch": 64}, inputs=spoiled, outputs=outputs)
    assert again.files("out") == got.files("out")
    want = tenon_model.load(made["late"]).predict(made["frame"])
    assert got.table()["id"].tolist() == made["frame"]["id"].tolist()
    assert np.allclose(got.table()["probability"], want["probability"])
    assert got.table()["prediction"].tolist() == want["prediction"].tolist()
    assert got.progress[-1] == {"done": 200, "total": 200}
    schema[0]["name"] = "idd"
    error = lab.error("serve.batch", inputs=inputs, outputs=outputs)
    assert error.startswith("output out: column idd is not in any input; did you mean id")


def test_probabilities_of_every_class_on_demand(lab, made):
    inputs = {"model": {"kind": "model", "path": str(made["kind"])}, "table": made["test"]}
    names = ["early", "fine", "late"]
    schema = [col("prediction", "string")]
    schema += [col(f"probability_{n}", "float64", nullable=True) for n in names]
    outputs = {"out": {"kind": "table", "format": "parquet", "schema": schema}}
    got = lab.inside("serve.batch", params={"probabilities": True}, inputs=inputs, outputs=outputs).table()
    want = tenon_model.load(made["kind"]).predict(made["frame"], probabilities=True)
    for name in names:
        assert np.allclose(got[f"probability_{name}"], [p[name] for p in want["probabilities"]])


MODEL = """
class Model:
    def predict(self, features): return features["x"].to_numpy()
def train(features, labels): return Model()
"""


@pytest.fixture(scope="module")
def scripted(shared):
    """A model that predicts NaN where `x` is null, and its inputs."""
    inputs = [
        col("x", "float64", nullable=True, min=0),
        col("n", "int64", nullable=True),
        col("k", "string", values=["a", "b"]),
        col("z", "float64"),
        col("j", "string", json=True, nullable=True),
    ]
    rows = {"x": [1.0], "n": [1], "k": ["a"], "z": [0.5], "j": ["{}"]}
    table = shared.table(rows | {"y": [2.0]}, [*inputs, col("y", "float64")])
    got = shared.ok(
        "train.script",
        params={"script": "m.py"},
        scripts={"m.py": MODEL},
        inputs={"train": table},
        outputs=model_out("regression", inputs, col("y", "float64")),
    )
    return {"kind": "model", "path": str(got.path("model"))}


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("x", None, "the model has no prediction for row 4: it is nan"),
        ("x", -1.0, "input table: column x: wanted at least 0: -1.0 in row 4"),
        ("x", math.inf, "input table: column x: wanted a finite number: inf in row 4"),
        ("z", math.nan, "input table: column z: wanted a finite number: nan in row 4"),
        ("n", 2**53 + 1, "input table: column n: the model needs a float64, .* 9007199254740993 in row 4"),
        ("k", "c", "input table: column k: wanted one of a, b: c in row 4"),
        ("j", "NaN", "input table: column j: wanted JSON: NaN in row 4"),
    ],
)
def test_a_row_is_refused_as_over_http(lab, scripted, column, value, says):
    rows = {"x": [1.0] * 5, "n": [1] * 5, "k": ["a"] * 5, "z": [0.5] * 5, "j": [None] * 5}
    rows[column] = pa.array([*rows[column][:3], value, rows[column][4]])
    schema = [
        col("x", "float64", nullable=True),
        col("n", "int64", nullable=True),
        col("k", "string"),
        col("z", "float64", nan=True),
        col("j", "string", nullable=True),
    ]
    inputs = {"model": scripted, "table": lab.table(rows, schema)}
    with pytest.raises(StepError, match=says):
        lab.inside(
            "serve.batch",
            params={"batch": 2},
            inputs=inputs,
            outputs=table_out(col("k", "string"), col("prediction", "float64")),
        )


def test_large_keys_pass_through(lab, scripted):
    rows = {
        "id": [2**60 + 1, None],
        "x": [1.0, 2.0],
        "n": [1, 2],
        "k": ["a", "b"],
        "z": [0.5, 0.5],
        "j": ["1", None],
    }
    key = col("id", "int64", nullable=True)
    schema = [key, col("x", "float64"), col("n", "int64"), col("k", "string"), col("z", "float64")]
    schema.append(col("j", "string", json=True, nullable=True))
    inputs = {"model": scripted, "table": lab.table(rows, schema)}
    got = lab.inside("serve.batch", inputs=inputs, outputs=table_out(key, col("prediction", "float64")))
    assert pq.read_table(got.path("out")).to_pylist() == [
        {"id": 2**60 + 1, "prediction": 1.0},
        {"id": None, "prediction": 2.0},
    ]


CLASSIFIER = """
import numpy as np
class Model:
    def predict(self, features): return np.where(features["x"] > 0, "b", "a")
    def predict_proba(self, features):
        x = features["x"].to_numpy()
        return np.column_stack([1 - np.minimum(x, 2), x])
def train(features, labels): return Model()
"""


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (1.5, "no prediction for row 4: the probability of the class b is 1.5, not between 0 and 1; correct"),
        (
            -0.5,
            "no prediction for row 4: the probability of the class b is -0.5, not between 0 and 1; correct",
        ),
        (3.0, "no prediction for row 4: the probability of the class b is 3.0, not between 0 and 1; correct"),
    ],
)
@pytest.mark.parametrize("probabilities", [True, False])
def test_what_is_no_probability_is_refused_by_row(lab, x, says, probabilities):
    feature, label = col("x", "float64"), col("y", "string")
    got = lab.inside(
        "train.script",
        params={"script": "m.py"},
        scripts={"m.py": CLASSIFIER},
        inputs={"train": lab.table({"x": [0.5, 0.5], "y": ["a", "b"]}, [feature, label])},
        outputs=model_out("classification", [feature], label),
    )
    table = lab.table({"x": [0.5, 0.0, 1.0, x, 0.5]}, [feature])
    with pytest.raises(StepError, match=says):
        lab.inside(
            "serve.batch",
            params={"batch": 2, "probabilities": probabilities},
            inputs={"model": {"kind": "model", "path": str(got.path("model"))}, "table": table},
            outputs=table_out(col("prediction", "string")),
        )
