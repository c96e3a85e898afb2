"""serve.batch: predictions beside the keys."""

import numpy as np

import tenon_model
from conftest import FEATURES, col


def test_batch_keeps_keys_and_adds_predictions(lab, made):
    inputs = {"model": {"kind": "model", "path": str(made["late"])}, "table": made["test"]}
    schema = [
        col("id", "uint64"),
        col("at", "timestamp"),
        col("prediction", "bool"),
        col("probability", "float64"),
    ]
    outputs = {"out": {"kind": "table", "format": "parquet", "schema": schema}}
    got = lab.ok("serve.batch", params={"batch": 64}, inputs=inputs, outputs=outputs)
    spoiled = {**inputs, "table": lab.spoiled(made["test"], but=["id", *FEATURES])}
    again = lab.ok("serve.batch", params={"batch": 64}, inputs=spoiled, outputs=outputs)
    assert again.files("out") == got.files("out")
    want = tenon_model.load(made["late"]).predict(made["frame"])
    assert got.table()["id"].tolist() == made["frame"]["id"].tolist()
    assert np.allclose(got.table()["probability"], want["probability"])
    assert got.table()["prediction"].tolist() == want["prediction"].tolist()
    assert got.progress[-1] == {"done": 200, "total": 200}
    schema[0]["name"] = "idd"
    error = lab.error("serve.batch", inputs=inputs, outputs=outputs)
    assert error.startswith("output out: column idd is in no input; did you mean id")
