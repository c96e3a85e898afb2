"""A system and its results."""

from __future__ import annotations

import base64
import json
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tenon_step
from tenon import _environment
from tenon._program import Error, call, program

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    import tenon_model

# The folders of loaded models, by digest. A model of a script may read its folder later.
_folders: dict[str, tempfile.TemporaryDirectory[str]] = {}


class System:
    """The system in a folder, as it is deployed or as it was after a revision.

    `revision` is a number, such as 3 or "@3", or None for what is deployed.
    """

    def __init__(self, path: str | os.PathLike[str] = ".", revision: int | str | None = None) -> None:
        self.path = Path(path).expanduser()
        self.revision = _number(revision)

    def __repr__(self) -> str:
        at = f", revision={self.revision}" if self.revision else ""
        return f"tenon.System({str(self.path)!r}{at})"

    def table(self, name: str, *, arrow: bool = False) -> pd.DataFrame | pa.Table:
        """The table that the unit or entity `name` has made, such as "features.shapes".

        A DataFrame has the values of the table. Integers and booleans of nullable columns have pandas'
        nullable dtypes (Int64, boolean), since a float64 does not hold every integer. Dates and timestamps
        are datetime64, with the zone UTC for a timestamptz. A null float is NaN. `arrow` gives the table as
        pyarrow.Table instead, which also keeps null and NaN apart. Raises Error if there is no such table.
        """
        import pyarrow.parquet as pq

        with tempfile.TemporaryDirectory(prefix="tenon-table-") as folder:
            to = Path(folder) / "table.parquet"
            found = self._call("export", name, "--to", str(to))
            if found["kind"] != "table":
                raise Error(f"{found['unit']}.{found['port']} is a {found['kind']}, not a table")
            read = pq.ParquetFile(to).read()
        nullable = {c["name"] for c in found.get("schema", ()) if c.get("nullable")}
        return read if arrow else _frame(read, nullable)

    def load(self, name: str, *, check: bool = True) -> tenon_model.Model:
        """The fitted model `name`, such as "models.species".

        `predict` of the model takes a table and gives its predictions. `predictor` is what was fitted: the
        estimator or pipeline of scikit-learn, or the object of a script; `predictor.booster` that of XGBoost
        or LightGBM. `features(table)` is what it is given. `signature` says what the columns are.

        Raises EnvironmentMismatch unless this interpreter has the Python and the packages that the model was
        trained with. With `check` unset that is only a warning, and the model may fail or give other results.

        Loading a model runs code that is in it. Load only models of systems that you trust.
        """
        digest = self._call("predict", name)["digest"]  # an Error if it is no model
        environment = self._call("env", name)
        if environment["digest"] != digest:
            raise Error(f"{name} was deployed again while it was read: try again")
        if found := _environment.differences(environment):
            at = ["--revision", str(self.revision)] if self.revision else []
            lock = [program(), "env", name, "-C", str(self.path.resolve()), *at, "--requirements"]
            mismatch = _environment.EnvironmentMismatch(
                environment["unit"], found, _environment.fix(lock, environment)
            )
            if check:
                raise mismatch
            warnings.warn(f"{mismatch}", stacklevel=2)
        folder = self._folder(name, digest)
        import tenon_model

        try:
            return tenon_model.load(folder)
        except tenon_step.StepError as e:
            raise Error(str(e)) from e

    def _folder(self, name: str, digest: str) -> Path:
        """The folder of a model, which lasts as long as the program."""
        if digest not in _folders:
            folder = tempfile.TemporaryDirectory(prefix="tenon-model-", ignore_cleanup_errors=True)
            if self._call("export", name, "--to", str(Path(folder.name) / "model"))["digest"] != digest:
                raise Error(f"{name} was deployed again while it was read: try again")
            _folders[digest] = folder
        return Path(_folders[digest].name) / "model"

    def predict(self, name: str, data: Any, *, arrow: bool = False, probabilities: bool = False) -> Any:
        """What the model `name` predicts, in a process of its own, in the environment of its training.

        For a table, which is a DataFrame, an Arrow table or a dict of columns, it is a DataFrame with the
        column `prediction` and, for a classifier, `probability`, as serve.#Batch gives them. It has a row for
        each row of the table, with the same index. `arrow` gives a pyarrow.Table instead. Columns that the
        model does not read are ignored.

        A list of dicts is a request as serve.#HTTP takes it, and the result is the list of its answers. A
        dict is one such row, and the result is one answer.

        `probabilities` adds the probability of every class of a classifier: columns `probability_CLASS` of a
        table, and in each answer the dict `probabilities`. They are null or left out if the model has none.

        What these components refuse is an Error: a column that is missing, a value of another type or out of
        its bounds, a row that has no prediction. Values are never rounded to fit.
        """
        if isinstance(data, Mapping) and not _columnar(data):
            return self._answers(name, [data], probabilities)[0]
        if isinstance(data, list | tuple) and all(isinstance(row, Mapping) for row in data):
            return self._answers(name, data, probabilities)
        return self._predictions(name, data, arrow, probabilities)

    def _predictions(self, name: str, data: Any, arrow: bool, probabilities: bool) -> pd.DataFrame | pa.Table:
        import pyarrow.parquet as pq

        signature = tenon_step.Signature.parse(self._call("predict", name)["signature"])
        try:
            table = tenon_step.conform(data, signature.input, "the data", extra="ignore")
        except tenon_step.StepError as e:
            raise Error(str(e)) from e
        with tempfile.TemporaryDirectory(prefix="tenon-predict-") as folder:
            asked, to = Path(folder) / "table.parquet", Path(folder) / "predictions.parquet"
            pq.write_table(table, asked, store_schema=False)
            self._call("predict", name, str(asked), "--to", str(to), *_every(probabilities))
            read = pq.ParquetFile(to).read()
        if arrow:
            return read
        frame = _frame(read, ())
        if isinstance(data, sys.modules["pandas"].DataFrame):
            frame.index = data.index
        return frame

    def _answers(
        self, name: str, rows: Sequence[Mapping[str, Any]], probabilities: bool
    ) -> list[dict[str, Any]]:
        with tempfile.TemporaryDirectory(prefix="tenon-predict-") as folder:
            request = Path(folder) / "request.json"
            request.write_text(json.dumps({"instances": list(rows)}, default=_plain), encoding="utf-8")
            answered = self._call("predict", name, str(request), *_every(probabilities))["answer"]
        answers: list[dict[str, Any]] = answered["predictions"]
        return answers

    def _call(self, command: str, *args: str) -> Any:
        if not self.path.is_dir():
            raise Error(f"{self.path} is not a folder: name the folder of a system")
        at = ["--revision", str(self.revision)] if self.revision else []
        return call(command, "-C", str(self.path), *at, *args)


