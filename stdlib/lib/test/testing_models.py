"""What the tests of trainers, evaluations and predictions share: models of the mixed table."""

import numpy as np
import pandas as pd
import pytest

import tenon_model
from conftest import FEATURES, col, features, mixed, model_out


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
        return (run or lab.ok)(component, **doc)

    return run


def check_model(fit, component, params, label, least=0.8, **doc):
    """Fits twice: the model is the same bytes, and predicts what it never saw. `least` is its accuracy."""
    first = fit(component, params, label, **doc)
    again = fit(component, params, label, readable=[*FEATURES, label], **doc)
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
        assert (got["prediction"] == truth).mean() > least
    if label == "late":
        p = [p["true"] for p in got["probabilities"]]
        assert got["probability"].tolist() == p, "of a bool, that of true"

    strange = frame.head(3).assign(carrier=["never seen", None, "AA"], wind=np.nan, holiday=None)
    assert len(model.predict(strange)) == 3
    alone = pd.concat([model.predict(frame.iloc[[i]]) for i in range(5)], ignore_index=True)
    assert np.allclose(
        alone.iloc[:, -1].astype(float), model.predict(frame.head(5)).iloc[:, -1].astype(float)
    )


@pytest.fixture(scope="module")
def made(shared):
    """Models of the mixed table, and its train and test parts."""
    frame, schema = mixed()
    train, test = shared.table(frame[:400], schema), shared.table(frame[400:], schema)

    def model(label, estimator, params=None):
        task = "regression" if label == "delay" else "classification"
        output = next(c for c in schema if c["name"] == label)
        return shared.ok(
            "train.sklearn",
            params={"estimator": estimator, "params": params or {}},
            inputs={"train": train},
            outputs=model_out(task, features(schema), output),
        ).path("model")

    return {
        "train": train,
        "test": test,
        "frame": frame[400:],
        "late": model("late", "sklearn.ensemble.HistGradientBoostingClassifier", {"max_iter": 20}),
        "kind": model("kind", "sklearn.ensemble.RandomForestClassifier", {"n_estimators": 20}),
        "delay": model("delay", "sklearn.ensemble.HistGradientBoostingRegressor", {"max_iter": 20}),
        "svc": model("late", "sklearn.svm.LinearSVC"),
    }


@pytest.fixture
def evaluate(lab, made):
    def run(name, run=None, incumbent=None, test=None, train=None, **params):
        task = "regression" if name == "delay" else "classification"
        inputs = {
            "model": {"kind": "model", "path": str(made[name])},
            "train": train or made["train"],
            "test": test or made["test"],
        }
        if incumbent == "lost":
            inputs["incumbent"] = {"kind": "model", "path": "", "version": 3, "lost": True}
        elif incumbent:
            inputs["incumbent"] = {"kind": "model", "path": str(incumbent), "version": 3}
        outputs = {"report": {"kind": "report"}}
        return (run or lab.ok)(
            f"evaluate.{task}", params={"task": task, **params}, inputs=inputs, outputs=outputs
        )

    return run


# Names that no library takes as they are, or that would be another's once they were changed.
NAMES = [
    "f1",
    "f0",
    "loan amount",
    "loan_amount",
    "c1",
    "c0",
    "größe",
    "[a]",
    "a<b",
    "a,b",
    '"q"',
    "{x}:1",
    "__",
    "💧",
    "n" * 300,
]


def check_names(lab, component, params, task="classification"):
    """Any name of a column, label or class trains and predicts as `x0`, `x1` and so on do."""

    def train(names, label, classes):
        rng = np.random.default_rng(3)
        frame = pd.DataFrame({name: rng.random(300) for name in names})
        frame["texts"] = rng.choice(["a", "b", "{é}"], 300)
        score = frame[names[2]] + frame[names[-1]] + (frame["texts"] == "b")
        frame[label] = np.where(score > 1.3, *classes) if classes else score
        inputs = [col(name, "float64") for name in names] + [col("texts", "string")]
        output = col(label, "string" if classes else "float64")
        table = lab.table(frame, [*inputs, output])
        got = lab.ok(
            component, params=params, inputs={"train": table}, outputs=model_out(task, inputs, output)
        )
        model = tenon_model.load(got.path("model"))
        assert [c["name"] for c in model.info["encoding"]] == [*names, "texts"]
        return got.path("model"), table, model.predict(frame)["prediction"].tolist()

    strange = {'yes, "in full" $x_$': "x", "no\n": "y"} if task == "classification" else {}
    plain = train([f"x{i}" for i in range(len(NAMES))], "label", list(strange.values()))
    path, table, predicted = train(NAMES, "paid back: [1]", list(strange))
    assert [strange.get(p, p) for p in predicted] == plain[2]
    inputs = {"model": {"kind": "model", "path": str(path)}, "train": table, "test": table}
    report = {"report": {"kind": "report"}}
    lab.ok(f"evaluate.{task}", params={}, inputs=inputs, outputs=report)
