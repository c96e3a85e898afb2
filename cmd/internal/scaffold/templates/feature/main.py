"""<<.Component>>: a table with one column multiplied.

Parameters: `column`, `factor`.
Input: `table`. Output: `out`, the declared columns of the same rows.
"""

import tenon_step
from tenon_step import Step, StepError


def main(step: Step) -> None:
    name, factor = step.params["column"], step.params["factor"]
    column = next(c for c in step.input("table").schema if c.name == name)
    if not column.type.startswith(("int", "uint", "float")):
        raise StepError(f"input table: column {name} is a {column.type}, wanted a number")
    frame = step.table("table")
    frame[name] = frame[name].astype("float64") * factor
    rows = step.write_table("out", frame, extra="drop")
    step.progress(rows, rows, f"{rows} rows")
    step.metrics(rows=rows)


if __name__ == "__main__":
    tenon_step.run(main)
