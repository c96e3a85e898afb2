"""Columns of tables: their types, and how values become them or are refused.

What programs use of it is in `tenon_step`.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

# The types of columns but numbers, whose names in Arrow are the same or speak for themselves.
NAMES = ("bool", "float32", "float64", "string", "bytes", "date", "time", "timestamp", "timestamptz")


class StepError(Exception):
    """A fault of the user's: `run` reports it as one line, without a traceback."""


@dataclass(frozen=True)
class Column:
    """A declared column. `type` is a name of docs/step.md, such as "int64" or "timestamptz"."""

    name: str
    type: str
    nullable: bool = False
    unique: bool = False
    min: float | int | date | None = None
    max: float | int | date | None = None
    values: tuple[str, ...] = ()
    nan: bool = False
    json: bool = False
    unit: str = ""
    description: str = ""

    @classmethod
    def parse(cls, doc: Mapping[str, Any]) -> Column:
        return cls(
            name=doc["name"],
            type=doc["type"],
            nullable=doc.get("nullable", False),
            unique=doc.get("unique", False),
            min=_bound(doc["type"], doc.get("min")),
            max=_bound(doc["type"], doc.get("max")),
            values=tuple(doc.get("values") or ()),
            nan=doc.get("nan", False),
            json=doc.get("json", False),
            unit=doc.get("unit", ""),
            description=doc.get("description", ""),
        )


def _bound(kind: str, bound: Any) -> Any:
    """A bound as a value of its column: a number, a date, or a datetime with the zone of the type."""
    if not isinstance(bound, str):
        return bound
    return date.fromisoformat(bound) if kind == "date" else datetime.fromisoformat(bound)


def nearest(name: str, names: Iterable[str], wanted: str = "known") -> str:
    """The end of an error message for a name that is not there: the nearest, or all if they are few."""
    names = sorted(set(names))
    if close := difflib.get_close_matches(name, names, n=3, cutoff=0.6):
        return f"; did you mean {' or '.join(close)}?"
    if not names:
        return f"; {wanted}: none"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"; {wanted}: {shown}"


def arrow_type(name: str) -> pa.DataType:
    """The Arrow type of a column type."""
    import pyarrow as pa

    types = {
        "bool": pa.bool_(),
        "float32": pa.float32(),
        "float64": pa.float64(),
        "string": pa.string(),
        "bytes": pa.binary(),
        "date": pa.date32(),
        "time": pa.time64("us"),
        "timestamp": pa.timestamp("us"),
        "timestamptz": pa.timestamp("us", tz="UTC"),
    }
    for bits in (8, 16, 32, 64):
        types[f"int{bits}"] = getattr(pa, f"int{bits}")()
        types[f"uint{bits}"] = getattr(pa, f"uint{bits}")()
    if name not in types:
        raise StepError(f"unknown column type {name}{nearest(name, types)}")
    return types[name]


def cast(values: Any, column: Column, what: str, before: int, exact: bool) -> Any:
    """`values` as an Arrow array of the declared type, or a StepError that says why not."""
    import pyarrow as pa

    want = arrow_type(column.type)
    where = f"{what}: column {column.name}: wanted {column.type}"
    if not isinstance(values, pa.Array | pa.ChunkedArray):
        values = _array(values, where, column.nan, before)
    if isinstance(values.type, pa.BaseExtensionType):
        values = _storage(values, where)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    have = values.type
    if have != want and values.null_count == len(values):  # what pandas makes of no value is no type
        values = pa.nulls(len(values), want)
    elif have != want:
        if not castable(have, want):
            raise StepError(f"{where}, found {have}{_hint(have, want)}")
        cast, lost = _exact(values, want, exact)
        if lost:
            row = _first(values, lambda part: _exact(part, want, exact)[1])
            raise StepError(f"{where}, found {have} {lost}: {_shown(values[row])} in row {before + row + 1}")
        values = cast
    _check_values(values, where, before)
    check_nulls(values, column, where, before)
    return values


def _storage(values: Any, where: str) -> Any:
    """What an array of an extension of Arrow means, if that is a value of a column."""
    import pyarrow as pa

    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    match values.type.extension_name:
        case "arrow.json":
            return whole.storage
        case "arrow.bool8":
            return whole.storage.cast(pa.bool_())
        case "arrow.uuid":
            return pa.array([None if v is None else str(v) for v in whole.to_pylist()], pa.string())
    raise StepError(f"{where}, found {values.type}: write its values as a type of their own")


def _shown(value: Any) -> str:
    """A value of Arrow, which may be a time that Python does not have."""
    try:
        return str(value)[:100]
    except (OverflowError, ValueError):
        return f"{value.value} as {value.type}"


