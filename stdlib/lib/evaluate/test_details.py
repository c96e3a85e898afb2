"""The details of a report: scikit-learn's numbers, thinned and counted, and the same bytes each time."""

import json

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as m
from sklearn.calibration import calibration_curve

import tenon_details
import tenon_model
from conftest import FEATURES, col, model_out
from tenon_step import StepError


def details(outcome):
    return outcome.json("report", "details.json")


def predictions(made, name):
    return tenon_model.load(made[name]).predict(made["frame"], probabilities=name != "delay")


def test_two_classes(lab, made, evaluate):
    got = evaluate("late", lab.inside, plots=False)
    d, report = details(got), got.json("report", "report.json")["metrics"]
    y, predicted = made["frame"]["late"].to_numpy(), predictions(made, "late")
    p = predicted["probability"].to_numpy()
    assert (d["classes"], d["positive"], d["label"], d["rows"]) == (["false", "true"], "true", "late", 200)
    assert d["threshold"] == {"value": 0.5}
    assert d["confusion"]["counts"] == m.confusion_matrix(y, predicted["prediction"]).tolist()
    assert np.sum(d["confusion"]["shares"], axis=1) == pytest.approx([1, 1])
    [curve] = d["curves"]
    assert curve["class"] == "true"
    fpr, tpr, _ = m.roc_curve(y, p)
    assert (curve["roc"]["fpr"], curve["roc"]["tpr"]) == (fpr.tolist(), tpr.tolist())
    assert curve["roc"]["area"] == m.roc_auc_score(y, p) == report["roc_auc"]
    precision, recall, _ = m.precision_recall_curve(y, p, drop_intermediate=True)
    assert curve["precision_recall"]["precision"] == precision.tolist()
    assert curve["precision_recall"]["recall"] == recall.tolist()
    assert curve["precision_recall"]["average_precision"] == report["average_precision"]
    observed, mean = calibration_curve(y, p, n_bins=10)
    calibration = curve["calibration"]
    assert (calibration["observed"], calibration["predicted"]) == (observed.tolist(), mean.tolist())
    assert sum(calibration["rows"]) == 200
    weights = np.array(calibration["rows"])
    assert (weights * calibration["predicted"]).sum() == pytest.approx(p.sum()), (
        "the rows are those of the bins"
    )
    assert (sum(curve["scores"]["of_class"]), sum(curve["scores"]["of_others"])) == (y.sum(), (~y).sum())
    for row, want in zip(
        d["per_class"],
        np.transpose(m.precision_recall_fscore_support(y, predicted["prediction"])),
        strict=True,
    ):
        assert [row["precision"], row["recall"], row["f1"], row["rows"]] == pytest.approx(want.tolist())
    assert got.files("report") == evaluate("late", lab.inside, plots=False).files("report")


def test_more_classes(lab, made, evaluate):
    d = details(evaluate("kind", lab.inside, plots=False))
    model = tenon_model.load(made["kind"])
    y, p = made["frame"]["kind"], model.predict_proba(model.features(made["frame"]))
    assert [c["class"] for c in d["curves"]] == d["classes"] == ["early", "fine", "late"]
    assert "positive" not in d and "threshold" not in d
    for i, curve in enumerate(d["curves"]):
        assert curve["roc"]["area"] == m.roc_auc_score(y == curve["class"], p[:, i])
    shares = m.confusion_matrix(y, predictions(made, "kind")["prediction"], normalize="true")
    assert d["confusion"]["shares"] == shares.tolist()
    forest = model.predictor[-1]
    assert d["importances"]["kind"].startswith("importance")
    found = {f["name"]: f["value"] for f in d["importances"]["features"]}
    assert {"hour", "wind", "origin_EWR", "carrier_AA"} <= set(found)
    assert sum(found.values()) == pytest.approx(forest.feature_importances_.sum())
    assert max(found, key=found.get) == "hour"


