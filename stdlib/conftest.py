"""Runs components as tenon does: one code folder, a step document, a process."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

STDLIB = Path(__file__).parent
LIBRARY = "_tenon"  # where the compiler lays the components' own files
SHARED = {p.name: p for p in STDLIB.glob("lib/*/tenon_*.py")}
sys.path[:0] = sorted({str(p.parent) for p in SHARED.values()} | {str(STDLIB / "lib" / "test")})
pytest_plugins = ["testing_models", "testing_services"]


def code(component: str) -> dict[str, Path]:
    """The files of a component and those of the library that they import, as the compiler collects them."""
    folder = STDLIB.joinpath(*component.split("."))
    files = {p.name: p for p in folder.glob("*.py") if not p.name.startswith("test_")}
    todo = list(files.values())
    while todo:
        for module in re.findall(r"(?m)^\s*(?:import|from) (tenon_\w+)", todo.pop().read_text()):
            if (name := f"{module}.py") not in files:
                files[name] = SHARED[name]
                todo.append(SHARED[name])
    return files


import tenon_step  # noqa: E402


@dataclass
class Outcome:
    """What a run left."""

    status: int
    log: str
    doc: dict[str, Any]
    metrics: dict[str, float] = field(default_factory=dict)
    progress: list[dict[str, Any]] = field(default_factory=list)

    def path(self, port: str) -> Path:
        return Path(self.doc["outputs"][port]["path"])

    def table(self, port: str = "out") -> pd.DataFrame:
        return pd.read_parquet(self.path(port))

    def json(self, port: str, file: str) -> Any:
        return json.loads((self.path(port) / file).read_text())

    def files(self, port: str) -> dict[str, bytes]:
        """All bytes of an output, by path."""
        root = self.path(port)
        if root.is_file():
            return {"": root.read_bytes()}
        return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


class Lab:
    """Builds step documents under one folder and runs them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._count = itertools.count()

    def table(self, data: Any, schema: list[dict[str, Any]]) -> dict[str, Any]:
        """An input port: `data`, written as a table of `schema`."""
        path = self.root / f"table{next(self._count)}.parquet"
        columns = [tenon_step.Column.parse(c) for c in schema]
        with tenon_step.TableWriter(path, columns, "test", "drop") as writer:
            writer.write(data)
        return {"kind": "table", "format": "parquet", "path": str(path), "schema": schema}

    def spoiled(self, table: dict[str, Any], but: list[str]) -> dict[str, Any]:
        """The same port, with a table of which only the columns `but` can be read."""
        path = self.root / f"table{next(self._count)}.parquet"
        content = bytearray(Path(table["path"]).read_bytes())
        metadata = pq.read_metadata(table["path"])
        for group in range(metadata.num_row_groups):
            for i in range(metadata.num_columns):
                chunk = metadata.row_group(group).column(i)
                if chunk.path_in_schema not in but:
                    at = chunk.dictionary_page_offset or chunk.data_page_offset
                    content[at : at + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
        path.write_bytes(content)
        return {**table, "path": str(path)}

    def build(
        self, component: str, *, scripts: dict[str, str | bytes] | None = None, **doc: Any
    ) -> dict[str, Any]:
        """A step document and its code folder. Outputs are given without paths."""
        home = self.root / f"run{next(self._count)}"
        user = home / "code"
        library = user / LIBRARY
        for folder in (user, library, home / "scratch", home / "out"):
            folder.mkdir(parents=True)
        for file in code(component).values():
            shutil.copy(file, library)
        for name, text in (scripts or {}).items():
            (user / name).parent.mkdir(parents=True, exist_ok=True)
            (user / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        outputs = doc.pop("outputs", {})
        return {
            "version": 1,
            "unit": "tests/unit/x",
            "component": component,
            "params": {},
            "inputs": {},
            "outputs": {name: {**port, "path": str(home / "out" / name)} for name, port in outputs.items()},
            "seed": 7,
            "resources": {"milli_cpu": 1000},  # threads of OpenMP would spin beside those of other tests
            "code": str(user),
            "scratch": str(home / "scratch"),
            "metrics": str(home / "metrics.json"),
            "progress": str(home / "progress.jsonl"),
            **doc,
        }

    def command(self, doc: dict[str, Any], **env: str) -> dict[str, Any]:
        """The arguments of subprocess for a document."""
        path = Path(doc["code"]).parent / "step.json"
        path.write_text(json.dumps(doc))
        main = str(Path(doc["code"]) / LIBRARY / "main.py")
        return {
            "args": [sys.executable, main],
            "cwd": doc["code"],
            "env": {**os.environ, "TENON_STEP": str(path), **env},
        }

    def run(self, component: str, *, env: dict[str, str] | None = None, **doc: Any) -> Outcome:
        return self.execute(self.build(component, **doc), **(env or {}))

    def execute(self, built: dict[str, Any], **env: str) -> Outcome:
        """Runs a step whose document and code folder are made."""
        done = subprocess.run(**self.command(built, **env), capture_output=True, text=True, timeout=120)
        outcome = Outcome(done.returncode, done.stdout + done.stderr, built)
        if Path(built["metrics"]).exists():
            outcome.metrics = json.loads(Path(built["metrics"]).read_text())
        if Path(built["progress"]).exists():
            lines = Path(built["progress"]).read_text().splitlines()
            outcome.progress = [json.loads(line) for line in lines]
        return outcome

    def inside(self, component: str, **doc: Any) -> Outcome:
        """A run in this process, which is faster. A StepError is raised."""
        built = self.build(component, **doc)
        main = STDLIB.joinpath(*component.split("."), "main.py")
        tenon_step.import_file(component.replace(".", "_"), main).main(tenon_step.Step(built))
        return Outcome(0, "", built)

    def ok(self, component: str, **doc: Any) -> Outcome:
        outcome = self.run(component, **doc)
        assert outcome.status == 0, outcome.log
        return outcome

    def error(self, component: str, **doc: Any) -> str:
        """The one line of a run that has to fail by a StepError."""
        outcome = self.run(component, **doc)
        lines = outcome.log.strip().splitlines()
        assert outcome.status == 1, outcome.log
        assert lines[-1].startswith("error: "), outcome.log
        assert "Traceback" not in outcome.log, outcome.log
        return lines[-1].removeprefix("error: ")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab whose results several tests of a module use."""
    yield Lab(tmp_path_factory.mktemp("shared"))


def col(name: str, type: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type, **more}


def table_out(*schema: dict[str, Any]) -> dict[str, Any]:
    return {"out": {"kind": "table", "format": "parquet", "schema": list(schema)}}


def look_out(*schema: dict[str, Any]) -> dict[str, Any]:
    return {"out": {"kind": "file", "schema": list(schema)}}


def model_out(task: str, inputs: list[dict[str, Any]], label: dict[str, Any]) -> dict[str, Any]:
    return {"model": {"kind": "model", "signature": {"task": task, "input": inputs, "output": label}}}


def mixed(rows: int = 600) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """A table with columns of many kinds, and three labels: `late`, `kind` and `delay`."""
    import numpy as np

    rng = np.random.default_rng(0)
    carrier = rng.choice(["AA", "DL", "UA", None], rows, p=[0.4, 0.3, 0.2, 0.1])
    origin = rng.choice(["EWR", "JFK", "LGA"], rows)
    wind = np.where(rng.random(rows) < 0.2, np.nan, rng.normal(10, 3, rows))
    hour = rng.integers(0, 24, rows)
    score = (hour - 12) / 6 + (origin == "EWR") + np.nan_to_num(wind - 10) / 3 + rng.normal(0, 0.5, rows)
    frame = pd.DataFrame(
        {
            "id": np.arange(rows, dtype=np.uint64),
            "at": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300 * 86400, rows), unit="s"),
            "carrier": carrier,
            "origin": origin,
            "hour": hour,
            "wind": wind,
            "holiday": rng.choice([True, False, None], rows),
            "late": score > 0.5,
            "kind": np.select([score < -1, score < 1], ["early", "fine"], "late"),
            "delay": score * 10,
        }
    )
    schema = [
        col("id", "uint64", unique=True),
        col("at", "timestamp"),
        col("carrier", "string", nullable=True),
        col("origin", "string", values=["EWR", "JFK", "LGA"]),
        col("hour", "int64", min=0, max=23),
        col("wind", "float64", nullable=True),
        col("holiday", "bool", nullable=True),
        col("late", "bool"),
        col("kind", "string"),
        col("delay", "float64"),
    ]
    return frame, schema


FEATURES = ["at", "carrier", "origin", "hour", "wind", "holiday"]


def features(schema: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [c for c in schema if c["name"] in FEATURES]
