"""Tables of steps: declared columns, what is cast to them, and how a table is written.

What programs use of it is in `tenon_step`. It needs pandas and pyarrow only when a table is read or written.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenon_column import (
    NAMES,
    Column,
    StepError,
    arrow_type,
    cast,
    castable,
    check_nulls,
    kind_of,
    nearest,
)

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

WANTED = "wanted a DataFrame, an Arrow table, a dict of columns or a list of dicts"

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

# One row group of DuckDB, so that both make files of the same shape.
ROW_GROUP = 122_880


def log(message: str) -> None:
    """Writes one line to the log of the unit."""
    print(message, file=sys.stderr, flush=True)


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


def conform(
    data: Any,
    columns: Sequence[Column],
    what: str = "the table",
    extra: str = "error",
    *,
    before: int = 0,
    exact: bool = False,
) -> pa.Table:
    """Casts `data` to the declared columns, in their order.

    `data` is as for `Step.write_table`, or a `LazyTable`. Casts never lose information: an integer becomes a
    float if it is exact, a decimal either, a float an integer if it is whole and below 2^53, beyond which it
    may have been another integer. Only a float64 that is declared as float32 is rounded, unless `exact`. Text
    is never parsed. NaN of pandas, NumPy and Python is null unless the column declares it a value. NaN of
    Arrow stays. `extra` says what is done with columns that are not declared: "error", "drop" (with a note in
    the log) or "ignore". Errors count rows from the first of a table, of which `before` came earlier.
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
    arrays = [cast(found[c.name], c, what, before, exact) for c in columns]
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
        elif found[c.name] != arrow_type(c.type) and not castable(found[c.name], arrow_type(c.type)):
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

    def some(self, names: Sequence[str], count: int) -> pa.Table:
        """About `count` rows of the columns `names`, from ten places of a table that has rows."""
        import pyarrow as pa

        groups = self._file.num_row_groups
        places = sorted({i * groups // 10 for i in range(10)})
        columns = [n for n in self.names if n in names]
        most = -(-count // len(places))
        parts = [next(self._file.iter_batches(most, row_groups=[g], columns=columns)) for g in places]
        return pa.Table.from_batches(parts)


class TableWriter:
    """Writes parts of a table to one Parquet file. How rows are divided does not change the bytes."""

    def __init__(
        self, path: Path, columns: Sequence[Column], what: str, extra: str = "error", exact: bool = False
    ) -> None:
        import pyarrow.parquet as pq

        self.rows = 0
        self._columns, self._what, self._extra, self._exact = columns, what, extra, exact
        self._parts: list[pa.Table] = []
        self._pending = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        # No Arrow schema in the metadata: Parquet's own types say it all.
        self._file = pq.ParquetWriter(
            path, arrow_schema(columns), version="2.6", compression="zstd", store_schema=False
        )

    def write(self, data: Any) -> None:
        """Adds rows. `data` is as for `Step.write_table`."""
        table = conform(data, self._columns, self._what, self._extra, before=self.rows, exact=self._exact)
        table = _without_nan(table, self._columns, self._what, self.rows)
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
            raise StepError(f"cannot make a table of {kind_of(data)}: {WANTED}") from None
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
    raise StepError(f"cannot make a table of {kind_of(data)}: {WANTED}")


def _without_nan(table: pa.Table, columns: Sequence[Column], what: str, before: int) -> pa.Table:
    """The table with null for NaN in columns where that is no value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for i, c in enumerate(columns):
        values = table.column(i)
        if c.nan or not pa.types.is_floating(values.type) or not pc.any(pc.is_nan(values)).as_py():
            continue
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
        check_nulls(values, c, f"{what}: column {c.name}: wanted {c.type}", before)
        table = table.set_column(i, table.schema.field(i), values)
    return table


def _is_dataframe(data: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(data, pandas.DataFrame)
