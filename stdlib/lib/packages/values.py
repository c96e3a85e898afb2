"""Finds out which values the native parameters of XGBoost and LightGBM take, by trying them.

A value counts as refused only if the library refuses it in every configuration of a list that uses the
parameter. What is between a value that is accepted and one that is refused counts as taken.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import lightgbm
import numpy as np
import xgboost

WHOLE = [-1000, -2, -1, 0, 1, 2, 3, 10, 100, 1000]
STEP = 1e-6
FRACTIONS = [-1000.5, -1.5, -0.5, -STEP, STEP, 0.5, 1 - STEP, 1 + STEP, 1.5, 10.5, 1000.5]
TEXT = "no such value"

# Texts that a parameter takes and that its library does not list when it refuses another.
LIGHTGBM_OBJECTIVES = [
    "regression",
    "regression_l2",
    "l2",
    "mean_squared_error",
    "mse",
    "l2_root",
    "root_mean_squared_error",
    "rmse",
    "regression_l1",
    "l1",
    "mean_absolute_error",
    "mae",
    "huber",
    "fair",
    "poisson",
    "quantile",
    "mape",
    "mean_absolute_percentage_error",
    "gamma",
    "tweedie",
    "binary",
    "multiclass",
    "softmax",
    "multiclassova",
    "multiclass_ova",
    "ova",
    "ovr",
    "cross_entropy",
    "xentropy",
    "cross_entropy_lambda",
    "xentlambda",
    "lambdarank",
    "rank_xendcg",
    "xendcg",
    "xe_ndcg",
    "xe_ndcg_mart",
    "xendcg_mart",
    "custom",
    "none",
    "null",
    "na",
]
OPTIONS = {
    "objective": LIGHTGBM_OBJECTIVES,
    "boosting": ["gbdt", "gbrt", "dart", "rf", "random_forest", "goss"],
    "data_sample_strategy": ["bagging", "goss"],
    "booster": ["gbtree", "gblinear", "dart"],
}

# Objectives whose label is the number of a class.
CLASS_OBJECTIVES = ["binary", "multiclass", "softmax", "multiclassova", "multiclass_ova", "ova", "ovr"]
CLASS_OBJECTIVES += ["binary:logistic", "binary:logitraw", "binary:hinge", "multi:softmax", "multi:softprob"]

# Objectives whose predictions are numbers and no probabilities.
NUMBER_OBJECTIVES = ["regression", "regression_l2", "l2", "mean_squared_error", "mse", "l2_root"]
NUMBER_OBJECTIVES += ["root_mean_squared_error", "rmse", "regression_l1", "l1", "mean_absolute_error", "mae"]
NUMBER_OBJECTIVES += ["huber", "fair", "poisson", "quantile", "mape", "mean_absolute_percentage_error"]
NUMBER_OBJECTIVES += ["gamma", "tweedie", "reg:squarederror", "reg:squaredlogerror", "reg:pseudohubererror"]
NUMBER_OBJECTIVES += ["reg:absoluteerror", "reg:quantileerror", "reg:gamma", "reg:tweedie", "count:poisson"]

# What depends on the machine, the build of the library or other files, or what Tenon's trainers translate.
SKIPPED = re.compile(
    "device|gpu|thread|n_jobs|machine|port|time_out|file|model|config|data|valid|constraints|column|updater"
    "|^task$|snapshot|verb"
)

LIGHTGBM_BASES: list[dict[str, Any]] = [
    {},
    {"objective": "binary"},
    {"objective": "multiclass", "num_class": 2},
    {"num_class": 2},
    {"objective": "lambdarank"},
    {"objective": "quantile"},
    {"boosting": "dart"},
    {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
    {"data_sample_strategy": "goss"},
    {"linear_tree": True},
    {"use_quantized_grad": True},
]
XGBOOST_BASES: list[dict[str, Any]] = [
    {},
    {"booster": "dart"},
    {"booster": "gblinear", "feature_selector": "thrifty", "updater": "coord_descent"},
    {"objective": "multi:softprob", "num_class": 2},
    {"num_class": 2},
    {"objective": "reg:tweedie"},
    {"objective": "reg:pseudohubererror"},
    {"objective": "reg:quantileerror", "quantile_alpha": 0.5},
    {"objective": "survival:aft"},
    {"objective": "rank:ndcg"},
    {"tree_method": "approx"},
    {"tree_method": "exact"},
]
ROWS = np.arange(64.0).reshape(16, 4)
CLASSES = np.arange(16) % 2
XGBOOST_DATA = xgboost.DMatrix(ROWS, CLASSES, qid=[0] * 8 + [1] * 8)


MOST_MEMORY = 8 << 30  # a wrong value may make a library ask for all that there is


def limit_memory() -> None:
    """Makes this process fail, rather than others, when a library asks for too much."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drops what the libraries print in their own code."""
    kept = [os.dup(fd) for fd in (1, 2)]
    sys.stdout.flush()
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        for fd in (1, 2):
            os.dup2(nothing, fd)
        yield
    finally:
        for fd, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, fd)
            os.close(copy)
        os.close(nothing)


