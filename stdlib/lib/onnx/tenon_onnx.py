"""Models that are graphs for ONNX Runtime: `model.onnx` in the folder of a model of the flavour "onnx".

A graph gets `numbers`, a float64 tensor of shape (rows, inputs), and gives `outputs` of shape (rows,
outputs), float64 too: the probabilities of all classes, or the predicted number. What is done with the
numbers before a network sees them, such as scaling, is a part of the graph. `tensor` in model.json says how
they are made of the encoded columns, in the form that the features in plane.json have:

    {"column": 3, "as": "number", "missing": 0.5}    `missing` is for nulls
    {"column": 4, "as": "onehot", "category": "EWR"}    null is a category, too
    {"column": 5, "as": "category", "categories": ["EWR", "JFK"]}    the position

A graph with int8 weights sees one row at a time: ONNX Runtime takes the scale of the numbers between layers
from all rows that it is given, so a prediction would depend on the other rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tenon_step import StepError, log

FILE = "model.onnx"
FLOAT = "float.onnx"  # the graph before it was quantized, if it was
INPUT, OUTPUT = "numbers", "outputs"
TOLERANCE = 1e-6  # of a prediction, relative to it if it is above `scale`
ROWS = 256  # at a time, of graphs with float weights
MOST_CATEGORIES = 1000


def fit(encoding: Sequence[Mapping[str, Any]], frame: pd.DataFrame) -> list[dict[str, Any]]:
    """How numbers are made of `frame`, the encoded training data.

    Missing numbers become the median, texts a number for each category, with 1 for the one that it is. A
    category that training has not seen has all zeros.
    """
    tensor: list[dict[str, Any]] = []
    for i, entry in enumerate(encoding):
        values = frame.iloc[:, i]
        if entry["as"] != "text":
            feature: dict[str, Any] = {"column": i, "as": entry["as"]}
            if values.isna().any():
                feature["missing"] = float(values.median())
            tensor.append(feature)
            continue
        counts = values.value_counts()
        if len(counts) > MOST_CATEGORIES:
            kept = f"the {MOST_CATEGORIES} most frequent are kept"
            log(f"note: column {entry['name']} has {len(counts)} values; {kept}")
        frequent = sorted(counts.index, key=lambda v: (-counts[v], v))[:MOST_CATEGORIES]
        categories: list[str | None] = sorted(frequent)
        if values.isna().any():
            categories.append(None)
        tensor += [{"column": i, "as": "onehot", "category": c} for c in categories]
    return tensor


def numbers(tensor: Sequence[Mapping[str, Any]], frame: pd.DataFrame) -> np.ndarray:
    """The input of the graph for encoded rows."""
    out = np.empty((len(frame), len(tensor)))
    for i, feature in enumerate(tensor):
        values = frame.iloc[:, feature["column"]]
        if feature["as"] == "onehot":
            category = feature["category"]
            out[:, i] = values.isna() if category is None else values == category
            continue
        if feature["as"] == "category":
            codes = values.cat.codes.to_numpy()
            found = np.where(codes < 0, np.nan, codes)
        else:
            found = values.to_numpy(dtype=np.float64)
        out[:, i] = np.where(np.isnan(found), feature["missing"], found) if "missing" in feature else found
    return out


def names(tensor: Sequence[Mapping[str, Any]], encoding: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the inputs of a network are called: "distance", or "origin=EWR" for a category."""
    return [
        encoding[f["column"]]["name"] + (f"={f['category']}" if f["as"] == "onehot" else "") for f in tensor
    ]


def options() -> Any:
    """Those of a session with one thread."""
    import onnxruntime

    found = onnxruntime.SessionOptions()
    found.intra_op_num_threads = found.inter_op_num_threads = 1
    found.log_severity_level = 3
    return found


class Session:
    """A graph that is loaded. It uses one thread."""

    def __init__(self, graph: bytes, rows: int) -> None:
        import onnxruntime

        self.session = onnxruntime.InferenceSession(graph, options(), providers=["CPUExecutionProvider"])
        self.rows = rows

    def run(self, given: np.ndarray) -> np.ndarray:
        parts = [
            self.session.run([OUTPUT], {INPUT: given[i : i + self.rows]})[0]
            for i in range(0, len(given), self.rows)
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.session.get_outputs()[0].shape[1]))


class ONNXGraph:
    """The predictor of a model folder."""

    def __init__(self, folder: Path, info: Mapping[str, Any], file: str = FILE) -> None:
        self.folder, self.info, self.tensor = folder, info, info["tensor"]
        path = folder / file
        if not path.is_file():
            raise StepError(f"{folder} has no {file}")
        self.graph = path.read_bytes()
        self.quantized = file == FILE and info.get("quantize", "none") != "none"
        self.session = Session(self.graph, 1 if self.quantized or info.get("alone") else ROWS)
        if info.get("classes"):
            self.predict_proba = self._outputs

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        return self._outputs(frame)[:, 0]

    def _outputs(self, frame: pd.DataFrame) -> np.ndarray:
        return self.session.run(numbers(self.tensor, frame))

    def unquantized(self) -> ONNXGraph | None:
        """The predictor with float weights, if this one has others."""
        return ONNXGraph(self.folder, self.info, FLOAT) if self.quantized else None

    def document(self) -> dict[str, Any]:
        """What plane.json says about the graph."""
        import onnxruntime

        return {
            "file": FILE,
            "digest": "sha256:" + hashlib.sha256(self.graph).hexdigest(),
            "inputs": len(self.tensor),
            "outputs": len(self.info.get("classes") or (0,)),
            "rows": self.session.rows,
            "runtime": onnxruntime.__version__,
            "tolerance": TOLERANCE,
            "scale": self.info.get("scale", 1.0),
        }
