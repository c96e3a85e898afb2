"""train.script: a model of the user's, its files, two versions of it, errors that name the nearest."""

import pytest

import tenon_model
from conftest import mixed
from testing_models import check_model

SCRIPT = {
    "model.py": """
import helper
class Model:
    def __init__(self, share): self.share = share
    def predict(self, features): return features["hour"].to_numpy() > helper.NOON
    def predict_proba(self, features):
        import numpy as np
        return np.tile([1 - self.share, self.share], (len(features), 1))
def train(features, labels, *, seed, scale): return Model(float(labels.mean()) * scale)
def write(features, labels, step):
    (step.output("model").path / "share.txt").write_text(str(labels.mean()))
def load(folder): return Model(float((folder / "share.txt").read_text()))
""",
    "helper.py": "NOON = 12\n",
}


def test_model(fit):
    params = {"script": "model.py", "args": {"scale": 1}}
    check_model(fit, "train.script", params, "late", least=0, scripts=SCRIPT)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"script": "model.py", "function": "trian"}, "model.py has no function trian; did you mean train"),
        ({"script": "model.py"}, "missing a required argument: 'scale'"),
    ],
)
def test_errors_name_the_nearest(lab, fit, params, says):
    assert says in fit("train.script", params, run=lab.error, scripts=SCRIPT)


def test_a_table_without_rows_is_an_error(lab, fit):
    _, schema = mixed()
    none = lab.table(mixed()[0].head(0), schema)
    params = {"script": "model.py", "args": {"scale": 1}}
    said = fit("train.script", params, run=lab.error, scripts=SCRIPT, inputs={"train": none})
    assert said == "input train has no rows"


def test_a_script_may_write_its_own_files(fit):
    got = fit("train.script", {"script": "model.py", "function": "write", "load": "load"}, scripts=SCRIPT)
    assert set(got.files("model")) == {
        "signature.json",
        "model.json",
        "share.txt",
        "code/model.py",
        "code/helper.py",
    }
    frame, _ = mixed()
    assert (
        tenon_model.load(got.path("model"))
        .predict(frame)["prediction"]
        .equals(frame["hour"].gt(12).rename("prediction"))
    )


def test_two_versions_of_a_script_live_side_by_side(fit):
    params = {"script": "model.py", "args": {"scale": 1}}
    later = SCRIPT | {"helper.py": "NOON = 20\n"}
    frame, _ = mixed()
    noon, evening = (
        tenon_model.load(fit("train.script", params, scripts=s).path("model")).predict(frame)["prediction"]
        for s in (SCRIPT, later)
    )
    assert noon.sum() == (frame.hour > 12).sum()
    assert evening.sum() == (frame.hour > 20).sum()
