"""Tables of steps: declared columns, what is cast to them, and how a table is written.

What programs use of it is in `tenon_step`. It needs pandas and pyarrow only when a table is read or written.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import re
import sys
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

WANTED = "wanted a DataFrame, an Arrow table, a dict of columns or a list of dicts"

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

# The types of columns but numbers, whose names in Arrow are the same or speak for themselves.
NAMES = ("bool", "float32", "float64", "string", "bytes", "date", "time", "timestamp", "timestamptz")

# One row group of DuckDB, so that both make files of the same shape.
ROW_GROUP = 122_880


class StepError(Exception):
    """A fault of the user's: `run` reports it as one line, without a traceback."""


@dataclass(frozen=True)
class Column:
    """A declared column. `type` is a name of docs/step.md, such as "int64" or "timestamptz"."""

    name: str
    type: str
    nullable: bool = False
    unique: bool = False
    min: float | int | None = None
    max: float | int | None = None
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
            min=doc.get("min"),
            max=doc.get("max"),
            values=tuple(doc.get("values") or ()),
            nan=doc.get("nan", False),
            json=doc.get("json", False),
            unit=doc.get("unit", ""),
            description=doc.get("description", ""),
        )


def log(message: str) -> None:
    """Writes one line to the log of the unit."""
    print(message, file=sys.stderr, flush=True)


def nearest(name: str, names: Iterable[str], wanted: str = "known") -> str:
    """The end of an error message for an unknown name: the nearest, or all if they are few."""
    names = sorted(set(names))
    if close := difflib.get_close_matches(name, names, n=3, cutoff=0.6):
        return f"; did you mean {' or '.join(close)}?"
    if not names:
        return f"; {wanted}: none"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"; {wanted}: {shown}"


def is_json(text: str) -> bool:
    """Whether text is JSON, by the rule for every table: no NaN, no infinity, no half of a surrogate pair."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        # Numbers stay text: Python limits the digits of an integer, JSON does not.
        doc = json.loads(text, parse_int=str, parse_float=str, parse_constant=refuse)
        if SURROGATE.search(text):
            json.dumps(doc, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return False
    return True


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


def to_pandas(table: pa.Table, nullable: Container[str] = (), both: Container[str] = ()) -> pd.DataFrame:
    """A DataFrame of the same values. Dtypes follow from the types, from which columns are `nullable`, and
    which may have `both` null and NaN."""
    import pandas as pd
    import pyarrow as pa

    masked: dict[Any, Any] = {pa.bool_(): pd.BooleanDtype()}
    for bits in (8, 16, 32, 64):
        masked[getattr(pa, f"int{bits}")()] = getattr(pd, f"Int{bits}Dtype")()
        masked[getattr(pa, f"uint{bits}")()] = getattr(pd, f"UInt{bits}Dtype")()
    series = {}
    for name, values in zip(table.column_names, table.columns, strict=True):
        mapper = masked.get if name in nullable or values.null_count else None
        if name in both:
            mapper = pd.ArrowDtype
        series[name] = values.to_pandas(date_as_object=False, types_mapper=mapper)
    return pd.DataFrame(series, index=pd.RangeIndex(len(table)))


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """The Arrow schema of declared columns."""
    import pyarrow as pa

    return pa.schema([pa.field(c.name, arrow_type(c.type)) for c in columns])


def conform(data: Any, columns: Sequence[Column], what: str = "the table", extra: str = "error") -> pa.Table:
    """Casts `data` to the declared columns, in their order.

    `data` is as for `Step.write_table`, or a `LazyTable`. Casts never lose information: an integer becomes a
    float if it is exact, a decimal either, a float an integer if it is whole and below 2^53, beyond which it
    may have been another integer. Only a float64 that is declared as float32 is rounded. Text is never
    parsed. NaN of pandas, NumPy and Python is null unless the column declares it a value. NaN of Arrow stays.
    `extra` says what is done with columns that are not declared: "error", "drop" (with a note in the
    log) or "ignore".
    """
    import pyarrow as pa

    found = _columns(data, [c.name for c in columns])
    missing = [c.name for c in columns if c.name not in found]
    if missing:
        name = missing[0]
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise StepError(f"{what}: column {name}{more} is missing{nearest(name, map(str, found), 'it has')}")
    declared = {c.name for c in columns}
    surplus = [str(name) for name in found if name not in declared]
    if surplus and extra == "error":
        raise StepError(f"{what}: column {', '.join(surplus)} is not declared; declare it or remove it")
    if surplus and extra == "drop":
        log(f"note: {what}: dropped undeclared columns: {', '.join(surplus)}")
    arrays = [_cast(found[c.name], c, what) for c in columns]
    lengths = {len(a) for a in arrays}
    if len(lengths) > 1:
        sizes = ", ".join(f"{c.name} {len(a)}" for c, a in zip(columns, arrays, strict=True))
        raise StepError(f"{what}: columns differ in length: {sizes}")
    return pa.table(arrays, schema=arrow_schema(columns))


def differences(found: Mapping[str, pa.DataType], columns: Sequence[Column]) -> list[dict[str, Any]]:
    """How columns of these types differ from the declared ones, as a look reports it, see `Step.look`."""
    faults: list[dict[str, Any]] = []
    for c in columns:
        if c.name not in found:
            faults.append({"column": c.name, "missing": True})
        elif found[c.name] != arrow_type(c.type) and not _castable(found[c.name], arrow_type(c.type)):
            faults.append({"column": c.name, "text": f"wanted {c.type}, found {_declared(found[c.name])}"})
    declared = {c.name for c in columns}
    return faults + [{"column": name, "extra": True} for name in found if name not in declared]


def _declared(have: pa.DataType) -> str:
    """The name of a type in a schema, or else that of Arrow."""
    return next((name for name in NAMES if arrow_type(name) == have), str(have))


class LazyTable:
    """A Parquet table on disk. It is taken wherever a table is, and only the columns asked for are read."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        self._file = pq.ParquetFile(path)
        self.names: list[str] = self._file.schema_arrow.names

    def __len__(self) -> int:
        return self._file.metadata.num_rows

    def read(self, names: Sequence[str]) -> pa.Table:
        """The columns `names`. Names that the table does not have are ignored."""
        return self._file.read([n for n in self.names if n in names])

    def first(self, names: Sequence[str]) -> pa.RecordBatch:
        """The first row of the columns `names`. There has to be one."""
        return next(self._file.iter_batches(1, columns=[n for n in self.names if n in names]))


