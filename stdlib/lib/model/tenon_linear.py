"""Linear models of scikit-learn as plain data, which the serving plane evaluates without Python.

`export` gives the JSON of Go's package linear, `predict` what Go makes of it but for the order of additions,
and `allowed` how far predictions may be apart because of that order. BLAS adds in another order on another
processor, and even in a batch of another size.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tenon_trees import NotExportedError

VERSION = 1
# Of a sum, as part of the absolute values that it adds up: some thousand times the rounding of one addition.
TOLERANCE = 1e-12

REGRESSORS = {
    "ARDRegression",
    "BayesianRidge",
    "ElasticNet",
    "ElasticNetCV",
    "HuberRegressor",
    "Lars",
    "LarsCV",
    "Lasso",
    "LassoCV",
    "LassoLars",
    "LassoLarsCV",
    "LassoLarsIC",
    "LinearRegression",
    "LinearSVR",
    "OrthogonalMatchingPursuit",
    "OrthogonalMatchingPursuitCV",
    "QuantileRegressor",
    "Ridge",
    "RidgeCV",
    "SGDRegressor",
}
GENERALIZED = {"PoissonRegressor", "GammaRegressor", "TweedieRegressor"}
LOGISTIC = {"LogisticRegression", "LogisticRegressionCV"}
# Classifiers that give no probabilities, which an answer has.
WITHOUT = {"LinearSVC", "Perceptron", "PassiveAggressiveClassifier", "RidgeClassifier", "RidgeClassifierCV"}
KNOWN = REGRESSORS | GENERALIZED | LOGISTIC | WITHOUT | {"SGDClassifier"}


def is_linear(estimator: Any) -> bool:
    return type(estimator).__module__.startswith("sklearn.") and type(estimator).__name__ in KNOWN


def export(estimator: Any) -> dict[str, Any]:
    link = _link(estimator)
    if not isinstance(estimator.coef_, np.ndarray):
        raise NotExportedError("weights in a sparse matrix")
    weights = np.atleast_2d(np.asarray(estimator.coef_, dtype=np.float64))
    intercepts = np.broadcast_to(np.ravel(np.asarray(estimator.intercept_, dtype=np.float64)), len(weights))
    if not (np.isfinite(weights).all() and np.isfinite(intercepts).all()):
        raise NotExportedError("weights that are no numbers")
    return {
        "version": VERSION,
        "weights": weights.tolist(),
        "intercepts": intercepts.tolist(),
        "link": link,
        "tolerance": TOLERANCE,
    }


def _link(estimator: Any) -> str:
    name = type(estimator).__name__
    if name in REGRESSORS:
        return "identity"
    if name in GENERALIZED:
        links = {"LogLink": "exp", "IdentityLink": "identity"}
        link = type(estimator._base_loss.link).__name__
        if link not in links:
            raise NotExportedError(f"the link {link}")
        return links[link]
    binary = len(estimator.classes_) == 2
    if name in LOGISTIC:
        if not binary and getattr(estimator, "solver", "") == "liblinear":
            raise NotExportedError("liblinear for more than two classes")
        return "logistic" if binary else "softmax"
    if name == "SGDClassifier" and estimator.loss == "log_loss":
        if not binary:
            # It predicts the class of the largest sum, even where probabilities are rounded to the same.
            raise NotExportedError("SGDClassifier for more than two classes")
        return "logistic"
    if name == "SGDClassifier":
        raise NotExportedError(f"the probabilities of the loss {estimator.loss}")
    raise NotExportedError(f"{name} gives no probabilities")


def predict(doc: dict[str, Any], rows: np.ndarray) -> np.ndarray:
    """The predictions for rows of numbers, of shape (rows, outputs)."""
    with np.errstate(all="ignore"):
        weights = np.array(doc["weights"])
        # One column after the other, as Go does.
        sums = np.zeros((len(rows), len(weights)))
        for j in range(rows.shape[1]):
            sums += np.multiply.outer(rows[:, j], weights[:, j])
        sums += np.array(doc["intercepts"])
        match doc["link"]:
            case "identity":
                return sums
            case "exp":
                return np.exp(sums)
            case "logistic":
                p = 1 / (1 + np.exp(-sums[:, 0]))
                return np.column_stack([1 - p, p])
            case _:
                p = np.exp(sums - sums.max(axis=1, keepdims=True))
                return p / p.sum(axis=1, keepdims=True)


def allowed(doc: dict[str, Any], rows: np.ndarray, want: np.ndarray) -> np.ndarray:
    """For each row how far its predictions may be from those wanted, as Go's Linear.Allowed."""
    with np.errstate(all="ignore"):
        weights = np.abs(np.array(doc["weights"]))
        parts = (np.abs(rows) @ weights.T + np.abs(np.array(doc["intercepts"]))).max(axis=1)
        match doc["link"]:
            case "identity":
                distance = TOLERANCE * parts
            case "exp":
                distance = TOLERANCE * (1 + parts) * np.abs(want[:, 0])
            case _:
                distance = TOLERANCE * (1 + 2 * parts)
    return np.where(np.isfinite(parts), distance, 0)
