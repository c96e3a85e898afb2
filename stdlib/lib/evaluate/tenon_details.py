"""What the plots and tables of `tenon open` need beyond the metrics of an evaluation: `details.json`.

Everything is an aggregate: counts, points of curves, quantiles. No row of the test set is in it. A part that
is not defined on the test set is `{"reason": "..."}`, a number that is not defined is null, with its reason
in `reasons`. Curves are scikit-learn's, with at most `POINTS` of their points. Of many classes, groups or
features the largest are kept, and the number of the others is stated. The same predictions make the same
bytes.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import sklearn.metrics as m
from sklearn.calibration import calibration_curve

import tenon_flavours
import tenon_model
from tenon_model import label_name
from tenon_segments import segments

if TYPE_CHECKING:
    from tenon_evaluate import Result
    from tenon_step import LazyTable

FORMAT = 1
POINTS = 200  # of a curve
CLASSES = 20  # with curves and counts of their own
FEATURES = 30  # with an importance
BINS = 10  # of a calibration
BARS = 20  # of a histogram of scores
CELLS = 30  # of predicted beside actual, along each axis
QUANTILES = (0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1)


def text(result: Result, test: LazyTable, columns: Sequence[str]) -> str:
    """The document, as it is written. `columns` are those by whose values the metrics are computed too."""
    doc: dict[str, Any] = {
        "details": FORMAT,
        "task": result.model.signature.task,
        "label": result.model.signature.output.name,
        "rows": len(result.y),
        **(classification(result) if result.model.classification else regression(result)),
        "importances": part(lambda: importances(result.model)),
    }
    if columns:
        doc["segments"] = segments(result, test, columns)
    return json.dumps(doc, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def part(make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A part of the document, or why there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return make()
    except (ValueError, ArithmeticError) as e:
        return {"reason": str(e)}


def numbers(values: Any) -> list[Any]:
    """Plain numbers, in lists; null for what is not finite."""
    if isinstance(values, float | np.floating):
        return float(values) if math.isfinite(values) else None
    return [numbers(v) for v in values] if np.ndim(values) else int(values)


def thinned(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Indexes of at most `POINTS` points of a curve, with both ends, at even distances along it."""
    if len(x) <= POINTS:
        return np.arange(len(x))
    along = np.concatenate([[0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    kept = np.searchsorted(along, np.linspace(0, along[-1], POINTS))
    kept[-1] = len(x) - 1
    return np.unique(kept)


# --- Classification ---


def classification(result: Result) -> dict[str, Any]:
    names = [label_name(c) for c in result.names]
    rows = np.bincount(result.y, minlength=len(names))
    # The most frequent ones, in the order of the classes.
    shown = sorted(np.argsort(-rows, kind="stable")[:CLASSES].tolist())
    binary = len(names) == 2
    doc: dict[str, Any] = {
        "classes": [names[i] for i in shown],
        "other_classes": len(names) - len(shown),
        "confusion": confusion(result, shown, names),
        "per_class": per_class(result, shown, names),
        "curves": [curves(result, i, names[i]) for i in ([1] if binary else shown)],
    }
    if binary:
        doc |= {"positive": names[1], "threshold": threshold(result)}
    return doc


def confusion(result: Result, shown: list[int], names: list[str]) -> dict[str, Any]:
    """Counts by actual (rows) and predicted class; the last class stands for those that are not shown."""
    place = np.full(len(names), len(shown))
    place[shown] = np.arange(len(shown))
    labels = range(len(shown) + (len(shown) < len(names)))
    y, predicted = place[result.y], place[result.predicted]
    counts = m.confusion_matrix(y, predicted, labels=labels)
    with np.errstate(invalid="ignore"):
        shares = m.confusion_matrix(y, predicted, labels=labels, normalize="true")
    shares[counts.sum(axis=1) == 0] = np.nan
    return {"counts": numbers(counts), "shares": numbers(shares)}


def per_class(result: Result, shown: list[int], names: list[str]) -> list[dict[str, Any]]:
    precision, recall, f1, support = m.precision_recall_fscore_support(
        result.y, result.predicted, labels=shown, zero_division=np.nan
    )
    predicted = np.bincount(result.predicted, minlength=len(names))
    found = []
    for i, k in enumerate(shown):
        reasons = {}
        if not predicted[k]:
            reasons["precision"] = "it is never predicted"
        if not support[i]:
            reasons["recall"] = "the test set has no row of it"
        if math.isnan(f1[i]):
            reasons["f1"] = "it neither occurs nor is predicted"
        found.append(
            {
                "class": names[k],
                "rows": int(support[i]),
                "predicted": int(predicted[k]),
                "precision": numbers(precision[i]),
                "recall": numbers(recall[i]),
                "f1": numbers(f1[i]),
                **({"reasons": reasons} if reasons else {}),
            }
        )
    return found


def curves(result: Result, k: int, name: str) -> dict[str, Any]:
    """The curves of one class against the rest."""

    def scores(probability: bool) -> tuple[np.ndarray, np.ndarray]:
        score = result.p if probability else result.score
        if score is None:
            what = "probabilities" if probability else "scores"
            raise ValueError(f"the model gives no {what}")
        if result.p is None and score.shape[1] > 2 and not (score.argmax(axis=1) == result.predicted).all():
            # Those of one class against another, for example.
            raise ValueError(
                "the model's scores are not one for each class, the highest for the predicted one"
            )
        if k >= score.shape[1]:
            raise ValueError("the training set lacks the class, so the model gives no scores for it")
        return result.y == k, score[:, k]

    def both(probability: bool = False) -> tuple[np.ndarray, np.ndarray]:
        y, score = scores(probability)
        if y.all() or not y.any():
            raise ValueError(f"every row of the test set is {'of' if y.any() else 'outside'} the class")
        return y, score

    def roc() -> dict[str, Any]:
        y, score = both()
        fpr, tpr, _ = m.roc_curve(y, score)
        kept = thinned(fpr, tpr)
        return {
            "fpr": numbers(fpr[kept]),
            "tpr": numbers(tpr[kept]),
            "area": float(m.roc_auc_score(y, score)),
        }

    def precision_recall() -> dict[str, Any]:
        y, score = both()
        precision, recall, _ = m.precision_recall_curve(y, score, drop_intermediate=True)
        kept = thinned(recall, precision)
        return {
            "recall": numbers(recall[kept]),
            "precision": numbers(precision[kept]),
            "average_precision": float(m.average_precision_score(y, score)),
            "share": float(y.mean()),
        }

    def calibration() -> dict[str, Any]:
        y, p = both(probability=True)
        observed, predicted = calibration_curve(y, p, n_bins=BINS, strategy="uniform")
        # The bins as calibration_curve makes them; it leaves empty ones out, and does not count.
        counts = np.bincount(np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], p), minlength=BINS)
        return {
            "predicted": numbers(predicted),
            "observed": numbers(observed),
            "rows": numbers(counts[counts > 0]),
        }

    def histogram() -> dict[str, Any]:
        y, score = scores(probability=False)
        edges = np.linspace(0, 1, BARS + 1) if result.p is not None else np.histogram_bin_edges(score, BARS)
        return {
            "edges": numbers(edges),
            "of_class": numbers(np.histogram(score[y], edges)[0]),
            "of_others": numbers(np.histogram(score[~y], edges)[0]),
        }

    return {
        "class": name,
        "roc": part(roc),
        "precision_recall": part(precision_recall),
        "calibration": part(calibration),
        "scores": part(histogram),
    }


def threshold(result: Result) -> dict[str, Any]:
    """The score from which rows are predicted positive, if it explains every prediction."""
    if result.score is None:
        return {"reason": "the model gives no scores"}
    score, predictor = result.score[:, 1], result.model.predictor
    if steps := getattr(predictor, "steps", None):
        predictor = steps[-1][1]
    own = [getattr(predictor, name, None) for name in ("best_threshold_", "threshold")]
    for value in [*own, 0.5 if result.p is not None else 0.0]:
        if (
            isinstance(value, int | float)
            and ((score >= value) == (result.predicted == 1))[score != value].all()
        ):
            return {"value": float(value)}
    return {"reason": "the predictions follow from no single threshold"}


# --- Regression ---


def regression(result: Result) -> dict[str, Any]:
    y, predicted = result.y, result.predicted
    residuals = y - predicted

    def beside() -> dict[str, Any]:
        edges = bin_edges(np.concatenate([y, predicted]))
        counts, _, _ = np.histogram2d(y, predicted, bins=[edges, edges])
        return {"edges": numbers(edges), "counts": numbers(counts.astype(np.int64))}

    def histogram() -> dict[str, Any]:
        edges = bin_edges(residuals)
        return {"edges": numbers(edges), "counts": numbers(np.histogram(residuals, edges)[0])}

    def quantiles() -> dict[str, Any]:
        return {"of": list(QUANTILES), "values": numbers(np.quantile(residuals, QUANTILES))}

    def by_prediction() -> dict[str, Any]:
        """Residuals in up to `BINS` ranges of the prediction, of about as many rows each."""
        edges = np.unique(np.quantile(predicted, np.linspace(0, 1, BINS + 1)))
        at = np.searchsorted(edges[1:-1], predicted, side="right")
        bins = []
        for i in range(max(len(edges) - 1, 1)):
            of = at == i
            if not of.any():
                continue
            low, median, high = np.quantile(residuals[of], (0.1, 0.5, 0.9))
            bins.append(
                {
                    "rows": int(of.sum()),
                    "predicted": float(predicted[of].mean()),
                    "actual": float(y[of].mean()),
                    "low": float(low),
                    "median": float(median),
                    "high": float(high),
                }
            )
        return {"bins": bins}

    return {
        "predicted": part(beside),
        "residuals": part(histogram),
        "quantiles": part(quantiles),
        "by_prediction": part(by_prediction),
    }


def bin_edges(values: np.ndarray) -> np.ndarray:
    edges = np.histogram_bin_edges(values, CELLS)
    if not np.isfinite(edges).all():
        raise ValueError("the values are too far apart for a histogram")
    return edges


# --- Importances ---


def importances(model: tenon_model.Model) -> dict[str, Any]:
    """What the model itself says about its features: nothing is measured on the test set."""
    names = [c.name for c in model.signature.input]
    try:
        kind, names, values = own_importances(model, names)
        values = np.asarray(values, dtype=np.float64)
    except Exception as e:  # a model of the user's own may fail in any way
        if isinstance(e, ValueError):
            raise
        raise ValueError(f"the model's own importances cannot be read: {type(e).__name__}: {e}") from e
    if values.shape != (len(names),):
        raise ValueError(f"the model has {values.size} importances for {len(names)} features")
    if not np.isfinite(values).all():
        raise ValueError("some of the model's importances are not finite")
    order = sorted(range(len(names)), key=lambda i: (-abs(values[i]), i))
    return {
        "kind": kind,
        "features": [{"name": names[i], "value": float(values[i])} for i in order[:FEATURES]],
        "other_features": max(len(order) - FEATURES, 0),
    }


def own_importances(model: tenon_model.Model, names: list[str]) -> tuple[str, list[str], Any]:
    flavour = model.info["flavour"]
    if flavour == "xgboost":
        gain = model.predictor.booster.get_score(importance_type="gain")
        return "mean gain of the splits", names, [gain.get(c, 0) for c in tenon_flavours.codes(len(names))]
    if flavour == "lightgbm":
        gain = model.predictor.booster.feature_importance(importance_type="gain")
        return "total gain of the splits", names, gain
    return of_estimator(model.predictor, names)


def of_estimator(estimator: Any, names: list[str]) -> tuple[str, list[str], Any]:
    """The importances or coefficients of an estimator, the last step of a pipeline, or what is inside."""
    if steps := getattr(estimator, "steps", None):
        return of_estimator(steps[-1][1], after([s for _, s in steps[:-1]], names, steps[-1][1]))
    if (values := getattr(estimator, "feature_importances_", None)) is not None:
        return "importance as the estimator computes it in training", names, values
    if (values := getattr(estimator, "coef_", None)) is not None:
        values = np.asarray(values.toarray() if hasattr(values, "toarray") else values)
        if values.ndim == 2 and len(values) > 1:
            return "mean size of the coefficients of the classes", names, np.abs(values).mean(axis=0)
        return "coefficient, in the unit of the feature", names, values.reshape(-1)
    for inner in ("best_estimator_", "estimator_"):
        if (found := getattr(estimator, inner, None)) is not None:
            return of_estimator(found, names)
    raise ValueError(f"{type(estimator).__name__} has no importances or coefficients of its own")


def after(steps: list[Any], names: list[str], estimator: Any) -> list[str]:
    """The names of the features that these steps of a pipeline hand to the estimator."""
    found: Sequence[str] | None = names
    for step in steps:
        match type(step).__name__:
            case "Dense":  # changes no feature
                continue
            case "OnColumns":  # hands on a DataFrame, whose columns the next one knows
                found = None
            case _:
                try:
                    found = step.get_feature_names_out(found)
                except AttributeError:
                    raise ValueError(
                        f"{type(step).__name__} does not name the features that it makes"
                    ) from None
    if found is None:
        found = estimator.feature_names_in_
    bare = [short_name(str(n)) for n in found]
    return bare if len(set(bare)) == len(bare) else [str(n) for n in found]


def short_name(name: str) -> str:
    """The name without the step of the automatic preprocessing that made the feature."""
    for step in ("number__", "text__"):
        if name.startswith(step):
            return name.removeprefix(step)
    return name
