"""The predictions of a model for the table that it was trained on, for Go's package parity.

The program of the plane starts it as `python tenon_parity.py FILE FOLDER`, with the document of its own step.
FOLDER is a private copy of the model, whose digest the plane has checked. FILE gets a record of little-endian
float64 for each row of the input `features`: the index of the predicted class and the probabilities of all
classes, if the model has any, or the predicted number.
"""

from __future__ import annotations

import sys

import tenon_step
from tenon_step import Step

BATCH = 16_384  # rows


def main(step: Step) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    import tenon_model

    model = tenon_model.load(sys.argv[2])
    table = pq.ParquetFile(step.input("features", "table").path)
    columns = [c.name for c in model.signature.input]
    done, total = 0, table.metadata.num_rows
    with open(sys.argv[1], "wb") as out:
        for batch in table.iter_batches(BATCH, columns=columns):
            features = model.features(pa.Table.from_batches([batch]))
            if not model.classification:
                record = model.outcome(features)["prediction"].to_numpy()
            else:
                best, p = model.classify(features)
                record = np.column_stack([best] if p is None else [best, p])
            out.write(np.ascontiguousarray(record, dtype="<f8").tobytes())
            done += len(features)
            step.progress(done, total, "rows predicted by Python")


if __name__ == "__main__":
    tenon_step.run(main)
