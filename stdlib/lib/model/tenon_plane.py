"""A model as plain data that the serving plane can ask without Python, see Go's package model.

`export` gives the document, or raises NotExportedError with the reason. Trees predict the same numbers as the
model, bit for bit, linear models up to the order of additions, see tenon_linear. `write` puts the document
into the model folder, with rows of the training data and what the model predicts for them: the plane computes
these before it answers anything. Steps of pipelines and linear models are computed for these rows here, too,
and for rows with values that training has not seen.
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
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

import tenon_linear
import tenon_model
import tenon_step
import tenon_steps
import tenon_trees
from tenon_model import Model
from tenon_step import Column, LazyTable, StepError
from tenon_steps import Steps
from tenon_trees import NotExportedError

GRAPHS = 3  # the version of what has a graph for ONNX Runtime
VERSION = 2
TREES = 1  # the version of what has only trees and features
FILE = "plane.json"
CHECKED = 500  # rows of the training data that the plane computes before it answers
MOST_STRANGE = 40  # columns of which values that training has not seen are tried
MOST_NODES = 2_000_000  # of a model that is exported; larger ones are served in Python


def write(folder: Path, train: LazyTable) -> None:
    """Writes plane.json for the model in `folder`, fitted on `train`, unless it needs Python."""
    model = tenon_model.load(folder)
    rows = _finite(train.some([c.name for c in model.signature.input], CHECKED))
    try:
        document = export(model, rows)
        if document["version"] != TREES:
            rows = pa.concat_tables([rows, *_accepted(model, strange(rows, model.signature.input))])
        if document["version"] == VERSION:
            prove(model, document, rows)
        document["check"] = check(model, rows)
        text = json.dumps(document, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    except NotExportedError as e:
        tenon_step.log(f"note: this model is served by Python: {e}")
        return
    except ValueError as e:  # JSON has no infinity
        tenon_step.log(f"note: this model is served by Python: it holds a number that is none: {e}")
        return
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


def export(model: Model, rows: pa.Table | None) -> dict[str, Any]:
    """The document of a model. `rows` are some of the training data: a pipeline is tried on them."""
    if model.encoding is None:
        raise NotExportedError('a model without automatic preprocessing (preprocess: "none")')
    if model.info["flavour"] == "script":
        raise NotExportedError("a model of a script of one's own")
    if model.classification and model.signature.output.type not in ("bool", "string"):
        whole = all(isinstance(c, int) for c in model.classes)
        if not whole:
            raise NotExportedError("classes that are fractions")
    parts = _parts(model, rows)
    version = GRAPHS if "onnx" in parts else VERSION if "steps" in parts or "linear" in parts else TREES
    document = {
        "version": version,
        "task": model.signature.task,
        "columns": [_column(c) for c in model.signature.input],
        **parts,
    }
    if trees := document.get("trees"):
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


def _parts(model: Model, rows: pa.Table | None) -> dict[str, Any]:
    """The trees or the linear model, and how what they read is made of the columns."""
    entries = list(model.encoding.columns) if model.encoding else []
    predictor = model.predictor
    if model.info["flavour"] == "onnx":
        return {"features": predictor.tensor, "onnx": predictor.document()}
    if model.info["flavour"] in ("xgboost", "lightgbm"):
        features = [_feature(i, e) for i, e in enumerate(entries)]
        return {"features": features, "trees": tenon_trees.export(predictor.booster)}
    if not is_pipeline(predictor):
        known = tenon_trees.categories(predictor) if hasattr(predictor, "is_categorical_") else {}
        features = [_feature(i, e, known.get(i)) for i, e in enumerate(entries)]
        return {"features": features, **_estimator(predictor)}
    if [name for name, _ in predictor.steps] == ["preprocess", "estimator"]:
        features = _automatic(predictor["preprocess"], entries)
        if features is not None:
            return {"features": features, **_estimator(predictor["estimator"])}
    return _pipeline(model, entries, rows)


def _estimator(estimator: Any) -> dict[str, Any]:
    if tenon_linear.is_linear(estimator):
        return {"linear": tenon_linear.export(estimator)}
    return {"trees": tenon_trees.export(estimator)}


def _pipeline(model: Model, entries: Sequence[Any], rows: pa.Table | None) -> dict[str, Any]:
    """A pipeline with steps of one's own, which may end in another one."""
    if rows is None or not len(rows):
        raise NotExportedError("no row of the training data to try the pipeline on")
    steps, predictor = Steps(entries), model.predictor
    tried = _tried(model, rows)
    cells = steps.cells()
    while is_pipeline(predictor):
        for _, step in predictor.steps[:-1]:
            cells, tried = steps.follow(step, cells, tried)
        predictor = predictor.steps[-1][1]
    estimator = _estimator(predictor)
    known: dict[int, Sequence[str]] = {}
    if getattr(predictor, "is_categorical_", None) is not None:
        known = {cells[i].register: found for i, found in tenon_trees.categories(predictor).items()}
    if any(c.kind == "text" or (c.kind == "category" and c.register not in known) for c in cells):
        raise NotExportedError("an estimator that reads texts")
    reads = [c.register for c in cells]
    return {"features": steps.features(known), "steps": steps.steps, "reads": reads, **estimator}


def is_pipeline(predictor: Any) -> bool:
    return type(predictor).__module__ == "sklearn.pipeline" and hasattr(predictor, "steps")


def through(predictor: Any, given: Any) -> tuple[Any, Any]:
    """What the last step of a pipeline, or of one that it ends in, reads; and that step."""
    while is_pipeline(predictor):
        if len(predictor.steps) > 1:
            given = predictor[:-1].transform(given)
        predictor = predictor.steps[-1][1]
    return given, predictor


