"""evaluate.classification: metrics are scikit-learn's, a report compares, plots are the same bytes."""

import pytest
import sklearn.metrics as m

import tenon_model
from conftest import FEATURES


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
    assert {n: v for n, v in got.metrics.items() if "[" not in n} == pytest.approx(want)
    assert report["baseline"]["roc_auc"] == 0.5
    assert report["serving_version"] == 3
    assert 0.7 < report["serving"]["roc_auc"] < 1, "a margin is enough for roc_auc"
    assert "log_loss" not in report["serving"]
    assert report["higher_is_better"]["log_loss"] is False
    assert report["rows"] == 200
    plots = {"roc.svg", "calibration.svg", "confusion.svg"}
    assert set(got.files("report")) == {"report.json", "details.json", *plots}
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
    assert set(got.files("report")) == {"report.json", "details.json", "confusion.svg"}


def test_a_baseline_that_is_no_dummy_reads_features_and_label(lab, made, evaluate):
    tree = {"estimator": "sklearn.tree.DecisionTreeClassifier", "params": {"max_depth": 1}}
    train = lab.spoiled(made["train"], but=[*FEATURES, "late"])
    got, whole = evaluate("late", train=train, baseline=tree), evaluate("late", baseline=tree)
    assert got.files("report") == whole.files("report")
    failed = evaluate("late", lab.run, train=lab.spoiled(made["train"], but=["late"]), baseline=tree)
    assert failed.status != 0, "the spoiled columns can be read"


def test_a_report_says_why_an_incumbent_cannot_be_compared(lab, made, evaluate):
    folder = lab.root / "empty"
    folder.mkdir()
    for incumbent, says in (
        (folder, "is not a model folder"),
        (made["kind"], "its label is kind"),
        ("lost", "its artifact is lost"),
    ):
        report = evaluate("late", incumbent=incumbent).json("report", "report.json")
        assert "serving" not in report
        assert report["incomparable"].startswith("the incumbent, version 3, is not compared: ")
        assert says in report["incomparable"]
        assert report["incomparable"] in report["notes"]
    assert "incomparable" not in evaluate("late").json("report", "report.json")


def test_metrics_asked_for_have_to_be_there(lab, evaluate):
    assert "no metric roc_auk for classification; did you mean roc_auc" in evaluate(
        "late", lab.error, metrics=["roc_auk"]
    )
    assert "metric log_loss is requested but not defined" in evaluate("svc", lab.error, metrics=["log_loss"])