def test_regression(lab, made, evaluate):
    d = details(evaluate("delay", lab.inside, plots=False))
    y, predicted = made["frame"]["delay"].to_numpy(), predictions(made, "delay")["prediction"].to_numpy()
    edges = d["predicted"]["edges"]
    want, _, _ = np.histogram2d(y, predicted, bins=[edges, edges])
    assert d["predicted"]["counts"] == want.tolist()
    assert np.sum(d["predicted"]["counts"]) == sum(d["residuals"]["counts"]) == 200
    assert d["quantiles"]["values"] == np.quantile(y - predicted, d["quantiles"]["of"]).tolist()
    bins = d["by_prediction"]["bins"]
    assert len(bins) == 10 and sum(b["rows"] for b in bins) == 200
    assert all(15 <= b["rows"] <= 25 for b in bins), "predictions that are equal stay together"
    assert sum(b["rows"] * b["actual"] for b in bins) == pytest.approx(y.sum())
    assert all(b["low"] <= b["median"] <= b["high"] for b in bins)
    assert d["importances"] == {
        "reason": "HistGradientBoostingRegressor has no importances or coefficients of its own"
    }


def test_what_is_not_defined_has_a_reason(lab, made, evaluate):
    schema, frame = made["test"]["schema"], made["frame"]
    one = details(evaluate("late", lab.inside, test=lab.table(frame[frame.late], schema), plots=False))
    assert one["curves"][0]["roc"] == {"reason": "every row of the test set is of the class"}
    assert one["confusion"]["shares"][0] == [None, None]
    assert one["per_class"][0]["recall"] is None
    assert one["per_class"][0]["reasons"]["recall"] == "the test set has no row of it"
    margins = details(evaluate("svc", lab.inside, plots=False))
    assert margins["threshold"] == {"value": 0.0}
    assert margins["curves"][0]["calibration"] == {"reason": "the model gives no probabilities"}
    assert sum(margins["curves"][0]["scores"]["of_class"]) == frame.late.sum()
    strange = details(
        evaluate("kind", lab.inside, test=lab.table(frame.assign(kind="lost"), schema), plots=False)
    )
    assert strange["curves"][-1]["roc"]["reason"].startswith("the training set lacks the class")


def test_scores_of_pairs_of_classes_make_no_curves(lab, made):
    schema = [col("hour", "int64"), col("kind", "string")]
    table = lab.table(made["frame"][["hour", "kind"]], schema)

    def curves(**params):
        svc = {"estimator": "sklearn.svm.SVC", "params": params}
        outputs = model_out("classification", schema[:1], schema[1])
        path = lab.inside("train.sklearn", params=svc, inputs={"train": table}, outputs=outputs).path("model")
        inputs = {"model": {"kind": "model", "path": str(path)}, "train": table, "test": table}
        report = {"report": {"kind": "report"}}
        return details(
            lab.inside("evaluate.classification", params={"plots": False}, inputs=inputs, outputs=report)
        )["curves"]

    assert all(
        "scores are not one for each class" in c["roc"]["reason"]
        for c in curves(decision_function_shape="ovo")
    )
    assert all(c["roc"]["area"] > 0.5 for c in curves(decision_function_shape="ovr", break_ties=True))


def test_a_threshold_of_the_model_s_own(lab, made):
    schema = made["train"]["schema"]
    inputs = [c for c in schema if c["name"] in FEATURES]
    outputs = model_out("classification", inputs, next(c for c in schema if c["name"] == "late"))
    logistic = {"$estimator": "sklearn.linear_model.LogisticRegression"}
    params = {
        "estimator": "sklearn.model_selection.FixedThresholdClassifier",
        "params": {"estimator": logistic, "threshold": 0.8},
    }
    path = lab.inside("train.sklearn", params=params, inputs={"train": made["train"]}, outputs=outputs).path(
        "model"
    )
    ports = {"model": {"kind": "model", "path": str(path)}, "train": made["train"], "test": made["test"]}
    report = {"report": {"kind": "report"}}
    got = lab.inside("evaluate.classification", params={"plots": False}, inputs=ports, outputs=report)
    assert details(got)["threshold"] == {"value": 0.8}
    assert details(got)["importances"]["kind"].startswith("coefficient")


def test_a_curve_is_thinned_along_its_length():
    rng = np.random.default_rng(0)
    y = rng.random(20_000) < 0.3
    precision, recall, _ = m.precision_recall_curve(y, y * 0.3 + rng.random(20_000))
    kept = tenon_details.thinned(recall, precision)
    assert len(kept) <= tenon_details.POINTS
    assert {0, len(recall) - 1} <= set(kept.tolist())
    assert kept.tolist() == sorted(set(kept.tolist()))
    whole, some = m.auc(recall, precision), m.auc(recall[kept], precision[kept])
    assert some == pytest.approx(whole, abs=0.005)
    short = np.linspace(0, 1, 50)
    assert tenon_details.thinned(short, short).tolist() == list(range(50))