class TableWriter:
    """Writes parts of a table to one Parquet file. How rows are divided does not change the bytes."""

    def __init__(self, path: Path, columns: Sequence[Column], what: str, extra: str = "error") -> None:
        import pyarrow.parquet as pq

        self.rows = 0
        self._columns, self._what, self._extra = columns, what, extra
        self._parts: list[pa.Table] = []
        self._pending = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        # No Arrow schema in the metadata: Parquet's own types say it all.
        self._file = pq.ParquetWriter(
            path, arrow_schema(columns), version="2.6", compression="zstd", store_schema=False
        )

    def write(self, data: Any) -> None:
        """Adds rows. `data` is as for `Step.write_table`."""
        table = _without_nan(conform(data, self._columns, self._what, self._extra), self._columns, self._what)
        if self._extra == "drop":
            self._extra = "ignore"  # said once is enough
        self.rows += len(table)
        self._parts.append(table)
        self._pending += len(table)
        if self._pending >= ROW_GROUP:
            self._flush()

    def _flush(self, last: bool = False) -> None:
        import pyarrow as pa

        table = pa.concat_tables(self._parts) if self._parts else None
        at = 0
        while table is not None and (len(table) - at >= ROW_GROUP or (last and at < len(table))):
            # Page boundaries follow chunks, so a row group is made of one.
            self._file.write_table(table.slice(at, ROW_GROUP).combine_chunks(), row_group_size=ROW_GROUP)
            at += ROW_GROUP
        rest = table.slice(at) if table is not None and at < len(table) else None
        self._parts = [rest] if rest is not None else []
        self._pending = len(rest) if rest is not None else 0

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush(last=True)
        self._file.close()


