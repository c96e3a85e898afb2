"""Estimators from a specification: what train.sklearn and the baselines of evaluate.* fit.

A specification is {"estimator": import path, "params": {...}, "preprocess": "auto" | "none", "pipeline":
[...], "class_weight": see `tenon_weights`}. Within `params`, {"$estimator": import path, "params": {...}}
stands for an estimator, at any depth.
"""

from __future__ import annotations

import importlib
import inspect
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils import all_estimators, get_tags
from sklearn.utils.validation import has_fit_parameter

import tenon_model
import tenon_weights
from tenon_model import Encoding
from tenon_pipeline import Columns, Dense, OnColumns, OneColumn
from tenon_step import Signature, StepError, nearest


class Fitted:
    """A fitted estimator with what has to be kept beside it."""

    def __init__(self, estimator: BaseEstimator, info: dict[str, Any], signature: Signature) -> None:
        self.estimator, self.info, self.signature = estimator, info, signature

    def model(self) -> tenon_model.Model:
        return tenon_model.Model(self.signature, self.info, self.estimator)

    def save(self, folder: Path) -> None:
        import joblib

        tenon_model.save(folder, self.signature, self.info)
        joblib.dump(self.estimator, folder / "model.joblib", protocol=5)


def fit(
    spec: Mapping[str, Any],
    frame: pd.DataFrame,
    y: np.ndarray,
    signature: Signature,
    seed: int,
    threads: int | None = None,
) -> Fitted:
    """Fits the specification to `frame`, which `tenon_model.prepare` made, and the labels `y`.

    Every `random_state` that is left open gets the seed, and `n_jobs` the number of threads. StepError for a
    wrong import path or parameter, or an estimator for another task.
    """
    label = tenon_model.describe(y, signature)
    path, params = spec["estimator"], spec.get("params") or {}
    estimator = make(path, params)
    check_task(estimator, path, signature)
    weighed = weigh(spec, estimator, y, label.get("classes", ()))
    if not signature.input and not path.startswith("sklearn.dummy."):
        raise StepError(tenon_model.NO_INPUTS)
    encoding, pipeline = assemble(spec, estimator, frame, signature)
    random.seed(seed)
    np.random.seed(seed)
    set_open(pipeline, "random_state", seed)
    jobs = set_open(estimator, "n_jobs", threads, outermost=True) if threads else []
    features = encoding.apply(frame) if encoding else frame
    if not encoding and pipeline is estimator:
        tenon_model.check_frame(frame)
    try:
        if weighed is None:
            pipeline.fit(features, y)
        else:
            name = "sample_weight" if pipeline is estimator else "estimator__sample_weight"
            pipeline.fit(features, y, **{name: weighed})
    except ValueError as e:
        # scikit-learn checks the values of parameters only here.
        if type(e).__name__ == "InvalidParameterError":
            raise StepError(str(e)) from e
        tenon_model.refuse_large(features, e, "input train")
        raise
    # How many threads trained it cannot be part of a model, and serving has its own number.
    unset(estimator, jobs, path)
    info = {
        "flavour": "sklearn",
        "estimator": path,
        "params": params,
        "preprocess": spec.get("preprocess") or "auto",
        **({"pipeline": spec["pipeline"]} if spec.get("pipeline") else {}),
        "seed": seed,
        "rows": len(frame),
        "encoding": list(encoding.columns) if encoding else None,
        **label,
    }
    return Fitted(pipeline, info, signature)


def weigh(
    spec: Mapping[str, Any], estimator: BaseEstimator, y: np.ndarray, classes: Sequence[Any]
) -> np.ndarray | None:
    """Tells the estimator the weights of the classes, or returns those of the rows for its fit."""
    wanted = spec.get("class_weight")
    if wanted is None:
        return None
    own = ["class_weight", "scale_pos_weight", "is_unbalance"]  # also those of XGBoost and LightGBM
    tenon_weights.reject_own(wanted, spec.get("params") or {}, own)
    index = {name: i for i, name in enumerate(classes)}
    codes = np.array([index[v] for v in y.tolist()]) if classes else y
    weights = tenon_weights.class_weights(wanted, classes, codes)
    if "class_weight" in estimator.get_params(deep=False):
        estimator.set_params(class_weight=dict(zip(classes, weights.tolist(), strict=True)))
        return None
    if has_fit_parameter(estimator, "sample_weight"):
        return weights[codes]
    raise StepError(
        f"class_weight: {spec['estimator']} weighs neither classes nor rows; leave it out, or use another "
        "estimator, such as sklearn.linear_model.LogisticRegression"
    )