def test_coefficients_have_the_names_of_the_features(lab, made):
    schema = [col("hour", "int64"), col("origin", "string"), col("late", "bool")]
    table = lab.table(made["frame"][["hour", "origin", "late"]], schema)
    outputs = model_out("classification", schema[:2], schema[2])
    params = {
        "estimator": "sklearn.linear_model.LogisticRegression",
        "pipeline": [{"transformer": "sklearn.preprocessing.StandardScaler", "columns": ["hour"]}],
    }
    path = lab.inside("train.sklearn", params=params, inputs={"train": table}, outputs=outputs).path("model")
    model = tenon_model.load(path)
    found = tenon_details.importances(model)
    assert found["kind"].startswith("coefficient")
    assert {f["name"] for f in found["features"]} == {"hour", "origin_EWR", "origin_JFK", "origin_LGA"}
    values = {f["name"]: f["value"] for f in found["features"]}
    assert sorted(values.values()) == sorted(model.predictor[-1].coef_[0].tolist())
    assert found["features"][0]["name"] == "hour"


@pytest.mark.parametrize("component", ["train.xgboost", "train.lightgbm"])
def test_boosting_has_importances_by_gain(lab, made, component):
    schema = made["train"]["schema"]
    inputs = [c for c in schema if c["name"] in FEATURES]
    outputs = model_out("classification", inputs, next(c for c in schema if c["name"] == "late"))
    got = lab.inside(component, params={"rounds": 5}, inputs={"train": made["train"]}, outputs=outputs)
    found = tenon_details.importances(tenon_model.load(got.path("model")))
    assert "gain" in found["kind"]
    assert {f["name"] for f in found["features"]} == set(FEATURES)
    assert found["features"][0]["name"] == "hour"


def test_segments(lab, made, evaluate):
    schema, frame = made["test"]["schema"], made["frame"].copy()
    frame.loc[frame.index[:5], "origin"] = "LGA"
    d = details(
        evaluate(
            "late",
            lab.inside,
            test=lab.table(frame, schema),
            plots=False,
            segments=["origin", "carrier", "hour", "id"],
        )
    )
    origin, carrier, hour, ids = d["segments"]
    model = tenon_model.load(made["late"])
    assert [g["group"] for g in origin["groups"]] == ["EWR", "JFK", "LGA"]
    for g in origin["groups"]:
        of = frame[frame.origin == g["group"]]
        assert g["rows"] == len(of)
        assert g["metrics"]["roc_auc"] == m.roc_auc_score(of["late"], model.predict(of)["probability"])
    small = carrier["groups"][-1]
    assert small["group"] == "missing"
    assert ("reason" in small) == (small["rows"] < 20)
    assert sum(g["rows"] for g in carrier["groups"]) == len(frame)
    assert len(hour["groups"]) == 5, "of many numbers, ranges are made"
    assert hour["groups"][0]["group"].startswith("0 to ")
    assert sum(g["rows"] for g in hour["groups"]) == sum(g["rows"] for g in ids["groups"]) == len(frame)


def test_small_and_many_groups(lab, made, evaluate):
    schema, frame = made["test"]["schema"], made["frame"].copy()
    n = len(frame)
    frame["carrier"] = [f"c{i:03}" for i in range(n - 50)] + ["AA"] * 31 + ["BB"] * 19
    [found] = details(
        evaluate("late", lab.inside, test=lab.table(frame, schema), plots=False, segments=["carrier"])
    )["segments"]
    groups = {g["group"]: g for g in found["groups"]}
    assert len(groups) == 21
    assert groups["AA"]["metrics"]["accuracy"] is not None
    assert groups["BB"] == {"group": "BB", "rows": 19, "reason": "fewer than 20 rows"}
    assert groups[f"{n - 50 - 18} other values"]["rows"] == n - 50 - 18
    only = frame.assign(carrier="AA", late=True)
    [one] = details(
        evaluate("late", lab.inside, test=lab.table(only, schema), plots=False, segments=["carrier"])
    )["segments"]
    assert one["groups"][0]["metrics"].keys() == {
        "accuracy",
        "balanced_accuracy",
        "precision",
        "recall",
        "f1",
        "log_loss",
        "brier_score_loss",
        "matthews_corrcoef",
    }
    with pytest.raises(StepError, match="no column carier; did you mean carrier"):
        evaluate("late", lab.inside, segments=["carier"])