def table(
    name: str,
    *,
    system: str | os.PathLike[str] = ".",
    revision: int | str | None = None,
    arrow: bool = False,
) -> pd.DataFrame | pa.Table:
    """The table that a unit or entity has made, see `System.table`."""
    return System(system, revision).table(name, arrow=arrow)


def load(
    name: str,
    *,
    system: str | os.PathLike[str] = ".",
    revision: int | str | None = None,
    check: bool = True,
) -> tenon_model.Model:
    """A fitted model, see `System.load`. Loading runs code that is in the model."""
    return System(system, revision).load(name, check=check)


def predict(
    name: str,
    data: Any,
    *,
    system: str | os.PathLike[str] = ".",
    revision: int | str | None = None,
    arrow: bool = False,
    probabilities: bool = False,
) -> Any:
    """What a model predicts for a table or for rows, see `System.predict`."""
    return System(system, revision).predict(name, data, arrow=arrow, probabilities=probabilities)


def _every(probabilities: bool) -> list[str]:
    return ["--probabilities"] if probabilities else []


def _number(revision: int | str | None) -> int | None:
    if revision is None:
        return None
    if isinstance(revision, str) and re.fullmatch(r"@?[0-9]{1,9}", revision):
        revision = int(revision.removeprefix("@"))
    if isinstance(revision, bool) or not isinstance(revision, int) or revision < 1:
        raise Error(f"{revision!r} is not a revision: wanted a number, such as 3 or '@3', or None")
    return revision


def _frame(table: pa.Table, nullable: Any) -> pd.DataFrame:
    try:
        return tenon_step.to_pandas(table, nullable)
    except ModuleNotFoundError as e:
        if e.name != "pandas":
            raise
        raise Error(
            "pandas is not installed: install it, or ask for a pyarrow.Table with arrow=True"
        ) from None


def _columnar(data: Mapping[str, Any]) -> bool:
    """Whether a dict is one of columns, rather than one row."""
    columns = [hasattr(v, "__len__") and not isinstance(v, str | bytes | Mapping) for v in data.values()]
    if any(columns) and not all(columns):
        raise Error("some values of the dict are columns and others are not: make it a table or one row")
    return any(columns)


def _plain(value: Any) -> Any:
    """A value of a row as JSON has it."""
    if type(value).__name__ in ("NAType", "NaTType"):  # pandas
        return None
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if hasattr(value, "item"):  # NumPy
        return value.item()
    raise Error(f"a row holds {type(value).__name__}, which a request cannot: {value!r}")
