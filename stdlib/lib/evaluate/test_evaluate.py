"""evaluate.*: metrics are scikit-learn's, a report compares, plots are the same bytes."""

import numpy as np
import pytest
import sklearn.metrics as m

import tenon_model
from conftest import FEATURES, col, features, mixed, model_out


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
        if incumbent:
            inputs["incumbent"] = {"kind": "model", "path": str(incumbent), "version": 3}
        outputs = {"report": {"kind": "report"}}
        return (run or lab.ok)(
            f"evaluate.{task}", params={"task": task, **params}, inputs=inputs, outputs=outputs
        )

    return run


def test_two_classes(made, evaluate):
    got = evaluate("late", incumbent=made["svc"])
    report = got.json("report", "report.json")
    frame = made["frame"]
    predicted = tenon_model.load(made["late"]).predict(frame)
    y, p = frame["late"], predicted["probability"]
    want = {
        "accuracy": m.accuracy_score(y, predicted["prediction"]),
        "balanced_accuracy": m.balanced_accuracy_score(y, predicted["prediction"]),
        "precision": m.precision_score(y, predicted["prediction"]),
        "recall": m.recall_score(y, predicted["prediction"]),
        "f1": m.f1_score(y, predicted["prediction"]),
        "roc_auc": m.roc_auc_score(y, p),
        "average_precision": m.average_precision_score(y, p),
        "log_loss": m.log_loss(y, p),
        "brier_score_loss": m.brier_score_loss(y, p),
        "matthews_corrcoef": m.matthews_corrcoef(y, predicted["prediction"]),
    }
    assert report["metrics"] == pytest.approx(want)
    assert list(report["metrics"]) == list(want) == list(report["higher_is_better"])
    assert got.metrics == pytest.approx(want)
    assert report["baseline"]["roc_auc"] == 0.5
    assert report["serving_version"] == 3
    assert 0.7 < report["serving"]["roc_auc"] < 1, "a margin is enough for roc_auc"
    assert "log_loss" not in report["serving"]
    assert report["higher_is_better"]["log_loss"] is False
    assert report["rows"] == 200
    assert set(got.files("report")) == {"report.json", "roc.svg", "calibration.svg", "confusion.svg"}
    assert got.files("report") == evaluate("late", incumbent=made["svc"]).files("report")


def test_more_classes(made, evaluate):
    baseline = {"estimator": "sklearn.tree.DecisionTreeClassifier", "params": {"max_depth": 1}}
    got = evaluate("kind", baseline=baseline)
    report = got.json("report", "report.json")
    frame = made["frame"]
    model = tenon_model.load(made["kind"])
    p = model.predict_proba(model.features(frame))
    predicted = model.predict(frame)["prediction"]
    assert report["metrics"]["f1"] == pytest.approx(m.f1_score(frame["kind"], predicted, average="macro"))
    assert report["metrics"]["roc_auc"] == pytest.approx(m.roc_auc_score(frame["kind"], p, multi_class="ovr"))
    assert len(report["metrics"]) == 10
    assert report["metrics"]["accuracy"] > report["baseline"]["accuracy"] > 0.4
    assert "serving" not in report
    assert set(got.files("report")) == {"report.json", "confusion.svg"}


def test_regression(made, evaluate):
    got = evaluate("delay", plots=True)
    report = got.json("report", "report.json")
    y = made["frame"]["delay"].to_numpy()
    predicted = tenon_model.load(made["delay"]).predict(made["frame"])["prediction"]
    assert report["metrics"]["r2"] == pytest.approx(m.r2_score(y, predicted))
    assert report["metrics"]["root_mean_squared_error"] == pytest.approx(
        np.sqrt(((y - predicted) ** 2).mean())
    )
    assert len(report["metrics"]) == 8
    assert report["baseline"]["r2"] < 0.05
    assert set(got.files("report")) == {"report.json", "predicted.svg", "residuals.svg"}


@pytest.mark.parametrize("label", ["late", "kind", "delay"])
def test_a_dummy_needs_no_features(lab, made, evaluate, label):
    whole = evaluate(label, incumbent=made[label])
    train = lab.spoiled(made["train"], but=[label])
    test = lab.spoiled(made["test"], but=[*FEATURES, label])
    again = evaluate(label, incumbent=made[label], train=train, test=test)
    assert again.files("report") == whole.files("report")
    if label == "delay":
        return
    drawn = {"estimator": "sklearn.dummy.DummyClassifier", "params": {"strategy": "stratified"}}
    report = evaluate(label, train=train, test=test, baseline=drawn).json("report", "report.json")
    assert 0.3 < report["baseline"]["accuracy"] < 0.7


def test_a_baseline_that_is_no_dummy_reads_features_and_label(lab, made, evaluate):
    tree = {"estimator": "sklearn.tree.DecisionTreeClassifier", "params": {"max_depth": 1}}
    train = lab.spoiled(made["train"], but=[*FEATURES, "late"])
    got, whole = evaluate("late", train=train, baseline=tree), evaluate("late", baseline=tree)
    assert got.files("report") == whole.files("report")
    failed = evaluate("late", lab.run, train=lab.spoiled(made["train"], but=["late"]), baseline=tree)
    assert failed.status != 0, "the spoiled columns can be read"


def test_what_is_not_defined_is_noted(lab, made, evaluate):
    frame = made["frame"]
    schema = made["test"]["schema"]
    one = evaluate("late", test=lab.table(frame[frame.late], schema), plots=True)
    report = one.json("report", "report.json")
    assert "roc_auc and average_precision are left out: the test set lacks a class" in report["notes"]
    assert {"accuracy", "log_loss"} <= set(report["metrics"])
    strange = evaluate("kind", test=lab.table(frame.assign(kind="lost"), schema))
    assert "classes that training had not: lost" in strange.json("report", "report.json")["notes"][0]
    zero = evaluate("delay", test=lab.table(frame.assign(delay=0.0), schema), plots=False)
    assert "mean_absolute_percentage_error" not in zero.metrics


def test_an_incumbent_that_cannot_be_compared_is_noted(lab, made, evaluate):
    folder = lab.root / "empty"
    folder.mkdir()
    for incumbent, says in ((folder, "is no model folder"), (made["kind"], "its label is kind")):
        report = evaluate("late", incumbent=incumbent).json("report", "report.json")
        assert "serving" not in report
        assert report["notes"][0].startswith("the incumbent, version 3, is not compared: ")
        assert says in report["notes"][0]


def test_metrics_asked_for_have_to_be_there(lab, evaluate):
    assert "no metric roc_auk for classification; did you mean roc_auc" in evaluate(
        "late", lab.error, metrics=["roc_auk"]
    )
    assert "metric log_loss is asked for but not defined" in evaluate("svc", lab.error, metrics=["log_loss"])


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
    assert error.startswith("output out: column idd is in no input; did you mean id")