def test_groups_that_lack_a_class_say_so(lab, made, evaluate):
    frame = made["frame"].assign(carrier=np.where(made["frame"].late, "AA", "BB"))
    table = lab.table(frame, made["test"]["schema"])
    [found] = details(evaluate("late", lab.inside, test=table, plots=False, segments=["carrier"]))["segments"]
    assert found["groups"][0]["metrics"]["roc_auc"] is None
    assert "the group lacks the class false" in found["groups"][0]["reasons"][0]


def test_times_and_bytes(lab, made, evaluate):
    schema = [
        *made["test"]["schema"],
        col("day", "date"),
        col("raw", "bytes"),
        col("n", "int64", nullable=True),
    ]
    frame = made["frame"].assign(
        day=pd.date_range("2024-01-01", periods=200).date,
        raw=b"x",
        n=pd.array([None, *range(2**60, 2**60 + 3), *[7] * 196], dtype="Int64"),
    )
    table = lab.table(frame, schema)
    day, at, n = details(evaluate("late", lab.inside, test=table, plots=False, segments=["day", "at", "n"]))[
        "segments"
    ]
    assert day["groups"][0]["group"] == "2024-01-01 to 2024-02-09"
    assert [g["rows"] for g in at["groups"]] == [40] * 5
    assert [g["group"] for g in n["groups"]] == ["7", *map(str, range(2**60, 2**60 + 3)), "missing"]
    with pytest.raises(StepError, match="column raw has bytes"):
        evaluate("late", lab.inside, test=table, segments=["raw"])


def test_many_classes_are_shown_as_far_as_they_are_frequent(lab):
    rng = np.random.default_rng(0)
    kinds = [f"k{i:02}" for i in range(30)]
    frame = pd.DataFrame({"x": rng.random(900), "kind": np.repeat(kinds, 30)})
    frame.loc[frame.kind == "k29", "kind"] = "k00"
    schema = [col("x", "float64"), col("kind", "string")]
    table = lab.table(frame, schema)
    tree = {"estimator": "sklearn.tree.DecisionTreeClassifier", "params": {"max_depth": 3}}
    outputs = model_out("classification", schema[:1], schema[1])
    path = lab.inside("train.sklearn", params=tree, inputs={"train": table}, outputs=outputs).path("model")
    inputs = {"model": {"kind": "model", "path": str(path)}, "train": table, "test": table}
    report = {"report": {"kind": "report"}}
    got = lab.inside("evaluate.classification", params={"plots": False}, inputs=inputs, outputs=report)
    d = details(got)
    assert d["classes"] == kinds[:20]
    assert d["other_classes"] == 9
    assert np.shape(d["confusion"]["counts"]) == (21, 21)
    assert np.sum(d["confusion"]["counts"]) == 900
    assert len(json.dumps(d)) < 400_000


def test_what_a_model_says_about_itself_may_be_wrong(lab):
    class Odd:
        def predict(self, features):
            return features["x"]

        @property
        def feature_importances_(self):
            raise RuntimeError("not fitted")

    schema = [col("x", "float64"), col("y", "float64")]
    signature = tenon_model.Signature.parse(
        model_out("regression", schema[:1], schema[1])["model"]["signature"]
    )
    odd = tenon_model.Model(signature, {"flavour": "script"}, Odd())
    assert "RuntimeError: not fitted" in tenon_details.part(lambda: tenon_details.importances(odd))["reason"]
    Odd.feature_importances_ = np.array([1.0, 2.0])
    assert (
        "2 importances for 1 features" in tenon_details.part(lambda: tenon_details.importances(odd))["reason"]
    )
    with pytest.raises(StepError):
        tenon_details.part(lambda: (_ for _ in ()).throw(StepError("not a part's to hide")))
