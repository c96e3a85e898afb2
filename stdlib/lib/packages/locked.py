"""Writes what Tenon's compiler knows of a package that a user added to an environment.

    python locked.py OUT MODULE

runs in that environment and writes JSON to the file OUT: under `modules`, the pin of each package and the
modules that it has, and under `classes`, the index of one module, as describe.py defines it. It is empty if
there is no such module.

Packages may do anything: what cannot be found out for certain is unknown. A rule for a value of a parameter
is kept only if the class itself refuses samples of what the rule excludes.
"""

from __future__ import annotations

import contextlib
import dis
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import pkgutil
import re
import signal
import sys
import time
import warnings
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import describe
from describe import KINDS, reads, text

SKIPPED = ("experimental", "tests", "testing", "conftest", "estimator_checks")
MOST_MODULES = 400
SECONDS = 30.0  # of CPU time, to try values
SECONDS_PER_CLASS = 5.0


def main(out: Path, root: str) -> None:
    modules, pins = provided(root)
    found = {"modules": modules, "classes": index(root, pins)}
    out.write_text(json.dumps(found), encoding="utf-8")


def provided(root: str) -> tuple[list[str], list[str]]:
    """The pin of each package with its modules, and the pins of those that have the module root."""
    lines, pins = [], []
    for d in importlib.metadata.distributions():
        pin = f"{re.sub(r'[-_.]+', '-', d.metadata['Name']).lower()}=={d.version}"
        names = set((d.read_text("top_level.txt") or "").split())
        for file in d.files or ():
            names.add(file.parts[0] if len(file.parts) > 1 else inspect.getmodulename(file.name) or "")
        lines.append(" ".join([pin, *sorted(n for n in names if n.isidentifier() and n != "__pycache__")]))
        if root in names:
            pins.append(pin)
    return sorted(lines), sorted(pins)


def index(root: str, pins: list[str]) -> list[str]:
    if importlib.util.find_spec(root) is None:
        return []
    found, lines = modules(root)
    paths: dict[type, list[str]] = {}
    for at, module in found.items():
        names, complete = attributes(module)
        if not complete:
            lines.append(f"{at}.+ ?")
        for name in sorted(n for n in names if not n.startswith("_")):
            try:
                value = getattr(module, name)
            except BaseException:  # another package may be missing
                lines.append(f"{at}.{name} ?")
                continue
            if isinstance(value, type):
                paths.setdefault(value, []).append(f"{at}.{name}")
    until = time.process_time() + SECONDS
    for cls, names in paths.items():
        if cls.__module__.partition(".")[0] != root:
            lines += [f"{name} ?" for name in names]
            continue
        best = min(names, key=lambda n: (not cls.__module__.startswith(n.rpartition(".")[0]), len(n), n))
        lines += [f"{name} ={best}" for name in names if name != best]
        lines.append(f"{best} {text(entry(cls, until))}")
    return [" ".join(pins), *sorted(lines)]


def modules(root: str) -> tuple[dict[str, ModuleType], list[str]]:
    """The public modules of a package by name, and a line for each that is not known."""
    found: dict[str, ModuleType] = {}
    unknown = []
    todo = deque([root])
    while todo:
        name = todo.popleft()
        last = name.rpartition(".")[2]
        if name != root and last.startswith("_"):
            continue
        try:
            if last in SKIPPED or len(found) == MOST_MODULES:
                raise ImportError
            found[name] = module = importlib.import_module(name)
        except BaseException:  # a program may end the process when it is imported
            unknown.append(f"{name}.* ?")
            continue
        todo += [m.name for m in pkgutil.iter_modules(getattr(module, "__path__", []), f"{name}.")]
    for name, module in list(sys.modules.items()):  # those without a file
        parts = name.split(".")
        if (
            parts[0] == root
            and name not in found
            and not any(p.startswith("_") or p in SKIPPED for p in parts)
        ):
            found[name] = module
    return found, unknown


# What __getattr__ of a module may use so that its constants have all names that it makes.
PLAIN = {"AttributeError", "ImportError", "__name__"}