def _tried(model: Model, rows: pa.Table) -> pd.DataFrame:
    """Rows for a pipeline, the last of which has nulls if the pipeline takes them."""
    some = rows.slice(0, 20)
    nullable = {c.name for c in model.signature.input if c.nullable}
    nulls = [
        pa.nulls(1, f.type) if f.name in nullable else rows.column(f.name).slice(0, 1).combine_chunks()
        for f in rows.schema
    ]
    with_nulls = pa.concat_tables([some, pa.table(nulls, schema=rows.schema)])
    for table in (with_nulls, some):
        tried = model.features(table)
        try:
            through(model.predictor, tried)
        except (AttributeError, TypeError, ValueError, StepError):
            continue
        return tried
    raise NotExportedError("it refuses rows of the training data")


# --- Proof ---


def strange(rows: pa.Table, columns: Sequence[Column]) -> list[pa.Table]:
    """Rows of the training data with one value that it may not have, as far as a request may have it."""
    found = []
    for i, c in enumerate(columns[:MOST_STRANGE]):
        values: list[Any] = [None] if c.nullable else []
        if c.type == "string" and not c.values:
            values += ["", "never seen", "\u00e9\U0001f4a7 \t'\"", "nan", "None"]
        elif c.type in ("float32", "float64"):
            values += [0.0, -0.0, -1.5, 1e-40, 1e30, -1e30]
            values += [5e-324, 1e300, -1e300] if c.type == "float64" else []
        elif c.type.startswith(("int", "uint")):
            bits = int(c.type.lstrip("uint"))
            unsigned = c.type[0] == "u"
            values += [0, 1, 2 ** (bits - 1) - 1 if bits < 64 else 2**53, *([] if unsigned else [-1])]
            values += [2**63 if unsigned else -(2**63)] if bits == 64 else []
        elif c.type in ("date", "timestamp", "timestamptz"):
            values += ["1600-02-29", "9999-12-31"]
        row = rows.slice(i % max(len(rows), 1), 1)
        at = rows.schema.get_field_index(c.name)
        kind = rows.schema.field(at).type
        for v in values:
            if c.type in ("date", "timestamp", "timestamptz") and v is not None:
                v = (
                    date.fromisoformat(v)
                    if c.type == "date"
                    else pd.Timestamp(v, tz=getattr(kind, "tz", None))
                )
                v = v.to_pydatetime() if isinstance(v, pd.Timestamp) else v
            if len(row):
                found.append(row.set_column(at, rows.schema.field(at), pa.array([v], kind)))
    return found


def _accepted(model: Model, tables: list[pa.Table]) -> list[pa.Table]:
    """Those rows for which the model has a prediction."""
    if not tables:
        return []
    try:
        model.predict(pa.concat_tables(tables))
    except (ValueError, StepError):
        half = len(tables) // 2
        return _accepted(model, tables[:half]) + _accepted(model, tables[half:]) if half else []
    return tables


def prove(model: Model, document: dict[str, Any], rows: pa.Table) -> None:
    """NotExportedError unless steps and linear model give for the rows what the model gives."""
    features = model.features(rows)
    numbers = _numbers(*through(model.predictor, features))
    if "steps" in document:
        try:
            made = tenon_steps.evaluate(document, features)
        except tenon_steps.Refused:
            raise NotExportedError("the exported steps refuse a row that the pipeline takes") from None
        if not np.array_equal(made, numbers, equal_nan=True):
            raise NotExportedError("the exported steps give other numbers than the pipeline")
    if "linear" not in document:
        return
    linear = document["linear"]
    want = model.predict_proba(features) if model.classification else model.outcome(features).to_numpy()
    if want is None:
        raise NotExportedError("a model without probabilities")
    distance = np.abs(tenon_linear.predict(linear, numbers) - want)
    if not (distance <= tenon_linear.allowed(linear, numbers, want)[:, None]).all():
        raise NotExportedError(
            f"its predictions differ by {np.nanmax(distance):.1g} from those of the exported weights"
        )


def _numbers(given: Any, predictor: Any) -> np.ndarray:
    """What an estimator reads, as numbers: a category is its position among those that it knows."""
    if not isinstance(given, pd.DataFrame):
        return tenon_steps.dense(given).astype(float)
    native = getattr(predictor, "is_categorical_", None) is not None
    known = tenon_trees.categories(predictor) if native else {}
    columns = []
    for i in range(given.shape[1]):
        values = given.iloc[:, i]
        if i in known:
            codes = {v: float(code) for code, v in enumerate(known[i])}
            columns.append(np.array([codes.get(v, np.nan) for v in values], dtype=float))
        else:
            columns.append(values.to_numpy(dtype=float))
    return np.column_stack(columns)


def _feature(index: int, entry: Any, known: Sequence[Any] | None = None) -> dict[str, Any]:
    """A feature that the encoding makes; `known` are the categories that the estimator has codes for."""
    doc = {"column": index, "as": entry["as"]}
    if entry["as"] == "category":
        doc["categories"] = list(entry["categories"] if known is None else known)
    elif entry["as"] == "text":
        raise NotExportedError("a column of text that no category was made of")
    return doc


def _automatic(preprocess: Any, entries: Sequence[Any]) -> list[dict[str, Any]] | None:
    """The columns of tenon_sklearn.digestible: numbers, then one for each category of a text.

    None if it has steps of one's own, too.
    """
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
            return None
    return features
