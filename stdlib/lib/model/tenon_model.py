"""Model folders of any flavour: how they are written, loaded and asked.

Training, evaluation, batch and HTTP all make the features by `prepare` and `Model.predict`, so that a model
sees in production what it has seen in training.

A model folder holds `signature.json`, `model.json` (flavour, estimator, parameters, versions, classes,
encoding) and what the flavour adds: `model.joblib` (sklearn), `model.ubj` (xgboost), `model.txt` (lightgbm),
`model.onnx` (onnx), or `model.pkl` and `code/` (script). The same data, parameters, seed and cores make the
same bytes: there are no times in it. Except for HistGradientBoosting*, which keeps it, and networks, the
number of cores does not matter either.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

import tenon_step
from tenon_flavours import LOADERS
from tenon_step import Column, Signature, Step, StepError

FORMAT = 1

# Predictors that predict the most probable class, so that asking them twice would be waste. Others may not,
# such as scikit-learn's TunedThresholdClassifierCV.
MOST_PROBABLE = (
    "XGBoost",
    "LightGBM",
    "ONNXGraph",
    "HistGradientBoostingClassifier",
    "RandomForestClassifier",
)
LIBRARIES = ("numpy", "pandas", "pyarrow", "scipy", "scikit-learn")
OWN = {"xgboost": ("xgboost-cpu", "xgboost"), "lightgbm": ("lightgbm",), "onnx": ("onnxruntime", "torch")}

# How far rounding may move a probability, and the sum of those of a row: half floats keep three digits.
ROUNDING, ROUNDING_OF_SUM = 1e-6, 1e-3

# What to do about probabilities that are none, by flavour.
OTHER_OBJECTIVE = (
    "leave out the objective, which follows from the task, or choose one that gives probabilities"
)
FIXES = {
    "sklearn": "calibrate the estimator, as sklearn.calibration.CalibratedClassifierCV does",
    "xgboost": OTHER_OBJECTIVE,
    "lightgbm": OTHER_OBJECTIVE,
    "onnx": 'for an output of scores (logits), set gives: "scores"',
    "script": "correct predict_proba, or remove it: then the model has no probabilities",
}

NO_INPUTS = (
    "the model has no inputs: every column of the table is the label, a key, the timestamp or excluded"
)


class RefusedValueError(StepError):
    """A value that the model cannot take, in the column `column` of the row `row`."""

    def __init__(self, what: str, column: str, row: int, says: str, value: Any) -> None:
        super().__init__(f"{what}: column {column}: {says}: {value} in row {row + 1}")
        self.column, self.row, self.says, self.value = column, row, says, value


class NoPredictionError(StepError):
    """The model gives no prediction for the row `row`."""

    def __init__(self, row: int, says: str) -> None:
        super().__init__(f"the model has no prediction for row {row + 1}: {says}")
        self.row, self.says = row, says


# --- From tables to features and labels ---


def prepare(data: Any, signature: Signature, what: str = "the input") -> pd.DataFrame:
    """The model's features: the columns of the signature, in its order, always of the same dtypes.

    Integers and booleans keep their dtype, or are float64 with NaN if nullable. Floats have NaN for null.
    Strings are of dtype object with None, dates and timestamps datetime64 (UTC for timestamptz), times
    timedelta64, bytes object. Columns that the signature does not name are ignored. StepError if one is
    missing or does not fit its type, or is nullable and has an integer that no float64 is.
    """
    table = tenon_step.conform(data, signature.input, what, extra="ignore")
    series = {c.name: _series(table.column(c.name), c, what) for c in signature.input}
    rows = len(table) if signature.input else len(data)  # a table without columns has no length
    return pd.DataFrame(series, index=pd.RangeIndex(rows))


def labels(data: Any, signature: Signature, what: str = "the input") -> np.ndarray:
    """The labels, one per row: bool, integer, float or object (strings). StepError if one is null."""
    column = signature.output
    table = tenon_step.conform(data, [column], what, extra="ignore")
    nulls = table.column(0).null_count
    if nulls:
        raise StepError(f"{what}: label {column.name} is null in {nulls} of {len(table)} rows; remove them")
    values = table.column(0).to_numpy()
    if column.type in ("date", "time", "timestamp", "timestamptz", "bytes"):
        raise StepError(f"label {column.name}: a {column.type} cannot be predicted")
    if signature.task == "regression":
        if values.dtype.kind not in "iuf":
            raise StepError(f"label {column.name}: regression wants a number, the column is {column.type}")
        check_exact(values, column.name, what)
    if values.dtype.kind == "f" and len(bad := np.flatnonzero(~np.isfinite(values))):
        raise StepError(
            f"{what}: label {column.name} is {values[bad[0]]} in {len(bad)} of {len(values)} rows, "
            f"the first of which is row {bad[0] + 1}; leave them out"
        )
    return values.astype(object) if column.type == "string" else values


def training_data(step: Step, signature: Signature) -> tuple[pd.DataFrame, np.ndarray]:
    """What `prepare` and `labels` make of the input `train`. No other column of it is read."""
    train = step.lazy("train")
    if not len(train):
        raise StepError("input train has no rows")
    return prepare(train, signature, "input train"), labels(train, signature, "input train")


def check_bounds(table: pa.RecordBatch, signature: Signature) -> None:
    """RefusedValueError for a value that the signature excludes, as serve.http refuses it."""
    for c in signature.input:
        if c.name not in table.schema.names:
            continue  # `prepare` says so
        values = table.column(c.name)
        checks: list[tuple[Any, str]] = []
        if pa.types.is_floating(values.type):
            checks.append((pc.is_inf(values), "wanted a finite number"))
            if not c.nullable:
                checks.append((pc.is_nan(values), "wanted a finite number"))
        low, high = (
            pa.scalar(b, tenon_step.arrow_type(c.type)) if isinstance(b, date) else b for b in (c.min, c.max)
        )
        if low is not None:
            checks.append((pc.less(values, low), f"wanted at least {c.min}"))
        if high is not None:
            checks.append((pc.greater(values, high), f"wanted at most {c.max}"))
        if c.values:
            known = pc.is_in(values, pa.array(c.values, values.type))
            wanted = f"wanted one of {', '.join(c.values)}"
            checks.append((pc.and_(pc.invert(known), pc.is_valid(values)), wanted))
        if c.json:
            texts = values.to_pylist()
            checks.append(
                (pa.array([t is not None and not tenon_step.is_json(t) for t in texts]), "wanted JSON")
            )
        for mask, says in checks:
            if pc.any(mask).as_py():
                row = pc.index(mask, True).as_py()
                raise RefusedValueError("the input", c.name, row, says, values[row].as_py())


def check_exact(values: np.ndarray, column: str, what: str = "the input") -> None:
    """RefusedValueError for an integer that no float64 is: as one, it would be another integer."""
    if values.dtype.kind not in "iu" or values.dtype.itemsize < 8 or not len(values):
        return
    if max(int(values.max()), -int(values.min())) <= 2**53:
        return
    # An integer is exact if no more than 53 bits remain without the zeros at its end.
    size = np.abs(values).astype(np.uint64)  # of the lowest integer, too
    lowest = np.maximum(size & (~size + np.uint64(1)), np.uint64(1))
    if len(bad := np.flatnonzero(size // lowest >= 2**53)):
        row = int(bad[0])
        raise RefusedValueError(
            what, column, row, "the model needs a float64, which cannot hold this integer", values[row]
        )


def refuse_large(frame: pd.DataFrame, error: Exception, what: str = "the input") -> None:
    """Says which number a library refused, if `error` is about one that is infinite or too large."""
    if not any(word in str(error) for word in ("inf", "too large")):
        return
    for name in frame.select_dtypes("number"):
        values = frame[name].to_numpy()
        if len(bad := np.flatnonzero(np.abs(values) > np.finfo(np.float32).max)):
            row = int(bad[0])
            says = "the model takes no number of this size"
            raise RefusedValueError(what, str(name), row, says, values[row]) from error


def check_frame(frame: pd.DataFrame) -> None:
    """`check_exact` for every column: scikit-learn's estimators make one array of floats of them."""
    for name in frame:
        check_exact(frame[name].to_numpy(), str(name))


