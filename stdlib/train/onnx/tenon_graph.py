"""A graph of the user's, its inputs and output, and the graph around it, for train.onnx."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pandas as pd
from onnx import TensorProto, helper, numpy_helper

import tenon_onnx
from tenon_step import Column, Signature, Step, StepError, log

OWN = "model/"  # before every name of the user's graph, so that none is twice
ALONE = 50  # rows that are tried by themselves
FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE)


class Graph:
    """The graph in the file that the parameters name. `encoding` and `tensor` are those of model.json."""

    def __init__(self, step: Step, signature: Signature, classes: Sequence[Any]) -> None:
        params = step.params
        self.file, self.classes = params["file"], list(classes)
        self.scores = params.get("gives") == "scores"
        self.missing = params.get("missing") or {}
        self.bytes = (step.code / self.file).read_bytes()
        try:
            self.model = onnx.load_model_from_string(self.bytes)
            onnx.checker.check_model(self.model)
        except Exception as e:
            raise StepError(f"{self.file} is not a valid ONNX model: {first_line(e)}") from e
        graph = self.model.graph
        weights = {w.name for w in graph.initializer}
        self.inputs = [v for v in graph.input if v.name not in weights]
        self.output = self._output(graph, params.get("output"))
        self.columns = {c.name: c for c in signature.input}
        order = {c.name: i for i, c in enumerate(signature.input)}
        named = params.get("inputs") or {}
        self.encoding = [self._encoded(c) for c in signature.input]
        self.tensor: list[dict[str, Any]] = []
        self.reads: list[tuple[onnx.ValueInfoProto, list[Column], list[int]]] = []
        for value in self.inputs:
            names = named.get(value.name, value.name)
            names = [names] if isinstance(names, str) else names
            if unknown := [n for n in names if n not in self.columns]:
                raise StepError(
                    f"the input {value.name!r} of {self.file}: the model has no column {unknown[0]}"
                )
            places = []
            for name in names:
                places.append(len(self.tensor))
                self.tensor.append(self._number(self.columns[name], order[name]))
            self.reads.append((value, [self.columns[n] for n in names], places))

    def _output(self, graph: onnx.GraphProto, wanted: str | None) -> onnx.ValueInfoProto:
        fit = [v for v in graph.output if v.type.tensor_type.elem_type in FLOATS]
        found = [v for v in fit if wanted is None or v.name == wanted]
        if len(found) != 1:
            raise StepError(
                f"{self.file} has {len(found)} outputs of floats that predict; name one: output: ..."
            )
        return found[0]

    @staticmethod
    def _encoded(column: Column) -> dict[str, Any]:
        if column.type == "string":
            return {"name": column.name, "as": "category", "categories": list(column.values)}
        return {"name": column.name, "as": "number"}

    def _number(self, column: Column, index: int) -> dict[str, Any]:
        """How the number of a column is made, in the form of `tenon_onnx`."""
        feature: dict[str, Any] = {"column": index, "as": "number"}
        if column.type == "string":
            feature |= {"as": "category", "categories": list(column.values)}
        if column.name in self.missing:
            value = self.missing[column.name]
            # The text for null follows the values of the column.
            feature["missing"] = float(len(column.values) if column.type == "string" else value)
        return feature

    def wrapped(self) -> bytes:
        """The graph between the numbers of rows and their predictions."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        model = onnx.compose.add_prefix(model, OWN)
        graph = model.graph
        weights = [v for v in graph.input if v.name in {w.name for w in graph.initializer}]
        before: list[onnx.NodeProto] = []
        for value, columns, places in self.reads:
            before += self._make(OWN + value.name, value, columns, places)
        after = self._predict(OWN + self.output.name)
        nodes = [*before, *graph.node, *after]
        del graph.node[:], graph.input[:], graph.output[:]
        graph.node.extend(nodes)
        graph.input.extend(
            [
                helper.make_tensor_value_info(
                    tenon_onnx.INPUT, TensorProto.DOUBLE, ["rows", len(self.tensor)]
                ),
                *weights,
            ]
        )
        wide = len(self.classes) or 1
        graph.output.append(
            helper.make_tensor_value_info(tenon_onnx.OUTPUT, TensorProto.DOUBLE, ["rows", wide])
        )
        del graph.value_info[:], model.metadata_props[:]
        model.producer_name, model.producer_version, model.doc_string = "tenon", "", ""
        try:
            onnx.checker.check_model(model)
        except Exception as e:
            raise StepError(f"{self.file} cannot be asked: {first_line(e)}") from e
        return model.SerializeToString(deterministic=True)

    def _make(
        self, to: str, value: onnx.ValueInfoProto, columns: list[Column], places: list[int]
    ) -> list[onnx.NodeProto]:
        """What makes one input of the numbers."""
        kind = value.type.tensor_type.elem_type
        found = f"{to}/numbers"
        nodes = [
            constant(f"{to}/places", np.array(places, dtype=np.int64)),
            helper.make_node("Gather", [tenon_onnx.INPUT, f"{to}/places"], [found], axis=1),
        ]
        if kind == TensorProto.STRING:
            texts = []
            for i, c in enumerate(columns):
                known = [*c.values, str(self.missing.get(c.name, ""))]
                nodes += [
                    constant(f"{to}/{i}/at", np.array([i], dtype=np.int64)),
                    helper.make_node("Gather", [found, f"{to}/{i}/at"], [f"{to}/{i}/number"], axis=1),
                    helper.make_node("Cast", [f"{to}/{i}/number"], [f"{to}/{i}/code"], to=TensorProto.INT64),
                    constant(f"{to}/{i}/known", np.array(known, dtype=object)),
                    helper.make_node(
                        "Gather", [f"{to}/{i}/known", f"{to}/{i}/code"], [f"{to}/{i}/text"], axis=0
                    ),
                ]
                texts.append(f"{to}/{i}/text")
            nodes.append(helper.make_node("Concat", texts, [f"{to}/typed"], axis=1))
        else:
            nodes.append(helper.make_node("Cast", [found], [f"{to}/typed"], to=kind))
        shape = [-1] if dimensions(value) == 1 else [-1, len(columns)]
        nodes += [
            constant(f"{to}/shape", np.array(shape, dtype=np.int64)),
            helper.make_node("Reshape", [f"{to}/typed", f"{to}/shape"], [to]),
        ]
        return nodes

    def _predict(self, found: str) -> list[onnx.NodeProto]:
        """What makes predictions of the output."""
        wide = len(self.classes) or 1
        one = wide == 2 and width(self.output) == 1
        nodes = [
            helper.make_node("Cast", [found], ["predict/double"], to=TensorProto.DOUBLE),
            constant("predict/shape", np.array([-1, 1 if one else wide], dtype=np.int64)),
            helper.make_node("Reshape", ["predict/double", "predict/shape"], ["predict/raw"]),
        ]
        last = "predict/raw"
        if self.scores and self.classes:
            last = "predict/probabilities"
            how = helper.make_node("Sigmoid", ["predict/raw"], [last])
            nodes.append(how if one else helper.make_node("Softmax", ["predict/raw"], [last], axis=1))
        if one:
            nodes += [
                constant("predict/one", np.array([[1.0]])),
                helper.make_node("Sub", ["predict/one", last], ["predict/first"]),
                helper.make_node("Concat", ["predict/first", last], ["predict/both"], axis=1),
            ]
            last = "predict/both"
        # The classes of a model are sorted.
        order = [self.classes.index(c) for c in sorted(self.classes)] or [0]
        nodes += [
            constant("predict/order", np.array(order, dtype=np.int64)),
            helper.make_node("Gather", [last, "predict/order"], [tenon_onnx.OUTPUT], axis=1),
        ]
        return nodes

    # --- Proof ---

    def prove(self, wrapped: bytes, numbers: np.ndarray, frame: pd.DataFrame) -> bool:
        """StepError unless the wrapped graph predicts what the graph predicts; whether rows go alone.

        They do if a prediction depends on how many there are, or the graph takes only one.
        """
        import onnxruntime

        fixed = any(first_dimension(v) == 1 for v in self.inputs)
        rows = 1 if fixed else tenon_onnx.ROWS
        try:
            plain = onnxruntime.InferenceSession(
                self.bytes, tenon_onnx.options(), providers=["CPUExecutionProvider"]
            )
            around = tenon_onnx.Session(wrapped, rows)
            want = np.concatenate(
                [self._ask(plain, frame.iloc[i : i + rows]) for i in range(0, len(frame), rows)]
            )
            found = around.run(numbers)
        except StepError:
            raise
        except Exception as e:
            raise StepError(
                f"ONNX Runtime {onnxruntime.__version__} cannot evaluate {self.file}: {first_line(e)}"
            ) from e
        if found.shape != want.shape:
            raise StepError(f"{self.file} gives numbers of shape {want.shape}, wanted {found.shape}")
        differs = ~np.isclose(found, want, rtol=0, atol=1e-15, equal_nan=True)
        if differs.any():
            n, i = np.argwhere(differs)[0]
            raise StepError(
                f"{self.file}: row {n + 1} of the input train predicts {found[n, i]}, not {want[n, i]}"
            )
        if not np.isfinite(want).all():
            n, i = np.argwhere(~np.isfinite(want))[0]
            says = f"{self.file}: row {n + 1} of the input train has no prediction: it is {want[n, i]}"
            nulls = [c.name for c in self.columns.values() if c.nullable and c.name not in self.missing]
            if nulls:
                says += f"; say what it gets for null: missing: {nulls[0]}: ..."
            raise StepError(says)
        if fixed:
            return True
        one = tenon_onnx.Session(wrapped, 1).run(numbers[:ALONE])
        if np.allclose(one, found[:ALONE], rtol=tenon_onnx.TOLERANCE, atol=tenon_onnx.TOLERANCE):
            return False
        log(f"note: what {self.file} predicts for a row depends on the others: it gets one at a time")
        return True

    def _ask(self, session: Any, frame: pd.DataFrame) -> np.ndarray:
        """What onnxruntime predicts for rows, whose inputs NumPy makes."""
        given = {}
        for value, columns, _ in self.reads:
            kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            made = []
            for c in columns:
                values = frame[c.name]
                if c.name in self.missing:
                    values = values.where(values.notna(), self.missing[c.name])
                made.append(values.to_numpy(dtype=object if c.type == "string" else np.float64).astype(kind))
            stacked = np.stack(made, axis=1)
            given[value.name] = stacked[:, 0] if dimensions(value) == 1 else stacked
        found = np.asarray(session.run([self.output.name], given)[0], dtype=np.float64)
        found = found.reshape(len(frame), -1)
        if self.scores and self.classes:
            if found.shape[1] == 1:
                found = 1 / (1 + np.exp(-found))
            else:
                powers = np.exp(found - found.max(axis=1, keepdims=True))
                found = powers / powers.sum(axis=1, keepdims=True)
        if len(self.classes) == 2 and found.shape[1] == 1:
            found = np.column_stack([1 - found, found])
        if self.classes and found.shape[1] == len(self.classes):
            found = found[:, [self.classes.index(c) for c in sorted(self.classes)]]
        return found


def constant(name: str, values: np.ndarray) -> onnx.NodeProto:
    """A constant as an operator: old graphs list weights among their inputs."""
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(values, name))


def first_line(e: Exception) -> str:
    return str(e).strip().partition("\n")[0]


def dimensions(value: onnx.ValueInfoProto) -> int | None:
    kind = value.type.tensor_type
    return len(kind.shape.dim) if kind.HasField("shape") else None


def first_dimension(value: onnx.ValueInfoProto) -> int:
    return value.type.tensor_type.shape.dim[0].dim_value if dimensions(value) else 0


def width(value: onnx.ValueInfoProto) -> int:
    """How many numbers an output has for a row; 0 if the graph does not say."""
    found = dimensions(value)
    if found is None:
        return 0
    return 1 if found < 2 else value.type.tensor_type.shape.dim[1].dim_value