def assemble(
    spec: Mapping[str, Any], estimator: BaseEstimator, frame: pd.DataFrame, signature: Signature
) -> tuple[Encoding | None, BaseEstimator]:
    """The encoding and the pipeline: steps on columns, automatic ones, other steps, the estimator."""
    on_columns, texts, on_all = user_steps(spec.get("pipeline") or [], signature)
    preprocess = spec.get("preprocess") or "auto"
    if preprocess not in ("auto", "none"):
        raise StepError(f'preprocess is "{preprocess}"; wanted "auto" or "none"')
    following = [transformer for _, transformer in on_all] + [estimator]
    encoding, automatic = None, []
    if preprocess == "auto":
        native = type(estimator).__name__.startswith("HistGradientBoosting") and not on_all and not texts
        # HistGradientBoosting* takes no more categories than it has bins, one of which is for missing values.
        encoding = Encoding.fit(frame, signature, native, estimator.max_bins - 1 if native else None)
        if not native:
            automatic = [("preprocess", digestible(following, texts))]
    elif texts:
        table = ColumnTransformer(
            texts, remainder="passthrough", sparse_threshold=0.3 if takes_sparse(following[0]) else 0
        )
        automatic = [("preprocess", table)]
    steps = [*on_columns, *automatic]
    for i, step in enumerate([*on_all, ("estimator", estimator)]):
        if i and not takes_sparse(step[1]):
            steps.append((f"dense-{i}", Dense()))
        steps.append(step)
    return encoding, Pipeline(steps) if len(steps) > 1 else estimator


def digestible(following: list[BaseEstimator], texts: list[Any]) -> ColumnTransformer:
    """One-hot columns for text and categories, and medians for missing numbers unless the estimator takes
    NaN. `texts` are transformers with columns of their own.

    A category never seen in training is all zeros.
    """
    alone = len(following) == 1
    numbers = (
        "passthrough"
        if alone and get_tags(following[0]).input_tags.allow_nan
        else SimpleImputer(strategy="median", keep_empty_features=True)
    )
    but = [column for *_, columns in texts for column in columns]
    return ColumnTransformer(
        [
            ("number", numbers, Columns(numbers=True, but=but)),
            ("text", OneHotEncoder(handle_unknown="ignore"), Columns(numbers=False, but=but)),
            *texts,
        ],
        sparse_threshold=0.3 if takes_sparse(following[0]) else 0,
    )


def takes_sparse(estimator: Any) -> bool:
    return get_tags(estimator).input_tags.sparse


def user_steps(
    entries: list[Mapping[str, Any]], signature: Signature
) -> tuple[list[Any], list[Any], list[Any]]:
    """The named steps of the pipeline: those on columns, those that take one column of text, the others.

    What the second make of a column is not preprocessed, and may be sparse.
    """
    on_columns, texts, on_all = [], [], []
    names: list[str] = ["estimator", "preprocess", "number", "text", "remainder"]
    known = [c.name for c in signature.input]
    taken: set[str] = set()
    for entry in entries:
        path = entry["transformer"]
        transformer = make(path, entry.get("params") or {})
        if not hasattr(transformer, "transform"):
            raise StepError(f"{path} in the pipeline is no transformer: it has no transform")
        wanted = (entry.get("name") or path.rpartition(".")[2].lower()).replace("__", "_")
        name = wanted
        while name in names:
            name = f"{wanted}-{int(name.rpartition('-')[2]) + 1 if name != wanted else 2}"
        names.append(name)
        columns = list(entry.get("columns") or ())
        one_by_one = not get_tags(transformer).input_tags.two_d_array
        if one_by_one and not columns:
            raise StepError(f"pipeline step {name}: {path} takes one column; name it in columns")
        for column in columns:
            if column in taken and not one_by_one:
                raise StepError(f"pipeline step {name}: column {column} still has words; put this step first")
            if column not in known and not on_columns:  # a later step may name what an earlier one made
                raise StepError(f"pipeline step {name}: no column {column}{nearest(column, known)}")
        if one_by_one:
            taken.update(columns)
            several = len(columns) > 1
            texts += [
                (f"{name}-{i}" if several else name, OneColumn(transformer), [column])
                for i, column in enumerate(columns, 1)
            ]
        elif columns:
            on_columns.append((name, OnColumns(name, transformer, columns)))
        else:
            on_all.append((name, transformer))
    return on_columns, texts, on_all


