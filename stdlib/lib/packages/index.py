"""Writes what Tenon's compiler knows about the classes of Python packages, one file per package, and in
modules.txt which modules the packages of all environments have.

    lib/test/run.sh --index

describe.py says what is in a file.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import pkgutil
import re
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import lightgbm
import numpy as np
import xgboost
from lightgbm.basic import _LIB
from sklearn.ensemble._base import _BaseHeterogeneousEnsemble

import values
from describe import describe, reads, text

PACKAGES = {"sklearn": ["scikit-learn"], "xgboost": ["xgboost-cpu", "xgboost"], "lightgbm": ["lightgbm"]}

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
        lines.append(f"{best} {text(entry(cls))}")
    for name, params in {"xgboost.train": xgboost_names, "lightgbm.train": lightgbm_names}.items():
        if name.startswith(f"{root}."):
            lines.append(f"{name} {text({'params': params()})}")
    lines += experimental(root, found)
    pins = " ".join(f"{d}=={version}" for d in PACKAGES[root])
    return "\n".join([pins, *sorted(lines)]) + "\n"


def entry(cls: type) -> dict[str, Any]:
    found = describe(cls, passed_on)
    if issubclass(cls, _BaseHeterogeneousEnsemble) and found.get("is") in ("classifier", "regressor"):
        found["members"] = "estimators"
    return found | reads(cls, found)


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
