"""The package tenon with a stub of the program. The script python.txtar of cmd/tenon has the real one."""

import datetime
import importlib.metadata
import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tenon
from conftest import STDLIB, col, features, mixed, model_out
from tenon import _environment

STUB = """#!{python}
import json, pathlib, shutil, sys
answers = json.loads(pathlib.Path(__file__).with_name("answers.json").read_text())
with open(pathlib.Path(__file__).with_name("calls"), "a") as f:
    f.write(json.dumps(sys.argv[1:]) + "\\n")
said = answers[sys.argv[1]]
for path in sys.argv[2:]:
    if path.endswith("request.json"):
        shutil.copy(path, pathlib.Path(__file__).with_name("request.json"))
    if path.endswith("table.parquet") and sys.argv[1] == "predict":
        shutil.copy(path, pathlib.Path(__file__).with_name("asked.parquet"))
if said.get("made") and "--to" in sys.argv:
    to = sys.argv[sys.argv.index("--to") + 1]
    (shutil.copytree if pathlib.Path(said["made"]).is_dir() else shutil.copy)(said["made"], to)
sys.stderr.write(said.get("stderr", ""))
sys.stdout.write(said["stdout"] if "stdout" in said else json.dumps(said["json"]))
sys.exit(said.get("status", 0))
"""


class Program:
    """A program `tenon` with given answers, and what it was asked."""

    def __init__(self, folder):
        self.folder, self.said = folder, {}
        path = folder / "tenon"
        path.write_text(STUB.format(python=sys.executable))
        path.chmod(0o755)

    def says(self, command, json_=None, **more):
        self.said[command] = {"json": json_, **more}
        (self.folder / "answers.json").write_text(json.dumps(self.said))

    def calls(self):
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]

    def asked(self):
        return json.loads((self.folder / "request.json").read_text())["instances"]


