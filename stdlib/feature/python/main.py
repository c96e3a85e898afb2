"""feature.python: a table computed by a function of the user's.

Parameters: `script`, `function` (default "transform"), `args` (further keyword arguments), `row`.
Inputs: any number of tables. Output: `out`, a table.

The function is called with one DataFrame per input, by the name of the port, and with `args`. What it may
return is said at `tenon_step.Step.write_table`; its columns have to be the declared ones.

With `row`, there is one input, and the function is called for each of its rows, as `tenon_rows` says. Columns
of the output that the input has are copied.
"""

import tenon_step
from tenon_step import Step, StepError

# Rows that are computed before they are written.
PART = 50_000

# Rows that are computed again, to see whether they depend on others.
SAMPLE = 1000


def main(step: Step) -> None:
    name = step.params.get("function") or "transform"
    where = f"{step.params.get('script')}: {name}()"
    function = step.function(default="transform")
    args = step.params.get("args") or {}
    if step.params.get("row"):
        by_row(step, function, where, args)
        return
    if both := sorted(set(args) & set(step.inputs)):
        raise StepError(f"{where}: {both[0]} is both an input and an argument")
    tables = {port: step.table(port) for port in step.inputs}
    data = tenon_step.call(function, {**tables, **args}, where)
    if data is None:
        raise StepError(f"{where} returned nothing, wanted a table")
    step.metrics(rows=step.write_table("out", data))


def by_row(step: Step, function, where: str, args: dict) -> None:
    """Computes each row from one of the only input."""
    import pyarrow as pa

    import tenon_rows

    if len(step.inputs) != 1:
        raise StepError(f"{where} computes single rows, and there are {len(step.inputs)} inputs")
    (port,) = step.inputs.values()
    out = step.output("out", "table")
    source = step.arrow(port.name)
    copied = [c.name for c in out.schema if c.name in source.column_names]
    makes = [c for c in out.schema if c.name not in source.column_names]
    rows = tenon_rows.RowFunction(function, where, port.schema, makes, args)
    total = len(source)
    with step.writer("out") as writer:
        for start in range(0, max(total, 1), PART):
            part = source.slice(start, PART)
            arrays, refused = rows.compute(part.select([c.name for c in port.schema]))
            if refused:
                first = refused[0]
                column = f", column {first.column}" if first.column else ""
                raise StepError(f"row {start + first.row + 1} of {port.name}{column}: {first.says}")
            rows.check(
                part.select([c.name for c in port.schema]),
                arrays,
                start,
                max(1, SAMPLE * len(part) // max(total, 1)),
            )
            made = {c.name: a for c, a in zip(makes, arrays, strict=True)}
            writer.write(pa.table({n: part.column(n) for n in copied} | made))
            step.progress(start + len(part), total, "rows computed")
    step.metrics(rows=writer.rows)


if __name__ == "__main__":
    tenon_step.run(main)
