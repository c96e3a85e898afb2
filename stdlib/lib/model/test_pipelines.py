"""Pipelines and linear models: what the serving plane computes is what scikit-learn computes.

Each case is trained on random rows and asked for others, with values that training has not seen: nulls,
unknown categories, text of all kinds, huge and tiny numbers. The exported models, the requests and what the
model answers are kept in the folder _testdata/pipelines of Go's package model. TENON_UPDATE=1 rewrites them.
"""

import json
import os
import warnings
from datetime import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tenon_linear
import tenon_model
import tenon_plane
import tenon_sklearn
import tenon_step
from conftest import col
from tenon_step import Signature
from tenon_trees import NotExportedError

KEPT = Path(__file__).parents[2] / "serve" / "plane" / "model" / "_testdata" / "pipelines"

COLUMNS = [
    col("n", "int64"),
    col("x", "float64", nullable=True),
    col("small", "float32"),
    col("flag", "bool", nullable=True),
    col("town", "string", nullable=True),
    col("kind", "string"),
    col("at", "timestamp"),
    col("clock", "time"),
]
TOWNS = ["Köln", "", "東京", "x, 'y'", None]


def rows(count, seed):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "n": rng.integers(-50, 50, count),
            "x": np.where(rng.random(count) < 0.15, np.nan, rng.normal(3, 20, count)),
            "small": rng.exponential(size=count).astype(np.float32),
            "flag": rng.choice([True, False, None], count),
            "town": rng.choice(TOWNS, count, p=[0.4, 0.3, 0.1, 0.1, 0.1]),
            "kind": rng.choice(["a", "b", "c", "rare"], count, p=[0.5, 0.3, 0.17, 0.03]),
            "at": pd.Timestamp("2021-05-05") + pd.to_timedelta(rng.integers(0, 10**8, count), unit="s"),
            "clock": [time(h, 30, 1, 5) for h in rng.integers(0, 24, count).tolist()],
        }
    )
    score = (
        frame["n"] / 30 + np.nan_to_num(frame["x"]) / 20 + (frame["town"] == "Köln") + rng.normal(size=count)
    )
    frame["yes"] = score > 0.5
    frame["class"] = np.select([score < -1, score < 1], ["low", "fine"], "high")
    frame["amount"] = np.exp(score.clip(-3, 3))
    return frame


TRAIN = rows(400, 1)


def step(name, columns=None, **params):
    path = name if "." in name else f"sklearn.preprocessing.{name}"
    return {"transformer": path, "params": params, **({"columns": columns} if columns else {})}


def nested(path, **params):
    return {"$estimator": path, "params": params}


def linear(name, **params):
    return {"estimator": f"sklearn.linear_model.{name}", "params": params}


LOGISTIC = linear("LogisticRegression", max_iter=300)
HIST = {"estimator": "sklearn.ensemble.HistGradientBoostingClassifier", "params": {"max_iter": 5}}
FOREST = {
    "estimator": "sklearn.ensemble.RandomForestClassifier",
    "params": {"n_estimators": 3, "max_depth": 4},
}
IMPUTER = "sklearn.impute.SimpleImputer"

