"""The steps of a scikit-learn pipeline as plain data, which the serving plane computes without Python.

`Steps` follows a fitted pipeline and writes a list of operations on registers, see Go's type model.Step. The
first registers are the features that the encoding makes of the columns; each operation adds more. What an
encoder makes of a category is not derived from its parameters: the encoder is asked.

`evaluate` computes the operations, so that an export is compared with the pipeline before it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from tenon_trees import NotExportedError

MOST_REGISTERS = 20_000
MOST_VALUES = 2_000_000  # in the tables of encoders
AT_ONCE = 500  # categories that an encoder is asked for


@dataclass(frozen=True)
class Cell:
    """A column somewhere in a pipeline: the register that has it, and the column that it is made of."""

    register: int
    origin: int
    kind: str  # "number", "text" or "category"
    null: str | None = None  # the text that replaces a missing one


class Steps:
    """The operations of a pipeline whose input is made by the entries of an encoding."""

    def __init__(self, entries: Sequence[Mapping[str, Any]]) -> None:
        self.entries = entries
        self.steps: list[dict[str, Any]] = []
        self.registers = len(entries)
        self.values = 0
        self.texts: set[int] = set()  # categories that an encoder reads as text

    def cells(self) -> list[Cell]:
        kinds = {"text": "text", "category": "category"}
        return [Cell(i, i, kinds.get(e["as"], "number")) for i, e in enumerate(self.entries)]

    def features(self, known: Mapping[int, Sequence[str]]) -> list[dict[str, Any]]:
        """What the first registers are; `known` are the categories that the estimator has codes for."""
        features = []
        for i, e in enumerate(self.entries):
            doc: dict[str, Any] = {"column": i, "as": e["as"]}
            if e["as"] == "category" and i in self.texts:
                if i in known:
                    raise NotExportedError(f"column {e['name']} is both encoded and a category")
                doc |= {"as": "text", "categories": list(e["categories"])}
            elif e["as"] == "category":
                doc["categories"] = list(known.get(i, ()))
            features.append(doc)
        return features

    def follow(self, step: Any, cells: list[Cell], given: Any) -> tuple[list[Cell], Any]:
        """The columns that a fitted step makes of some, and of the rows `given`."""
        name = type(step).__name__
        if step == "passthrough" or name in ("Dense", "FunctionTransformer"):
            if name == "FunctionTransformer" and step.func is not None:
                raise NotExportedError("a function of Python in the pipeline")
            return cells, given if isinstance(step, str) else step.transform(given)
        if name == "Pipeline":
            for _, part in step.steps:
                cells, given = self.follow(part, cells, given)
            return cells, given
        makers: dict[str, Callable[[Any, list[Cell], Any], list[Cell]]] = {
            "OnColumns": self._on_columns,
            "ColumnTransformer": self._column_transformer,
            "FeatureUnion": self._union,
            "StandardScaler": self._scaler,
            "RobustScaler": self._scaler,
            "MaxAbsScaler": self._scaler,
            "MinMaxScaler": self._min_max,
            "SimpleImputer": self._imputer,
            "OneHotEncoder": self._encoder,
            "OrdinalEncoder": self._encoder,
            "TargetEncoder": self._encoder,
            "KBinsDiscretizer": self._bins,
            "PolynomialFeatures": self._polynomial,
        }
        made = step.transform(given)
        if hasattr(step, "get_support"):
            cells = [cells[i] for i in np.flatnonzero(step.get_support())]
        elif name in makers and type(step).__module__.startswith(("sklearn.", "tenon_pipeline")):
            cells = makers[name](step, cells, given)
        else:
            inner = type(step.transformer).__name__ if name == "OneColumn" else name
            raise NotExportedError(f"{inner} in the pipeline")
        if len(cells) != made.shape[1]:
            raise NotExportedError(f"{name} makes {made.shape[1]} columns in another way than is known")
        return cells, made

    # --- Parts that hold others ---

    def _on_columns(self, step: Any, cells: list[Cell], given: Any) -> list[Cell]:
        names = list(given.columns)
        chosen = [names.index(c) for c in step.columns]
        made, _ = self._part(step.fitted_, cells, given, chosen)
        return made + [c for i, c in enumerate(cells) if i not in chosen]

    def _column_transformer(self, step: Any, cells: list[Cell], given: Any) -> list[Cell]:
        made: list[Cell] = []
        for _, part, columns in step.transformers_:
            chosen = _positions(columns, given)
            if len(chosen) and not (isinstance(part, str) and part == "drop"):
                made += self._part(part, cells, given, chosen)[0]
        return made

    def _union(self, step: Any, cells: list[Cell], given: Any) -> list[Cell]:
        if step.transformer_weights:
            raise NotExportedError("weights of the parts of a FeatureUnion")
        parts = [part for _, part in step.transformer_list if part != "drop"]
        return [cell for part in parts for cell in self.follow(part, cells, given)[0]]

    def _part(self, part: Any, cells: list[Cell], given: Any, chosen: list[int]) -> tuple[list[Cell], Any]:
        some = given.iloc[:, chosen] if isinstance(given, pd.DataFrame) else given[:, chosen]
        return self.follow(part, [cells[i] for i in chosen], some)

    # --- Numbers ---

    def _scaler(self, step: Any, cells: list[Cell], given: Any) -> list[Cell]:
        _check_numbers(step, cells, given)
        doc: dict[str, Any] = {"op": "scale"}
        params = step.get_params()
        if params.get("with_mean", params.get("with_centering", False)):
            doc["subtract"] = _list(step.mean_ if hasattr(step, "mean_") else step.center_)
        if params.get("with_std", params.get("with_scaling", True)):
            if sparse.issparse(given):
                doc["multiply"] = _list(1 / step.scale_)
            else:
                doc["divide"] = _list(step.scale_)
        if params.get("clip", False):
            doc["clip"] = [-1.0, 1.0]
        return self._add(doc, cells, len(cells))

    def _min_max(self, step: Any, cells: list[Cell], given: Any) -> list[Cell]:
        _check_numbers(step, cells, given)
        doc: dict[str, Any] = {"op": "scale", "multiply": _list(step.scale_), "add": _list(step.min_)}
        if step.clip:
            doc["clip"] = [float(v) for v in step.feature_range]
        return self._add(doc, cells, len(cells))

    def _imputer(self, step: Any, cells: list[Cell], given: Any) -> list[Cell]:
        nan = isinstance(step.missing_values, float) and np.isnan(step.missing_values)
        last = step.transform(given)
        last = list(last.iloc[-1] if isinstance(last, pd.DataFrame) else dense(last)[-1])
        made, kept = [], 0
        seen: dict[int, Any] = {}  # what becomes of the last row, which has nulls
        for i, cell in enumerate(cells):
            value = step.statistics_[i]
            if not step.keep_empty_features and not isinstance(value, str) and pd.isna(value):
                continue
            seen[i], kept = last[kept], kept + 1
            if cell.kind != "number":
                # Nulls of texts are None or NaN: what the imputer takes for missing is seen.
                missing = cell.null is None and isinstance(seen[i], str) and _is_null(given, i)
                self._read_text(cell)
                made.append(replace(cell, null=str(seen[i])) if missing else cell)
            elif not nan:
                raise NotExportedError(f"missing values that are {step.missing_values}")
            elif pd.isna(value):
                raise NotExportedError("a missing number that stays missing")
            else:
                made += self._add({"op": "impute", "values": [float(value)]}, [cell], 1)
        if step.add_indicator:
            for i in step.indicator_.features_.tolist():
                cell = cells[i]
                if cell.kind != "number" and (cell.null is not None or not _is_null(given, i)):
                    raise NotExportedError("an indicator of missing texts")
                if cell.kind != "number" and not isinstance(seen.get(i), str):
                    raise NotExportedError("an indicator of missing texts")
                made += self._add({"op": "missing"}, [cell], 1)
        return made

    def _bins(self, step: Any, cells: list[Cell], given: Any) -> list[Cell]:
        _check_numbers(step, cells, given)
        made = []
        for cell, edges, count in zip(cells, step.bin_edges_, step.n_bins_.tolist(), strict=True):
            codes = self._add({"op": "bins", "edges": _list(edges[1:-1])}, [cell], 1)
            if step.encode != "ordinal":
                doc = {"op": "onehot", "width": count, "unknown": [-1]}
                doc |= {"categories": [float(i) for i in range(count)], "positions": list(range(count))}
                codes = self._add(doc, codes, count)
            made += codes
        return made

    def _polynomial(self, step: Any, cells: list[Cell], given: Any) -> list[Cell]:
        _check_numbers(step, cells, given)
        if sparse.issparse(given):
            raise NotExportedError("PolynomialFeatures of a sparse matrix")
        made: dict[tuple[int, ...], Cell] = {(i,): cell for i, cell in enumerate(cells)}

        def product(of: tuple[int, ...]) -> Cell:
            if of not in made:
                # scikit-learn multiplies what it has for the others with the first.
                pair = [product(of[1:]), cells[of[0]]]
                [made[of]] = self._add({"op": "product"}, pair, 1)
            return made[of]

        out = []
        for powers in step.powers_.tolist():
            of = tuple(i for i, power in enumerate(powers) for _ in range(power))
            out.append(product(of) if of else self._add({"op": "constant", "values": [1.0]}, [], 1)[0])
        return out

    # --- Categories ---

    def _encoder(self, step: Any, cells: list[Cell], given: Any) -> list[Cell]:
        name = type(step).__name__
        refuses = getattr(step, "handle_unknown", "") == "error"
        widths = [1] * len(cells)
        if name == "OneHotEncoder":
            widths = list(step._n_features_outs)
        elif name == "TargetEncoder" and step.target_type_ == "multiclass":
            widths = [len(step.classes_)] * len(cells)
        made, start = [], 0
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            if refuses and not self._named(cell, given, i):
                raise NotExportedError(f"{name} refuses values that training did not have, of no column")
            categories = list(step.categories_[i])
            doc: dict[str, Any] = {"categories": [_category(c, cell) for c in categories], "width": width}
            if cell.null is not None:
                doc["null"] = cell.null
            asked = [*categories, *([] if refuses else [_unseen(categories, cell)])]
            self.values += len(asked) * (1 if name == "OneHotEncoder" else width)
            if self.values > MOST_VALUES:
                raise NotExportedError(f"encoders with more than {MOST_VALUES} values")
            answers: list[Any] = []
            for n in range(0, len(asked), AT_ONCE):
                table = _asked(step, cells, given, i, asked[n : n + AT_ONCE])[:, start : start + width]
                if name == "OneHotEncoder":
                    hot = table.argmax(axis=1) if width else np.zeros(len(table), dtype=int)
                    answers += np.where(table.any(axis=1), hot, -1).tolist()
                else:
                    answers += [None if np.isnan(v) else float(v) for v in table.ravel()]
            start += width
            count = len(categories) * (1 if name == "OneHotEncoder" else width)
            if name == "OneHotEncoder":
                doc |= {"op": "onehot", "positions": answers[:count]}
            else:
                doc |= {"op": "table", "values": answers[:count]}
            if not refuses:
                doc["unknown"] = answers[count:]
            self._read_text(cell)
            made += self._add(doc, [cell], width)
        return made

    def _named(self, cell: Cell, given: Any, at: int) -> bool:
        """Whether Python refuses a value of the cell with the name of the column that it is made of."""
        return isinstance(given, pd.DataFrame) and given.columns[at] == self.entries[cell.origin]["name"]

    def _read_text(self, cell: Cell) -> None:
        if cell.kind == "category":
            self.texts.add(cell.register)

    def _add(self, doc: dict[str, Any], of: Sequence[Cell], width: int) -> list[Cell]:
        if of:
            doc["of"] = [c.register for c in of]
        at = self.registers
        self.registers += width
        if self.registers > MOST_REGISTERS:
            raise NotExportedError(f"a pipeline of more than {MOST_REGISTERS} numbers")
        self.steps.append(doc)
        origins = [of[min(i, len(of) - 1)].origin if of else 0 for i in range(width)]
        return [Cell(at + i, origins[i], "number") for i in range(width)]


def _positions(columns: Any, given: Any) -> list[int]:
    """Which columns a ColumnTransformer gives to a part."""
    if isinstance(columns, str | int | np.integer):
        raise NotExportedError("a transformer of one column")
    if isinstance(columns, slice) and not isinstance(columns.start or columns.stop or 0, str):
        return list(range(given.shape[1]))[columns]
    chosen = list(columns) if not isinstance(columns, slice) else []
    if isinstance(columns, slice) or any(isinstance(c, bool | np.bool_) for c in chosen):
        raise NotExportedError("columns of a ColumnTransformer that are no list of names or positions")
    names = list(given.columns) if isinstance(given, pd.DataFrame) else []
    return [names.index(c) if isinstance(c, str) else int(c) % given.shape[1] for c in chosen]


def _check_numbers(step: Any, cells: Sequence[Cell], given: Any) -> None:
    name = type(step).__name__
    if any(c.kind != "number" for c in cells):
        raise NotExportedError(f"{name} of a text")
    kinds = given.dtypes.tolist() if isinstance(given, pd.DataFrame) else [given.dtype]
    if kinds and all(k in (np.float32, np.float16) for k in kinds):
        raise NotExportedError(f"{name} computes with fewer than 64 bits")


def _asked(step: Any, cells: Sequence[Cell], given: Any, at: int, asked: list[Any]) -> np.ndarray:
    """What an encoder makes of values of one column."""
    columns = {}
    for i, cell in enumerate(cells):
        values = asked if i == at else [step.categories_[i][0]] * len(asked)
        columns[i] = pd.Series(values, dtype=float if cell.kind == "number" else object)
    frame = pd.DataFrame(columns)
    if isinstance(given, pd.DataFrame):
        return dense(step.transform(frame.set_axis(given.columns, axis=1)))
    return dense(step.transform(frame.to_numpy()))


def _unseen(categories: Sequence[Any], cell: Cell) -> Any:
    if cell.kind == "number":
        whole = [abs(float(c)) for c in categories if np.isfinite(c)]
        return max([*whole, 0.0]) + 0.5
    text = "unseen"
    while text in categories:
        text += "."
    return text


def _category(value: Any, cell: Cell) -> str | float | None:
    if not isinstance(value, str) and pd.isna(value):
        return None
    if cell.kind == "number":
        if not np.isfinite(value):
            raise NotExportedError("a category that is infinite")
        return float(value)
    if not isinstance(value, str):
        raise NotExportedError("categories that are no texts")
    return value


def _is_null(given: Any, at: int) -> bool:
    """Whether the last row has no value in a column."""
    value = given.iloc[-1, at] if isinstance(given, pd.DataFrame) else given[-1, at]
    return not isinstance(value, str) and bool(pd.isna(value))


def dense(values: Any) -> np.ndarray:
    return values.toarray() if sparse.issparse(values) else np.asarray(values)


def _list(values: Any) -> list[float]:
    return [float(v) for v in np.ravel(values)]


# --- The reverse: what the operations compute ---


class Refused(Exception):  # noqa: N818, it is an answer
    """A value that the operations refuse."""


def evaluate(doc: Mapping[str, Any], frame: pd.DataFrame) -> np.ndarray:
    """The numbers that a document's model reads, for what the encoding makes of rows."""
    registers: list[np.ndarray] = []
    for f in doc["features"]:
        values = frame.iloc[:, f["column"]]
        if f["as"] == "text":
            found = [v if isinstance(v, str) else None for v in values]
            if "categories" in f:
                found = [v if v in f["categories"] else None for v in found]
            registers.append(np.array([*found, None], dtype=object)[:-1])
        elif f["as"] == "category":
            codes = {v: float(i) for i, v in enumerate(f["categories"])}
            registers.append(np.array([codes.get(v, np.nan) for v in values], dtype=float))
        else:
            registers.append(values.to_numpy(dtype=float))
    with np.errstate(all="ignore"):
        for step in doc["steps"]:
            registers += _compute(step, [registers[r] for r in step.get("of", ())], len(frame))
    return (
        np.column_stack([registers[r] for r in doc["reads"]]) if doc["reads"] else np.empty((len(frame), 0))
    )


