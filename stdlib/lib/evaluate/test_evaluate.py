"""What both evaluations share: they read only what they use, and note what is not defined."""

import pytest

from conftest import FEATURES


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


def test_what_is_not_defined_is_noted(lab, made, evaluate):
    frame = made["frame"]
    schema = made["test"]["schema"]
    one = evaluate("late", test=lab.table(frame[frame.late], schema), plots=True)
    report = one.json("report", "report.json")
    assert "roc_auc and average_precision are omitted: the test set lacks the class false" in report["notes"]
    assert {"accuracy", "log_loss"} <= set(report["metrics"])
    strange = evaluate("kind", test=lab.table(frame.assign(kind="lost"), schema))
    assert "classes that the training set lacks: lost" in strange.json("report", "report.json")["notes"][0]
    zero = evaluate("delay", test=lab.table(frame.assign(delay=0.0), schema), plots=False)
    assert "mean_absolute_percentage_error" not in zero.metrics


def test_a_report_has_intervals(made, evaluate):
    got = evaluate("late", incumbent=made["svc"], plots=False, intervals={"level": 0.9, "resamples": 200})
    report = got.json("report", "report.json")
    found = report["intervals"]
    assert (found["level"], found["resamples"]) == (0.9, 200)
    assert set(found["metrics"]) == set(report["metrics"])
    for name, (low, high) in found["metrics"].items():
        assert low <= report["metrics"][name] <= high, name
        assert got.metrics[f"{name} [lower]"] == low and got.metrics[f"{name} [upper]"] == high
    assert set(found["differences"]) == {"baseline", "serving"}
    assert "log_loss" not in found["differences"]["serving"], "the one in service has no probabilities"
    low, high = found["differences"]["baseline"]["roc_auc"]
    assert 0 < low < report["metrics"]["roc_auc"] - 0.5 < high
    again = evaluate("late", incumbent=made["svc"], plots=False, intervals={"level": 0.9, "resamples": 200})
    assert again.files("report") == got.files("report")
    assert "intervals" not in evaluate("late", plots=False, intervals={"resamples": 0}).json(
        "report", "report.json"
    )
    notes = evaluate("delay", plots=False).json("report", "report.json")["notes"]
    assert notes == ["max_error has no interval: that of an extreme value does not hold"]