def _series(values: pa.ChunkedArray, column: Column, what: str) -> pd.Series:
    kind = column.type
    if kind in ("string", "bytes"):
        return pd.Series(values.to_numpy(), dtype=object)
    if kind == "time":
        return values.cast(pa.int64()).cast(pa.duration("us")).to_pandas()
    if kind in ("date", "timestamp", "timestamptz"):
        return values.to_pandas() if kind != "date" else values.cast(pa.timestamp("us")).to_pandas()
    if kind == "bool" and column.nullable:
        values = values.cast(pa.uint8())
    if column.nullable and kind[:5] != "float":
        # Zeros replace nulls, of which NumPy's integers have none.
        array = values.fill_null(0).to_numpy()
        check_exact(array, column.name, what)
        return pd.Series(np.where(values.is_null().to_numpy(), np.nan, array.astype(np.float64)))
    return pd.Series(values.to_numpy())


@dataclass(frozen=True)
class Encoding:
    """How features become what an estimator digests; fitted on the training data, kept in model.json.

    Each entry of `columns` has a `name` and `as`: "number" (float), "category" (pandas categorical with fixed
    `categories`; any other value is missing), "text" (left as it is), "years" (since 2000, of dates and
    timestamps), "seconds" (of times of the day) or "nothing" (always 0, where training had no value).
    """

    columns: Sequence[Mapping[str, Any]]

    @classmethod
    def fit(
        cls, frame: pd.DataFrame, signature: Signature, native: bool, most: int | None = None
    ) -> Encoding:
        """`native` makes strings categories; of more than `most` values the most frequent are kept."""
        columns: list[dict[str, Any]] = []
        for c in signature.input:
            entry: dict[str, Any] = {"name": c.name, "as": "number"}
            if c.type == "bytes":
                raise StepError(
                    f'column {c.name}: bytes cannot be a feature; remove it or set preprocess: "none"'
                )
            if c.nullable and frame[c.name].isna().all():
                tenon_step.log(f"note: column {c.name} has no value in the training data: it is not used")
                entry["as"] = "nothing"
            elif c.type in ("date", "timestamp", "timestamptz"):
                entry["as"] = "years"
            elif c.type == "time":
                entry["as"] = "seconds"
            elif c.type == "string" and native:
                counts = frame[c.name].value_counts()
                values = list(c.values) or sorted(counts.index)
                if most is not None and len(values) > most:
                    frequent = sorted(values, key=lambda v: (-counts.get(v, 0), v))[:most]
                    tenon_step.log(
                        f"note: column {c.name} has {len(values)} values; the {most} most frequent are kept"
                    )
                    values = sorted(frequent)
                entry |= {"as": "category", "categories": values}
            elif c.type == "string":
                entry["as"] = "text"
            columns.append(entry)
        return cls(columns)

    @cached_property
    def _dtypes(self) -> dict[str, pd.CategoricalDtype]:
        return {
            c["name"]: pd.CategoricalDtype(pd.Index(c["categories"], dtype=object))
            for c in self.columns
            if c["as"] == "category"
        }

    def apply(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Encodes the output of `prepare`. Values never seen in training never fail."""
        return pd.DataFrame(
            {c["name"]: self._column(frame[c["name"]], c) for c in self.columns}, index=frame.index
        )

    def _column(self, values: pd.Series, entry: Mapping[str, Any]) -> Any:
        match entry["as"]:
            case "nothing":
                return np.zeros(len(values))
            case "number":
                check_exact(values.to_numpy(), entry["name"])
                return values if values.dtype == np.float32 else values.astype(np.float64)
            case "category":
                dtype = self._dtypes[entry["name"]]
                return pd.Categorical.from_codes(dtype.categories.get_indexer(values), dtype=dtype)
            case "years":
                # Small numbers, which neither overwhelm a linear model nor lose days in float32.
                return (values - pd.Timestamp("2000-01-01", tz=values.dt.tz)) / pd.Timedelta(days=365.25)
            case "seconds":
                return values / pd.Timedelta(seconds=1)
            case _:
                return values


# --- Model folders ---


class Model:
    """A fitted model. `info` is its model.json; `classes` are the labels of a classifier, sorted."""

    def __init__(self, signature: Signature, info: Mapping[str, Any], predictor: Any) -> None:
        self.signature = signature
        self.info = info
        self.predictor = predictor
        self.classes: list[Any] = list(info.get("classes") or ())
        self.encoding = Encoding(info["encoding"]) if info.get("encoding") else None
        self._label = _label_dtype(signature)

    @property
    def classification(self) -> bool:
        return self.signature.task == "classification"

    def features(self, data: Any) -> pd.DataFrame:
        """What the estimator is given for `data`, a table with the columns of the signature."""
        frame = prepare(data, self.signature)
        if self.encoding:
            return self.encoding.apply(frame)
        if self.info["flavour"] == "sklearn" and not self.info.get("pipeline"):
            check_frame(frame)
        return frame

    def predict(self, data: Any, probabilities: bool = False) -> pd.DataFrame:
        """One row per row of `data`.

        `prediction` is of the label's type, or float64 in a regression. For a classifier that knows
        probabilities, `probability` is that of True if the label is a bool, and otherwise that of the
        predicted class, and `probabilities`, on demand, is a dict from class to probability. Raises
        RefusedValueError or NoPredictionError for a row that has no prediction.
        """
        return self.outcome(self.features(data), probabilities)

    def outcome(self, features: pd.DataFrame, probabilities: bool = False) -> pd.DataFrame:
        """`predict` for rows that went through `features` already."""
        if not self.classification:
            values = np.asarray(self._ask("predict", features), dtype=np.float64).reshape(len(features))
            check_predicted(values)
            return pd.DataFrame({"prediction": values})
        best, p = self.classify(features)
        out = pd.DataFrame(
            {"prediction": pd.Series(np.array(self.classes, dtype=self._label)[best], dtype=self._label)}
        )
        if p is None:
            return out
        if self.signature.output.type == "bool":
            out["probability"] = p[:, self.classes.index(True)]
        else:
            out["probability"] = p[np.arange(len(p)), best]
        if probabilities:
            names = [label_name(c) for c in self.classes]
            out["probabilities"] = [dict(zip(names, row, strict=True)) for row in p.tolist()]
        return out

    def classify(self, features: pd.DataFrame) -> tuple[np.ndarray, np.ndarray | None]:
        """For each row the index of its class in `classes`, and what `predict_proba` gives."""
        p = self.predict_proba(features)
        if p is not None and type(self.predictor).__name__ in MOST_PROBABLE:
            return p.argmax(axis=1), p
        found = np.asarray(self._ask("predict", features)).reshape(len(features))
        index = {name: i for i, name in enumerate(self.classes)}
        try:
            return np.array([index[label] for label in found.tolist()], dtype=np.intp), p
        except KeyError as e:
            row = next(i for i, label in enumerate(found.tolist()) if label not in index)
            raise NoPredictionError(
                row, f"predict gave {e}, which is no class of the training data"
            ) from None

    def _ask(self, method: str, features: pd.DataFrame) -> Any:
        try:
            return getattr(self.predictor, method)(features)
        except ValueError as e:
            refuse_large(features, e)
            # A step of a pipeline names the column; it may be one that an earlier step made.
            if getattr(e, "column", None) in (c.name for c in self.signature.input):
                raise RefusedValueError("the input", e.column, e.row, e.says, e.value) from e
            raise

    def predict_proba(self, features: pd.DataFrame) -> np.ndarray | None:
        """Probabilities of shape (rows, classes), in the order of `classes`; None if the model has none.

        NoPredictionError for a row with a number outside of 0 and 1, or whose numbers do not add up to 1. The
        classes exclude each other, since each row has one label.
        """
        if not hasattr(self.predictor, "predict_proba"):
            return None
        p = np.asarray(self._ask("predict_proba", features), dtype=np.float64)
        if p.shape != (len(features), len(self.classes)):
            wanted = (len(features), len(self.classes))
            raise StepError(f"predict_proba gave an array of shape {p.shape}, wanted {wanted}")
        check_predicted(p)
        self._check_probabilities(p)
        return p.clip(0, 1)  # a metric takes no 1.0000000001

    def _check_probabilities(self, p: np.ndarray) -> None:
        fix = FIXES[self.info["flavour"]]
        outside = (p < -ROUNDING) | (p > 1 + ROUNDING)
        if len(rows := np.flatnonzero(outside.any(axis=1))):
            row = int(rows[0])
            # Of two classes, the second is the one that a model gives a number for.
            n = np.flatnonzero(outside[row])[-1]
            name = label_name(self.classes[n])
            raise NoPredictionError(
                row, f"the probability of the class {name} is {p[row, n]}, not between 0 and 1; {fix}"
            )
        sums = p.sum(axis=1)
        if len(rows := np.flatnonzero(np.abs(sums - 1) > ROUNDING_OF_SUM)):
            row = int(rows[0])
            names = [label_name(c) for c in self.classes]
            shown = ", ".join(f"{n} {v:g}" for n, v in zip(names[:5], p[row, :5].tolist(), strict=False))
            more = ", ..." if len(names) > 5 else ""
            raise NoPredictionError(
                row,
                f"the probabilities of its classes add up to {sums[row]:g}, not to 1 ({shown}{more}); {fix}",
            )


def check_predicted(values: np.ndarray) -> None:
    """NoPredictionError for the first row with what is no number."""
    bad = ~np.isfinite(values)
    rows = np.flatnonzero(bad.any(axis=1) if bad.ndim > 1 else bad)
    if len(rows):
        row = int(rows[0])
        raise NoPredictionError(row, f"it is {values[row][bad[row]].flat[0]}")


def save(folder: Path, signature: Signature, info: Mapping[str, Any]) -> None:
    """Writes signature.json and model.json. The flavour's own file is the trainer's to write, beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    doc = {
        "format": FORMAT,
        **info,
        # The patch level does not count: the environment is locked for a minor version.
        "python": ".".join(platform.python_version_tuple()[:2]),
        "libraries": _libraries(info["flavour"]),
    }
    _write_json(folder / "signature.json", signature.doc)
    _write_json(folder / "model.json", doc)


def load(folder: str | Path) -> Model:
    """Loads a model folder of any flavour. StepError if it is not one."""
    folder = Path(folder)
    try:
        info = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        signature = Signature.parse(json.loads((folder / "signature.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError) as e:
        raise StepError(f"{folder} is not a model folder: {e}") from e
    if info.get("format") != FORMAT:
        raise StepError(f"{folder} has model format {info.get('format')}; this loader supports {FORMAT}")
    if info["flavour"] not in LOADERS:
        raise StepError(
            f"{folder}: unknown flavour {info['flavour']}{tenon_step.nearest(info['flavour'], LOADERS)}"
        )
    return Model(signature, info, LOADERS[info["flavour"]](folder, info))


def describe(y: np.ndarray, signature: Signature) -> dict[str, Any]:
    """What model.json keeps of the labels: the sorted classes, or 21 quantiles of a regression's target."""
    if signature.task == "classification":
        classes = [c.item() if hasattr(c, "item") else c for c in np.unique(y)]
        if len(classes) < 2:
            raise StepError(
                f"label {signature.output.name} has only the value {label_name(classes[0])} in the "
                f"{len(y)} rows of the training data; a classifier needs two classes"
            )
        return {"classes": classes}
    return {"quantiles": [float(q) for q in np.quantile(y.astype(np.float64), np.linspace(0, 1, 21))]}


def label_name(label: Any) -> str:
    """A class as text, as in JSON: true, 3, setosa."""
    return str(bool(label)).lower() if isinstance(label, bool | np.bool_) else str(label)


def _label_dtype(signature: Signature) -> Any:
    kind = signature.output.type
    return object if kind == "string" else np.dtype(kind)


def _libraries(flavour: str) -> dict[str, str]:
    """The versions that matter to the flavour; other trainers may be installed too, and are left out."""
    versions = {}
    for name in (*LIBRARIES, *OWN.get(flavour, ())):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _write_json(path: Path, doc: Any) -> None:
    path.write_text(json.dumps(doc, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