def make(path: str, params: Mapping[str, Any]) -> Any:
    """An object of the class at `path`. StepError gives the nearest names for a wrong path or parameter."""
    found = resolve(path)
    known = list(inspect.signature(found).parameters.values())
    given = {name: _nested(value) for name, value in params.items()}
    for p in known:  # JSON has no tuples
        if isinstance(p.default, tuple) and isinstance(given.get(p.name), list):
            given[p.name] = tuple(given[p.name])
    if not any(p.kind is p.VAR_KEYWORD for p in known):
        for name in given:
            if name not in (names := [p.name for p in known]):
                raise StepError(f"{path} has no parameter {name}{nearest(name, names, 'it has')}")
    try:
        return found(**given)
    except TypeError as e:
        raise StepError(f"{path}: {e}") from e


def resolve(path: str) -> Any:
    """The class at an import path such as "sklearn.linear_model.Ridge"."""
    module_name, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError) as e:
        raise StepError(f"cannot import {path}: {e}{_nearest_path(path)}") from None
    found = getattr(module, name, None)
    if not isinstance(found, type):
        hint = _nearest_path(path) or nearest(
            name, (n for n, v in vars(module).items() if isinstance(v, type))
        )
        raise StepError(f"{module_name} has no class {name}{hint}")
    return found


def check_task(estimator: Any, path: str, signature: Signature) -> None:
    if not hasattr(estimator, "fit"):
        raise StepError(f"{path} is not an estimator: it has no fit")
    try:
        said = get_tags(estimator).estimator_type
    except AttributeError as e:
        raise StepError(
            f"{path} was written for an older scikit-learn than {sklearn.__version__}:"
            " it has no __sklearn_tags__; use a newer version of its package"
        ) from e
    kind = {"classifier": "classification", "regressor": "regression"}.get(said or "")
    if kind and kind != signature.task:
        raise StepError(f"{path} is for {kind}, but the model's task is {signature.task}")
    if kind is None and not hasattr(estimator, "predict"):
        raise StepError(f"{path} is neither a classifier nor a regressor")


def set_open(estimator: BaseEstimator, name: str, value: Any, outermost: bool = False) -> list[str]:
    """Sets the parameter `name` wherever it is None, or only where it is outermost. Returns their paths."""
    params = estimator.get_params(deep=True)
    paths = [p for p, v in params.items() if v is None and (p == name or p.endswith(f"__{name}"))]
    if outermost and paths:
        depth = min(p.count("__") for p in paths)
        paths = [p for p in paths if p.count("__") == depth]
    estimator.set_params(**dict.fromkeys(paths, value))
    return paths


def unset(estimator: Any, paths: Sequence[str], name: str) -> None:
    """Sets parameters of a fitted estimator to None. Some, like CatBoost's, then refuse set_params."""
    if not paths:
        return
    try:
        estimator.set_params(**dict.fromkeys(paths))
        return
    except Exception as e:
        for path in paths:
            *owners, last = path.split("__")
            owner = estimator
            for o in owners:
                owner = owner.get_params(deep=False)[o]
            setattr(owner, last, None)  # a parameter of scikit-learn is an attribute of that name
        params = estimator.get_params(deep=True)
        if any(params.get(p) is not None for p in paths):
            raise StepError(
                f"{name} does not let {', '.join(paths)} be reset after training ({e}); set it in params"
            ) from e


def _nested(value: Any) -> Any:
    if isinstance(value, Mapping):
        if "$estimator" in value:
            if extra := set(value) - {"$estimator", "params"}:
                raise StepError(
                    f"next to $estimator only params is allowed, found {', '.join(sorted(extra))}"
                )
            return make(value["$estimator"], value.get("params") or {})
        return {k: _nested(v) for k, v in value.items()}
    if isinstance(value, list):
        values = [_nested(v) for v in value]
        # [name, estimator] is a pair in lists of steps and estimators, which JSON has no other way to say.
        named = len(values) == 2 and isinstance(values[0], str) and hasattr(values[1], "get_params")
        return tuple(values) if named else values
    return value


def _nearest_path(path: str) -> str:
    """The nearest public estimators of scikit-learn, for a path into it."""
    if not path.startswith("sk"):
        return ""
    public = {
        ".".join(p for p in cls.__module__.split(".") if not p.startswith("_")) + "." + name
        for name, cls in all_estimators()
    }
    return nearest(path, public) if nearest(path, public).startswith("; did") else ""
