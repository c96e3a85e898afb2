"""Whether this interpreter is the environment that a model was trained in."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tenon._program import Error

# Modules of which another version may still be loaded after an installation.
LOADED = {
    "lightgbm": "lightgbm",
    "numpy": "numpy",
    "pandas": "pandas",
    "pyarrow": "pyarrow",
    "scikit-learn": "sklearn",
    "scipy": "scipy",
    "xgboost": "xgboost",
    "xgboost-cpu": "xgboost",
}


@dataclass(frozen=True)
class Difference:
    """A package, or Python itself, that is not as recorded. `found` is None if it is not installed."""

    name: str
    wanted: str
    found: str | None
    loaded: bool = False  # the right version is installed, but another one is loaded

    def __str__(self) -> str:
        if self.found is None:
            return f"{self.name}: wanted {self.wanted}, not installed"
        if self.loaded:
            return f"{self.name}: wanted {self.wanted}, {self.found} is still loaded: restart the interpreter"
        return f"{self.name}: wanted {self.wanted}, found {self.found}"


class EnvironmentMismatch(Error):  # noqa: N818, it is named after what is wrong
    """This interpreter does not have the Python or the packages that a model was trained with.

    `differences` lists them; `fix` is the command that installs what is missing.
    """

    def __init__(self, unit: str, differences: Sequence[Difference], fix: str) -> None:
        self.unit, self.differences, self.fix = unit, tuple(differences), fix
        lines = "".join(f"\n  {d}" for d in differences)
        super().__init__(
            f"{unit} ran in another environment than this one:{lines}\n"
            f"Make an environment that has them with\n  {fix}\n"
            "and restart the interpreter. tenon.predict needs none of it: it runs in the model's environment."
        )


def differences(environment: Mapping[str, Any]) -> list[Difference]:
    """How this interpreter differs from an environment, as `tenon env --json` describes it."""
    found: list[Difference] = []
    if environment["python"] != "{}.{}".format(*sys.version_info):
        found.append(Difference("Python", environment["python"], platform.python_version()))
    for package in environment["packages"]:
        name, wanted = package["name"], package.get("version")
        try:
            have = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            have = None
        if have is None:
            if not package.get("marker"):  # a condition that tenon could not decide
                found.append(Difference(name, wanted or "any version", None))
        elif wanted and have != wanted:
            found.append(Difference(name, wanted, have))
        elif loaded := _loaded(name, have):
            found.append(Difference(name, have, loaded, loaded=True))
    return found


def _loaded(name: str, installed: str) -> str | None:
    """The version of a package that is loaded, if it is not the installed one."""
    module = sys.modules.get(LOADED.get(name, ""))
    version = getattr(module, "__version__", installed)
    return version if version != installed else None


def fix(lock: Sequence[str], environment: Mapping[str, Any]) -> str:
    """The command that installs an environment. `lock` is the command that prints its lock."""
    python, before = sys.executable, ""
    if environment["python"] != "{}.{}".format(*sys.version_info):
        python = f"./venv-{environment['python']}"  # with a slash: otherwise uv looks for a program
        before = f"uv venv --python {environment['python']} {python} && "
    install = f"uv pip install --python {shlex.quote(python)} -r -"
    if not before and not shutil.which("uv"):
        install = f"{shlex.quote(python)} -m pip install -r /dev/stdin"
    return f"{before}{shlex.join(lock)} | {install}"