def attributes(module: ModuleType) -> tuple[set[str], bool]:
    """The names that a module has, and whether there are no others."""
    names = {*dir(module), *(n for n in getattr(module, "__all__", ()) if isinstance(n, str))}
    make = vars(module).get("__getattr__")
    if make is None:
        return names, type(module) is ModuleType
    code = getattr(make, "__code__", None)
    if code is None:
        return names, False
    for constant in code.co_consts:
        several = constant if isinstance(constant, tuple | frozenset) else (constant,)
        names |= {c for c in several if isinstance(c, str) and c.isidentifier()}
    used = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return names, used <= PLAIN


# --- Classes ---


def entry(cls: type, until: float) -> dict[str, Any]:
    try:
        found = describe.describe(cls, lambda _: {})
    except Exception:
        return {"open": True, "does": ["fit", "predict", "transform"]}
    params = found.get("params", {})
    left = min(SECONDS_PER_CLASS, until - time.process_time())
    known = False
    with contextlib.suppress(TimeUpError, Exception), limit(left):
        made = None
        with contextlib.suppress(Exception):
            made = cls()
        if made is not None:
            for p in params.values():
                p.pop("required", None)  # whatever its signature says
        found |= {"is": kind(cls, made), "does": methods(cls, made)}
        if made is not None and all(keeps(cls, name) for name, p in params.items() if "takes" in p):
            known = any("takes" in p for p in params.values())
        if known and all("takes" in p for p in params.values()) and not found.get("open"):
            found |= {k: v for k, v in reads(cls, found).items() if k != "column"}
    if not known:
        for p in params.values():
            p.pop("takes", None)
            p.pop("hidden", None)
    return {k: v for k, v in found.items() if v or k == "params"}


def kind(cls: type, made: Any) -> str:
    """The kind that a class states for all of its objects: that of a wrapper may be that of what it wraps."""
    kinds = {k for k, mixin in KINDS.items() if issubclass(cls, mixin)}
    if isinstance(named := getattr(cls, "_estimator_type", None), str):
        kinds.add(named.replace("_", " "))
    if len(kinds) > 1:
        kinds.discard("transformer")
    if len(kinds) != 1 or not kinds <= set(KINDS):
        return ""
    found = kinds.pop()
    with contextlib.suppress(Exception):
        said = describe.get_tags(made).estimator_type
        return found if said is None or said.replace("_", " ") == found else ""
    return found


def methods(cls: type, made: Any) -> list[str]:
    names = ["fit", "predict", "transform"]
    if any({"__getattr__", "__getattribute__"} & set(vars(base)) for base in cls.__mro__[:-1]):
        return names
    return [m for m in names if hasattr(cls, m) or hasattr(made, m)]


SAMPLES = [None, True, -1, 0, 1, 2, 1000000, -0.5, 0.5, 1.5, "no such value", [], [1], {"x": 1}]


def keeps(cls: type, name: str) -> bool:
    """Whether a class refuses the samples that its rules for a parameter exclude, and an object of no use."""
    rules = [describe.rules.make_constraint(c) for c in cls._parameter_constraints[name]]
    excluded = [v for v in SAMPLES if not any(r.is_satisfied_by(v) for r in rules)]
    return all(invalid(cls, {name: v}) for v in [*excluded, object()])


def invalid(cls: type, params: dict[str, Any]) -> bool:
    frame = describe.pd.DataFrame(
        {"a": [float(i) for i in range(12)], "b": [float(i % 5) for i in range(12)]}
    )
    y = describe.np.arange(12) % 3
    try:
        made = cls(**params)
        (made.fit if hasattr(made, "fit") else made.fit_resample)(frame, y)
    except Exception as e:
        return type(e).__name__ == "InvalidParameterError"
    return False


class TimeUpError(BaseException):
    pass


@contextlib.contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Ends a block after some seconds of CPU time, if what it calls lets it."""

    def end(*_: object) -> None:
        raise TimeUpError

    if seconds <= 0:
        raise TimeUpError
    signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


if __name__ == "__main__":
    del sys.path[0]  # the folder of this file has no package of the user's
    del sys.modules["describe"]
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]).absolute(), sys.argv[2])
