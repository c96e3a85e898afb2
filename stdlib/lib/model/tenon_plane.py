"""A model as plain data that the serving plane can ask without Python, see Go's package model.

`export` gives the document, or raises NotExportedError with the reason. Whatever it gives predicts the same
numbers as the model, bit for bit. `write` puts it into the model folder, with rows of the training data and
what the model predicts for them: the plane computes these before it answers anything.
"""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import tenon_model
import tenon_step
import tenon_trees
from tenon_model import Model
from tenon_step import Column, LazyTable
from tenon_trees import NotExportedError

VERSION = 1
FILE = "plane.json"
CHECKED = 500  # rows of the training data that the plane computes before it answers
MOST_NODES = 2_000_000  # of a model that is exported; larger ones are served in Python


def write(folder: Path, train: LazyTable) -> None:
    """Writes plane.json for the model in `folder`, fitted on `train`, unless it needs Python."""
    model = tenon_model.load(folder)
    try:
        document = export(model)
    except NotExportedError as e:
        tenon_step.log(f"note: this model is served by Python: {e}")
        return
    rows = train.some([c.name for c in model.signature.input], CHECKED)
    document["check"] = check(model, _finite(rows))
    text = json.dumps(document, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    (folder / FILE).write_text(text, encoding="utf-8")


def check(model: Model, table: pa.Table) -> dict[str, Any]:
    """Rows as a request has them, and the numbers that the model gives for them, as hexadecimal floats."""
    features = model.features(table)
    numbers = model.predict_proba(features) if model.classification else model.outcome(features).to_numpy()
    columns = [[_value(v, c) for v in table.column(c.name).to_pylist()] for c in model.signature.input]
    return {
        "rows": [list(row) for row in zip(*columns, strict=True)],
        "outputs": [[float(x).hex() for x in row] for row in np.asarray(numbers)],
    }


def _finite(table: pa.Table) -> pa.Table:
    """The rows without an infinite number, which no request can have."""
    infinite = [pc.fill_null(pc.is_inf(c), False) for c in table.columns if pa.types.is_floating(c.type)]
    return table.filter(pc.invert(functools.reduce(pc.or_, infinite))) if infinite else table


def _value(value: Any, column: Column) -> Any:
    """A value of a table as a request has it."""
    if value is None:
        return None
    if column.type == "bytes":
        return base64.b64encode(value).decode("ascii")
    if column.type in ("date", "time", "timestamp", "timestamptz"):
        return value.isoformat()
    if isinstance(value, float) and value != value:
        return None
    return value


def export(model: Model) -> dict[str, Any]:
    if model.encoding is None:
        raise NotExportedError('a model without automatic preprocessing (preprocess: "none")')
    if model.info["flavour"] == "script":
        raise NotExportedError("a model of a script of one's own")
    if model.classification and model.signature.output.type not in ("bool", "string"):
        whole = all(isinstance(c, int) for c in model.classes)
        if not whole:
            raise NotExportedError("classes that are fractions")
    predictor, features = _parts(model)
    document = {
        "version": VERSION,
        "task": model.signature.task,
        "columns": [_column(c) for c in model.signature.input],
        "features": features,
        "trees": tenon_trees.export(predictor),
    }
    trees = document["trees"]
    if model.classification and trees["link"] == "identity" and trees["rule"] != "sklearn":
        raise NotExportedError("an objective that gives no probabilities")
    nodes = sum(len(t.get("feature", ())) for t in trees["trees"])
    if nodes > MOST_NODES:
        raise NotExportedError(f"it has {nodes} nodes, and at most {MOST_NODES} are exported")
    if model.classification:
        document["classes"] = model.classes
    return document


def bound(value: Any) -> Any:
    """A bound as in the JSON of a signature."""
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, date) else value


def _column(c: Column) -> dict[str, Any]:
    doc: dict[str, Any] = {"name": c.name, "type": c.type}
    if c.nullable:
        doc["nullable"] = True
    if c.min is not None:
        doc["min"] = bound(c.min)
    if c.max is not None:
        doc["max"] = bound(c.max)
    if c.values:
        doc["values"] = list(c.values)
    if c.json:
        doc["json"] = True
    return doc


def _parts(model: Model) -> tuple[Any, list[dict[str, Any]]]:
    """What evaluates the features, and how these are made of the columns."""
    entries = list(model.encoding.columns) if model.encoding else []
    predictor = model.predictor
    if model.info["flavour"] in ("xgboost", "lightgbm"):
        return predictor.booster, [_feature(i, e) for i, e in enumerate(entries)]
    if not hasattr(predictor, "steps"):
        known = tenon_trees.categories(predictor) if hasattr(predictor, "is_categorical_") else {}
        return predictor, [_feature(i, e, known.get(i)) for i, e in enumerate(entries)]
    if [name for name, _ in predictor.steps] != ["preprocess", "estimator"]:
        raise NotExportedError("a pipeline with steps of one's own")
    return predictor["estimator"], _automatic(predictor["preprocess"], entries)


def _feature(index: int, entry: Any, known: Sequence[Any] | None = None) -> dict[str, Any]:
    """A feature that the encoding makes; `known` are the categories that the estimator has codes for."""
    doc = {"column": index, "as": entry["as"]}
    if entry["as"] == "category":
        doc["categories"] = list(entry["categories"] if known is None else known)
    elif entry["as"] == "text":
        raise NotExportedError("a column of text that no category was made of")
    return doc


def _automatic(preprocess: Any, entries: Sequence[Any]) -> list[dict[str, Any]]:
    """The columns of tenon_sklearn.digestible: numbers, then one for each category of a text."""
    position = {e["name"]: i for i, e in enumerate(entries)}
    features: list[dict[str, Any]] = []
    for name, transformer, columns in preprocess.transformers_:
        if name == "number" and len(columns):
            medians = getattr(transformer, "statistics_", None)
            for n, column in enumerate(columns):
                feature = _feature(position[column], entries[position[column]])
                if medians is not None:
                    feature["missing"] = float(medians[n]) if np.isfinite(medians[n]) else 0.0
                features.append(feature)
        elif name == "text" and len(columns):
            for column, categories in zip(columns, transformer.categories_, strict=True):
                for category in categories:
                    feature = {"column": position[column], "as": "onehot"}
                    if isinstance(category, str):
                        feature["category"] = category
                    features.append(feature)
        elif name not in ("number", "text", "remainder"):
            raise NotExportedError(f"a step {name} on columns of its own")
    return features