def _check_values(values: Any, where: str, before: int) -> None:
    """StepError for what an Arrow array may hold though its type has no such value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    t, kind = pa.types, values.type
    if t.is_string(kind):
        try:
            values.validate(full=True)
        except pa.ArrowInvalid:
            row = _first(values, _not_utf8)
            raise StepError(f"{where}, found bytes that are not UTF-8 in row {before + row + 1}") from None
        return
    if t.is_time(kind):
        first, last, wrong = 0, 86_400_000_000 - 1, "no time of day"
    elif t.is_timestamp(kind):  # what DuckDB has; the number after the last is infinity
        first, last, wrong = -9_223_372_022_400_000_000, 2**63 - 2, "infinite or out of range"
    elif t.is_date(kind):
        first, last, wrong = -(2**31) + 2, 2**31 - 2, "infinite or out of range"
    else:
        return
    numbers = values.cast(pa.int32() if t.is_date(kind) else pa.int64())
    bad = pc.or_(pc.less(numbers, first), pc.greater(numbers, last))
    if pc.any(bad).as_py():
        row = pc.index(bad, True).as_py()
        shown = f"{values[row].value} microseconds" if t.is_time(kind) else _shown(values[row])
        raise StepError(f"{where}, found {shown} in row {before + row + 1}, which is {wrong}; write None")


def _not_utf8(values: Any) -> bool:
    import pyarrow as pa

    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        return True
    return False


def check_nulls(values: Any, column: Column, where: str, before: int) -> None:
    if values.null_count and not column.nullable:
        row = before + _first(values, lambda part: part.null_count > 0)
        nulls = f"found {values.null_count} nulls in {len(values)} rows, such as row {row + 1}"
        raise StepError(f"{where}, not nullable, {nulls}")


def _first(values: Any, fails: Callable[[Any], Any]) -> int:
    """The index of the first value of those that fail together."""
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        if fails(values.slice(low, middle - low)):
            high = middle
        else:
            low = middle
    return low


def _exact(values: Any, want: pa.DataType, exact: bool) -> tuple[Any, str]:
    """The values as another type, and what would be lost, or ""."""
    import pyarrow as pa

    try:
        if pa.types.is_decimal(values.type) and pa.types.is_floating(want):
            return _nearest(values, want)
        cast = values.cast(want, safe=True)
        return cast, _lost(values, cast, exact)
    except pa.ArrowInvalid:
        return None, "that does not fit"


def _nearest(values: Any, want: pa.DataType) -> tuple[Any, str]:
    """Decimals as the nearest floats, which Arrow's own cast does not always give, and what would be lost."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = values.cast(pa.string())
    cast = texts.cast(want)
    # So many digits of any number stay the same.
    long = pc.fill_null(pc.greater(pc.binary_length(texts), 6 if pa.types.is_float32(want) else 15), False)
    kind = want.to_pandas_dtype()
    for text, number in zip(texts.filter(long).to_pylist(), cast.filter(long).to_pylist(), strict=True):
        if Decimal(text) != Decimal(np.format_float_scientific(kind(number))):
            return None, f"with more digits than a {want} has"
    return cast, ""


