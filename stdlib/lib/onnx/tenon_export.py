"""A deployment as one ONNX graph: from the columns of a request to predictions.

`Export` takes the parameter `request` of the service, or None, and plane.json. An input is a tensor of
shape (rows) for each column that is needed; null is NaN of a float, and otherwise true in a further input
NAME.null. Dates are days, and other times microseconds. The outputs are `prediction`, and for a classifier
`probability` and `probabilities`, of shape (rows, classes). `prove` compares it with what the service
computes. What has no exact form is a NotLoweredError.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import tenon_onnx
from tenon_lower import DAY, INTEGERS, NAMES, TIMES, Builder, NotLoweredError, Query, Value, element
from tenon_step import StepError

OPSET, ML_OPSET = 20, 5
MOST_INPUTS = 10_000  # of the trees, with one for each set of categories
START, YEAR = 946_684_800_000_000, 31_557_600_000_000.0  # 2000-01-01 and 365.25 days, in microseconds
ZERO = float(np.float32(1e-35))  # LightGBM's


class Export:
    """`columns` are those of a request, as in a schema; `graph` is model.onnx, if the model is one."""

    def __init__(
        self, request: dict[str, Any] | None, plane: dict[str, Any], signature: Any, graph: bytes = b""
    ) -> None:
        self.b, self.plane, self.signature = Builder(), plane, signature
        self.columns = request["columns"] if request else plane["columns"]
        self.inputs: dict[str, tuple[int, dict[str, Any]]] = {}
        known = _Columns(self)
        if request:
            for what in ("lookups", "history", "calls"):
                if request.get(what):
                    raise NotLoweredError(REASONS[what])
            for i, plan in enumerate(request["plans"]):
                known = _Results(Query(self.b, plan, i, known), self.b)
        self.rows = ""  # the shape of a tensor with a value for each row
        values = [known[c["name"]] for c in plane["columns"]]
        if not self.inputs:
            raise NotLoweredError("the prediction depends on nothing that a caller sends")
        self.rows = self.b.op("Shape", next(iter(self.inputs)))
        numbers = self._numbers(values)
        if "onnx" in plane:
            outputs, model = self._merged(numbers, graph)
        else:
            outputs, model = (self._trees if "trees" in plane else self._linear)(numbers), None
        self.model = self._finish(outputs, model)

    def input(self, column: dict[str, Any]) -> Value:
        """The value of a column of the request."""
        kind = NAMES.get(column["type"])
        if kind is None:
            raise NotLoweredError(f"the column {column['name']} of the request: a {column['type']}")
        name = column["name"]
        value = Value(name, kind, None, *_range(column, kind))
        self.inputs[name] = (element(kind), column)
        if not column.get("nullable"):
            return value
        if column["type"].startswith("float"):
            return Value(name, kind, self.b.op("IsNaN", name))
        if any(c["name"] == f"{name}.null" for c in self.columns):
            raise NotLoweredError(f"a column is called {name}.null, as the nulls of {name} are")
        self.inputs[f"{name}.null"] = (TensorProto.BOOL, column)
        return Value(name, kind, f"{name}.null", value.low, value.high)

    def _numbers(self, values: Sequence[Value]) -> str:
        """The numbers that the model reads, of shape (rows, numbers)."""
        if "steps" in self.plane:
            raise NotLoweredError("a pipeline with steps of one's own")
        b, made = self.b, []
        for f in self.plane["features"]:
            v, how = values[f["column"]], f["as"]
            missing = b.scalar("DOUBLE", f.get("missing", np.nan))
            if how == "nothing":
                x = b.scalar("DOUBLE", 0.0)
            elif how == "number":
                if v.type == "VARCHAR" or v.type in TIMES:
                    raise NotLoweredError(f"a number of a {v.type}")
                x = v.name if v.type == "DOUBLE" else b.op("Cast", v.name, to=TensorProto.DOUBLE)
                if v.type in ("FLOAT", "DOUBLE"):
                    x = b.op("Where", b.op("IsNaN", x), missing, x)
            elif how == "category":
                x = self._code(v, f["categories"])
                x = b.op("Where", b.op("IsNaN", x), missing, x)
            elif how == "onehot":
                x = self._onehot(v, f.get("category"))
            elif how == "years":
                since = v.name
                if v.type == "DATE":
                    since = b.op("Mul", since, b.scalar("BIGINT", DAY))
                since = b.op("Cast", b.op("Sub", since, b.scalar("BIGINT", START)), to=TensorProto.DOUBLE)
                x = b.op("Div", since, b.scalar("DOUBLE", YEAR))
            elif how == "seconds":
                x = b.op("Div", b.op("Cast", v.name, to=TensorProto.DOUBLE), b.scalar("DOUBLE", 1e6))
            else:
                raise NotLoweredError(f"a column that becomes {how}")
            if v.null and how not in ("nothing", "onehot"):
                x = b.op("Where", v.null, missing, x)
            x = b.op("Expand", x, self.rows)
            made.append(b.op("Unsqueeze", x, b.constant([1], np.int64)))
        numbers = b.op("Concat", *made, axis=1)
        if "reads" in self.plane and self.plane["reads"] != list(range(len(made))):
            numbers = b.op("Gather", numbers, b.constant(self.plane["reads"], np.int64), axis=1)
        return numbers

    def _code(self, v: Value, categories: Sequence[str]) -> str:
        """The position of a text among categories, or NaN."""
        found = self.b.op(
            "LabelEncoder",
            v.name,
            domain="ai.onnx.ml",
            keys_strings=list(categories),
            values_floats=[float(i) for i in range(len(categories))],
            default_float=float("nan"),
        )
        return self.b.op("Cast", found, to=TensorProto.DOUBLE)

    def _onehot(self, v: Value, category: str | None) -> str:
        b = self.b
        if category is None:
            found = v.null or b.scalar("BOOLEAN", False)
        else:
            found = b.op("Equal", v.name, b.scalar("VARCHAR", category))
            if v.null:
                found = b.op("And", found, b.op("Not", v.null))
        return b.op("Cast", found, to=TensorProto.DOUBLE)

    # --- Models: from numbers to probabilities, or a number, of shape (rows, outputs) ---

    def _linear(self, numbers: str) -> str:
        b, doc = self.b, self.plane["linear"]
        sums = b.op("MatMul", numbers, b.constant(np.array(doc["weights"]).T, np.float64))
        sums = b.op("Add", sums, b.constant([doc["intercepts"]], np.float64))
        return self._link(sums, doc["link"])

    def _link(self, sums: str, link: str) -> str:
        b = self.b
        if link == "identity":
            return sums
        if link == "exp":
            return b.op("Exp", sums)
        if link == "softmax":
            return b.op("Softmax", sums, axis=1)
        p = b.op("Sigmoid", sums)
        return b.op("Concat", b.op("Sub", b.constant([[1.0]], np.float64), p), p, axis=1)

    def _trees(self, numbers: str) -> str:
        b, doc = self.b, self.plane["trees"]
        if doc["rule"] == "xgboost" or doc.get("float32"):
            numbers = b.op("Cast", b.op("Cast", numbers, to=TensorProto.FLOAT), to=TensorProto.DOUBLE)
        ensemble = _Ensemble(doc)
        if doc["rule"] == "lightgbm":
            numbers = self._missing(numbers, ensemble.kinds)
        if ensemble.sets:
            numbers = b.op(
                "Concat", numbers, *(self._members(numbers, f, s) for f, s in ensemble.sets), axis=1
            )
        sums = ensemble.base[None, :]
        if ensemble.roots:
            found = b.op("TreeEnsemble", numbers, domain="ai.onnx.ml", **ensemble.attributes())
            sums = b.op("Add", found, b.constant(sums, np.float64))
        else:
            shape = b.op("Concat", self.rows, b.constant([1], np.int64), axis=0)
            sums = b.op("Expand", b.constant(sums, np.float64), shape)
        if doc.get("average"):
            sums = b.op("Div", sums, b.constant([ensemble.per], np.float64))
        return self._link(sums, doc["link"])

    def _missing(self, numbers: str, kinds: dict[int, str]) -> str:
        """NaN where LightGBM sees a missing value, and 0 where it takes NaN for that."""
        b = self.b
        as_zero = [kinds.get(i, "none") == "none" for i in range(self.plane["trees"]["features"])]
        as_missing = [kinds.get(i) == "zero" for i in range(self.plane["trees"]["features"])]
        nan = b.op("IsNaN", numbers)
        if any(as_zero):
            takes = b.op("And", nan, b.constant([as_zero], bool))
            numbers = b.op("Where", takes, b.scalar("DOUBLE", 0.0), numbers)
        if any(as_missing):
            small = b.op("LessOrEqual", b.op("Abs", numbers), b.scalar("DOUBLE", ZERO))
            takes = b.op("And", small, b.constant([as_missing], bool))
            numbers = b.op("Where", takes, b.scalar("DOUBLE", np.nan), numbers)
        return numbers

    def _members(self, numbers: str, feature: int, sets: Sequence[Sequence[float]]) -> str:
        """For each set of categories, 0 for those that go to the left, 1 for others, or NaN."""
        b = self.b
        table = np.array(
            sets, dtype=np.float64
        ).T  # the last rows are for other codes, and for what is missing
        x = b.op("Gather", numbers, b.constant(feature, np.int64), axis=1)
        other, missing = (b.scalar("DOUBLE", float(len(table) - n)) for n in (2, 1))
        code = b.op("Where", b.op("Less", x, other), x, other)  # a code that no set lists is like any other
        code = b.op("Cast", b.op("Where", b.op("IsNaN", x), missing, code), to=TensorProto.INT64)
        return b.op("Gather", b.constant(table, np.float64), code, axis=0)

    def _merged(self, numbers: str, graph: bytes) -> tuple[str, onnx.ModelProto]:
        if self.plane["onnx"]["rows"] == 1:
            raise NotLoweredError("a graph whose prediction for a row depends on the other rows")
        model = onnx.compose.add_prefix(onnx.load_model_from_string(graph), "model/")
        self.b.nodes.append(helper.make_node("Identity", [numbers], [f"model/{tenon_onnx.INPUT}"]))
        return f"model/{tenon_onnx.OUTPUT}", model

    def _finish(self, outputs: str, model: onnx.ModelProto | None) -> onnx.ModelProto:
        """The file, with the outputs of the service."""
        b, before = self.b, len(self.b.nodes)
        classes = self.plane.get("classes")
        zero = b.constant(0, np.int64)
        if not classes:
            results = {"prediction": (b.op("Gather", outputs, zero, axis=1), TensorProto.DOUBLE, ["rows"])}
        else:
            best = b.op("ArgMax", outputs, axis=1, keepdims=0)
            of = {"bool": (bool, TensorProto.BOOL), "string": (object, TensorProto.STRING)}
            dtype, kind = of.get(self.signature.output.type, (np.int64, TensorProto.INT64))
            # Gather takes no bools.
            table = b.constant(classes, np.int64 if dtype is bool else dtype)
            prediction = b.op("Gather", table, best, axis=0)
            if dtype is bool:
                prediction = b.op("Cast", prediction, to=TensorProto.BOOL)
            if True in [c for c in classes if c is True]:
                p = b.op("Gather", outputs, b.constant(classes.index(True), np.int64), axis=1)
            else:
                p = b.op("ReduceMax", outputs, b.constant([1], np.int64), keepdims=0)
            results = {
                "prediction": (prediction, kind, ["rows"]),
                "probability": (p, TensorProto.DOUBLE, ["rows"]),
                "probabilities": (outputs, TensorProto.DOUBLE, ["rows", len(classes)]),
            }
        taken = [name for name in self.inputs if name in results]
        if taken:
            raise NotLoweredError(f"a column of the request is called {taken[0]}, as an output is")
        for name, (tensor, _, _) in results.items():
            b.nodes.append(helper.make_node("Identity", [tensor], [name]))
        nodes = b.nodes
        if model is not None:
            nodes = [*b.nodes[:before], *model.graph.node, *b.nodes[before:]]
        made = helper.make_graph(
            nodes,
            "tenon",
            [helper.make_tensor_value_info(n, kind, ["rows"]) for n, (kind, _) in self.inputs.items()],
            [helper.make_tensor_value_info(n, kind, shape) for n, (_, kind, shape) in results.items()],
            list(model.graph.initializer) if model is not None else [],
        )
        versions = {"": OPSET, "ai.onnx.ml": ML_OPSET}
        if model is not None:
            versions |= {o.domain: o.version for o in model.opset_import}
        file = helper.make_model(
            made,
            opset_imports=[helper.make_opsetid(d, v) for d, v in versions.items()],
            ir_version=max(10, model.ir_version if model is not None else 0),
            functions=list(model.functions) if model is not None else [],
            producer_name="tenon",
        )
        try:
            onnx.checker.check_model(file)
        except onnx.checker.ValidationError as e:
            raise NotLoweredError(f"the graph of the model: {str(e).strip().splitlines()[0]}") from e
        return file

    # --- Proof ---

    def feed(self, rows: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
        """The inputs for rows as a caller sends them, as JSON."""
        given = {}
        for name, (kind, column) in self.inputs.items():
            values = [row.get(column["name"]) for row in rows]
            if name != column["name"]:
                given[name] = np.array([v is None for v in values])
                continue
            if kind == TensorProto.INT64 and column["type"] in ("date", "time", "timestamp", "timestamptz"):
                values = [None if v is None else moment(column["type"], v) for v in values]
            filler: Any = (
                np.nan
                if kind in (TensorProto.FLOAT, TensorProto.DOUBLE)
                else ""
                if kind == TensorProto.STRING
                else 0
            )
            dtype = object if kind == TensorProto.STRING else helper.tensor_dtype_to_np_dtype(kind)
            given[name] = np.array([filler if v is None else v for v in values], dtype=dtype)
        return given

    def prove(self, rows: Sequence[dict[str, Any]], want: np.ndarray, most: int = 10) -> None:
        """StepError with the first rows for which the graph gives something else than the service."""
        import onnxruntime

        data = self.model.SerializeToString(deterministic=True)
        session = onnxruntime.InferenceSession(data, tenon_onnx.options(), providers=["CPUExecutionProvider"])
        last = session.get_outputs()[-1].name
        found = np.concatenate(
            [
                session.run([last], self.feed(rows[i : i + tenon_onnx.ROWS]))[0].reshape(-1, want.shape[1])
                for i in range(0, len(rows), tenon_onnx.ROWS)
            ]
        )
        allowed = tenon_onnx.TOLERANCE * np.maximum(1.0, np.abs(want))
        wrong = np.flatnonzero(~(np.abs(found - want) <= allowed).all(axis=1))
        if len(wrong):
            lines = [f"row {i + 1}: wanted {want[i].tolist()}, got {found[i].tolist()}" for i in wrong[:most]]
            says = f"the graph predicts something else for {len(wrong)} of {len(rows)} rows"
            raise StepError("; ".join([says, *lines]))


REASONS = {
    "lookups": "a table that is looked up: a graph has no tables",
    "history": "features of a history",
    "calls": "a feature in Python",
}


class _Columns(dict):
    """The columns of a request, which become inputs once they are needed."""

    def __init__(self, export: Export) -> None:
        self.export = export
        self.declared = {c["name"]: c for c in export.columns}

    def __contains__(self, name: object) -> bool:
        return name in self.declared

    def __missing__(self, name: str) -> Value:
        self[name] = self.export.input(self.declared[name])
        return self[name]


class _Results(dict):
    """The columns of a query, as a table has them: NaN is null."""

    def __init__(self, query: Query, b: Builder) -> None:
        self.query, self.b = query, b
        self.names = {o["name"] for o in query.plan["outputs"]}

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __missing__(self, name: str) -> Value:
        v = self.query.output(name)
        if v.type in ("FLOAT", "DOUBLE"):
            v = Value(v.name, v.type, self.b.either(v.null, self.b.op("IsNaN", v.name)))
        self[name] = v
        return v


def _range(column: dict[str, Any], kind: str) -> tuple[int, int]:
    if kind not in INTEGERS:
        return 0, 0
    low, high = INTEGERS[kind]
    low = max(low, math.ceil(column["min"])) if "min" in column else low
    high = min(high, math.floor(column["max"])) if "max" in column else high
    return low, high


class _Ensemble:
    """Trees in the form of the operator TreeEnsemble."""

    def __init__(self, doc: dict[str, Any]) -> None:
        self.doc = doc
        self.base = np.array(doc.get("baseline") or [0.0] * doc["outputs"], dtype=np.float64)
        self.per = [0] * doc["outputs"]
        self.kinds: dict[int, str] = {}
        self.roots: list[int] = []
        self.feature: list[int] = []
        self.split: list[float] = []
        self.missing: list[int] = []
        self.true: list[int] = []
        self.true_leaf: list[int] = []
        self.false: list[int] = []
        self.false_leaf: list[int] = []
        self.leaves: list[tuple[int, float]] = []
        found: dict[int, dict[tuple[float, ...], int]] = {}
        self._collect(found)
        self.sets = [(f, list(sets)) for f, sets in found.items()]
        first = doc["features"]
        self.place: dict[tuple[int, tuple[float, ...]], int] = {}
        for f, sets in self.sets:
            for s in sets:
                self.place[f, s] = first
                first += 1
        if first > MOST_INPUTS:
            raise NotLoweredError(f"trees with {first - doc['features']} sets of categories")
        for t in doc["trees"]:
            self._add(t)

    def _side(self, tree: dict[str, Any], i: int) -> tuple[float, ...] | None:
        """Where each category goes, and at the end what is missing."""
        bits = (tree.get("categories") or [None] * len(tree["feature"]))[i]
        if bits is None:
            return None
        listed = [bits[c // 32] >> c % 32 & 1 for c in range(32 * len(bits))]
        if self.doc["rule"] == "xgboost":
            return (*(float(x) for x in listed), 0.0, np.nan)
        other = np.nan if self.doc["rule"] == "sklearn" else 1.0
        return (*(1.0 - x for x in listed), 1.0, other)

    def _collect(self, found: dict[int, dict[tuple[float, ...], int]]) -> None:
        widths: dict[int, int] = {}
        for t in self.doc["trees"]:
            for i, f in enumerate(t.get("feature", ())):
                kind = t["missing"][i].split()[0]
                if (
                    self.doc["rule"] == "lightgbm"
                    and (t.get("categories") or {})
                    and t["categories"][i] is not None
                ):
                    kind = "category"
                if self.kinds.setdefault(f, kind) != kind and self.doc["rule"] == "lightgbm":
                    raise NotLoweredError("trees with several kinds of missing values in one column")
                side = self._side(t, i)
                if side is not None:
                    widths[f] = max(widths.get(f, 0), len(side))
        self.widths = widths
        for t in self.doc["trees"]:
            for i, f in enumerate(t.get("feature", ())):
                side = self._side(t, i)
                if side is not None:
                    found.setdefault(f, {})[self._padded(f, side)] = 1

    def _padded(self, f: int, side: tuple[float, ...]) -> tuple[float, ...]:
        """A set of a column as long as all of that column, and a key: NaN, which is not itself, is text."""
        *listed, other, missing = side
        return (
            *listed,
            *[other] * (self.widths[f] - len(side)),
            other,
            str(missing) if missing != missing else missing,
        )

    def _add(self, tree: dict[str, Any]) -> None:
        width = tree.get("width", 1)
        for k in range(width):
            output = tree.get("output", 0) + k
            self.per[output] += 1
            values = tree["values"][k::width]
            if not tree.get("feature"):
                self.base[output] += values[0]
                continue
            first = len(self.feature)
            self.roots.append(first)
            leaf = len(self.leaves)
            self.leaves += [(output, v) for v in values]
            for i, f in enumerate(tree["feature"]):
                side = self._side(tree, i)
                self.feature.append(f if side is None else self.place[f, self._padded(f, side)])
                self.split.append(tree["threshold"][i] if side is None else 0.5)
                self.missing.append(int(tree["missing"][i].endswith("left")))
                for child, at, is_leaf in (
                    (tree["left"][i], self.true, self.true_leaf),
                    (tree["right"][i], self.false, self.false_leaf),
                ):
                    at.append(first + child if child >= 0 else leaf - 1 - child)
                    is_leaf.append(int(child < 0))

    def attributes(self) -> dict[str, Any]:
        def tensor(name: str, values: Any, dtype: Any) -> onnx.TensorProto:
            return numpy_helper.from_array(np.array(values, dtype=dtype), name)

        mode = 1 if self.doc["rule"] == "xgboost" else 0  # less than, or at most
        return {
            "n_targets": self.doc["outputs"],
            "aggregate_function": 1,
            "post_transform": 0,
            "tree_roots": self.roots,
            "nodes_featureids": self.feature,
            "nodes_modes": tensor("modes", [mode] * len(self.feature), np.uint8),
            "nodes_splits": tensor("splits", self.split, np.float64),
            "nodes_missing_value_tracks_true": self.missing,
            "nodes_truenodeids": self.true,
            "nodes_trueleafs": self.true_leaf,
            "nodes_falsenodeids": self.false,
            "nodes_falseleafs": self.false_leaf,
            "leaf_targetids": [t for t, _ in self.leaves],
            "leaf_weights": tensor("weights", [w for _, w in self.leaves], np.float64),
        }


def moment(kind: str, text: str) -> int:
    """A date, time or timestamp as the graph takes it: days, or microseconds."""
    if kind == "date":
        return (date.fromisoformat(text) - date(1970, 1, 1)).days
    if kind == "time":
        t = time.fromisoformat(text)
        return ((t.hour * 60 + t.minute) * 60 + t.second) * 1_000_000 + t.microsecond
    at = datetime.fromisoformat(text)
    since = datetime(1970, 1, 1, tzinfo=UTC) if at.tzinfo else datetime(1970, 1, 1)
    return (at - since) // timedelta(microseconds=1)


def parse_floats(rows: Sequence[Sequence[str]]) -> np.ndarray:
    """Hexadecimal floats of a check or a sample."""
    return np.array([[float.fromhex(x) for x in row] for row in rows])
