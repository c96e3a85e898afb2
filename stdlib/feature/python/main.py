"""feature.python: a table computed by a function of the user's.

Parameters: `script`, `function` (default "transform"), `args` (further keyword arguments).
Inputs: any number of tables. Output: `out`, a table.

The function is called with one DataFrame per input, by the name of the port, and with `args`. What it may
return is said at `tenon_step.Step.write_table`; its columns have to be the declared ones.
"""

import tenon_step
from tenon_step import Step, StepError


def main(step: Step) -> None:
    name = step.params.get("function") or "transform"
    where = f"{step.params.get('script')}: {name}()"
    function = step.function(default="transform")
    args = step.params.get("args") or {}
    if both := sorted(set(args) & set(step.inputs)):
        raise StepError(f"{where}: {both[0]} is both an input and an argument")
    tables = {port: step.table(port) for port in step.inputs}
    data = tenon_step.call(function, {**tables, **args}, where)
    if data is None:
        raise StepError(f"{where} returned nothing, wanted a table")
    step.metrics(rows=step.write_table("out", data))


if __name__ == "__main__":
    tenon_step.run(main)
