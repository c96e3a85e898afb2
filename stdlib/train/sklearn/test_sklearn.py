"""train.sklearn: real fits, estimators that nest, errors that name the nearest."""

import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris

import tenon_model
from conftest import col, mixed, model_out
from testing_models import check_model, check_names

TREES = {"estimator": "sklearn.ensemble.HistGradientBoostingClassifier", "params": {"max_iter": 20}}
LOGISTIC = {"estimator": "sklearn.linear_model.LogisticRegression", "params": {"max_iter": 300}}
FOREST = {"estimator": "sklearn.ensemble.RandomForestRegressor", "params": {"n_estimators": 10}}


@pytest.mark.parametrize(("params", "label"), [(TREES, "late"), (LOGISTIC, "kind"), (FOREST, "delay")])
def test_model(fit, params, label):
    check_model(fit, "train.sklearn", params, label)


@pytest.mark.parametrize("params", [TREES, LOGISTIC])
def test_any_name_of_a_column(lab, params):
    check_names(lab, "train.sklearn", params)


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
    ("params", "says"),
    [
        (
            {"estimator": "sklearn.ensemble.RandomForrestClassifier"},
            "did you mean sklearn.ensemble.RandomForestClassifier",
        ),
        (
            {"estimator": "sklearn.ensamble.BaggingClassifier"},
            "did you mean sklearn.ensemble.BaggingClassifier",
        ),
        (
            TREES | {"params": {"max_itr": 3}},
            "has no parameter max_itr; did you mean max_iter",
        ),
        (
            TREES | {"params": {"max_iter": "3"}},
            "The 'max_iter' parameter of HistGradientBoostingClassifier must be an int",
        ),
        (
            {"estimator": "sklearn.linear_model.Ridge"},
            "Ridge is for regression, but the model's task is classification",
        ),
        (
            TREES
            | {"pipeline": [{"transformer": "sklearn.preprocessing.StandardScaler", "columns": ["our"]}]},
            "no column our; did you mean hour",
        ),
    ],
)
def test_errors_name_the_nearest(lab, fit, params, says):
    assert says in fit("train.sklearn", params, run=lab.error)


def test_nulls_and_single_values_in_the_label_are_errors(lab):
    inputs, label = [col("x", "int64")], col("y", "int64", nullable=True)
    for y, says in (
        ([1, None, 0], "label y is null in 1 of 3 rows"),
        ([1, 1, 1], "label y has only the value 1"),
    ):
        table = lab.table({"x": [1, 2, 3], "y": y}, [*inputs, label])
        doc = {"inputs": {"train": table}, "outputs": model_out("classification", inputs, label)}
        assert says in lab.error("train.sklearn", params=TREES, **doc)
