"""tenon_parity: the predictions that Go compares are those of the model, row by row."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tenon_model
from conftest import LIBRARY


@pytest.mark.parametrize("name", ["late", "kind", "delay"])
def test_every_row_has_its_prediction(lab, made, tmp_path, name):
    inputs = {"model": {"kind": "model", "path": str(made[name])}, "features": made["test"]}
    command = lab.command(lab.build("serve.http", inputs=inputs))
    out = tmp_path / "predictions"
    script = Path(command["cwd"]) / LIBRARY / "tenon_parity.py"
    command["args"] = [sys.executable, str(script), str(out), str(made[name])]
    subprocess.run(**command, check=True)

    model = tenon_model.load(made[name])
    features = model.features(made["frame"])
    if name == "delay":
        want = model.outcome(features)["prediction"].to_numpy()[:, np.newaxis]
    else:
        best, p = model.classify(features)
        want = np.column_stack([best, p])
    got = np.fromfile(out, "<f8").reshape(want.shape)
    assert (got == want).all()
