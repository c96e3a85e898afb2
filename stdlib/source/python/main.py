"""source.python: rows from a function of the user's.

Parameters: `script`, `function` (default "load"), `args` (keyword arguments).
Output: `out`, a table.

The function returns a DataFrame, an Arrow table, anything with the Arrow stream interface (polars, DuckDB), a
dict of columns or a list of dicts, or an iterator of those, or of rows as dicts. Columns that are not
declared are dropped, with a note in the log.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import tenon_step
from tenon_step import Step, StepError

ROWS = 10_000  # single rows are gathered into parts of this many


def main(step: Step) -> None:
    name = step.params.get("function") or "load"
    function = step.function(default="load")
    data = tenon_step.call(function, step.params.get("args") or {}, f"{step.params['script']}: {name}()")
    if data is None:
        raise StepError(f"{step.params['script']}: {name}() returned nothing, wanted a table")
    with step.writer("out", extra="drop") as writer:
        for part in parts(data):
            writer.write(part)
            step.progress(writer.rows, message=f"{writer.rows} rows")
    step.metrics(rows=writer.rows)


def parts(data: Any) -> Iterator[Any]:
    """The tables of which `data` consists. Rows that come one by one are gathered."""
    whole = isinstance(data, Mapping | list | tuple) or hasattr(data, "__arrow_c_stream__")
    if whole and not (isinstance(data, list | tuple) and data and not isinstance(data[0], Mapping)):
        yield data
        return
    if not isinstance(data, Iterable):
        yield data  # let the writer say what it wanted
        return
    stream = iter(data)
    first = next(stream, None)
    if first is None:
        yield []
        return
    stream = chain([first], stream)
    if not is_row(first):
        yield from stream
        return
    rows: list[Any] = []
    for row in stream:
        rows.append(row)
        if len(rows) == ROWS:
            yield rows
            rows = []
    if rows:
        yield rows


def is_row(value: Any) -> bool:
    """Whether a dict is one row, not a dict of columns."""
    scalar = str | bytes
    return isinstance(value, Mapping) and all(
        isinstance(v, scalar) or not hasattr(v, "__len__") for v in value.values()
    )


if __name__ == "__main__":
    tenon_step.run(main)
