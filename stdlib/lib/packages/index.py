"""Writes what Tenon's compiler knows about the classes of Python packages, one file per package, and in
modules.txt which modules the packages of all environments have.

    lib/test/run.sh --index

The first line of a file has the pins of a lock that it is true for. Each of the others is an import path and,
as JSON, what is there:

    sklearn.svm.SVC {"is": "classifier", "does": ["fit", "predict"], "params": {"C": {...}}}
    sklearn.base.Interval ?                          a class of which nothing is known
    sklearn.experimental.* ?                         a module of which nothing is known
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
             `classes` are the objectives of which the label is the number of a class. What native parameters
             take is tried, see values.py.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import math
import pkgutil
import re
import sys
import warnings
from numbers import Integral, Real
from pathlib import Path
from types import ModuleType
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import xgboost
from lightgbm.basic import _LIB
from sklearn.base import ClassifierMixin, ClusterMixin, OutlierMixin, RegressorMixin, TransformerMixin
from sklearn.ensemble._base import _BaseHeterogeneousEnsemble
from sklearn.utils import _param_validation as rules
from sklearn.utils import get_tags

import values

PACKAGES = {"sklearn": ["scikit-learn"], "xgboost": ["xgboost-cpu", "xgboost"], "lightgbm": ["lightgbm"]}

KINDS = {
    "classifier": ClassifierMixin,
    "regressor": RegressorMixin,
    "clusterer": ClusterMixin,
    "outlier detector": OutlierMixin,
    "transformer": TransformerMixin,
}

# Modules that change others when they are imported, or that are not for users.
SKIPPED = ("experimental", "externals", "tests", "testing", "conftest", "estimator_checks")


def main(folder: Path) -> None:
    for root in PACKAGES:
        (folder / f"{root}.txt").write_text(index(root), encoding="utf-8")
    (folder / "modules.txt").write_text(provided(), encoding="utf-8")


def provided() -> str:
    """The pin of each package, and the modules that it has."""
    modules: dict[str, set[str]] = {}
    for name, owners in importlib.metadata.packages_distributions().items():
        for owner in owners:
            modules.setdefault(owner, set()).add(name)
    lines = {
        f"{d.metadata['Name']}=={d.version}": sorted(
            m for m in modules.get(d.metadata["Name"], ()) if m.isidentifier()
        )
        for d in importlib.metadata.distributions()
    }
    for root, others in PACKAGES.items():  # packages of the same modules, of which one is installed
        version = next(importlib.metadata.version(d) for d in others if root in modules.get(d, ()))
        lines |= {f"{d}=={version}": [root] for d in others}
    return "".join(f"{pin} {' '.join(names)}".rstrip() + "\n" for pin, names in sorted(lines.items()))


def index(root: str) -> str:
    installed = {d.metadata["Name"] for d in importlib.metadata.distributions()}
    version = next(importlib.metadata.version(d) for d in PACKAGES[root] if d in installed)
    found, lines = modules(root)
    paths: dict[type, list[str]] = {}
    for module in found:
        for name, value in vars(module).items():
            if isinstance(value, type) and not name.startswith("_"):
                paths.setdefault(value, []).append(f"{module.__name__}.{name}")
    for cls, names in paths.items():
        if not cls.__module__.startswith(f"{root}."):
            lines += [f"{name} ?" for name in names]
            continue
        best = min(names, key=lambda n: (not cls.__module__.startswith(n.rpartition(".")[0]), len(n), n))
        lines += [f"{name} ={best}" for name in names if name != best]
        lines.append(f"{best} {text(describe(cls))}")
    for name, params in {"xgboost.train": xgboost_names, "lightgbm.train": lightgbm_names}.items():
        if name.startswith(f"{root}."):
            lines.append(f"{name} {text({'params': params()})}")
    lines += experimental(root, found)
    pins = " ".join(f"{d}=={version}" for d in PACKAGES[root])
    return "\n".join([pins, *sorted(lines)]) + "\n"


def text(entry: dict[str, Any]) -> str:
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def modules(root: str) -> tuple[list[ModuleType], list[str]]:
    """The public modules of a package, and a line for each that is not known."""
    found, unknown = [importlib.import_module(root)], []
    todo = list(pkgutil.iter_modules(found[0].__path__, f"{root}."))
    while todo:
        name = todo.pop().name
        if name.rpartition(".")[2].startswith("_"):
            continue
        try:
            if name.rpartition(".")[2] in SKIPPED:
                raise ImportError
            module = importlib.import_module(name)
        except ImportError:
            unknown.append(f"{name}.* ?")
            continue
        found.append(module)
        todo += pkgutil.iter_modules(getattr(module, "__path__", []), f"{name}.")
    return found, unknown


def experimental(root: str, found: list[ModuleType]) -> list[str]:
    """Lines for classes that exist only once another module is imported, which any package may do."""
    before = {m.__name__: set(vars(m)) for m in found}
    if importlib.util.find_spec(f"{root}.experimental"):
        package = importlib.import_module(f"{root}.experimental")
        for module in pkgutil.iter_modules(package.__path__, f"{root}.experimental."):
            if not module.ispkg:
                importlib.import_module(module.name)
    return [
        f"{m.__name__}.{name} ?"
        for m in found
        for name, value in vars(m).items()
        if isinstance(value, type) and name not in before[m.__name__]
    ]


def describe(cls: type) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    for kind, mixin in KINDS.items():
        if issubclass(cls, mixin):
            entry["is"] = kind
            break
    if does := [m for m in ("fit", "predict", "transform") if hasattr(cls, m)]:
        entry["does"] = does
    try:
        parameters = list(inspect.signature(cls).parameters.values())
    except ValueError:
        return entry | {"open": True}
    params = {
        p.name: parameter(cls, p) for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    }
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        more = passed_on(cls)
        entry |= {} if more else {"open": True}
        params |= {name: p for name, p in more.items() if name not in params}
    entry["params"] = params
    if issubclass(cls, _BaseHeterogeneousEnsemble) and entry.get("is") in ("classifier", "regressor"):
        entry["members"] = "estimators"
    if "fit" in does and not any("required" in p for p in params.values()):
        try:
            tags = get_tags(cls())
        except Exception:  # of the package's own base classes
            return entry
        if not tags.input_tags.two_d_array:
            entry["column"] = True
            return entry
        y = np.arange(12) % 3
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


# --- Parameters that are passed on ---


def passed_on(cls: type) -> dict[str, Any]:
    """The parameters that a class with **kwargs passes on; none if that is not known."""
    if not issubclass(cls, xgboost.XGBModel | lightgbm.LGBMModel):
        return {}
    library = xgboost_names() if issubclass(cls, xgboost.XGBModel) else lightgbm_names()
    inherited = [n for base in cls.__mro__ if base is not object for n in inspect.signature(base).parameters]
    return library | {n: {} for n in inherited if n not in ("args", "kwargs")}


def lightgbm_names() -> dict[str, Any]:
    size = 1 << 20
    buffer, length = ctypes.create_string_buffer(size), ctypes.c_int64()
    _LIB.LGBM_DumpParamAliases(ctypes.c_int64(size), ctypes.byref(length), buffer)
    names = json.loads(buffer.value)
    if not _LIGHTGBM:
        _LIGHTGBM.update({n: values.of_lightgbm(n) for n in names})
    return _LIGHTGBM | {a: {"alias": n} for n, others in names.items() for a in others}


_LIGHTGBM: dict[str, Any] = {}


# Names that the library has neither in its configuration nor as a text of its own.
XGBOOST_NAMES = [
    *("alpha", "device", "eta", "eval_metric", "extmem_single_page", "gamma", "gpu_id", "lambda"),
    *("learning_rate", "max_cached_hist_node", "min_split_loss", "n_jobs", "nthread", "num_class"),
    *("random_state", "reg_alpha", "reg_lambda", "sampling_method", "seed", "top_k", "updater", "use_rmm"),
]


def xgboost_names() -> dict[str, Any]:
    """The names of which XGBoost does not say that it does not use them, with some booster."""
    if not _XGBOOST:
        candidates = {*XGBOOST_NAMES, *xgboost.XGBModel().get_params()}
        for library in Path(xgboost.__path__[0], "lib").iterdir():
            found = re.findall(rb"(?<=\0)[a-z][a-z0-9_]{2,39}(?=\0)", library.read_bytes())
            candidates |= {name.decode() for name in found}
        for base in XGBOOST_BASES:
            config = xgboost.Booster(base, [XGBOOST_DATA]).save_config()
            candidates |= set(re.findall(r'"([a-z][a-z0-9_]*)":', config))
        used = [name for name in sorted(candidates) if any(uses(base, name) for base in XGBOOST_BASES)]
        _XGBOOST.update({name: values.of_xgboost(name) for name in used})
    return _XGBOOST


_XGBOOST: dict[str, Any] = {}
XGBOOST_DATA = xgboost.DMatrix(np.arange(8.0).reshape(4, 2), [0, 1, 0, 1])
XGBOOST_BASES = [
    {"nthread": 1, "verbosity": 1, **base}
    for base in (
        {},
        {"booster": "dart"},
        {"booster": "gblinear", "feature_selector": "thrifty", "updater": "coord_descent"},
        {"objective": "multi:softprob", "num_class": 2},
        {"objective": "reg:tweedie"},
        {"objective": "reg:pseudohubererror"},
        {"objective": "reg:quantileerror", "quantile_alpha": 0.5},
        {"objective": "survival:aft"},
        {"objective": "rank:ndcg"},
        {"tree_method": "approx"},
        {"tree_method": "exact"},
        {"process_type": "default", "updater": "grow_histmaker,refresh"},
    )
]


def uses(base: dict[str, Any], name: str) -> bool:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            xgboost.Booster({**base, name: "?"}, [XGBOOST_DATA]).save_config()
        except xgboost.core.XGBoostError:
            return True  # of the value
        except Exception:
            return False
    said = "\n".join(str(w.message) for w in caught)
    return name not in re.findall(r'"([^"]+)"', "".join(re.findall(r"Parameters: \{(.*?)\}", said)))


if __name__ == "__main__":
    values.limit_memory()
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
