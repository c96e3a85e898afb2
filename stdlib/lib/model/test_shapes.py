"""Tables of every shape train, are evaluated and predict, or are refused by what is wrong with them."""

import math

import numpy as np
import pytest

import tenon_model
from conftest import col, model_out
from tenon_step import StepError

ROWS = 40
INPUTS = [
    col("x", "float64", nullable=True),
    col("k", "string", nullable=True),
    col("n", "int64", nullable=True),
    col("b", "bool", nullable=True),
    col("d", "date", nullable=True),
]
TRAINERS = {
    "xgboost": {"rounds": 3},
    "lightgbm": {"rounds": 3},
    "trees": {"estimator": "sklearn.ensemble.HistGradientBoosting", "params": {"max_iter": 3}},
    "linear": {"estimator": "sklearn.linear_model."},
}


def rows(size=ROWS, /, **columns):
    rng = np.random.default_rng(0)
    return {
        "x": rng.random(size).tolist(),
        "k": rng.choice(["a", "b"], size).tolist(),
        "n": rng.integers(0, 9, size).tolist(),
        "b": [True] * size,
        "d": [None] * size,
        "y": [i % 2 == 0 for i in range(size)],
    } | {name: values if isinstance(values, list) else [values] * size for name, values in columns.items()}


@pytest.fixture(params=list(TRAINERS))
def try_out(request, lab):
    """Trains on one table and evaluates on another; gives the report and the model."""

    def run(train, test, label="bool"):
        task = "regression" if label == "float64" else "classification"
        params, component = dict(TRAINERS[request.param]), f"train.{request.param}"
        if estimator := params.get("estimator"):
            component = "train.sklearn"
            ends = {"trees": ("Classifier", "Regressor"), "linear": ("LogisticRegression", "Ridge")}
            params["estimator"] = estimator + ends[request.param][task == "regression"]
        output = col("y", label)
        table = lab.table(train, [*INPUTS, output])
        outputs = model_out(task, INPUTS, output)
        path = lab.inside(component, params=params, inputs={"train": table}, outputs=outputs).path("model")
        inputs = {
            "model": {"kind": "model", "path": str(path)},
            "train": table,
            "test": lab.table(test, [*INPUTS, output]),
        }
        report = {"report": {"kind": "report"}}
        done = lab.inside(f"evaluate.{task}", params={"plots": False}, inputs=inputs, outputs=report)
        return done.json("report", "report.json"), tenon_model.load(path)

    return run


@pytest.mark.parametrize(
    "train",
    [
        rows(k=None),
        rows(x=None, k=None, n=None, b=None),
        rows(x=1.0, k="a", n=1),
        rows(k=""),
        rows(2),
    ],
    ids=["no text", "no values", "constant", "empty text", "two rows"],
)
def test_these_train_and_predict_what_they_have_not_seen(try_out, train):
    report, model = try_out(train, rows())
    assert report["rows"] == ROWS
    assert "accuracy" in report["metrics"]
    predicted = model.predict(rows(3, x=[None, 0.5, -1e9], k=[None, "never seen", ""], d=None))
    assert set(predicted["prediction"]) <= {True, False}


@pytest.mark.parametrize(
    ("label", "train", "says"),
    [
        ("bool", rows(0), "input train has no rows"),
        ("bool", rows(1), "label y has only the value true in the 1 rows of the training data"),
        ("string", rows(y="a"), "label y has only the value a in the 40 rows"),
    ],
)
def test_these_are_refused(try_out, label, train, says):
    with pytest.raises(StepError, match=says):
        try_out(train, rows(), label)


def test_a_test_part_may_lack_a_class_or_have_another(try_out):
    train = rows(y=["p", "q"] * 20)
    report, _ = try_out(train, rows(y="p"), "string")
    assert "roc_auc" not in report["metrics"]
    assert report["notes"] == ["roc_auc and average_precision are omitted: the test set lacks the class q"]
    report, _ = try_out(train, rows(y=["p", "r"] * 20), "string")
    assert {"accuracy", "f1"} <= set(report["metrics"])
    assert "are omitted: the test set has classes that the training set lacks: r" in report["notes"][0]