def _compute(step: Mapping[str, Any], of: list[np.ndarray], rows: int) -> list[np.ndarray]:
    match step["op"]:
        case "scale":
            return [_scaled(step, i, x) for i, x in enumerate(of)]
        case "impute":
            if any(np.isinf(x).any() for x in of):
                raise Refused
            return [np.where(np.isnan(x), v, x) for x, v in zip(of, step["values"], strict=True)]
        case "missing":
            return [pd.isna(x).astype(float) for x in of]
        case "bins":
            return [np.searchsorted(step["edges"], _whole(of[0]), side="right").astype(float)]
        case "product":
            return [_whole(of[0]) * _whole(of[1])]
        case "constant":
            return [np.full(rows, v) for v in step["values"]]
    return _encoded(step, of[0])


def _scaled(step: Mapping[str, Any], i: int, x: np.ndarray) -> np.ndarray:
    if np.isinf(x).any():
        raise Refused
    if "subtract" in step:
        x = x - step["subtract"][i]
    if "divide" in step:
        x = x / step["divide"][i]
    if "multiply" in step:
        x = x * step["multiply"][i]
    if "add" in step:
        x = x + step["add"][i]
    return np.clip(x, *step["clip"]) if "clip" in step else x


def _whole(x: np.ndarray) -> np.ndarray:
    if not np.isfinite(x).all():
        raise Refused
    return x


def _encoded(step: Mapping[str, Any], x: np.ndarray) -> list[np.ndarray]:
    width = step["width"]
    if step["op"] == "onehot":
        tables = [
            [float(i == p) for i in range(width)] for p in [*step["positions"], *step.get("unknown", ())]
        ]
    else:
        flat = [np.nan if v is None else v for v in [*step["values"], *step.get("unknown", ())]]
        tables = [flat[i : i + width] for i in range(0, len(flat), width)]
    index = {c: i for i, c in enumerate(step["categories"])}
    out = np.empty((len(x), width))
    for row, value in enumerate(x):
        key = value if isinstance(value, str) or value is None else None if np.isnan(value) else float(value)
        if key is None:
            key = step.get("null")
        at = index.get(key, len(step["categories"]))
        if at == len(tables):
            raise Refused
        out[row] = tables[at]
    return list(out.T)
