"""Trainers: real fits, the same bytes twice, values never seen, errors that name the nearest."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris

import tenon_model
from conftest import FEATURES, col, features, mixed, model_out

TREES = {"estimator": "sklearn.ensemble.HistGradientBoostingClassifier", "params": {"max_iter": 20}}
LOGISTIC = {"estimator": "sklearn.linear_model.LogisticRegression", "params": {"max_iter": 300}}
SCRIPT = {
    "model.py": """
import helper
class Model:
    def __init__(self, share): self.share = share
    def predict(self, features): return features["hour"].to_numpy() > helper.NOON
    def predict_proba(self, features):
        import numpy as np
        return np.tile([1 - self.share, self.share], (len(features), 1))
def train(features, labels, *, seed, scale): return Model(float(labels.mean()) * scale)
def write(features, labels, step):
    (step.output("model").path / "share.txt").write_text(str(labels.mean()))
def load(folder): return Model(float((folder / "share.txt").read_text()))
""",
    "helper.py": "NOON = 12\n",
}
ALL = [
    ("train.sklearn", TREES, "late"),
    ("train.sklearn", LOGISTIC, "kind"),
    (
        "train.sklearn",
        {"estimator": "sklearn.ensemble.RandomForestRegressor", "params": {"n_estimators": 10}},
        "delay",
    ),
    ("train.xgboost", {"rounds": 20, "params": {"max_depth": 3}}, "late"),
    ("train.xgboost", {"rounds": 20, "early_stopping": {"rounds": 3, "fraction": 0.2}}, "kind"),
    ("train.xgboost", {"rounds": 20}, "delay"),
    ("train.lightgbm", {"rounds": 20, "params": {"max_depth": 3}}, "late"),
    ("train.lightgbm", {"rounds": 200, "early_stopping": {"rounds": 3, "fraction": 0.2}}, "kind"),
    ("train.lightgbm", {"rounds": 20}, "delay"),
    ("train.script", {"script": "model.py", "args": {"scale": 1}}, "late"),
]


@pytest.fixture
def fit(lab):
    """Fits a component on the mixed table."""
    frame, schema = mixed()

    def run(component, params, label="late", run=None, readable=None, **doc):
        task = "regression" if label == "delay" else "classification"
        output = next(c for c in schema if c["name"] == label)
        table = lab.table(frame, schema)
        if readable:
            table = lab.spoiled(table, but=readable)
        doc = {
            "params": params,
            "inputs": {"train": table},
            "outputs": model_out(task, features(schema), output),
        } | doc
        if component == "train.script":
            doc.setdefault("scripts", SCRIPT)
        return (run or lab.ok)(component, **doc)

    return run


@pytest.mark.parametrize(("component", "params", "label"), ALL, ids=lambda v: v if isinstance(v, str) else "")
def test_a_model_is_the_same_bytes_twice_and_serves_what_it_never_saw(fit, component, params, label):
    first = fit(component, params, label)
    again = fit(component, params, label, readable=[*FEATURES, label])
    assert first.files("model") == again.files("model"), "no other column is read"
    assert first.metrics["rows"] == 600
    assert first.metrics["features"] == 6

    frame, _ = mixed()
    model = tenon_model.load(first.path("model"))
    got = model.predict(frame, probabilities=label != "delay")
    truth = frame[label]
    if label == "delay":
        assert got["prediction"].dtype == np.float64
        assert np.corrcoef(got["prediction"], truth)[0, 1] > 0.8
    else:
        assert set(got["prediction"]) <= set(truth)
        assert got["prediction"].dtype == (bool if label == "late" else object)
        assert np.allclose([sum(p.values()) for p in got["probabilities"]], 1)
        if component != "train.script":
            assert (got["prediction"] == truth).mean() > 0.8
    if label == "late":
        p = [p["true"] for p in got["probabilities"]]
        assert got["probability"].tolist() == p, "of a bool, that of true"

    strange = frame.head(3).assign(carrier=["never seen", None, "AA"], wind=np.nan, holiday=None)
    assert len(model.predict(strange)) == 3
    alone = pd.concat([model.predict(frame.iloc[[i]]) for i in range(5)], ignore_index=True)
    assert np.allclose(
        alone.iloc[:, -1].astype(float), model.predict(frame.head(5)).iloc[:, -1].astype(float)
    )


def test_columns_come_in_any_order_and_more_of_them(fit):
    model = tenon_model.load(fit("train.sklearn", TREES).path("model"))
    frame, _ = mixed()
    assert model.predict(frame[frame.columns[::-1]].assign(more=1)).equals(model.predict(frame))
    with pytest.raises(tenon_model.StepError, match="column wind is missing"):
        model.predict(frame.drop(columns="wind"))


@pytest.mark.parametrize(
    ("load", "params", "task", "least"),
    [
        (
            load_breast_cancer,
            {
                "estimator": "sklearn.svm.SVC",
                "pipeline": [{"transformer": "sklearn.preprocessing.StandardScaler"}],
            },
            "classification",
            0.95,
        ),
        (load_iris, {"estimator": "sklearn.naive_bayes.GaussianNB"}, "classification", 0.9),
        (load_diabetes, {"estimator": "sklearn.linear_model.RidgeCV"}, "regression", 0.4),
    ],
)
def test_scikit_learns_data_sets(lab, load, params, task, least):
    x, y = load(return_X_y=True, as_frame=True)
    x.columns = [f"x{i}" for i in range(x.shape[1])]
    inputs = [col(name, "float64") for name in x]
    label = col("y", "int64" if task == "classification" else "float64")
    table = lab.table(x.assign(y=y), [*inputs, label])
    got = lab.ok(
        "train.sklearn", params=params, inputs={"train": table}, outputs=model_out(task, inputs, label)
    )
    predicted = tenon_model.load(got.path("model")).predict(x)["prediction"]
    score = (
        (predicted == y).mean()
        if task == "classification"
        else 1 - ((predicted - y) ** 2).sum() / y.var() / len(y)
    )
    assert score > least


def test_estimators_nest_and_pipelines_name_columns(fit):
    params = {
        "estimator": "sklearn.ensemble.VotingClassifier",
        "params": {
            "voting": "soft",
            "estimators": [
                [
                    "forest",
                    {"$estimator": "sklearn.ensemble.RandomForestClassifier", "params": {"n_estimators": 5}},
                ],
                ["knn", {"$estimator": "sklearn.neighbors.KNeighborsClassifier"}],
            ],
        },
        "pipeline": [
            {"transformer": "sklearn.preprocessing.StandardScaler", "columns": ["hour"]},
            {"transformer": "sklearn.preprocessing.TargetEncoder", "columns": ["origin"]},
            {"name": "best", "transformer": "sklearn.feature_selection.SelectKBest", "params": {"k": 4}},
        ],
    }
    got = fit("train.sklearn", params)
    model = tenon_model.load(got.path("model"))
    pipeline = model.predictor
    assert [name for name, _ in pipeline.steps] == [
        "standardscaler",
        "targetencoder",
        "preprocess",
        "best",
        "estimator",
    ]
    assert pipeline["estimator"].get_params()["forest__random_state"] == 7, "nested estimators get the seed"
    assert got.json("model", "model.json")["estimator"] == "sklearn.ensemble.VotingClassifier"
    assert got.json("model", "signature.json")["output"] == {"name": "late", "type": "bool"}


def test_many_categories_are_no_error_for_hist_gradient_boosting(lab):
    n = 2000
    frame = pd.DataFrame({"tail": [f"N{i % 700}" for i in range(n)], "y": [i % 700 > 350 for i in range(n)]})
    inputs, label = [col("tail", "string")], col("y", "bool")
    table = lab.table(frame, [*inputs, label])
    got = lab.ok(
        "train.sklearn",
        params=TREES,
        inputs={"train": table},
        outputs=model_out("classification", inputs, label),
    )
    assert "column tail has 700 values; the 254 most frequent are kept" in got.log


@pytest.mark.parametrize(
    ("component", "params", "says"),
    [
        (
            "train.sklearn",
            {"estimator": "sklearn.ensemble.RandomForrestClassifier"},
            "did you mean sklearn.ensemble.RandomForestClassifier",
        ),
        (
            "train.sklearn",
            {"estimator": "sklearn.ensamble.BaggingClassifier"},
            "did you mean sklearn.ensemble.BaggingClassifier",
        ),
        (
            "train.sklearn",
            TREES | {"params": {"max_itr": 3}},
            "has no parameter max_itr; did you mean max_iter",
        ),
        (
            "train.sklearn",
            TREES | {"params": {"max_iter": "3"}},
            "The 'max_iter' parameter of HistGradientBoostingClassifier must be an int",
        ),
        (
            "train.sklearn",
            {"estimator": "sklearn.linear_model.Ridge"},
            "Ridge is for regression, but the model's task is classification",
        ),
        (
            "train.sklearn",
            TREES
            | {"pipeline": [{"transformer": "sklearn.preprocessing.StandardScaler", "columns": ["our"]}]},
            "no column our; did you mean hour",
        ),
        (
            "train.xgboost",
            {"params": {"max_dept": 3}},
            "xgboost has no parameter max_dept; did you mean max_depth",
        ),
        (
            "train.xgboost",
            {"params": {"objective": "binary:logistics"}},
            "Unknown objective function: `binary:logistics`; did you mean binary:logistic",
        ),
        (
            "train.lightgbm",
            {"params": {"num_leafs": 3}},
            "lightgbm has no parameter num_leafs; did you mean num_leaves",
        ),
        (
            "train.script",
            {"script": "model.py", "function": "trian"},
            "model.py has no function trian; did you mean train",
        ),
        ("train.script", {"script": "model.py"}, "missing a required argument: 'scale'"),
    ],
)
def test_errors_name_the_nearest(lab, fit, component, params, says):
    assert says in fit(component, params, run=lab.error)


def test_nulls_and_single_values_in_the_label_are_errors(lab):
    inputs, label = [col("x", "int64")], col("y", "int64", nullable=True)
    for y, says in (
        ([1, None, 0], "label y is null in 1 of 3 rows"),
        ([1, 1, 1], "label y has only the value 1"),
    ):
        table = lab.table({"x": [1, 2, 3], "y": y}, [*inputs, label])
        doc = {"inputs": {"train": table}, "outputs": model_out("classification", inputs, label)}
        assert says in lab.error("train.sklearn", params=TREES, **doc)


def test_a_script_may_write_its_own_files(fit):
    got = fit("train.script", {"script": "model.py", "function": "write", "load": "load"})
    assert set(got.files("model")) == {
        "signature.json",
        "model.json",
        "share.txt",
        "code/model.py",
        "code/helper.py",
    }
    frame, _ = mixed()
    assert (
        tenon_model.load(got.path("model"))
        .predict(frame)["prediction"]
        .equals(frame["hour"].gt(12).rename("prediction"))
    )


def test_two_versions_of_a_script_live_side_by_side(fit):
    params = {"script": "model.py", "args": {"scale": 1}}
    later = SCRIPT | {"helper.py": "NOON = 20\n"}
    frame, _ = mixed()
    noon, evening = (
        tenon_model.load(fit("train.script", params, scripts=s).path("model")).predict(frame)["prediction"]
        for s in (SCRIPT, later)
    )
    assert noon.sum() == (frame.hour > 12).sum()
    assert evening.sum() == (frame.hour > 20).sum()


def test_progress_is_reported(fit):
    got = fit("train.xgboost", {"rounds": 25})
    assert [p["done"] for p in got.progress] == [10, 20, 25]
    assert json.loads(got.files("model")["model.json"])["rounds"] == 25
