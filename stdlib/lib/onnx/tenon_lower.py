"""SQL of one row as operators of ONNX: what Go's package rowsql computes, exactly, or NotLoweredError.

The plan is that of rowsql, in which every type and every cast is explicit. A value is a tensor of shape
(rows) and a mask of nulls. Integers carry the range that they can have: an ONNX operator wraps around
silently where SQL fails, so an expression that may overflow is refused. NaN is equal to itself and above all
numbers, as in DuckDB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

INTEGERS = {
    "TINYINT": (-(2**7), 2**7 - 1),
    "SMALLINT": (-(2**15), 2**15 - 1),
    "INTEGER": (-(2**31), 2**31 - 1),
    "BIGINT": (-(2**63), 2**63 - 1),
    "UTINYINT": (0, 2**8 - 1),
    "USMALLINT": (0, 2**16 - 1),
    "UINTEGER": (0, 2**32 - 1),
}
FLOATS = {"FLOAT": TensorProto.FLOAT, "DOUBLE": TensorProto.DOUBLE}
# The types of columns, as DuckDB names them.
NAMES = {
    "bool": "BOOLEAN",
    "int8": "TINYINT",
    "int16": "SMALLINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "uint8": "UTINYINT",
    "uint16": "USMALLINT",
    "uint32": "UINTEGER",
    "float32": "FLOAT",
    "float64": "DOUBLE",
    "string": "VARCHAR",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMP WITH TIME ZONE",
}
OWN = "tenon/"  # before the name of every tensor but inputs and outputs, which have those of columns
# Days, or microseconds: of the day, or since 1970.
TIMES = ("DATE", "TIME", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE")
DAY = 86_400_000_000
# Parts of a date or a timestamp with their ranges, and of the day: microseconds, and how many.
PARTS = {"year": (-(10**6), 10**6), "month": (1, 12), "day": (1, 31), "dayofmonth": (1, 31)}
PARTS |= {"isodow": (1, 7), "dayofweek": (0, 6), "weekday": (0, 6)}
CLOCK = {"hour": (DAY // 24, 24), "minute": (60_000_000, 60)}


class NotLoweredError(Exception):
    """A part of a deployment that has no exact form.

    In a query it has the index of its `plan`, the `column` that needs it and, of a function, the `word` that
    is in the text. (Plans do not keep places: then a deployment would change with the layout of a query.)
    """

    def __init__(self, says: str, plan: int = -1, word: str = "") -> None:
        super().__init__(says)
        self.says, self.plan, self.word, self.column = says, plan, word, ""


@dataclass(frozen=True)
class Value:
    """A tensor of shape (rows), and the mask of its nulls; None if there are none."""

    name: str
    type: str  # DuckDB's
    null: str | None = None
    low: int = 0  # of integers
    high: int = 0


def element(kind: str) -> int:
    """The type of the elements of a tensor."""
    if kind in INTEGERS or kind in TIMES:
        return TensorProto.INT64
    if kind in FLOATS:
        return FLOATS[kind]
    return {"BOOLEAN": TensorProto.BOOL, "VARCHAR": TensorProto.STRING}[kind]


class Builder:
    """Collects operators."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self._constants: dict[Any, str] = {}

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{OWN}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, values: Any, dtype: Any) -> str:
        array = np.array(values, dtype=dtype)
        key = (str(array.dtype), array.shape, repr(array.tolist()))
        if key not in self._constants:
            name = self._constants[key] = f"{OWN}c{len(self._constants)}"
            tensor = numpy_helper.from_array(array, name)
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        return self._constants[key]

    def scalar(self, kind: str, value: Any) -> str:
        dtype = {"BOOLEAN": bool, "VARCHAR": object, "FLOAT": np.float32, "DOUBLE": np.float64}.get(
            kind, np.int64
        )
        return self.constant([value], dtype)

    def where(self, condition: str, a: str, b: str, boolean: bool = False) -> str:
        if not boolean:
            return self.op("Where", condition, a, b)
        # ONNX Runtime chooses among numbers and texts only.
        return self.op("Or", self.op("And", condition, a), self.op("And", self.op("Not", condition), b))

    def either(self, a: str | None, b: str | None) -> str | None:
        """The mask of what is null in a or b."""
        if a is None or b is None:
            return a or b
        return self.op("Or", a, b)