def _columns(data: Any, declared: Sequence[str]) -> dict[str, Any]:
    """Columns by name: Series, Arrow arrays or sequences, whatever `data` is made of."""
    import pyarrow as pa

    if isinstance(data, LazyTable):
        # The others are only named, so that an error can say what there is.
        table = data.read(declared)
        return {n: table.column(n) if n in declared else None for n in data.names}
    if _is_dataframe(data):
        indexed = [n for n in data.index.names if n is not None]
        if any(n in declared and n not in data.columns for n in indexed):
            data = data.reset_index()
        twice = data.columns[data.columns.duplicated()]
        if len(twice):
            raise StepError(f"column {twice[0]} is there twice")
        return {name: data[name] for name in data.columns}
    if not isinstance(data, pa.Table | pa.RecordBatch) and hasattr(data, "__arrow_c_stream__"):
        try:
            data = pa.table(data)
        except (pa.ArrowException, TypeError):  # of a column, not of a table
            raise StepError(f"cannot make a table of {_kind(data)}: {WANTED}") from None
    if isinstance(data, pa.Table | pa.RecordBatch):
        names = data.schema.names
        if twice := [n for i, n in enumerate(names) if n in names[:i]]:
            raise StepError(f"column {twice[0]} is there twice")
        return dict(zip(names, data.columns, strict=True))
    if isinstance(data, Mapping):
        return dict(data)
    if isinstance(data, list | tuple) and all(isinstance(row, Mapping) for row in data):
        names = dict.fromkeys(name for row in data for name in row) if data else dict.fromkeys(declared)
        return {name: [row.get(name) for row in data] for name in names}
    raise StepError(f"cannot make a table of {_kind(data)}: {WANTED}")


def _cast(values: Any, column: Column, what: str) -> Any:
    """`values` as an Arrow array of the declared type, or a StepError that says why not."""
    import pyarrow as pa

    want = arrow_type(column.type)
    where = f"{what}: column {column.name}: wanted {column.type}"
    if not isinstance(values, pa.Array | pa.ChunkedArray):
        values = _array(values, where, column.nan)
    if isinstance(values.type, pa.BaseExtensionType):
        values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        values = values.storage
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    have = values.type
    if have != want and values.null_count == len(values):  # what pandas makes of no value is no type
        values = pa.nulls(len(values), want)
    elif have != want:
        if not _castable(have, want):
            raise StepError(f"{where}, found {have}{_hint(have, want)}")
        cast, lost = _exact(values, want)
        if lost:
            row = _first(values, lambda part: _exact(part, want)[1])
            value = str(values[row])
            raise StepError(f"{where}, found {have} {lost}: {value[:100]} in row {row + 1}")
        values = cast
    _check_nulls(values, column, where)
    return values


def _check_nulls(values: Any, column: Column, where: str) -> None:
    if values.null_count and not column.nullable:
        row = _first(values, lambda part: part.null_count > 0)
        nulls = f"found {values.null_count} nulls in {len(values)} rows, such as row {row + 1}"
        raise StepError(f"{where}, not nullable, {nulls}")


def _without_nan(table: pa.Table, columns: Sequence[Column], what: str) -> pa.Table:
    """The table with null for NaN in columns where that is no value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for i, c in enumerate(columns):
        values = table.column(i)
        if c.nan or not pa.types.is_floating(values.type) or not pc.any(pc.is_nan(values)).as_py():
            continue
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
        _check_nulls(values, c, f"{what}: column {c.name}: wanted {c.type}")
        table = table.set_column(i, table.schema.field(i), values)
    return table


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


def _exact(values: Any, want: pa.DataType) -> tuple[Any, str]:
    """The values as another type, and what would be lost, or ""."""
    import pyarrow as pa

    try:
        cast = values.cast(want, safe=True)
    except pa.ArrowInvalid:
        return None, "that does not fit"
    return cast, _lost(values, cast)


def _lost(values: Any, cast: Any) -> str:
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
    if t.is_decimal(have) and t.is_floating(want):
        try:
            if found(pc.not_equal(cast.cast(have), values)):
                return f"with more digits than a {want} has"
        except pa.ArrowInvalid:
            return f"with more digits than a {want} has"
    if t.is_floating(have) and t.is_float32(want) and found(pc.and_(pc.is_inf(cast), pc.is_finite(values))):
        return f"that is too large for a {want}"
    return ""


def _array(values: Any, where: str, nan: bool = False) -> Any:
    import pyarrow as pa

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
        raise StepError(f"{where}, {_odd(values, e)}") from None
    except TypeError:
        raise StepError(f"{where}, found {_kind(values)}, which is not a column of values") from None
    if pa.types.is_temporal(array.type) and str(getattr(values, "dtype", "object")) == "object":
        _check_times(values, array.type, where)
    return array


def _odd(values: Any, error: Exception) -> str:
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
    value, row = some[low], f"in row {low + 1}"
    before = dict.fromkeys(_kind(v) for v in some[:low] if v is not None and v == v)
    if not before:
        return f"found a value of type {_kind(value)} {row}: {value!r:.100}"
    return f"found values of mixed type: {', '.join(before)}, then {_kind(value)} {row}: {value!r:.100}"


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


def _castable(have: pa.DataType, want: pa.DataType) -> bool:
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


def _is_dataframe(data: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(data, pandas.DataFrame)


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
