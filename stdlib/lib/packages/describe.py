"""Describes the classes of Python packages, for the indexes that Tenon's compiler reads.

index.py makes those of the library's packages, and locked.py those of the packages that a user adds. The
first line of an index has the pins of a lock that it is true for. Each of the others is an import path and,
as JSON, what is there:

    sklearn.svm.SVC {"is": "classifier", "does": ["fit", "predict"], "params": {"C": {...}}}
    sklearn.base.Interval ?                          a class of which nothing is known
    sklearn.experimental.* ?                         a module of which nothing is known
    acme.models.+ ?                                  a module that makes names when they are asked for
    sklearn.calibration.LinearSVC =sklearn.svm.LinearSVC

    is       classifier, regressor, clusterer, outlier detector or transformer
    does     those of its methods that matter: fit, predict, transform
    column   it takes one column of text, and no table
    numbers  it refuses text, whatever its parameters are
    present  it refuses missing values, whatever its parameters are
    members  the parameter whose estimators have to be of its own kind
    open     it takes parameters that are not listed
    params   by name: `alias`, the parameter of which it is another name, `default`, `required`, and `takes`,
             the forms of a value that it accepts, any if there are none: "null", "bool", "string", "list",
             "struct", {"int": "[1,inf)"}, {"number": "(0,1]"}, {"float": "[0,1]"}, {"is": ["gini"]}, and
             {"text": "number"}, a text that is a number. Those in `hidden` are accepted, but not named.
             `ordered` is "<" or "<=" if fit refuses two numbers that do not compare so, which is tried.
             `classes` are the objectives of which the label is the number of a class. What native parameters
             take is tried, see values.py.
"""

from __future__ import annotations

import inspect
import json
import math
import warnings
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

try:
    import numpy as np
    import pandas as pd
    from sklearn.base import ClassifierMixin, ClusterMixin, OutlierMixin, RegressorMixin, TransformerMixin
    from sklearn.utils import _param_validation as rules
    from sklearn.utils import get_tags
except ImportError:  # a user's environment may have no scikit-learn
    KINDS = {}
else:
    KINDS = {
        "classifier": ClassifierMixin,
        "regressor": RegressorMixin,
        "clusterer": ClusterMixin,
        "outlier detector": OutlierMixin,
        "transformer": TransformerMixin,
    }


def text(entry: dict[str, Any]) -> str:
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def describe(cls: type, passed_on: Callable[[type], dict[str, Any]]) -> dict[str, Any]:
    """What a class is, and its parameters. passed_on returns those that it takes by **kwargs; none if that is
    not known."""
    entry: dict[str, Any] = {}
    for kind, mixin in KINDS.items():
        if issubclass(cls, mixin):
            entry["is"] = kind
            break
    if does := [m for m in ("fit", "predict", "transform") if hasattr(cls, m)]:
        entry["does"] = does
    try:
        parameters = list(inspect.signature(cls).parameters.values())
    except (TypeError, ValueError):
        return entry | {"open": True}
    params = {
        p.name: parameter(cls, p) for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    }
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        more = passed_on(cls)
        entry |= {} if more else {"open": True}
        params |= {name: p for name, p in more.items() if name not in params}
    return entry | {"params": params}


def reads(cls: type, described: dict[str, Any]) -> dict[str, Any]:
    """Which tables a class reads, if it can be made without parameters."""
    params = described.get("params", {"": {"required": True}})
    if "fit" not in described.get("does", ()) or any("required" in p for p in params.values()):
        return {}
    try:
        tags = get_tags(cls())
    except Exception:  # of the package's own base classes
        return {}
    parameters = list(inspect.signature(cls).parameters.values())
    y = np.arange(12) % 3
    if not tags.input_tags.two_d_array:
        order(cls, parameters, params, ["good day", "bad day"] * 6, y)
        return {"column": True}
    order(cls, parameters, params, pd.DataFrame({"a": np.arange(12.0)}), y)
    entry = {}
    words = pd.DataFrame({"a": ["x", "y"] * 6, "b": np.arange(12.0)})
    if refuses(cls, params, words, y, "could not convert string to float"):
        entry["numbers"] = True
    gaps = pd.DataFrame({"a": [*np.arange(11.0), np.nan], "b": np.arange(12.0)})
    if refuses(cls, params, gaps, y, "contains NaN"):
        entry["present"] = True
    return entry