@pytest.fixture
def program(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.delenv("TENON", raising=False)
    monkeypatch.chdir(tmp_path)
    return Program(folder)


IDS = [
    col("id", "int64", nullable=True),
    col("n", "uint64"),
    col("paid", "bool", nullable=True),
    col("day", "date"),
    col("at", "timestamptz"),
    col("share", "float64", nullable=True),
]


@pytest.fixture
def ids(program, tmp_path):
    """A table that the program exports."""
    at = datetime.datetime(2024, 2, 29, 23, 30, tzinfo=datetime.UTC)
    table = pa.table(
        {
            "id": pa.array([2**53 + 1, None]),
            "n": pa.array([2**64 - 1, 0], pa.uint64()),
            "paid": [True, None],
            "day": [datetime.date(2024, 2, 29)] * 2,
            "at": pa.array([at, at], pa.timestamp("us", tz="UTC")),
            "share": [0.5, None],
        }
    )
    pq.write_table(table, tmp_path / "ids.parquet")
    program.says(
        "export",
        {"unit": "sources/ids", "port": "out", "kind": "table", "digest": "sha256:1", "schema": IDS},
        made=str(tmp_path / "ids.parquet"),
    )
    return table


def test_the_version_is_that_of_tenon():
    text = (STDLIB.parent / "internal" / "version" / "version.go").read_text()
    version = re.search(r'^var Version = "(.+)"$', text, re.M)[1]
    assert tenon.__version__ == version.replace("-dev", ".dev0")


# --- Tables ---


def test_a_frame_has_the_values_of_the_table(ids):
    frame = tenon.table("sources.ids")
    assert frame["id"].dtype == pd.Int64Dtype()
    assert frame["id"].tolist() == [2**53 + 1, pd.NA]
    assert frame["n"].tolist() == [2**64 - 1, 0]
    assert frame["n"].dtype == np.uint64
    assert frame["paid"].tolist() == [True, pd.NA]
    assert frame["day"].tolist() == [pd.Timestamp("2024-02-29")] * 2
    assert frame["at"].tolist() == [pd.Timestamp("2024-02-29 23:30", tz="UTC")] * 2
    assert frame["share"].dtype == np.float64


def test_a_table_of_arrow_is_the_table(ids):
    assert tenon.table("sources.ids", arrow=True) == ids


def test_without_pandas_a_table_is_one_of_arrow(ids, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(tenon.Error, match="pandas is not installed.*arrow=True"):
        tenon.table("sources.ids")
    assert tenon.table("sources.ids", arrow=True) == ids


@pytest.mark.parametrize(
    ("revision", "args"),
    [(None, []), (3, ["--revision", "3"]), ("@3", ["--revision", "3"]), ("3", ["--revision", "3"])],
)
def test_a_revision_is_a_number_or_none(ids, program, revision, args):
    tenon.table("sources.ids", revision=revision)
    tenon.System(".", revision).table("sources.ids")
    for command, *given, name, to, path, asjson in program.calls():
        assert [command, *given] == ["export", "-C", ".", *args]
        assert [name, to, asjson] == ["sources.ids", "--to", "--json"]
        assert not Path(path).parent.exists(), "nothing is left"


@pytest.mark.parametrize("revision", ["@", "three", "-1", 0, -1, True, 3.0])
def test_what_is_no_revision_is_refused(program, revision):
    with pytest.raises(tenon.Error, match="is not a revision"):
        tenon.System(".", revision)


def test_a_model_is_not_a_table(program, tmp_path):
    (tmp_path / "model").mkdir()
    found = {"unit": "models/m/train", "port": "model", "kind": "model", "digest": "sha256:2"}
    program.says("export", found, made=str(tmp_path / "model"))
    with pytest.raises(tenon.Error, match="models/m/train.model is a model, not a table"):
        tenon.table("models.m")


# --- The program ---


def test_an_error_is_the_message_of_the_program(program, capsys):
    program.says(
        "export", stderr="a notice\ntenon: a warning\ntenon: there is no artifact x:\n  see y\n", status=1
    )
    with pytest.raises(tenon.Error) as e:
        tenon.table("x")
    assert str(e.value) == "there is no artifact x:\n  see y"
    assert capsys.readouterr().err == "a notice\ntenon: a warning\n"
    program.says("export", status=3)
    with pytest.raises(tenon.Error, match="tenon export ended with status 3"):
        tenon.table("x")
    program.says("export", stdout="usage: what?")
    with pytest.raises(tenon.Error, match="printed no JSON"):
        tenon.table("x")


def test_a_warning_of_the_program_is_shown(ids, program, capsys):
    program.says(
        "export",
        program.said["export"]["json"],
        made=program.said["export"]["made"],
        stderr="tenon: it is old\n",
    )
    assert len(tenon.table("sources.ids")) == 2
    assert capsys.readouterr().err == "tenon: it is old\n"


def test_a_program_that_is_missing_is_named(program, monkeypatch):
    (program.folder / "tenon").unlink()
    with pytest.raises(tenon.Error, match=r"the program tenon is not in the path.*\$TENON"):
        tenon.table("x")
    monkeypatch.setenv("TENON", "/no/such/tenon")
    with pytest.raises(tenon.Error, match=r"\$TENON is /no/such/tenon, which is not a program"):
        tenon.table("x")


def test_a_variable_names_the_program(ids, program, monkeypatch):
    monkeypatch.setenv("TENON", str((program.folder / "tenon").rename(program.folder / "tenon-0.1")))
    assert len(tenon.table("sources.ids")) == 2


def test_a_folder_that_is_missing_is_named(program):
    with pytest.raises(tenon.Error, match="nowhere is not a folder"):
        tenon.table("x", system="nowhere")


# --- Models ---


def environment(**changes):
    """What `tenon env --json` says about this interpreter, with other versions."""
    installed = {d.name: d.version for d in importlib.metadata.distributions()} | changes
    packages = [{"name": n, "version": v} for n, v in installed.items()]
    python = "{}.{}".format(*sys.version_info)
    return {"unit": "models/m/train", "digest": "sha256:m", "python": python, "packages": packages}


@pytest.fixture(scope="module")
def made(shared):
    """A fitted model, and the table that it was trained on."""
    frame, schema = mixed(60)
    output = next(c for c in schema if c["name"] == "late")
    got = shared.inside(
        "train.sklearn",
        params={"estimator": "sklearn.linear_model.LogisticRegression"},
        inputs={"train": shared.table(frame, schema)},
        outputs=model_out("classification", features(schema), output),
    )
    return {"late": got.path("model"), "frame": frame}


@pytest.fixture
def models(program, made, monkeypatch):
    """A program that knows the model, in the environment of this interpreter."""
    monkeypatch.setattr("tenon._system._folders", {})
    signature = json.loads((made["late"] / "signature.json").read_text())
    program.says("predict", {"digest": "sha256:m", "signature": signature})
    program.says("env", environment())
    found = {"unit": "models/m/register", "port": "model", "kind": "model", "digest": "sha256:m"}
    program.says("export", found, made=str(made["late"]))


def test_a_model_is_loaded_in_its_environment(models, made):
    import tenon_model

    model = tenon.load("models.m")
    want = tenon_model.load(made["late"]).predict(made["frame"])
    pd.testing.assert_frame_equal(model.predict(made["frame"]), want)
    assert type(model.predictor).__name__ == "Pipeline"


def test_another_environment_is_refused_with_what_differs(models, program):
    changed = environment(**{"scikit-learn": "0.1", "no-such-package": "2.0"})
    changed["packages"].append({"name": "only-elsewhere", "version": "1", "marker": "extra == 'x'"})
    program.says("env", changed)
    with pytest.raises(tenon.EnvironmentMismatch) as e:
        tenon.load("models.m", revision=2)
    have = importlib.metadata.version("scikit-learn")
    assert sorted((d.name, d.wanted, d.found) for d in e.value.differences) == [
        ("no-such-package", "2.0", None),
        ("scikit-learn", "0.1", have),
    ]
    assert f"\n  scikit-learn: wanted 0.1, found {have}\n" in str(e.value)
    assert "\n  no-such-package: wanted 2.0, not installed\n" in str(e.value)
    assert "tenon env models.m -C " in e.value.fix
    assert f" --revision 2 --requirements | {sys.executable} -m pip install" in e.value.fix
    assert [c[0] for c in program.calls()] == ["predict", "env"], "nothing was loaded"


def test_another_python_needs_another_interpreter(models, program):
    program.says("env", environment() | {"python": "3.9"})
    with pytest.raises(tenon.EnvironmentMismatch) as e:
        tenon.load("models.m")
    assert str(e.value.differences[0]).startswith(f"Python: wanted 3.9, found 3.{sys.version_info[1]}.")
    assert e.value.fix.startswith("uv venv --python 3.9 ")


def test_a_module_that_is_still_loaded_is_a_difference(monkeypatch):
    monkeypatch.setattr(np, "__version__", "1.0")
    [found] = _environment.differences(environment())
    assert str(found).endswith("1.0 is still loaded: restart the interpreter")


def test_the_check_can_be_a_warning(models, program):
    program.says("env", environment(**{"no-such-package": "2.0"}))
    with pytest.warns(UserWarning, match="no-such-package: wanted 2.0, not installed"):
        assert tenon.load("models.m", check=False).classification


# --- Predictions ---


def test_rows_are_a_request_to_the_service(models, program):
    answers = [{"prediction": True, "probability": 0.75}]
    about = program.said["predict"]["json"]
    program.says("predict", about | {"answer": {"predictions": answers, "model": {}}})
    rows = [
        {
            "at": pd.Timestamp("2024-05-17 13:37"),
            "day": datetime.date(2024, 5, 17),
            "hour": np.int64(2**53 + 1),
            "wind": np.float32(0.1),
            "carrier": None,
            "holiday": pd.NA,
            "left": pd.NaT,
            "raw": b"\0",
        }
    ]
    assert tenon.predict("models.m", rows) == answers
    assert program.asked() == [
        {
            "at": "2024-05-17T13:37:00",
            "day": "2024-05-17",
            "hour": 2**53 + 1,
            "wind": 0.10000000149011612,
            "carrier": None,
            "holiday": None,
            "left": None,
            "raw": "AA==",
        }
    ]
    assert tenon.predict("models.m", rows[0]) == answers[0]
    assert "--probabilities" not in program.calls()[-1]
    tenon.predict("models.m", rows, probabilities=True)
    assert "--probabilities" in program.calls()[-1]
    with pytest.raises(tenon.Error, match="a row holds complex"):
        tenon.predict("models.m", [{"x": 1j}])


def test_a_table_is_asked_as_a_table(models, program, made, tmp_path):
    pq.write_table(pa.table({"prediction": [True, False]}), tmp_path / "predictions.parquet")
    about = program.said["predict"]["json"]
    program.says("predict", about, made=str(tmp_path / "predictions.parquet"))
    frame = made["frame"].head(2).set_index(pd.Index([7, 8]))
    got = tenon.predict("models.m", frame)
    assert got["prediction"].tolist() == [True, False]
    assert got.index.tolist() == [7, 8]
    asked = pq.read_table(program.folder / "asked.parquet")
    assert asked.column_names == [c["name"] for c in about["signature"]["input"]], "no other column is read"
    assert asked["hour"].to_pylist() == frame["hour"].tolist()
    columns = {name: frame[name].tolist() for name in frame}
    assert len(tenon.predict("models.m", columns)) == 2
    tenon.predict("models.m", columns, probabilities=True)
    assert "--probabilities" in program.calls()[-1]
    assert tenon.predict("models.m", columns, arrow=True).column_names == ["prediction"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f.rename(columns={"hour": "hours"}), "column hour is missing; did you mean hours"),
        (lambda f: f.assign(hour=f["hour"] + 0.5), "column hour: wanted int64, found double"),
        (lambda f: f.assign(origin=None), "column origin: wanted string, not nullable"),
        (lambda f: {"hour": [1, 2], "origin": "JFK"}, "some values of the dict are columns"),
        (lambda f: 3, "cannot make a table of int"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(models, made, change, says):
    with pytest.raises(tenon.Error, match=says):
        tenon.predict("models.m", change(made["frame"].head(2)))