def test_a_regression_may_have_one_row_or_one_value(try_out):
    for train in (rows(1, y=2.0), rows(y=2.0)):
        report, _ = try_out(train, rows(y=2.0), "float64")
        assert report["metrics"]["mean_absolute_error"] == pytest.approx(0, abs=1e-5)
    report, _ = try_out(rows(y=rows()["x"]), rows(1, y=2.0), "float64")
    assert report["notes"] == [
        "r2 is omitted: it is nan",
        "there are no intervals: the test set has one row",
    ]


@pytest.mark.parametrize("component", ["train.xgboost", "train.sklearn"])
def test_an_infinite_number_is_refused_by_column_and_row(lab, component):
    params = {"estimator": "sklearn.linear_model.LogisticRegression"} if "sklearn" in component else {}
    table = lab.table(rows(x=[0.5, math.inf] * 20), [*INPUTS, col("y", "bool")])
    outputs = model_out("classification", INPUTS, col("y", "bool"))
    with pytest.raises(StepError, match="input train: column x: .* inf in row 2"):
        lab.inside(component, params=params, inputs={"train": table}, outputs=outputs)


def test_a_model_that_predicts_no_number_is_not_evaluated(lab):
    script = """
class Model:
    def predict(self, features): return features["x"].to_numpy()
def train(features, labels): return Model()
"""
    schema = [*INPUTS, col("y", "float64")]
    table = lab.table(rows(y=1.0), schema)
    got = lab.ok(
        "train.script",
        params={"script": "m.py"},
        scripts={"m.py": script},
        inputs={"train": table},
        outputs=model_out("regression", INPUTS, col("y", "float64")),
    )
    inputs = {
        "model": {"kind": "model", "path": str(got.path("model"))},
        "train": table,
        "test": lab.table(rows(y=1.0, x=[0.5] * 39 + [None]), schema),
    }
    with pytest.raises(StepError, match="the model has no prediction for row 40: it is nan"):
        lab.inside("evaluate.regression", inputs=inputs, outputs={"report": {"kind": "report"}})


@pytest.mark.parametrize(
    ("component", "params", "label", "says"),
    [
        ("train.xgboost", {"objective": "binary:logitraw"}, "bool", "the probability of the class true is "),
        (
            "train.xgboost",
            {"objective": "reg:squarederror", "base_score": 3},
            "bool",
            "of the class true is ",
        ),
        ("train.lightgbm", {"objective": "regression", "boost_from_average": False}, "bool", None),
        ("train.lightgbm", {"objective": "multiclassova", "num_class": 3}, "string", "classes add up to "),
    ],
)
def test_an_objective_that_gives_no_probabilities_is_not_evaluated(lab, component, params, label, says):
    values = [i % 2 == 0 for i in range(ROWS)] if label == "bool" else ["a", "b", "c", "a"] * (ROWS // 4)
    schema = [*INPUTS, output := col("y", label)]
    table = lab.table(rows(y=values), schema)
    outputs = model_out("classification", INPUTS, output)
    trained = {"rounds": 3, "params": params}
    model = lab.inside(component, params=trained, inputs={"train": table}, outputs=outputs).path("model")
    inputs = {"model": {"kind": "model", "path": str(model)}, "train": table, "test": table}
    report = {"inputs": inputs, "params": {"plots": False}, "outputs": {"report": {"kind": "report"}}}
    if says is None:  # this one stays between 0 and 1 here
        lab.inside("evaluate.classification", **report)
        return
    with pytest.raises(StepError, match=f"no prediction for row 1: .*{says}.*; leave out the objective"):
        lab.inside("evaluate.classification", **report)