def _lost(values: Any, cast: Any, exact: bool) -> str:
    """What a cast lost that Arrow calls safe, or ""."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def found(mask: Any) -> bool:
        return bool(pc.any(mask).as_py())

    have, want, t = values.type, cast.type, pa.types
    if t.is_timestamp(have) and t.is_date(want):
        return "with times of the day" if found(pc.not_equal(cast.cast(have), values)) else ""
    if t.is_floating(have) and t.is_integer(want):
        most = {16: 11, 32: 24, 64: 53}[have.bit_width]
        if found(pc.greater_equal(pc.abs(values.cast(pa.float64())), 2.0**most)):
            return f"beyond 2^{most}, where floats skip integers; keep the column of integers, such as Int64"
    if t.is_float64(have) and t.is_float32(want):
        if found(pc.and_(pc.is_inf(cast), pc.is_finite(values))):
            return f"that is too large for a {want}"
        if found(pc.and_(pc.equal(cast, 0), pc.not_equal(values, 0))):
            return f"that is too small for a {want}"
        if exact and found(pc.and_(pc.not_equal(cast.cast(have), values), pc.is_finite(values))):
            return f"that a {want} does not hold exactly"
    return ""


def _array(values: Any, where: str, nan: bool, before: int) -> Any:
    import pyarrow as pa

    if isinstance(values, str | bytes) or getattr(values, "ndim", 1) != 1:
        raise StepError(f"{where}, found {kind_of(values)}, which is not a column of values")
    if str(getattr(values, "dtype", "")).startswith(">"):  # in the byte order of another machine
        values = values.astype(values.dtype.newbyteorder("="))
    try:
        # The type is inferred, so that "12" is seen to be text and is not parsed as a number.
        if nan:  # is a value; None and pandas' NA are null
            if str(getattr(values, "dtype", "object")) == "object":
                values = [None if type(v).__name__ == "NAType" else v for v in values]
            array = pa.array(values, from_pandas=False)
        else:
            array = pa.array(values, from_pandas=True)
    except UnicodeEncodeError:
        raise StepError(f"{where}, found text with half of a surrogate pair, which is no Unicode") from None
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as e:
        if _integers(values):  # too large for int64, which is what is inferred
            with contextlib.suppress(pa.ArrowException, OverflowError):
                return pa.array(values, type=pa.uint64(), from_pandas=True)
        raise StepError(f"{where}, {_odd(values, e, before)}") from None
    except TypeError:
        raise StepError(f"{where}, found {kind_of(values)}, which is not a column of values") from None
    if str(getattr(values, "dtype", "object")) == "object":
        if pa.types.is_temporal(array.type):
            _check_times(values, array.type, where)
        _check_mixed(values, array.type, where, before)
    return array


def _check_mixed(values: Any, found: pa.DataType, where: str, before: int) -> None:
    """StepError for what Arrow makes numbers or bytes of: booleans among numbers, text among bytes."""
    import pyarrow as pa

    if pa.types.is_integer(found) or pa.types.is_floating(found) or pa.types.is_decimal(found):
        odd: tuple[str, ...] = ("bool", "numpy.bool", "numpy.bool_")
    elif pa.types.is_binary(found):
        odd = ("str", "numpy.str_")
    else:
        return
    if not any(_name(t) in odd for t in set(map(type, values))):
        return
    row, value = next((row, v) for row, v in enumerate(values) if kind_of(v) in odd)
    odd_one = f"{kind_of(value)} in row {before + row + 1}: {value!r:.100}"
    raise StepError(f"{where}, found values of mixed type: {found}, and {odd_one}")


def _odd(values: Any, error: Exception, before: int) -> str:
    """What Arrow cannot make a column of: the first value that does not go with those before it."""
    import pyarrow as pa

    def fails(count: int) -> bool:
        try:
            pa.array(some[:count], from_pandas=True)
        except (pa.ArrowException, OverflowError, TypeError):
            return True
        return False

    some = list(values)
    if not fails(len(some)):
        return f"found values of mixed or unknown type: {error}"
    low, high = 0, len(some)  # the first `low` values are a column, the first `high` are none
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fails(middle) else (middle, high)
    value, row = some[low], f"in row {before + low + 1}"
    before = dict.fromkeys(kind_of(v) for v in some[:low] if v is not None and v == v)
    if not before:
        return f"found a value of type {kind_of(value)} {row}: {value!r:.100}"
    return f"found values of mixed type: {', '.join(before)}, then {kind_of(value)} {row}: {value!r:.100}"


def _integers(values: Any) -> bool:
    """Whether there are Python's integers and nothing else."""
    return all(isinstance(v, int) and not isinstance(v, bool) for v in values if v is not None and v == v)


def _check_times(values: Any, found: pa.DataType, where: str) -> None:
    """StepError for what Arrow drops from Python's dates and times without a word."""
    import pyarrow as pa

    some = [v for v in values if v is not None and v == v]
    if pa.types.is_date(found) and any(hasattr(v, "hour") for v in some):
        raise StepError(f"{where}, found dates among timestamps; make them one or the other")
    if any(getattr(v, "nanosecond", 0) for v in some) and found.unit != "ns":
        raise StepError(f"{where}, found nanoseconds; round to microseconds, with pandas .dt.round")
    zones = {getattr(v, "tzinfo", None) is None for v in some}
    if pa.types.is_timestamp(found) and len(zones) > 1:
        raise StepError(f"{where}, found timestamps with a time zone among others without")
    if pa.types.is_time(found) and False in zones:
        raise StepError(f"{where}, found times with a time zone; drop it")


def castable(have: pa.DataType, want: pa.DataType) -> bool:
    import pyarrow as pa

    t = pa.types

    def number(x: pa.DataType) -> bool:
        return t.is_integer(x) or t.is_floating(x) or t.is_decimal(x)

    def text(x: pa.DataType) -> bool:
        return t.is_string(x) or t.is_large_string(x) or t.is_string_view(x)

    def binary(x: pa.DataType) -> bool:
        return t.is_binary(x) or t.is_large_binary(x) or t.is_binary_view(x) or t.is_fixed_size_binary(x)

    if t.is_null(have):
        return True
    if t.is_timestamp(have) and t.is_timestamp(want):
        return (have.tz is None) == (want.tz is None)
    if t.is_date(have):
        return t.is_date(want) or (t.is_timestamp(want) and want.tz is None)
    if t.is_timestamp(have) and have.tz is None and t.is_date(want):
        return True
    return any(test(have) and test(want) for test in (number, text, binary, t.is_time))


def _hint(have: pa.DataType, want: pa.DataType) -> str:
    import pyarrow as pa

    if pa.types.is_timestamp(have) and pa.types.is_timestamp(want):
        if want.tz:
            return '; give it a time zone, with pandas .dt.tz_localize("UTC")'
        return '; drop its time zone, with pandas .dt.tz_convert("UTC").dt.tz_localize(None)'
    return ""


def kind_of(value: Any) -> str:
    return _name(type(value))


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
