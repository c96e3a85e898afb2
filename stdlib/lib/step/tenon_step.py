"""The contract of a step in Python: read the document, read inputs, write outputs.

A whole step::

    import tenon_step

    def main(step: tenon_step.Step) -> None:
        people = step.table("people")
        step.output("out").write(people[people.age >= step.params["min_age"]])

    if __name__ == "__main__":
        tenon_step.run(main)

It is a convenience, not a requirement: docs/step.md describes what it does. It needs pandas and pyarrow only
when a table is read or written.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import inspect
import json
import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenon_checkpoint import Checkpoint, Checkpoints
from tenon_table import (
    Column,
    LazyTable,
    StepError,
    TableWriter,
    arrow_schema,
    arrow_type,
    conform,
    differences,
    is_json,
    log,
    nearest,
    to_pandas,
)

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = [
    "Checkpoint",
    "Column",
    "LazyTable",
    "Port",
    "Signature",
    "Step",
    "StepError",
    "TableWriter",
    "arrow_schema",
    "arrow_type",
    "call",
    "conform",
    "find_function",
    "import_file",
    "is_json",
    "load",
    "log",
    "nearest",
    "run",
    "to_pandas",
    "user_function",
    "user_module",
]

VERSION = 1
MAX_NAME = 250  # bytes of the name of a metric
ENV = "TENON_STEP"


@dataclass(frozen=True)
class Signature:
    """What a model takes (`input`, in order) and gives (`output`, the label). `doc` is its JSON form."""

    task: str
    input: tuple[Column, ...]
    output: Column
    doc: dict[str, Any] = field(compare=False, repr=False, default_factory=dict)

    @classmethod
    def parse(cls, doc: Mapping[str, Any]) -> Signature:
        columns = tuple(Column.parse(c) for c in doc["input"])
        return cls(doc["task"], columns, Column.parse(doc["output"]), dict(doc))


@dataclass(frozen=True)
class Port:
    """One input or output. `path` is a Parquet file for a table, a folder for a model or a report."""

    name: str
    kind: str
    path: Path
    schema: tuple[Column, ...] = ()
    keys: tuple[str, ...] = ()
    timestamp: str = ""
    signature: Signature | None = None
    request: tuple[Column, ...] = ()
    response: tuple[Column, ...] = ()
    digest: str = ""
    version: int = 0
    created: str = ""
    lost: bool = False  # of an incumbent: there is one, but not its artifact
    written: bool = False  # by the step: an output

    @classmethod
    def parse(cls, name: str, doc: Mapping[str, Any], written: bool = False) -> Port:
        return cls(
            name=name,
            kind=doc["kind"],
            path=Path(doc["path"]),
            schema=tuple(Column.parse(c) for c in doc.get("schema") or ()),
            keys=tuple(doc.get("keys") or ()),
            timestamp=doc.get("timestamp") or "",
            signature=Signature.parse(doc["signature"]) if doc.get("signature") else None,
            request=tuple(Column.parse(c) for c in doc.get("request") or ()),
            response=tuple(Column.parse(c) for c in doc.get("response") or ()),
            digest=doc.get("digest") or "",
            version=doc.get("version") or 0,
            created=doc.get("created") or "",
            lost=doc.get("lost", False),
            written=written,
        )

    def write(self, data: Any, extra: str = "error") -> int:
        """Writes `data` as this output table and returns the number of rows, see `Step.write_table`."""
        if not self.written:
            raise StepError(f"{self.name} is an input, and inputs are read-only")
        if self.kind != "table":
            raise StepError(f"output {self.name} is a {self.kind}, not a table; write to its path")
        with TableWriter(self.path, self.schema, f"output {self.name}", extra) as writer:
            writer.write(data)
        return writer.rows


class Step:
    """The document of one run. Inputs are read-only; outputs count once the program has exited with 0."""

    def __init__(self, doc: Mapping[str, Any]) -> None:
        self.doc = doc
        self.unit: str = doc.get("unit", "")
        self.component: str = doc.get("component", "")
        self.params: dict[str, Any] = doc.get("params") or {}
        self.inputs = {name: Port.parse(name, p) for name, p in (doc.get("inputs") or {}).items()}
        self.outputs = {name: Port.parse(name, p, True) for name, p in (doc.get("outputs") or {}).items()}
        self.files: dict[str, list[str]] = doc.get("files") or {}
        self.seed: int = doc.get("seed") or 0
        self.resources: dict[str, Any] = doc.get("resources") or {}
        self.code = Path(doc.get("code") or ".")
        self.scratch = Path(doc.get("scratch") or ".")
        self.endpoint: dict[str, Any] = doc.get("endpoint") or {}
        self.instance: str = doc.get("instance") or ""
        self._metrics: dict[str, float] = {}
        self._logged: dict[str, int] = {}  # the last step, by metric

    @property
    def threads(self) -> int | None:
        """Whole cores the unit asked for, at least 1; None if it did not say."""
        milli = self.resources.get("milli_cpu") or 0
        return max(1, milli // 1000) if milli else None

    @property
    def seed32(self) -> int:
        """The seed folded into 32 bits, which is what NumPy and scikit-learn take."""
        return self.seed % 2**32

    def input(self, name: str, kind: str | None = None) -> Port:
        """The input port `name`. Raises StepError if it does not exist or is of another kind."""
        return _port("input", self.inputs, name, kind)

    def output(self, name: str, kind: str | None = None) -> Port:
        """The output port `name`. Raises StepError if it does not exist or is of another kind."""
        return _port("output", self.outputs, name, kind)

    def lazy(self, name: str) -> LazyTable:
        """The input table `name`, of which only the columns that are asked for are read."""
        return LazyTable(self.input(name, "table").path)

    def arrow(self, name: str) -> pa.Table:
        """The input table `name` as an Arrow table with exactly the columns of its schema."""
        import pyarrow.parquet as pq

        return pq.ParquetFile(self.input(name, "table").path).read()  # read_table takes columns from the path

    def table(self, name: str) -> pd.DataFrame:
        """The input table `name` as a DataFrame.

        Dates and timestamps are datetime64. Integers and booleans that may be null are of pandas' nullable
        dtypes (Int64, boolean), since a float64 does not hold every integer. A null float is NaN, unless the
        column may have both (`nan: true`): then its dtype is Arrow's (double[pyarrow]), with null as pd.NA.
        """
        port = self.input(name, "table")
        nullable = {c.name for c in port.schema if c.nullable}
        return to_pandas(self.arrow(name), nullable, {c.name for c in port.schema if c.nullable and c.nan})

    @contextlib.contextmanager
    def writer(self, name: str, extra: str = "error", exact: bool = False) -> Iterator[TableWriter]:
        """Writes the output table `name` part by part: `with step.writer("out") as w: w.write(part)`.

        With `exact`, a float64 is not rounded to float32 either.
        """
        port = self.output(name, "table")
        with TableWriter(port.path, port.schema, f"output {name}", extra, exact) as writer:
            yield writer

    def write_table(self, name: str, data: Any, extra: str = "error") -> int:
        """Writes `data` as the output table `name` and returns the number of rows.

        `data` is a DataFrame of pandas, an Arrow table or batch, anything with the Arrow stream interface,
        such as a DataFrame of Polars, a dict of columns or a list of dicts. It is cast to the declared
        schema, in the declared order. StepError names the column and the wanted and found type if a value
        does not fit, if a column is missing, or, unless `extra` is "drop", if there is one that is not
        declared. The same rows always make the same bytes.
        """
        return self.output(name, "table").write(data, extra)

    @property
    def looks(self) -> bool:
        """Whether it has to compare the columns of its data only, without reading it, see `look`."""
        return self.params.get("look") is True

    def look(
        self, name: str, found: Mapping[str, pa.DataType], faults: Iterable[Mapping[str, Any]] = ()
    ) -> None:
        """Reports how columns of these types differ from those of the output `name`, and other `faults`,
        each with "column" and "text"."""
        port = self.output(name)
        known = [dict(f) for f in faults]
        skip = {f["column"] for f in known}
        known += [f for f in differences(found, port.schema) if f["column"] not in skip]
        port.path.write_text(json.dumps({"columns": list(found), "faults": known}), encoding="utf-8")

    def metrics(self, values: Mapping[str, float] | None = None, /, **more: float) -> None:
        """Adds to the metrics of the step. What is no finite number is left out, with a note in the log."""
        for name, value in {**(values or {}), **more}.items():
            if math.isfinite(value):
                self._metrics[name] = float(value)
            else:
                log(f"metric {name} is {value}: omitted")
        if path := self.doc.get("metrics"):
            Path(path).write_text(json.dumps(self._metrics, sort_keys=True))

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Reports that `done` of `total` units of work, of any unit, are done."""
        line: dict[str, Any] = {"done": done}
        if total is not None:
            line["total"] = total
        if message:
            line["message"] = message
        self._say(line)

    def log(self, values: Mapping[str, float] | None = None, /, *, step: int, **more: float) -> None:
        """Logs metrics over time: `step.log(loss=0.25, step=epoch)`, or `step.log({"any name": x}, step=n)`.

        They are seen while the program runs. Each metric has its own steps, such as batches or epochs, which
        ascend; StepError if one does not. A value that is not finite is logged as such.
        """
        given = {**(values or {}), **more}
        step = int(step)
        for name in given:
            if (last := self._logged.get(name)) is not None and step <= last:
                raise StepError(
                    f"{name} was logged at step {last}, and then at step {step}: steps must ascend"
                )
            if not 0 < len(name.encode()) <= MAX_NAME:
                raise StepError(f"the name of a metric has 1 to {MAX_NAME} bytes: {name[:40]}...")
        self._logged.update(dict.fromkeys(given, step))
        if given:
            found = {name: _logged(float(value)) for name, value in given.items()}
            self._say({"step": step, "time": time.time_ns() // 1_000_000, "values": found})

    def _say(self, line: Mapping[str, Any]) -> None:
        if path := self.doc.get("progress"):
            with open(path, "a", encoding="utf-8") as f:
                f.write(json.dumps(line) + "\n")

    def restore(self) -> Checkpoint | None:
        """The newest complete checkpoint of an attempt with the same code and inputs, or None.

        There is none without `checkpoints` in the system. What is damaged, or was saved by other code, is
        left out with a line in the log.
        """
        if not (kept := self._checkpoints()):
            return None
        found = kept.newest(lambda why: log(f"{why}: it is not used"))
        if found:
            says = f"resumed from checkpoint {found.number} of attempt {found.attempt}"
            log(says)
            self.progress(found.number, message=says)
        return found

    def checkpoint(self, number: int, save: Callable[[Path], Any]) -> bool:
        """Saves a checkpoint: `save(folder)` writes files to an empty folder.

        `number` says how far the step has come, in units of its own, and grows from one checkpoint to the
        next. Whenever the program is killed, the checkpoint is complete or does not exist. Returns False,
        without calling `save`, if the system has no `checkpoints` for the step.
        """
        if kept := self._checkpoints():
            kept.save(number, save)
        return kept is not None

    def _checkpoints(self) -> Checkpoints | None:
        doc = self.doc.get("checkpoints")
        return Checkpoints(Path(doc["path"]), doc["key"], doc["keep"], doc["attempt"]) if doc else None

    def function(self, name: str | None = None, default: str = "main") -> Callable[..., Any]:
        """The function that params `script` and `function` name, imported from the code folder."""
        return user_function(self, self.params.get("script"), name or self.params.get("function") or default)


def load() -> Step:
    """Reads the document that $TENON_STEP names. Raises StepError if there is none."""
    path = os.environ.get(ENV)
    if not path:
        raise StepError(f"${ENV} is not set: only tenon apply can start a step")
    try:
        doc = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise StepError(f"cannot read the step {path}: {e}") from e
    if doc.get("version") != VERSION:
        raise StepError(
            f"{path} has version {doc.get('version')} of the contract; this helper supports {VERSION}"
        )
    step = Step(doc)
    if step.threads:
        # OpenMP and BLAS read these when they are loaded, which is why components import libraries after
        # this.
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.setdefault(name, str(step.threads))
    return step


def run(main: Callable[[Step], Any]) -> None:
    """Loads the step, calls `main(step)` and exits.

    A StepError ends the program with status 1 and one line on standard error. Any other exception keeps its
    traceback, which starts at the user's script if it passes through one.
    """
    # Importing scikit-learn makes half a million objects and little garbage. Looking for it after every 700
    # of them, and again and again at the exit, takes a fifth of the time of a short step.
    gc.set_threshold(20_000, 20, 20)
    try:
        main(load())
    except StepError as e:
        log("error: " + " ".join(str(e).split()))
        sys.exit(1)
    except Exception as e:
        sys.stdout.flush()
        print(_traceback(e), end="", file=sys.stderr, flush=True)
        sys.exit(1)
    finally:
        # Not with the user's objects, of which Python may close a file only now, and not with libraries made
        # with nanobind, which complain of objects that are left.
        if not _user_files and not {"jaxlib", "onnx", "torch"} & sys.modules.keys():
            gc.freeze()


# --- The user's code ---

_user_files: set[str] = set()


def user_module(step: Step, script: str | None) -> Any:
    """Imports `script`, a path relative to the code folder, and returns the module."""
    if not script:
        raise StepError("parameter script is not set")
    path = (step.code / script).resolve()
    if not path.is_file():
        there = [str(p.relative_to(step.code)) for p in step.code.rglob("*.py") if not _own(p)]
        raise StepError(f"script {script} is not in the code folder{nearest(script, there, 'it holds')}")
    for folder in (str(path.parent), str(step.code.resolve())):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    return import_file(path.stem, path)


def import_file(name: str, path: Path) -> Any:
    """Imports the file as the module `name`."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise StepError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _user_files.add(str(path))
    spec.loader.exec_module(module)
    return module


def user_function(step: Step, script: str | None, name: str) -> Callable[..., Any]:
    """The function `name` of `script`. StepError gives the nearest names if it does not exist."""
    return find_function(user_module(step, script), str(script), name)


def find_function(module: Any, script: str, name: str) -> Callable[..., Any]:
    """The function `name` of an imported script. StepError gives the nearest names if it does not exist."""
    found = getattr(module, name, None)
    if not callable(found):
        names = [
            n for n, v in vars(module).items() if inspect.isfunction(v) and v.__module__ == module.__name__
        ]
        raise StepError(f"{script} has no function {name}{nearest(name, names, 'it has')}")
    return found


def call(function: Callable[..., Any], args: Mapping[str, Any], where: str) -> Any:
    """Calls `function(**args)`. StepError if the arguments do not fit its parameters."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return function(**args)
    try:
        signature.bind(**args)
    except TypeError as e:
        takes = ", ".join(str(p) for p in signature.parameters.values())
        raise StepError(f"{where}: {e}; it takes ({takes}) but gets ({', '.join(args)})") from None
    return function(**args)


def _logged(value: float) -> float | str:
    """The value as the contract writes it."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _port(direction: str, ports: Mapping[str, Port], name: str, kind: str | None) -> Port:
    if name not in ports:
        raise StepError(f"the step has no {direction} {name}{nearest(name, ports, 'it has')}")
    port = ports[name]
    if kind and port.kind != kind:
        raise StepError(f"{direction} {name} is a {port.kind}, wanted a {kind}")
    return port


def _own(path: Path) -> bool:
    """Whether the file is a component, not the user's."""
    return Path(__file__).parent in path.parents


def _traceback(e: BaseException) -> str:
    """The traceback from the user's first frame on; the whole if there is none."""
    report = traceback.TracebackException.from_exception(e)
    for i, frame in enumerate(report.stack):
        if frame.filename in _user_files:
            report.stack = traceback.StackSummary.from_list(report.stack[i:])
            break
    return "".join(report.format())
