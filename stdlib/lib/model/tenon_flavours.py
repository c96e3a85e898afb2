"""What loads the model folder of each flavour, and how the libraries behind them name columns.

A loader gets the folder and its model.json, and gives an object with `predict`, and with `predict_proba` for
a classifier. `tenon_model` says what is in a folder.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import tenon_step
from tenon_step import StepError


def _load_sklearn(folder: Path, info: Mapping[str, Any]) -> Any:
    import joblib

    import tenon_pipeline  # noqa: F401, a pipeline may contain its classes

    return joblib.load(folder / "model.joblib")


class XGBoost:
    def __init__(self, folder: Path, info: Mapping[str, Any]) -> None:
        import xgboost

        self.names = codes(len(info["encoding"]))
        self.booster = xgboost.Booster(model_file=folder / "model.ubj")
        if info.get("classes"):
            self.predict_proba = self._proba

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        import xgboost

        return self.booster.predict(
            xgboost.DMatrix(frame.set_axis(self.names, axis=1), enable_categorical=True)
        )

    def _proba(self, frame: pd.DataFrame) -> np.ndarray:
        return two_columns(self.predict(frame))


class LightGBM:
    def __init__(self, folder: Path, info: Mapping[str, Any]) -> None:
        import lightgbm

        self.booster = lightgbm.Booster(model_file=folder / "model.txt")
        if info.get("classes"):
            self.predict_proba = self._proba

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        return np.asarray(self.booster.predict(frame.set_axis(codes(frame.shape[1]), axis=1)))

    def _proba(self, frame: pd.DataFrame) -> np.ndarray:
        return two_columns(self.predict(frame))


def _load_onnx(folder: Path, info: Mapping[str, Any]) -> Any:
    import tenon_onnx

    return tenon_onnx.ONNXGraph(folder, info)


def _load_script(folder: Path, info: Mapping[str, Any]) -> Any:
    import pickle

    module = script_module(folder / "code", info["script"], info["module"])
    before = set(sys.modules)
    path = list(sys.path)
    sys.path.insert(0, str((folder / "code").resolve()))
    try:
        if info["load"]:
            model = tenon_step.find_function(module, info["script"], info["load"])(folder)
        else:
            with open(folder / "model.pkl", "rb") as f:
                model = pickle.load(f)
    finally:
        sys.path[:] = path
        _forget(set(sys.modules) - before, folder / "code")
    if not hasattr(model, "predict"):
        raise StepError(
            f"{info['script']}: {info['load']}() returned {type(model).__name__}, which has no predict"
        )
    return model


def script_module(code: Path, script: str, name: str) -> Any:
    """Imports a training script as the module `name`, which is unique to its content.

    Two versions of a script can so be loaded side by side. Modules that it imports from its own folder are
    forgotten afterwards for the same reason; they live on in the script.
    """
    if name in sys.modules:
        return sys.modules[name]
    before = set(sys.modules)
    path = list(sys.path)
    sys.path[:0] = [str((code / script).parent.resolve()), str(code.resolve())]
    try:
        return tenon_step.import_file(name, (code / script).resolve())
    finally:
        sys.path[:] = path
        _forget(set(sys.modules) - before - {name}, code)


def _forget(names: set[str], folder: Path) -> None:
    for name in names:
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).resolve().is_relative_to(folder.resolve()) and not _component(Path(file)):
            del sys.modules[name]


def _component(path: Path) -> bool:
    return path.resolve().parent == Path(__file__).resolve().parent


def two_columns(p: np.ndarray) -> np.ndarray:
    """Probabilities of shape (rows, classes), also from one number per row, which two classes may have."""
    return np.column_stack([1 - p, p]) if p.ndim == 1 else p


def codes(count: int) -> list[str]:
    """The names of features in XGBoost and LightGBM: c0, c1 and so on, in the order of the encoding.

    Neither library takes every name that a column may have.
    """
    return [f"c{i}" for i in range(count)]


# By flavour.
LOADERS = {
    "sklearn": _load_sklearn,
    "xgboost": XGBoost,
    "lightgbm": LightGBM,
    "onnx": _load_onnx,
    "script": _load_script,
}
