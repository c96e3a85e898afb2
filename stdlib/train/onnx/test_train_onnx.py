"""train.onnx: graphs of several kinds as models, and what is refused when they are first evaluated."""

import os
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper, numpy_helper

import tenon_model
from conftest import col, model_out
from tenon_step import StepError

EXAMPLE = Path(__file__).parent / "example" / "penguins.onnx"
COLUMNS = [
    col("size", "float64", nullable=True),
    col("count", "int64"),
    col("kind", "string", nullable=True, values=["a", "b"]),
]
ROWS = pd.DataFrame(
    {
        "size": [0.5, -1.25, None, 3.0] * 20,
        "count": [1, 2, 3, 4] * 20,
        "kind": ["a", "b", None, "a"] * 20,
        "label": [True, False, True, False] * 20,
        "number": [0.5, 1.5, 2.5, 4.0] * 20,
    }
)


def value(name, kind, *shape):
    return helper.make_tensor_value_info(name, kind, shape or ["n"])


def weights(name, values, kind=np.float32):
    return numpy_helper.from_array(np.array(values, dtype=kind), name)


def graph(nodes, inputs, outputs, initializers=(), opset=20):
    made = helper.make_graph(nodes, "graph", inputs, outputs, list(initializers))
    versions = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(made, opset_imports=versions, ir_version=9, producer_name="test")
    onnx.checker.check_model(model)
    return model


def penguins():
    """Linear discriminants of three species, whose scores are in the order Gentoo, Adelie, Chinstrap."""
    mean, variance = np.array([[47.5, 217], [38.8, 190], [48.8, 196]]), np.array([9, 42.25])
    nodes = [
        helper.make_node("MatMul", ["sizes", "slope"], ["sloped"]),
        helper.make_node("Add", ["sloped", "base"], ["by_size"]),
        helper.make_node(
            "LabelEncoder",
            ["island"],
            ["place"],
            domain="ai.onnx.ml",
            keys_strings=["Biscoe", "Dream", "Torgersen"],
            values_int64s=[0, 1, 2],
        ),
        helper.make_node("Gather", ["bonus", "place"], ["by_island"], axis=0),
        helper.make_node("Add", ["by_size", "by_island"], ["scores"]),
    ]
    return graph(
        nodes,
        [value("sizes", TensorProto.FLOAT, "n", 2), value("island", TensorProto.STRING)],
        [value("scores", TensorProto.FLOAT, "n", 3)],
        [
            weights("slope", (mean / variance).T),
            weights("base", -(mean**2 / variance).sum(axis=1) / 2),
            weights("bonus", [[2, 0, -2], [-4, 0, 2], [-4, 2, -4]]),
        ],
    )


def test_the_graph_of_the_example():
    if os.environ.get("TENON_UPDATE"):
        EXAMPLE.write_bytes(penguins().SerializeToString(deterministic=True))
    assert EXAMPLE.read_bytes() == penguins().SerializeToString(deterministic=True)


@pytest.fixture
def made(lab):
    """Runs the component with a graph, for some columns."""

    def run(model, params, columns, label="label", task="classification"):
        schema = [c for c in COLUMNS if c["name"] in columns]
        kind = {"label": "bool", "number": "float64"}[label]
        train = lab.table(ROWS, [*COLUMNS, col("label", "bool"), col("number", "float64")])
        data = model if isinstance(model, bytes) else model.SerializeToString()
        return lab.inside(
            "train.onnx",
            params={"file": "m.onnx", **params},
            scripts={"m.onnx": data},
            inputs={"train": train},
            outputs=model_out(task, schema, col(label, kind)),
        )

    return run


def identity(kind=TensorProto.FLOAT, **more):
    return graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        [value("x", kind, "n", 2)],
        [value("y", kind, "n", 2)],
        **more,
    )


def by_kind():
    """A number for each text, and one for the text that null becomes."""
    encode = helper.make_node(
        "LabelEncoder",
        ["kind"],
        ["y"],
        domain="ai.onnx.ml",
        keys_strings=["a", "b", "none"],
        values_floats=[10.0, 20.0, 30.0],
        default_float=-1.0,
    )
    return graph([encode], [value("kind", TensorProto.STRING)], [value("y", TensorProto.FLOAT)])


def test_texts_and_nulls(made):
    got = made(by_kind(), {"missing": {"kind": "none"}}, ["kind"], "number", "regression")
    model = tenon_model.load(got.path("model"))
    assert model.predict(ROWS[:3])["prediction"].tolist() == [10, 20, 30]
    document = got.json("model", "plane.json")
    assert document["features"] == [{"column": 0, "as": "category", "categories": ["a", "b"], "missing": 2.0}]


@pytest.mark.parametrize("opset", [9, 11, 13, 20])
def test_scores_of_graphs_of_any_age(made, opset):
    params = {
        "inputs": {"x": ["count", "size"]},
        "missing": {"size": 0.25},
        "gives": "scores",
        "classes": [True, False],
    }
    got = made(identity(opset=opset), params, ["count", "size"])
    model = tenon_model.load(got.path("model"))
    p = model.predict(ROWS[:4])["probability"].to_numpy()
    count, size = ROWS["count"][:4], ROWS["size"][:4].fillna(0.25)
    np.testing.assert_allclose(p, 1 / (1 + np.exp(size - count)), atol=1e-7)


def test_one_number_is_the_probability_of_the_second_class(made):
    squash = graph(
        [helper.make_node("Sigmoid", ["count"], ["y"])],
        [value("count", TensorProto.DOUBLE)],
        [value("y", TensorProto.DOUBLE)],
    )
    got = made(squash, {}, ["count"])
    model = tenon_model.load(got.path("model"))
    np.testing.assert_allclose(model.predict(ROWS[:2])["probability"], 1 / (1 + np.exp([-1.0, -2.0])))


def test_a_graph_that_mixes_rows_gets_one_at_a_time(made, capfd):
    nodes = [
        helper.make_node("ReduceMean", ["count"], ["mean"], keepdims=1),
        helper.make_node("Add", ["count", "mean"], ["y"]),
    ]
    mixing = graph(nodes, [value("count", TensorProto.FLOAT)], [value("y", TensorProto.FLOAT)])
    got = made(mixing, {}, ["count"], "number", "regression")
    assert got.json("model", "plane.json")["onnx"]["rows"] == 1
    assert "depends on the others: it gets one at a time" in capfd.readouterr().err
    assert tenon_model.load(got.path("model")).predict(ROWS[:2])["prediction"].tolist() == [2, 4]


@pytest.mark.parametrize(
    ("model", "params", "says"),
    [
        (b"\x08\x09", {}, "m.onnx is not a valid ONNX model"),
        (identity(), {"inputs": {"x": ["count", "size"]}, "output": "z"}, "0 outputs of floats"),
        (
            identity(),
            {"inputs": {"x": ["count", "size"]}, "classes": ["yes", "no"]},
            "label label: False is not one of the classes",
        ),
        (
            identity(),
            {"inputs": {"x": ["count", "size"]}},
            "row 3 of the input train has no prediction: it is nan; say what it gets for null: missing: size",
        ),
        (
            identity(),
            {"inputs": {"x": ["count", "size"]}, "missing": {"size": 0}},
            "not between 0 and 1; for an output of scores",
        ),
    ],
)
def test_refused(made, model, params, says):
    with pytest.raises(StepError, match=says):
        made(model, params, ["count", "size"])
