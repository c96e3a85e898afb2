"""serve.batch: a model's predictions for the rows of a table.

Parameters: `batch`, rows at a time (default 65536); `probabilities`, whether `out` also has a column
`probability_CLASS` for each class of a classifier.
Inputs: `model`; `table`, with the columns of the model's signature. Output: `out`, a table: `prediction` and
`probability`, if it is declared, are the model's (see `tenon_model.Model.predict`); any other column, such as
a key or the timestamp, is copied from the input. A regression declared as an integer is rounded.

A row means what it means to serve.http: a value out of the bounds of the signature, or a row that has no
prediction, such as NaN, is an error that names the row.
"""

import tenon_step
from tenon_step import Step, StepError, nearest


def main(step: Step) -> None:
    import pyarrow.parquet as pq

    import tenon_model

    model = tenon_model.load(step.input("model", "model").path)
    file = pq.ParquetFile(step.input("table", "table").path)
    total = file.metadata.num_rows
    schema = step.output("out", "table").schema
    every = bool(step.params.get("probabilities"))
    classes = {f"probability_{name}": name for name in map(tenon_model.label_name, model.classes) if every}
    copied = [c.name for c in schema if c.name not in ("prediction", "probability", *classes)]
    there = file.schema_arrow.names
    for name in copied:
        if name not in there:
            raise StepError(
                f"output out: column {name} is not in any input{nearest(name, there, 'the table has')}"
            )
    needed = list(dict.fromkeys([*copied, *(c.name for c in model.signature.input if c.name in there)]))
    rounded = {c.name: c.type for c in schema}.get("prediction", "").startswith(("int", "uint"))
    with step.writer("out") as writer:
        for batch in file.iter_batches(step.params.get("batch") or 65_536, columns=needed):
            try:
                tenon_model.check_bounds(batch, model.signature)
                predicted = model.predict(batch, every)
            except tenon_model.RefusedValueError as e:
                raise tenon_model.RefusedValueError(
                    "input table", e.column, writer.rows + e.row, e.says, e.value
                ) from e
            except tenon_model.NoPredictionError as e:
                raise tenon_model.NoPredictionError(writer.rows + e.row, e.says) from e
            if rounded and not model.classification:
                predicted["prediction"] = predicted["prediction"].round()
            if "probabilities" in predicted:
                for column, name in classes.items():
                    predicted[column] = [p[name] for p in predicted["probabilities"]]
            columns = {name: batch.column(name) for name in copied}
            for c in schema:
                if c.name in copied:
                    continue
                # A model may give no probabilities.
                columns[c.name] = predicted[c.name] if c.name in predicted else [None] * len(predicted)
            writer.write(columns)
            step.progress(writer.rows, total)
        if not total:
            writer.write({c.name: [] for c in schema})
    step.metrics(rows=total)


if __name__ == "__main__":
    tenon_step.run(main)
