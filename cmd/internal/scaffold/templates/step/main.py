"""<<.Component>>: how many rows a table has.

Parameters: `least`, how many there have to be.
Input: `table`. Output: `summary`, a JSON file.
"""

import json

import tenon_step
from tenon_step import Step, StepError


def main(step: Step) -> None:
    rows, least = step.arrow("table").num_rows, step.params["least"]
    if rows < least:
        raise StepError(f"input table has {rows} rows, wanted at least {least} (least)")
    step.output("summary", "file").path.write_text(json.dumps({"rows": rows}) + "\n")
    step.progress(rows, rows, f"{rows} rows")
    step.metrics(rows=rows)


if __name__ == "__main__":
    tenon_step.run(main)