# Of each case: what is trained, the label, and the steps before it.
CASES = {
    "logistic": (LOGISTIC, "yes", []),
    "multinomial": (LOGISTIC, "class", []),
    "sgd": (linear("SGDClassifier", loss="log_loss"), "yes", [step("StandardScaler")]),
    "ordinary": (linear("LinearRegression"), "amount", []),
    "ridge": (linear("Ridge"), "amount", [step("RobustScaler", ["n", "x"]), step("MaxAbsScaler")]),
    "lasso": (linear("Lasso", alpha=0.01), "amount", [step("StandardScaler")]),
    "elastic": (linear("ElasticNet", alpha=0.01), "amount", [step("MinMaxScaler", clip=True)]),
    "sgd_number": (linear("SGDRegressor"), "amount", [step("StandardScaler")]),
    "poisson": (linear("PoissonRegressor"), "amount", [step("StandardScaler")]),
    "gamma": (linear("GammaRegressor"), "amount", [step("StandardScaler")]),
    "tweedie": (linear("TweedieRegressor", power=0), "amount", [step("StandardScaler")]),
    "encoders": (
        LOGISTIC,
        "class",
        [
            step("TargetEncoder", ["town"]),
            step("OneHotEncoder", ["kind"], handle_unknown="infrequent_if_exist", min_frequency=0.1),
            step("StandardScaler"),
        ],
    ),
    "refusing": (
        LOGISTIC,
        "yes",
        [step("OneHotEncoder", ["kind"], drop="first"), step("OrdinalEncoder", ["town"])],
    ),
    "ordinal": (
        HIST,
        "yes",
        [
            step(
                "OrdinalEncoder",
                ["town", "kind"],
                handle_unknown="use_encoded_value",
                unknown_value=-1,
                encoded_missing_value=-2,
            )
        ],
    ),
    "target_number": (
        linear("Ridge"),
        "amount",
        [step("TargetEncoder", ["kind", "town", "n"], target_type="continuous")],
    ),
    "imputers": (
        FOREST,
        "yes",
        [
            step(IMPUTER, ["x"], strategy="mean", add_indicator=True),
            step(IMPUTER, ["town"], strategy="most_frequent", missing_values=None),
            step("OneHotEncoder", ["town"], handle_unknown="ignore", drop="if_binary"),
        ],
    ),
    "bins": (
        LOGISTIC,
        "yes",
        [
            step("KBinsDiscretizer", ["n", "small"], n_bins=4, quantile_method="averaged_inverted_cdf"),
            step(IMPUTER, ["x"], strategy="constant", fill_value=-7.5),
            step("KBinsDiscretizer", ["x"], n_bins=3, encode="ordinal", strategy="uniform"),
        ],
    ),
    # Training has no missing x, and a caller may send one.
    "whole": (
        LOGISTIC,
        "yes",
        [step("KBinsDiscretizer", ["x"], n_bins=3, encode="ordinal", strategy="uniform")],
    ),
    "polynomial": (
        linear("Ridge"),
        "amount",
        [step("PolynomialFeatures", ["n", "small"], degree=3), step("MinMaxScaler")],
    ),
    "selected": (
        HIST,
        "class-yes",
        [step("sklearn.feature_selection.SelectKBest", k=4), step("StandardScaler")],
    ),
    "mixed": (HIST, "yes", [step("TargetEncoder", ["kind"]), step("StandardScaler", ["x"])]),
    "nested": (
        {
            "estimator": "sklearn.pipeline.Pipeline",
            "params": {
                "steps": [
                    ["scale", nested("sklearn.preprocessing.StandardScaler")],
                    ["last", nested("sklearn.linear_model.LogisticRegression", C=0.5)],
                ]
            },
        },
        "yes",
        [
            step(
                "sklearn.compose.ColumnTransformer",
                transformers=[
                    ["first", nested("sklearn.preprocessing.MinMaxScaler"), [0, 2]],
                    ["none", "drop", [1]],
                ],
                remainder="passthrough",
            )
        ],
    ),
}


