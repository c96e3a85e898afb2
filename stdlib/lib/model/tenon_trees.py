"""Ensembles of trees as plain data, which the serving plane evaluates without Python.

`export` takes the fitted object of a model folder and gives the JSON of Go's package trees, or raises
NotExportedError with the reason. It covers what is proven to be equal bit for bit: HistGradientBoosting*,
random forests, extra trees and single trees of scikit-learn, LightGBM and XGBoost, without a link that NumPy
computes in its own way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

VERSION = 1
LARGEST = float(np.finfo(np.float64).max)


class NotExportedError(Exception):
    """The model cannot be evaluated without its library; the text says why."""


def export(predictor: Any) -> dict[str, Any]:
    """The trees of an estimator of scikit-learn, or of a booster of LightGBM or XGBoost.

    A row has one number per feature: a category is its position in the encoding, a missing value NaN.
    """
    name = type(predictor).__name__
    # A class of somebody else may have the same names, or compute something else from them.
    known = type(predictor).__module__.startswith("sklearn.")
    if known and name.startswith("HistGradientBoosting"):
        return _hist(predictor)
    if known and (hasattr(predictor, "tree_") or name.startswith(("RandomForest", "ExtraTrees"))):
        return _forest(predictor)
    if name == "Booster" and hasattr(predictor, "model_to_string"):
        return _lightgbm(predictor)
    if name == "Booster" and hasattr(predictor, "save_raw"):
        return _xgboost(predictor)
    raise NotExportedError(f"{name} is no ensemble of trees that can be evaluated without its library")


def _document(rule: str, link: str, features: int, outputs: int, **more: Any) -> dict[str, Any]:
    return {
        "version": VERSION,
        "features": features,
        "rule": rule,
        "outputs": outputs,
        "link": link,
        **more,
    }


def _tree(nodes: Sequence[Mapping[str, Any]], width: int = 1, output: int = 0) -> dict[str, Any]:
    """Numbers the nodes from the root on, so that a child comes after its parent, and the leaves apart.

    A node has `leaf` (a list of values), or `feature`, `threshold`, `missing`, `left`, `right` and perhaps
    `categories`. Its `cover` is how much of the training data reached it, as the library counts it. Covers
    are for explanations: of the nodes, and then of the leaves.
    """
    order, stack = [], [0]
    while stack:
        at = stack.pop()
        order.append(at)
        if "leaf" not in nodes[at]:
            stack += [nodes[at]["right"], nodes[at]["left"]]
    inner = {at: i for i, at in enumerate(at for at in order if "leaf" not in nodes[at])}
    leaves = {at: i for i, at in enumerate(at for at in order if "leaf" in nodes[at])}
    place = inner | {at: -1 - i for at, i in leaves.items()}
    split = [nodes[at] for at in inner]
    doc: dict[str, Any] = {"values": [float(v) for at in leaves for v in nodes[at]["leaf"]]}
    if output:
        doc["output"] = output
    if width > 1:
        doc["width"] = width
    if split:
        doc |= {
            "feature": [int(n["feature"]) for n in split],
            # At infinity, all but a missing value goes to the left; JSON has no infinity, nor has a row.
            "threshold": [min(float(n["threshold"]), LARGEST) for n in split],
            "left": [place[n["left"]] for n in split],
            "right": [place[n["right"]] for n in split],
            "missing": [n["missing"] for n in split],
        }
        if any(n.get("categories") is not None for n in split):
            doc["categories"] = [n.get("categories") for n in split]
        doc["covers"] = [_short(nodes[at]["cover"]) for at in (*inner, *leaves)]
    return doc


def _short(cover: Any) -> int | float:
    """A count is a whole number, a sum of hessians is none."""
    return int(cover) if cover == int(cover) else float(cover)


def _side(left: Any) -> str:
    return "left" if left else "right"


def _hist(model: Any) -> dict[str, Any]:
    """HistGradientBoosting*: as its `_raw_predict`, on categories that its encoder has made."""
    loss = type(model._loss).__name__
    links = {
        "HalfBinomialLoss": "logistic",
        "HalfMultinomialLoss": "softmax",
        "HalfSquaredError": "identity",
        "AbsoluteError": "identity",
        "PinballLoss": "identity",
    }
    if loss not in links:
        raise NotExportedError(
            f"the predictions of {loss} are made by NumPy's exp, which has bits of its own"
        )
    if links[loss] == "softmax":
        raise NotExportedError(
            "probabilities of more than two classes are made by NumPy's exp, which has bits of its own"
        )
    features = _columns(model)
    trees = []
    for predictors in model._predictors:
        for k, p in enumerate(predictors):
            trees.append(_tree(_hist_nodes(p, features), output=k))
    return _document(
        "sklearn",
        links[loss],
        model.n_features_in_,
        model.n_trees_per_iteration_,
        baseline=[float(b) for b in np.ravel(model._baseline_prediction)],
        trees=trees,
    )


def categories(model: Any) -> dict[int, list[Any]]:
    """For each column of HistGradientBoosting* that has categories, these in the order of their codes.

    The model codes only those that the training data had; any other value is missing.
    """
    if model.is_categorical_ is None:
        return {}
    encoder = model._preprocessor.named_transformers_["encoder"]
    known = ([v for v in found if v is not None and v == v] for found in encoder.categories_)
    return dict(zip(np.flatnonzero(model.is_categorical_).tolist(), known, strict=True))


def _columns(model: Any) -> list[int]:
    """The column of each feature of the trees: the model puts those with categories first."""
    if model.is_categorical_ is None:
        return list(range(model.n_features_in_))
    return np.argsort(~model.is_categorical_, kind="stable").tolist()


def _hist_nodes(p: Any, columns: list[int]) -> list[dict[str, Any]]:
    nodes = []
    for n in p.nodes:
        if n["is_leaf"]:
            nodes.append({"leaf": [n["value"]], "cover": n["count"]})
            continue
        column = columns[n["feature_idx"]]
        node = {
            "cover": n["count"],
            "feature": column,
            "threshold": n["num_threshold"] if not n["is_categorical"] else 0,
            "missing": _side(n["missing_go_to_left"]),
            "left": n["left"],
            "right": n["right"],
        }
        if n["is_categorical"]:
            node["categories"] = [int(w) for w in p.raw_left_cat_bitsets[n["bitset_idx"]]]
        nodes.append(node)
    return nodes


def _forest(model: Any) -> dict[str, Any]:
    """Trees and forests of scikit-learn, which read float32 and average the leaves."""
    if model.n_outputs_ != 1:
        raise NotExportedError("a forest of several outputs")
    members = [model] if hasattr(model, "tree_") else model.estimators_
    classes = getattr(model, "classes_", None)
    width = 1 if classes is None else len(classes)
    trees = []
    for m in members:
        t = m.tree_
        missing = t.missing_go_to_left
        nodes = []
        for i in range(t.node_count):
            cover = t.weighted_n_node_samples[i]
            if t.children_left[i] < 0:
                nodes.append({"leaf": t.value[i, 0, :width], "cover": cover})
            else:
                nodes.append(
                    {
                        "cover": cover,
                        "feature": t.feature[i],
                        "threshold": t.threshold[i],
                        "missing": _side(missing[i]),
                        "left": t.children_left[i],
                        "right": t.children_right[i],
                    }
                )
        trees.append(_tree(nodes, width))
    return _document(
        "sklearn", "identity", model.n_features_in_, width, float32=True, average=True, trees=trees
    )


def _lightgbm(booster: Any) -> dict[str, Any]:
    doc = booster.dump_model()
    objective, *options = doc.get("objective", "").split()
    links = dict.fromkeys(("regression", "regression_l1", "huber", "fair", "quantile", "mape"), "identity")
    links |= {"binary": "logistic", "multiclass": "softmax"}
    if objective not in links or "sqrt" in options:
        raise NotExportedError(f'the objective "{doc.get("objective", "")}" of LightGBM')
    if objective == "binary" and "sigmoid:1" not in options:
        raise NotExportedError("a sigmoid parameter other than 1")
    outputs = doc["num_tree_per_iteration"]
    trees = []
    for i, t in enumerate(doc["tree_info"]):
        nodes: list[dict[str, Any]] = []
        _flatten(t["tree_structure"], nodes)
        trees.append(_tree(nodes, output=i % outputs))
    return _document(
        "lightgbm",
        links[objective],
        doc["max_feature_idx"] + 1,
        outputs,
        average=bool(doc.get("average_output")),
        trees=trees,
    )


def _flatten(structure: Mapping[str, Any], nodes: list[dict[str, Any]]) -> int:
    at = len(nodes)
    if "leaf_value" in structure:
        if "leaf_const" in structure:
            raise NotExportedError("linear trees")
        nodes.append({"leaf": [structure["leaf_value"]], "cover": structure.get("leaf_count", 0)})
        return at
    node: dict[str, Any] = {"feature": structure["split_feature"], "cover": structure["internal_count"]}
    nodes.append(node)
    side = _side(structure["default_left"])
    missing = structure["missing_type"].lower()
    if structure["decision_type"] == "==":
        listed = _bits([int(c) for c in str(structure["threshold"]).split("||")])
        node |= {"categories": listed, "threshold": 0.0, "missing": "none"}
    elif structure["decision_type"] == "<=":
        node |= {
            "threshold": structure["threshold"],
            "missing": "none" if missing == "none" else f"{missing} {side}",
        }
    else:
        raise NotExportedError(f"a decision {structure['decision_type']} of LightGBM")
    node["left"] = _flatten(structure["left_child"], nodes)
    node["right"] = _flatten(structure["right_child"], nodes)
    return at


def _xgboost(booster: Any) -> dict[str, Any]:
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    params, objective = learner["learner_model_param"], learner["objective"]["name"]
    links = {
        "reg:squarederror": "identity",
        "reg:absoluteerror": "identity",
        "reg:pseudohubererror": "identity",
        "reg:quantileerror": "identity",
        "binary:logistic": "logistic",
        "multi:softprob": "softmax",
    }
    if objective not in links:
        raise NotExportedError(f'the objective "{objective}" of XGBoost')
    if learner["gradient_booster"]["name"] != "gbtree":
        raise NotExportedError(f'the booster "{learner["gradient_booster"]["name"]}" of XGBoost')
    model = learner["gradient_booster"]["model"]
    outputs = max(int(params["num_class"]), int(params["num_target"]))
    base = np.broadcast_to(np.array(json.loads(params["base_score"]), dtype=np.float32), outputs)
    if links[objective] == "logistic":
        # As XGBoost's ProbToMargin, in float32.
        odds = np.float32(1) / base - np.float32(1)
        base = -np.log(odds.astype(np.float64)).astype(np.float32)
    trees = []
    for t, output in zip(model["trees"], model["tree_info"], strict=True):
        if int(t["tree_param"]["size_leaf_vector"]) > 1:
            raise NotExportedError("trees whose leaves have several values")
        trees.append(_tree(_xgboost_nodes(t), output=output))
    return _document(
        "xgboost",
        links[objective],
        int(params["num_feature"]),
        outputs,
        baseline=[float(b) for b in base],
        trees=trees,
    )


def _xgboost_nodes(t: Mapping[str, Any]) -> list[dict[str, Any]]:
    sets = {}
    for at, begin, size in zip(
        t["categories_nodes"], t["categories_segments"], t["categories_sizes"], strict=True
    ):
        sets[at] = _bits(t["categories"][begin : begin + size])
    nodes: list[dict[str, Any]] = []
    for i, left in enumerate(t["left_children"]):
        condition = np.float32(t["split_conditions"][i])
        if left < 0:
            nodes.append({"leaf": [condition], "cover": t["sum_hessian"][i]})
            continue
        node = {
            "cover": t["sum_hessian"][i],
            "feature": t["split_indices"][i],
            "threshold": condition,
            "missing": _side(t["default_left"][i]),
            "left": left,
            "right": t["right_children"][i],
        }
        if t["split_type"][i]:
            node |= {"categories": sets[i], "threshold": 0.0}
        nodes.append(node)
    return nodes


def _bits(categories: Sequence[int]) -> list[int]:
    """A bit for each category, in words of 32."""
    bits = [0] * (max(categories, default=0) // 32 + 1)
    for c in categories:
        bits[c // 32] |= 1 << c % 32
    return bits