class Query:
    """One plan, over the columns of its request."""

    def __init__(self, b: Builder, plan: dict[str, Any], index: int, columns: dict[str, Value]) -> None:
        self.b, self.plan, self.index = b, plan, index
        self.slots: dict[int, Value] = {}
        self.names = [c["name"] for c in plan["request"]["columns"]]
        self.columns = columns
        self.called = {
            s["compute"]["slot"]: s["compute"].get("name", "")
            for s in plan.get("steps", ())
            if "compute" in s
        }
        self.computes = {
            s["compute"]["slot"]: s["compute"]["expr"] for s in plan.get("steps", ()) if "compute" in s
        }
        for step in plan.get("steps", ()):
            if "filter" in step:
                raise self.refuse("a condition on rows, which a graph cannot leave out", step["filter"])

    def refuse(self, says: str, expr: dict[str, Any] | None = None) -> NotLoweredError:
        word = expr.get("name", "") if expr and expr["op"] == "call" else ""
        return NotLoweredError(says, self.index, word)

    def output(self, name: str) -> Value:
        for out in self.plan["outputs"]:
            if out["name"] == name:
                return self._named(name, out["expr"])
        raise NotLoweredError(f"the query has no column {name}", plan=self.index)

    def _named(self, column: str, e: dict[str, Any]) -> Value:
        """The value of a column of the query, which an error names."""
        try:
            return self.value(e)
        except NotLoweredError as refused:
            refused.column = refused.column or column
            raise

    def value(self, e: dict[str, Any]) -> Value:
        op = e["op"]
        known = {
            "slot": self._slot,
            "constant": self._constant,
            "cast": self._cast,
            "case": self._case,
            "and": self._junction,
            "or": self._junction,
            "not": self._not,
            "is null": self._is_null,
            "is not null": self._is_null,
            "coalesce": self._coalesce,
            "in": self._in,
            "not in": self._in,
            "compare": self._compare,
            "call": self._call,
        }
        if op == "lookup":
            raise self.refuse("a table that is looked up", e)
        if op not in known:
            raise self.refuse(f"{op} {e.get('name', '')}".strip(), e)
        return known[op](e)

    def _slot(self, e: dict[str, Any]) -> Value:
        i = e.get("index", 0)
        if i not in self.slots:
            if i < len(self.names):
                if self.names[i] not in self.columns:
                    raise self.refuse(f"the column {self.names[i]}, which the caller does not have", e)
                self.slots[i] = self.columns[self.names[i]]
            elif i in self.computes:
                self.slots[i] = self._named(self.called[i], self.computes[i])
            else:
                raise self.refuse("a window over other rows", e)
        return self.slots[i]

    def _constant(self, e: dict[str, Any]) -> Value:
        kind, text = e["type"], e.get("value")
        if kind not in NAMES.values():
            raise self.refuse(f"a value of the type {kind}", e)
        if text is None:
            filler: Any = "" if kind == "VARCHAR" else 0
            return Value(self.b.scalar(kind, filler), kind, self.b.scalar("BOOLEAN", True))
        if kind in INTEGERS or kind in TIMES:
            return Value(self.b.scalar(kind, int(text)), kind, None, int(text), int(text))
        value = {"BOOLEAN": lambda: text == "true", "VARCHAR": lambda: text}.get(kind, lambda: float(text))()
        return Value(self.b.scalar(kind, value), kind)

    def _cast(self, e: dict[str, Any]) -> Value:
        to, inner = e["type"], e["args"][0]
        if inner["op"] == "constant" and inner["type"].startswith("DECIMAL") and to in FLOATS:
            if inner.get("value") is None:
                return self._constant({**inner, "type": to})
            scale = int(inner["type"].rstrip(")").split(",")[1])
            number = int(inner["value"])
            digits, power = (2**24, 10) if to == "FLOAT" else (2**53, 22)
            if abs(number) <= digits and scale <= power:  # the quotient is rounded once
                return Value(self.b.scalar(to, number / 10**scale), to)
        v = self.value(inner)
        if v.type == to:
            return v
        if to in INTEGERS and (v.type in INTEGERS or v.type == "BOOLEAN"):
            low, high = (v.low, v.high) if v.type in INTEGERS else (0, 1)
            if not INTEGERS[to][0] <= low <= high <= INTEGERS[to][1]:
                raise self.refuse(f"a cast to {to} that may overflow; declare min and max of the columns", e)
            name = v.name if v.type in INTEGERS else self.b.op("Cast", v.name, to=TensorProto.INT64)
            return Value(name, to, v.null, low, high)
        exact = v.type in INTEGERS or v.type in ("BOOLEAN", "FLOAT")
        if to == "DOUBLE" and exact or to == "FLOAT" and v.type == "BOOLEAN":
            return Value(self.b.op("Cast", v.name, to=FLOATS[to]), to, v.null)
        if to == "BOOLEAN" and v.type in INTEGERS:
            return Value(self.b.op("Cast", v.name, to=TensorProto.BOOL), to, v.null)
        raise self.refuse(f"a cast from {v.type} to {to}", e)

    def _choose(self, condition: str, a: Value, b: Value) -> Value:
        null = None
        if a.null or b.null:
            never = self.b.scalar("BOOLEAN", False)
            null = self.b.where(condition, a.null or never, b.null or never, boolean=True)
        name = self.b.where(condition, a.name, b.name, a.type == "BOOLEAN")
        return Value(name, a.type, null, min(a.low, b.low), max(a.high, b.high))

    def _true(self, v: Value) -> str:
        return self.b.op("And", v.name, self.b.op("Not", v.null)) if v.null else v.name

    def _case(self, e: dict[str, Any]) -> Value:
        *pairs, last = e["args"]
        found = self.value(last)
        for i in range(len(pairs) - 2, -1, -2):
            found = self._choose(self._true(self.value(pairs[i])), self.value(pairs[i + 1]), found)
        return found

    def _junction(self, e: dict[str, Any]) -> Value:
        decides = e["op"] == "or"
        parts = [self.value(a) for a in e["args"]]
        decided = null = None
        for p in parts:
            this = p.name if decides else self.b.op("Not", p.name)
            if p.null:
                this = self.b.op("And", this, self.b.op("Not", p.null))
            decided, null = self.b.either(decided, this), self.b.either(null, p.null)
        if null:
            null = self.b.op("And", null, self.b.op("Not", decided))
        return Value(decided if decides else self.b.op("Not", decided), "BOOLEAN", null)

    def _not(self, e: dict[str, Any]) -> Value:
        v = self.value(e["args"][0])
        return Value(self.b.op("Not", v.name), "BOOLEAN", v.null)

    def _is_null(self, e: dict[str, Any]) -> Value:
        v = self.value(e["args"][0])
        null = v.null or self.b.scalar("BOOLEAN", False)
        return Value(null if e["op"] == "is null" else self.b.op("Not", null), "BOOLEAN")

    def _coalesce(self, e: dict[str, Any]) -> Value:
        *parts, last = [self.value(a) for a in e["args"]]
        for p in reversed(parts):
            last = self._choose(self.b.op("Not", p.null), p, last) if p.null else p
        return last

    def _in(self, e: dict[str, Any]) -> Value:
        first, *others = e["args"]
        v = self.value(first)
        found = null = None
        for o in others:
            w = self.value(o)
            this = self.equal(v, w)
            if w.null:
                this = self.b.op("And", this, self.b.op("Not", w.null))
            found, null = self.b.either(found, this), self.b.either(null, w.null)
        if null:
            null = self.b.op("And", null, self.b.op("Not", found))
        null = self.b.either(null, v.null)
        return Value(found if e["op"] == "in" else self.b.op("Not", found), "BOOLEAN", null)

    def _nan(self, v: Value) -> str | None:
        return self.b.op("IsNaN", v.name) if v.type in FLOATS else None

    def equal(self, a: Value, b: Value) -> str:
        found = self.b.op("Equal", a.name, b.name)
        if a.type in FLOATS:
            found = self.b.op("Or", found, self.b.op("And", self._nan(a), self._nan(b)))
        return found

    def less(self, a: Value, b: Value) -> str:
        if a.type == "BOOLEAN":
            return self.b.op("And", self.b.op("Not", a.name), b.name)
        found = self.b.op("Less", a.name, b.name)
        if a.type in FLOATS:  # NaN is above all others
            found = self.b.op("Or", found, self.b.op("And", self._nan(b), self.b.op("Not", self._nan(a))))
        return found

    def _compare(self, e: dict[str, Any]) -> Value:
        a, b = (self.value(x) for x in e["args"])
        how = e["name"]
        if how not in ("=", "<>", "is distinct from", "is not distinct from") and a.type == "VARCHAR":
            raise self.refuse("an order of texts", e)
        if "distinct" in how:
            never = self.b.scalar("BOOLEAN", False)
            x, y = a.null or never, b.null or never
            both = self.b.op("And", self.equal(a, b), self.b.op("Not", self.b.op("Or", x, y)))
            same = self.b.op("Or", both, self.b.op("And", x, y))
            return Value(same if "not" in how else self.b.op("Not", same), "BOOLEAN")
        found = {
            "=": lambda: self.equal(a, b),
            "<>": lambda: self.b.op("Not", self.equal(a, b)),
            "<": lambda: self.less(a, b),
            ">": lambda: self.less(b, a),
            "<=": lambda: self.b.op("Not", self.less(b, a)),
            ">=": lambda: self.b.op("Not", self.less(a, b)),
        }[how]()
        return Value(found, "BOOLEAN", self.b.either(a.null, b.null))

    def _call(self, e: dict[str, Any]) -> Value:
        name, kind = e["name"].lower(), e["type"]
        args = [self.value(a) for a in e["args"]]
        if len(args) == 1 and args[0].type in ("DATE", "TIMESTAMP") and (name in PARTS or name in CLOCK):
            return self._part(name, args[0], e)
        if any(a.type != kind for a in args) or kind not in {**INTEGERS, **FLOATS}:
            raise self.refuse(f"the function {name} of {', '.join(a.type for a in args)}", e)
        if name in ("greatest", "least") and kind != "FLOAT":
            return self._extreme(args, name == "greatest")
        found = self._arithmetic(name, kind, args, e)
        if found is None:
            raise self.refuse(f"the function {name}", e)
        return found

    def _part(self, name: str, v: Value, e: dict[str, Any]) -> Value:
        """A part of a date or a timestamp without a zone, in the Gregorian calendar."""
        days, rest = v.name, self.b.scalar("BIGINT", 0)
        if v.type == "TIMESTAMP":
            days, rest = self._floor(v.name, DAY)
        if name in CLOCK:
            size, count = CLOCK[name]
            found = self._floor(self._floor(rest, size)[0], count)[1]
            return Value(found, e["type"], v.null, 0, count - 1)
        low, high = PARTS[name]
        if name in ("isodow", "dayofweek", "weekday"):  # 1970-01-01 was a Thursday
            monday = self._floor(self._plus(days, 3), 7)[1]
            found = self._plus(monday, 1)
            if name != "isodow":
                found = self._floor(found, 7)[1]
            return Value(found, e["type"], v.null, low, high)
        year, month, day = self._civil(days)
        found = {"year": year, "month": month}.get(name, day)
        return Value(found, e["type"], v.null, low, high)

    def _civil(self, days: str) -> tuple[str, str, str]:
        """Year, month and day of days since 1970, see https://howardhinnant.github.io/date_algorithms.html."""
        era, doe = self._floor(self._plus(days, 719_468), 146_097)
        leap = [self._floor(doe, n)[0] for n in (1460, 36_524, 146_096)]
        years = self.b.op("Sub", self.b.op("Add", self.b.op("Sub", doe, leap[0]), leap[1]), leap[2])
        yoe = self._floor(years, 365)[0]
        before = self.b.op("Add", self._times(yoe, 365), self._floor(yoe, 4)[0])
        doy = self.b.op("Sub", doe, self.b.op("Sub", before, self._floor(yoe, 100)[0]))
        mp = self._floor(self._plus(self._times(doy, 5), 2), 153)[0]
        first = self._floor(self._plus(self._times(mp, 153), 2), 5)[0]
        day = self._plus(self.b.op("Sub", doy, first), 1)
        month = self._plus(self._floor(self._plus(mp, 2), 12)[1], 1)
        late = self.b.op("Cast", self.b.op("Greater", mp, self.b.scalar("BIGINT", 9)), to=TensorProto.INT64)
        year = self.b.op("Add", self.b.op("Add", yoe, self._times(era, 400)), late)
        return year, month, day

    def _plus(self, x: str, n: int) -> str:
        return self.b.op("Add", x, self.b.scalar("BIGINT", n))

    def _times(self, x: str, n: int) -> str:
        return self.b.op("Mul", x, self.b.scalar("BIGINT", n))

    def _floor(self, x: str, n: int) -> tuple[str, str]:
        """Quotient and rest, which is not negative."""
        size = self.b.scalar("BIGINT", n)
        rest = self.b.op("Mod", x, size)  # of integers, it has the sign of the divisor
        return self.b.op("Div", self.b.op("Sub", x, rest), size), rest

    def _extreme(self, args: Sequence[Value], greatest: bool) -> Value:
        found = args[0]
        for b in args[1:]:
            takes = self.less(found, b) if greatest else self.less(b, found)  # takes b
            if found.null:
                takes = self.b.op("Or", takes, found.null)
            if b.null:
                takes = self.b.op("And", takes, self.b.op("Not", b.null))
            null = self.b.op("And", found.null, b.null) if found.null and b.null else None
            made = self.b.where(takes, b.name, found.name)
            found = Value(made, found.type, null, min(found.low, b.low), max(found.high, b.high))
        return found

    def _arithmetic(self, name: str, kind: str, args: Sequence[Value], e: dict[str, Any]) -> Value | None:
        null = self.b.either(args[0].null, args[1].null) if len(args) == 2 else args[0].null
        whole = kind in INTEGERS
        names = {"add": "+", "subtract": "-", "multiply": "*", "divide": "//", "mod": "%", "@": "abs"}
        op = names.get(name, name)
        if len(args) == 2:
            a, b = args
            if op in ("+", "-", "*"):
                made = {"+": "Add", "-": "Sub", "*": "Mul"}[op]
                ends = [combine(op, x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
            elif whole and op in ("//", "%"):
                zero = self.b.op("Equal", b.name, self.b.scalar(kind, 0))
                divisor = self.b.where(zero, self.b.scalar(kind, 1), b.name)
                more = {"fmod": 1} if op == "%" else {}
                most = max(abs(a.low), abs(a.high))
                self._fits(kind, [-most, most] if a.low < 0 or b.low < 0 else [0, most], e)
                found = self.b.op("Mod" if more else "Div", a.name, divisor, **more)
                low = -most if a.low < 0 or b.low < 0 else 0
                return Value(found, kind, self.b.either(null, zero), low, most)
            elif op == "/" and not whole:
                made, ends = "Div", [0]
            else:
                return None
            if whole:
                self._fits(kind, ends, e)
            return Value(self.b.op(made, a.name, b.name), kind, null, min(ends), max(ends))
        (a,) = args
        if op == "+":
            return a
        if op in ("-", "abs"):
            ends = [-a.low, -a.high] if op == "-" else [0, abs(a.low), abs(a.high)]
            if whole:
                self._fits(kind, ends, e)
            return Value(self.b.op("Neg" if op == "-" else "Abs", a.name), kind, null, min(ends), max(ends))
        if whole:
            return None
        if op in ("ceil", "ceiling", "floor"):
            return Value(self.b.op("Floor" if op == "floor" else "Ceil", a.name), kind, null)
        if op in ("round", "trunc"):
            # Halves go away from zero; ONNX's Round sends them to the even neighbour.
            size = self.b.op("Abs", a.name)
            down = self.b.op("Floor", size)
            if op == "round":
                half = self.b.op("GreaterOrEqual", self.b.op("Sub", size, down), self.b.scalar(kind, 0.5))
                down = self.b.op("Add", down, self.b.op("Cast", half, to=FLOATS[kind]))
            negative = self.b.op("Less", a.name, self.b.scalar(kind, 0.0))
            return Value(self.b.where(negative, self.b.op("Neg", down), down), kind, null)
        return None

    def _fits(self, kind: str, ends: Sequence[int], e: dict[str, Any]) -> None:
        low, high = INTEGERS[kind]
        if min(ends) < low or max(ends) > high:
            raise self.refuse(
                f"{e['name']} of {kind}, which may overflow: declare min and max of its columns", e
            )


def combine(op: str, x: int, y: int) -> int:
    return x + y if op == "+" else x - y if op == "-" else x * y