def train(spec, label, steps, columns=COLUMNS, frame=TRAIN):
    label = label.partition("-")[2] or label
    task = "regression" if label == "amount" else "classification"
    kind = {"yes": "bool", "class": "string", "amount": "float64"}[label]
    signature = Signature.parse({"task": task, "input": columns, "output": col(label, kind)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = tenon_model.prepare(frame, signature)
        fitted = tenon_sklearn.fit(
            spec | {"pipeline": steps}, x, tenon_model.labels(frame, signature), signature, 3, 1
        )
    return fitted.model()


def trained(name):
    """The model of a case, and the rows that it is trained on."""
    frame = TRAIN.assign(x=TRAIN["x"].fillna(1.5)) if name == "whole" else TRAIN
    return train(*CASES[name], frame=frame), frame


def table(model, frame):
    return tenon_step.conform(frame, model.signature.input, "the rows", extra="ignore")


def exported(model, frame=TRAIN):
    """The document, which is proven on the training data and on values that it has not."""
    given = table(model, frame)
    document = tenon_plane.export(model, given)
    strange = tenon_plane.strange(given, model.signature.input)
    for some in [given, *tenon_plane._accepted(model, strange)]:
        tenon_plane.prove(model, document, some)
    return document


def answer(model, row):
    """What the service in Python says about a row."""
    try:
        [predicted] = model.predict(row).to_dict("records")
    except tenon_model.RefusedValueError as e:
        return {"column": e.column, "says": e.says}
    except tenon_model.NoPredictionError:
        return {"nothing": True}
    features = model.features(row)
    numbers = model.predict_proba(features) if model.classification else [[predicted["prediction"]]]
    return {"prediction": predicted["prediction"], "outputs": [float(v) for v in numbers[0]]}


def asked(model):
    frame = table(model, rows(40, 2))
    return [frame.slice(i, 1) for i in range(len(frame))] + tenon_plane.strange(
        table(model, TRAIN), model.signature.input
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_what_go_compares(name):
    model, frame = trained(name)
    columns = model.signature.input
    instances, answers = [], []
    for row in asked(model):
        values = {c.name: tenon_plane._value(row.column(c.name)[0].as_py(), c) for c in columns}
        instances.append(values)
        answers.append(answer(model, row))
    if name == "refusing":
        assert {"column": "kind", "says": "the training data did not have this value"} in answers
    if name == "whole":
        assert {"column": "x", "says": "the model takes no missing value"} in answers
    kept = {"document": exported(model, frame), "request": {"instances": instances}, "answers": answers}
    path = KEPT / f"{name}.json"
    text = json.dumps(kept, separators=(",", ":"), allow_nan=False) + "\n"
    if os.environ.get("TENON_UPDATE") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    old = json.loads(path.read_text(encoding="utf-8"))
    # Weights differ in their last bits from one processor to another.
    assert shape(old) == shape(json.loads(text)), "TENON_UPDATE=1 rewrites it"


def shape(kept):
    document = kept["document"]
    return (
        [s["op"] for s in document.get("steps", [])],
        document["features"],
        document.get("reads"),
        kept["request"],
        [a.get("says") for a in kept["answers"]],
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", CASES)
def test_an_export_equals_the_pipeline_for_random_rows(name, seed):
    model, frame = trained(name)
    document = tenon_plane.export(model, table(model, frame))
    frame = rows(300, 100 + seed)
    rng = np.random.default_rng(seed)
    # Larger numbers have no prediction if it is made by exp.
    frame["x"] *= 10.0 ** rng.integers(-300, 1 if name in ("poisson", "gamma") else 30, len(frame))
    frame["town"] = frame["town"].where(
        rng.random(len(frame)) < 0.8, "".join(map(chr, rng.integers(32, 55_000, 4)))
    )
    if name == "refusing":
        frame["town"] = rng.choice(TOWNS, len(frame))
    if name == "whole":
        frame["x"] = frame["x"].fillna(1e9)
    tenon_plane.prove(model, document, table(model, frame))


def test_a_changed_export_is_not_used():
    model = train(*CASES["encoders"])
    given = table(model, TRAIN)
    for edit, says in [
        (
            lambda d: d["linear"]["weights"][0].__setitem__(0, d["linear"]["weights"][0][0] * (1 + 1e-9)),
            "differ by",
        ),
        (lambda d: d["reads"].reverse(), "other numbers"),
        (
            lambda d: next(s for s in d["steps"] if s["op"] == "scale")["divide"].__setitem__(0, 1e-3),
            "other numbers",
        ),
        (lambda d: next(s for s in d["steps"] if s["op"] == "onehot").pop("unknown"), "refuse a row"),
    ]:
        document = json.loads(json.dumps(tenon_plane.export(model, given)))
        edit(document)
        strange = tenon_plane._accepted(model, tenon_plane.strange(given, model.signature.input))
        with pytest.raises(NotExportedError, match=says):
            for some in [given, *strange]:
                tenon_plane.prove(model, document, some)


SMALL = [c for c in COLUMNS if c["name"] == "small"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("case", "says"),
    [
        ((linear("SGDClassifier"), "yes", []), "the probabilities of the loss hinge"),
        ((linear("SGDClassifier", loss="log_loss"), "class", []), "SGDClassifier for more than two classes"),
        (({"estimator": "sklearn.svm.LinearSVC"}, "yes", []), "LinearSVC gives no probabilities"),
        (({"estimator": "sklearn.svm.SVR"}, "amount", [step("StandardScaler")]), "SVR is no ensemble"),
        ((LOGISTIC, "yes", [step("PowerTransformer")]), "PowerTransformer in the pipeline"),
        (
            (LOGISTIC, "yes", [step("sklearn.feature_extraction.text.CountVectorizer", ["kind"])]),
            "CountVectorizer in the pipeline",
        ),
        ((LOGISTIC, "yes", [step("StandardScaler", ["small"])]), "fewer than 64 bits"),
        (
            (LOGISTIC, "yes", [step("OneHotEncoder")]),
            "refuses values that training did not have, of no column",
        ),
        # All numbers are float32, and so is what scikit-learn computes.
        ((linear("Ridge"), "amount", [], SMALL), "differ by"),
    ],
)
def test_what_is_not_exported(case, says):
    with pytest.raises(NotExportedError, match=says):
        exported(train(*case))


def test_integers_beyond_float64_are_refused_by_their_column():
    model = train(*CASES["ridge"])
    row = table(model, TRAIN.head(1).assign(n=2**53 + 1))
    assert answer(model, row)["column"] == "n"


def test_the_distance_allowed_covers_the_order_of_additions():
    """Parts of 1e8 that cancel out: no order of additions is farther from another than is allowed."""
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(200, 300)) * 1e8
    rows[:, 150:] = -rows[:, :150] * (1 + rng.normal(size=(200, 150)) * 1e-9)
    weights = np.concatenate([w := rng.normal(size=150), w])
    for link in ("identity", "exp", "logistic"):
        doc = {"version": 1, "weights": [(weights * (1e-8 if link != "identity" else 1)).tolist()]}
        doc |= {"intercepts": [0.5], "link": link, "tolerance": tenon_linear.TOLERANCE}
        for order in (np.arange(300)[::-1], rng.permutation(300)):
            other = doc | {"weights": [[doc["weights"][0][i] for i in order]]}
            want, got = tenon_linear.predict(doc, rows), tenon_linear.predict(other, rows[:, order])
            allowed = tenon_linear.allowed(doc, rows, want)
            assert (np.abs(want - got) <= allowed[:, None]).all()
            assert (allowed < 1e-2 * np.abs(rows).sum(axis=1)).all()
