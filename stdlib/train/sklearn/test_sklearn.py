"""train.sklearn: real fits, estimators that nest, errors that name the nearest."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
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


WORDS = "sklearn.feature_extraction.text.TfidfVectorizer"


@pytest.fixture(scope="module")
def reviews(shared):
    rng = np.random.default_rng(1)
    good, bad = ["lovely", "very good", "not bad"], ["broken", "not good", "very bad"]
    frame = pd.DataFrame({"stars": rng.integers(1, 6, 120), "kind": rng.choice(["book", "film"], 120)})
    frame["positive"] = rng.random(120) < 0.5
    frame["review"] = [
        rng.choice(good if p else bad) + rng.choice([" stars", " film"]) for p in frame.positive
    ]
    frame["title"] = ["fine" if p else None for p in frame.positive]
    inputs = [
        col("stars", "int64"),
        col("kind", "string"),
        col("review", "string"),
        col("title", "string", nullable=True),
    ]
    return frame, shared.table(frame, [*inputs, col("positive", "bool")]), inputs


@pytest.mark.parametrize(
    ("estimator", "pipeline", "sparse"),
    [
        (
            "sklearn.linear_model.LogisticRegression",
            [{"transformer": WORDS, "params": {"ngram_range": [1, 2]}, "columns": ["review", "title"]}],
            True,
        ),
        (
            "sklearn.naive_bayes.GaussianNB",
            [
                {"transformer": "sklearn.feature_extraction.text.HashingVectorizer", "columns": ["review"]},
                {"transformer": "sklearn.decomposition.TruncatedSVD", "params": {"n_components": 5}},
            ],
            True,
        ),
        (
            "sklearn.ensemble.HistGradientBoostingClassifier",
            [
                {"transformer": "sklearn.preprocessing.LabelBinarizer", "columns": ["kind"]},
                {"transformer": "sklearn.preprocessing.StandardScaler", "columns": ["stars"]},
                {"transformer": "sklearn.feature_extraction.text.CountVectorizer", "columns": ["review"]},
                {
                    "name": "estimator",
                    "transformer": "sklearn.feature_extraction.text.CountVectorizer",
                    "params": {"analyzer": "char"},
                    "columns": ["review"],
                },
            ],
            False,
        ),
    ],
)
def test_text_becomes_words(lab, reviews, estimator, pipeline, sparse):
    frame, table, inputs = reviews
    got = lab.ok(
        "train.sklearn",
        params={"estimator": estimator, "pipeline": pipeline},
        inputs={"train": table},
        outputs=model_out("classification", inputs, col("positive", "bool")),
    )
    model = tenon_model.load(got.path("model"))
    assert (model.predict(frame)["prediction"] == frame["positive"]).all()
    strange = {"stars": [3], "kind": ["poem"], "review": ["never seen"], "title": [None]}
    assert len(model.predict(strange)) == 1
    made = model.predictor["preprocess"].transform(model.features(frame))
    assert scipy.sparse.issparse(made) is sparse


def test_new_columns_never_replace_others(lab, reviews):
    frame, _, inputs = reviews
    frame = frame.assign(kind_book=frame["stars"])
    inputs = [*inputs[:2], col("kind_book", "int64")]
    params = {
        "estimator": "sklearn.linear_model.LogisticRegression",
        "pipeline": [
            {"transformer": "sklearn.preprocessing.OneHotEncoder", "columns": ["kind"]},
            {"transformer": "sklearn.preprocessing.KBinsDiscretizer", "columns": ["stars"]},
        ],
    }
    got = lab.ok(
        "train.sklearn",
        params=params,
        inputs={"train": lab.table(frame, [*inputs, col("positive", "bool")])},
        outputs=model_out("classification", inputs, col("positive", "bool")),
    )
    model = tenon_model.load(got.path("model"))
    steps = model.predictor[:2].transform(model.features(frame))
    assert "onehotencoder__kind_book" in steps
    assert steps["kind_book"].tolist() == frame["kind_book"].tolist()


@pytest.mark.parametrize(
    ("pipeline", "says"),
    [
        ([{"transformer": WORDS}], "tfidfvectorizer: " + WORDS + " takes one column; name it in columns"),
        ([{"transformer": WORDS, "columns": ["revue"]}], "no column revue; did you mean review?"),
        (
            [
                {"transformer": WORDS, "columns": ["review"]},
                {"transformer": "sklearn.preprocessing.OrdinalEncoder", "columns": ["review"]},
            ],
            "column review still has words; put this step first",
        ),
    ],
)
def test_text_steps_that_make_no_sense(lab, reviews, pipeline, says):
    _, table, inputs = reviews
    params = {"estimator": "sklearn.linear_model.LogisticRegression", "pipeline": pipeline}
    outputs = model_out("classification", inputs, col("positive", "bool"))
    assert says in lab.error("train.sklearn", params=params, inputs={"train": table}, outputs=outputs)


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


STRICT = """
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.tree import DecisionTreeClassifier

class Strict(ClassifierMixin, BaseEstimator):
    def __init__(self, n_jobs=None):
        self.n_jobs = n_jobs
    def fit(self, x, y):
        assert self.n_jobs, "it is trained with the threads of the step"
        self.tree_ = DecisionTreeClassifier().fit(x, y)
        self.classes_ = self.tree_.classes_
        return self
    def predict(self, x):
        return self.tree_.predict(x)
    def predict_proba(self, x):
        return self.tree_.predict_proba(x)
    def set_params(self, **params):
        if hasattr(self, "tree_"):
            raise RuntimeError("You can't change params of fitted model")
        return super().set_params(**params)

class Secret(Strict):
    def get_params(self, deep=True):
        return {"n_jobs": self.__dict__.get("threads")}
    def set_params(self, **params):
        super().set_params()
        self.threads = self.n_jobs = params.get("n_jobs")
        return self

class Old:
    _estimator_type = "classifier"
    def fit(self, x, y):
        return self
"""


@pytest.fixture
def strict(tmp_path, monkeypatch):
    (tmp_path / "strict_estimators.py").write_text(STRICT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)


def test_an_estimator_that_refuses_changes_once_it_is_fitted(fit, strict):
    model = tenon_model.load(fit("train.sklearn", {"estimator": "strict_estimators.Strict"}).path("model"))
    assert model.predictor["estimator"].n_jobs is None, "how many threads trained it is no part of a model"


@pytest.mark.parametrize(
    ("estimator", "says"),
    [
        ("Secret", "does not let n_jobs be reset after training (You can't change params of fitted model)"),
        ("Old", "was written for an older scikit-learn"),
    ],
)
def test_estimators_that_cannot_be_used(lab, fit, strict, estimator, says):
    assert says in fit("train.sklearn", {"estimator": f"strict_estimators.{estimator}"}, run=lab.error)


def test_nulls_and_single_values_in_the_label_are_errors(lab):
    inputs, label = [col("x", "int64")], col("y", "int64", nullable=True)
    for y, says in (
        ([1, None, 0], "label y is null in 1 of 3 rows"),
        ([1, 1, 1], "label y has only the value 1"),
    ):
        table = lab.table({"x": [1, 2, 3], "y": y}, [*inputs, label])
        doc = {"inputs": {"train": table}, "outputs": model_out("classification", inputs, label)}
        assert says in lab.error("train.sklearn", params=TREES, **doc)