def parameter(cls: type, p: inspect.Parameter) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    if p.default is p.empty:
        entry["required"] = True
    elif (default := plain(p.default)) is not None:
        entry["default"] = default
    constraints = getattr(cls, "_parameter_constraints", {}).get(p.name, "no_validation")
    if not isinstance(constraints, list):
        return entry
    takes: list[Any] = []
    hidden: list[Any] = []
    for c in constraints:
        rule = rules.make_constraint(c)
        accepted = forms(rule, isinstance(p.default, tuple))
        if accepted is None:
            return entry
        (hidden if rule.hidden else takes).extend(accepted)
    entry["takes"] = unique(takes)
    if extra := [f for f in unique(hidden) if f not in entry["takes"]]:
        entry["hidden"] = extra
    return entry


def order(cls: type, parameters: list[inspect.Parameter], params: dict[str, Any], x: Any, y: Any) -> None:
    """Notes which pairs of numbers have to be in order: that is a rule between two values, which only fit
    checks."""

    def takes(name: str, *pair: float) -> bool:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                cls(**{name: pair}).fit(x, y)
        except Exception:
            return False
        return True

    for p in parameters:
        match p.default:
            case (int() | float() as a, int() | float() as b):
                low, high = (min(a, b), max(a, b)) if a != b else (a, a + 1)
                some = [(low, high), (low, high + 1)]
                if all(takes(p.name, *s) and not takes(p.name, *reversed(s)) for s in some):
                    params[p.name]["ordered"] = "<=" if takes(p.name, low, low) else "<"


def plain(value: Any) -> str | None:
    """A default as users would write it, or None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    try:
        return json.dumps(value, sort_keys=True)
    except TypeError:
        return None


def forms(rule: Any, tuples: bool) -> list[Any] | None:
    """The forms of JSON that satisfy a rule of scikit-learn; None if that is not known. Lists are tuples for
    parameters that have one by default."""
    match rule:
        case rules.Interval():
            kind = {Integral: "int", Real: "number"}.get(rule.type, "float")
            opening = "[" if rule.closed in ("left", "both") and rule.left is not None else "("
            closing = "]" if rule.closed in ("right", "both") and rule.right is not None else ")"
            return [{kind: f"{opening}{bound(rule.left, '-inf')},{bound(rule.right, 'inf')}{closing}"}]
        case rules.Options():
            values = [v for v in rule.options if isinstance(v, str | int | float)]  # no JSON is another
            values = [v for v in values if not isinstance(v, float) or math.isfinite(v)]
            return [{"is": sorted(values, key=str)}] if values else []
        case rules._InstancesOf() if rule.type in (Integral, int):
            return [{"int": "(-inf,inf)"}]
        case rules._InstancesOf() if rule.type is Real:
            return [{"number": "(-inf,inf)"}]
        case rules._InstancesOf() if rule.type is float:
            return [{"float": "(-inf,inf)"}]
        case rules._NanConstraint() | rules._PandasNAConstraint():
            return []
        case (
            rules._RandomStates()
            | rules._VerboseHelper()
            | rules.MissingValues()
            | rules._CVObjects()
            | rules._Booleans()
        ):
            parts = [forms(part, tuples) for part in rule._constraints]
            return None if None in parts else [f for part in parts for f in part or ()]
        case (
            rules._InstancesOf()
            | rules._NoneConstraint()
            | rules._ArrayLikes()
            | rules._SparseMatrices()
            | rules._Callables()
            | rules.HasMethods()
            | rules._IterablesNotString()
        ):
            # What these accept does not depend on the value.
            samples = {
                "null": None,
                "bool": True,
                "string": "x",
                "list": (1, 2) if tuples else [1, 2],
                "struct": {"x": 1},
            }
            accepted: list[Any] = [name for name, value in samples.items() if rule.is_satisfied_by(value)]
            if rule.is_satisfied_by(1):
                accepted.append({"int": "(-inf,inf)"})
            if rule.is_satisfied_by(0.5):
                accepted.append({"float": "(-inf,inf)"})
            return accepted
    return None


def bound(value: float | None, none: str) -> str:
    if value is None:
        return none
    return str(int(value)) if value == int(value) else repr(float(value))


def unique(values: list[Any]) -> list[Any]:
    return [v for i, v in enumerate(values) if v not in values[:i]]


def refuses(cls: type, params: dict[str, Any], frame: pd.DataFrame, y: Any, why: str) -> bool:
    """Whether a class refuses a table for this reason whichever of its options is set."""
    options: list[dict[str, Any]] = [{}]
    for name, p in params.items():
        # A list may name the columns that are text.
        options += [{name: v} for v in (None, True, False, ["a"], [0], [True, False])]
        for form in [*p.get("takes", ()), *p.get("hidden", ())]:
            if isinstance(form, dict) and "is" in form:
                options += [{name: v} for v in form["is"]]
    for given in options:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                cls(**given).fit(frame, y)
        except rules.InvalidParameterError:
            if not given:
                return False
        except ValueError as e:
            if why not in str(e) and not given:
                return False
        except Exception:
            if not given:
                return False
        else:
            return False
    return True
