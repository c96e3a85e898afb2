"""Functions of the user's that compute one row of a table from one row of another.

`feature.python` with `row: true` calls one for each row of a table, and a service for each row of a request,
both through `RowFunction`: so both pass the same values, and take the same ones back.

The parameters of the function are the columns that it takes, by name, or with `**row` all of them. A value is
a bool, an int, a float, a str, bytes, or a date, time or datetime, with the time zone UTC if the column has
one. null is None, and NaN is a value only of columns that may have both. The function returns a mapping of
the columns that it computes, no more and no fewer. It refuses a row by raising ValueError.
"""

from __future__ import annotations

import inspect
import math
import operator
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

import tenon_step
from tenon_column import kind_of
from tenon_step import Column, StepError

if TYPE_CHECKING:
    import pyarrow as pa

# The longest text of an error that is passed on.
MOST_SAID = 1000


@dataclass(frozen=True)
class Refusal:
    """Why a row has no result: what it returned for a column, or what it raised. It has `failed` if that was
    no ValueError."""

    row: int
    column: str
    says: str
    failed: bool = False


class _WrongError(Exception):
    """A value that a column does not take, or a result that is none."""

    def __init__(self, column: str, says: str) -> None:
        super().__init__(says)
        self.column, self.says = column, says


class RowFunction:
    """A function that takes columns of `columns` and returns those of `makes`, and further arguments. No log
    shows a value if they are `private`."""

    def __init__(
        self,
        function: Callable[..., Any],
        where: str,
        columns: Sequence[Column],
        makes: Sequence[Column],
        args: Mapping[str, Any],
        private: bool = False,
    ) -> None:
        self._function, self.where, self.args, self._private = function, where, dict(args), private
        self.columns, self.makes = list(columns), list(makes)
        self._takes = self._taken()
        self._checks = [(c.name, c.nullable, _CHECKS[c.type]) for c in makes]

    def _taken(self) -> list[int]:
        """The indexes of the columns that the function takes."""
        names = [c.name for c in self.columns]
        parameters = inspect.signature(self._function).parameters.values()
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            taken = names
        else:
            taken = [
                n for n in names if any(p.name == n and p.kind is not p.VAR_POSITIONAL for p in parameters)
            ]
        if both := sorted(set(taken) & set(self.args)):
            raise StepError(f"{self.where}: {both[0]} is both a column and an argument")
        try:
            inspect.signature(self._function).bind(**dict.fromkeys(taken), **self.args)
        except TypeError as e:
            takes = ", ".join(str(p) for p in parameters)
            known = ", ".join([*names, *self.args])
            raise StepError(f"{self.where}: {e}; it takes ({takes}), and there are {known}") from None
        return [names.index(n) for n in taken]

    def compute(self, rows: pa.Table | pa.RecordBatch) -> tuple[list[pa.Array], list[Refusal]]:
        """The arrays of the columns that the function makes for rows of `columns`. A row that is refused has
        null in all of them."""
        names = [self.columns[i].name for i in self._takes]
        values = [_values(rows.column(i), self.columns[i].type) for i in self._takes]
        results: list[list[Any]] = [[] for _ in self.makes]
        refusals: list[Refusal] = []
        for number, row in enumerate(zip(*values, strict=True)):
            try:
                found = self._one(dict(zip(names, row, strict=True)))
            except _WrongError as e:
                refusals.append(Refusal(number, e.column, e.says))
                found = None
            except ValueError as e:
                column = self.makes[0].name if len(self.makes) == 1 else ""
                refusals.append(Refusal(number, column, f"{self.where} refuses it: {_said(e)}"))
                found = None
            except Exception as e:
                if not any(r.failed for r in refusals):
                    self._log(e)
                says = type(e).__name__ if self._private else f"{type(e).__name__}: {_said(e)}"
                refusals.append(Refusal(number, "", f"{self.where} failed: {says}", True))
                found = None
            for i, column in enumerate(results):
                column.append(None if found is None else found[i])
        arrays = [_array(v, c) for v, c in zip(results, self.makes, strict=True)]
        return arrays, sorted(refusals, key=lambda r: r.row)

    def _log(self, e: Exception) -> None:
        """Logs where the function failed, and what with, unless that may show a private value."""
        if not self._private:
            tenon_step.log(traceback.format_exc())
            return
        frame = traceback.extract_tb(e.__traceback__)[-1]
        tenon_step.log(f"{self.where} failed: {type(e).__name__} in {frame.filename}, line {frame.lineno}")

    def _one(self, row: dict[str, Any]) -> list[Any]:
        """The values of one row, in the order of `makes`."""
        for value in row.values():
            if isinstance(value, _NoMoment):
                raise _WrongError("", f"{self.where} cannot get {value.says}, which Python does not have")
        found = self._function(**row, **self.args)
        if not isinstance(found, Mapping):
            raise _WrongError(
                "", f"{self.where} returned {kind_of(found)}, wanted a dict of the columns that it computes"
            )
        if len(found) != len(self._checks) and (
            more := [n for n in found if all(n != c for c, _, _ in self._checks)]
        ):
            known = f"wanted only {', '.join(c.name for c in self.makes)}"
            if any(more[0] == c.name for c in self.columns):
                known = "which its input has; it is copied"
            raise _WrongError("", f"{self.where} returned a column {more[0]!s:.100}, {known}")
        out = []
        for name, nullable, check in self._checks:
            if name not in found:
                raise _WrongError(name, f"{self.where} did not return it")
            value = found[name]
            if value is None or type(value).__name__ in ("NAType", "NaTType"):
                if not nullable:
                    raise _WrongError(name, f"{self.where} returned None, and the column is not nullable")
                out.append(None)
                continue
            try:
                out.append(check(value))
            except _WrongError as e:
                raise _WrongError(name, f"{self.where} returned {e.says}") from None
        return out

    def check(self, rows: pa.Table, arrays: Sequence[pa.Array], before: int, most: int) -> None:
        """StepError if some of the rows, of which `before` came earlier, have another result when they are
        computed again, in another order. About `most` of them are."""
        count = len(rows)
        step = max(1, count // most)
        for number in reversed(range(0, count, step)):
            again, refused = self.compute(rows.slice(number, 1))
            for column, first, second in zip(self.makes, arrays, again, strict=True):
                a, b = first[number], second[0]
                if not refused and (a.equals(b) or _both_nan(a, b)):
                    continue
                other = refused[0].says if refused else _shown(b)
                raise StepError(
                    f"{self.where} does not depend on its row alone: in row {before + number + 1}, "
                    f"{column.name} is {_shown(a)}, and when it is computed again {other}; it may use no "
                    "random numbers, no clock, and nothing that it has kept of other rows"
                )


def _both_nan(a: Any, b: Any) -> bool:
    x, y = a.as_py(), b.as_py()
    return isinstance(x, float) and isinstance(y, float) and math.isnan(x) and math.isnan(y)


def _shown(value: Any) -> str:
    return f"{value.as_py()!r:.100}"


def _said(e: Exception) -> str:
    return " ".join(str(e).split())[:MOST_SAID] or type(e).__name__


# --- Values for the function ---


@dataclass(frozen=True)
class _NoMoment:
    """A date or a time that Python does not have."""

    says: str


def _values(column: Any, kind: str) -> list[Any]:
    """The values of a column, as the function gets them."""
    if kind in ("date", "timestamp", "timestamptz"):
        return [_moment(v) for v in column]
    values = column.to_pylist()
    if kind in ("float32", "float64"):
        return [None if v is None else v + 0.0 for v in values]  # without negative zeros
    return values


def _moment(scalar: Any) -> Any:
    try:
        value = scalar.as_py()
    except (OverflowError, ValueError):
        return _NoMoment(f"{scalar.value} as {scalar.type}")
    return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo is not None else value


# --- Values of the function ---


def _bool(value: Any) -> bool:
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
        return bool(value)
    raise _WrongError("", f"{kind_of(value)}, wanted a bool")


def _integer(bits: int, signed: bool) -> Callable[[Any], int]:
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)

    def check(value: Any) -> int:
        if isinstance(value, bool) or type(value).__name__ == "bool_":
            raise _WrongError("", f"{kind_of(value)}, wanted an int")
        try:
            number = operator.index(value)
        except TypeError:
            raise _WrongError("", f"{kind_of(value)}, wanted an int") from None
        if not least <= number <= most:
            raise _WrongError("", f"an int that {'u' * (not signed)}int{bits} does not hold")
        return number

    return check