def lightgbm_error(given: dict[str, Any]) -> str:
    """What LightGBM has against these parameters, or nothing."""
    params = {"verbosity": -1, "num_threads": 1, "min_data_in_leaf": 1, **given}
    try:
        lightgbm.Booster(params, lightgbm.Dataset(ROWS, CLASSES, group=[8, 8], params=params))
    except (lightgbm.basic.LightGBMError, TypeError, ValueError) as e:
        return str(e) or "refused"
    return ""


def xgboost_error(given: dict[str, Any]) -> str:
    """What XGBoost has against these parameters, or nothing."""
    try:
        xgboost.Booster({"nthread": 1, "verbosity": 0, **given}, [XGBOOST_DATA]).save_config()
    except (xgboost.core.XGBoostError, TypeError, ValueError, AttributeError) as e:
        return str(e) or "refused"
    return ""


def of_lightgbm(name: str) -> dict[str, Any]:
    with quiet():
        return describe(name, lightgbm_error, LIGHTGBM_BASES)


def of_xgboost(name: str) -> dict[str, Any]:
    with quiet():
        return describe(name, xgboost_error, XGBOOST_BASES)


def describe(
    name: str, error: Callable[[dict[str, Any]], str], bases: list[dict[str, Any]]
) -> dict[str, Any]:
    """The entry of a parameter in the index; an empty one if any value counts as taken."""
    if SKIPPED.search(name):
        return {}
    # Without a fault in a text that means nothing, a configuration does not use the parameter.
    said = {i: error({**base, name: TEXT}) for i, base in enumerate(bases)}
    bases = [base for i, base in enumerate(bases) if said[i]]
    if not bases or any(not error({**base, name: "1,2"}) for base in bases):
        return {}

    def accepts(value: Any) -> bool:
        return any(not error({**base, name: value}) for base in bases)

    candidates = set(OPTIONS.get(name, ()))
    for text in said.values():
        candidates |= set(re.findall(r"candidate: (\S+)", text))
        for values in re.findall(r"valid values are: \{([^}]*)\}", text):
            candidates |= set(re.findall(r"'([^']+)'", values))
    forms = number_forms(accepts)
    if forms is None:
        return {}
    if accepts(True) or accepts(False):
        forms.append("bool")
    options = [t for t in sorted(candidates) if accepts(t)]
    if options:
        forms.append({"is": options})
    if not forms:
        return {}
    hidden: list[Any] = ["null", {"text": "number"}]
    hidden += [
        {"is": [t]}
        for t in ("true", "false", "+", "-", "none", "auto", "")
        if t not in options and accepts(t)
    ]
    if any(accepts(v) for v in ([], [1, 2], [0.5, 0.5], ["a"], [1], options[:1])):
        hidden.append("list")
    entry = {"takes": forms, "hidden": hidden}
    if classes := [t for t in options if name == "objective" and t in CLASS_OBJECTIVES]:
        entry["classes"] = classes
    if numbers := [t for t in options if name == "objective" and t in NUMBER_OBJECTIVES]:
        entry["numbers"] = numbers
    return entry


def number_forms(accepts: Callable[[Any], bool]) -> list[Any] | None:
    """The intervals of numbers that are accepted; None if they are no interval."""
    whole = [(v, accepts(v)) for v in WHOLE]
    fractions = [(v, accepts(v)) for v in FRACTIONS]
    if not any(ok for _, ok in whole + fractions):
        return []
    if any(ok for _, ok in fractions) or accepts(2.0):
        found = interval(sorted(whole + fractions), False)
        return [{"number": found}] if found else None
    found = interval(whole, True)
    return [{"int": found}] if found else None


def interval(tried: Iterable[tuple[float, bool]], whole: bool) -> str | None:
    """The interval of what is accepted, in order. A bound that was not met exactly is that of the refused."""
    tried = list(tried)
    taken = [i for i, (_, ok) in enumerate(tried) if ok]
    first, last = taken[0], taken[-1]
    if len(taken) != last - first + 1:
        return None
    low, high = "(-inf", "inf)"
    if first > 0:
        low = edge(tried[first - 1][0], tried[first][0], whole, "[", "(")
    if last < len(tried) - 1:
        high = edge(tried[last + 1][0], tried[last][0], whole, "]", ")")
    return f"{low},{high}"


def edge(refused: float, taken: float, whole: bool, closed: str, opened: str) -> str:
    met = abs(refused - taken) == 1 if whole else taken == int(taken) and abs(refused - taken) < 2 * STEP
    value = taken if met else round(refused, 5)
    text = str(int(value)) if value == int(value) else repr(value)
    bracket = closed if met else opened
    return bracket + text if bracket in "[(" else text + bracket