def _float(value: Any) -> float:
    if isinstance(value, float):
        return float(value) + 0.0
    if isinstance(value, bool) or type(value).__name__ == "bool_":
        raise _WrongError("", f"{kind_of(value)}, wanted a float")
    if hasattr(value, "dtype") and value.dtype.kind == "f":
        return float(value) + 0.0
    try:
        whole = operator.index(value)
    except TypeError:
        raise _WrongError("", f"{kind_of(value)}, wanted a float") from None
    try:
        number = float(whole)
    except OverflowError:
        number = math.inf
    if number != whole:
        raise _WrongError("", "an int that a float does not hold exactly")
    return number


def _float32(value: Any) -> float:
    import numpy as np

    number = _float(value)
    with np.errstate(over="ignore", under="ignore"):
        held = float(np.float32(number))
    if math.isinf(held) and math.isfinite(number):
        raise _WrongError("", "a float that is too large for a float32")
    if held == 0 and number != 0:
        raise _WrongError("", "a float that is too small for a float32")
    return held


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise _WrongError("", f"{kind_of(value)}, wanted a str")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _WrongError("", "a str with half of a surrogate pair, which is no Unicode") from None
    return str(value)


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise _WrongError("", f"{kind_of(value)}, wanted bytes")
    return bytes(value)


def _date(value: Any) -> date:
    if not isinstance(value, date) or isinstance(value, datetime):
        raise _WrongError("", f"{kind_of(value)}, wanted a date")
    return value


def _time(value: Any) -> time:
    if not isinstance(value, time) or value.tzinfo is not None:
        raise _WrongError("", f"{kind_of(value)}, wanted a time without a time zone")
    return value


def _timestamp(zone: bool) -> Callable[[Any], datetime]:
    def check(value: Any) -> datetime:
        if not isinstance(value, datetime) or (value.utcoffset() is not None) != zone:
            raise _WrongError(
                "", f"{kind_of(value)}, wanted a datetime {'with' if zone else 'without'} a time zone"
            )
        if getattr(value, "nanosecond", 0):
            raise _WrongError("", "a time with nanoseconds")
        return value.astimezone(UTC) if zone else value

    return check


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "bool": _bool,
    "float32": _float32,
    "float64": _float,
    "string": _string,
    "bytes": _bytes,
    "date": _date,
    "time": _time,
    "timestamp": _timestamp(False),
    "timestamptz": _timestamp(True),
    **{f"int{bits}": _integer(bits, True) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": _integer(bits, False) for bits in (8, 16, 32, 64)},
}


def _array(values: list[Any], column: Column) -> pa.Array:
    """An Arrow array of values that were checked."""
    import pyarrow as pa

    return pa.array(values, tenon_step.arrow_type(column.type), from_pandas=False)
