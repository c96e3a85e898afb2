"""Checkpoints of a step, as docs/checkpoints.md describes them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MANIFEST = "checkpoint.json"
VERSION = 1
HALF_WRITTEN = ".new-"


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint. `number` says how far the step had come. `path` must not be changed."""

    number: int
    attempt: int
    path: Path


class DamagedError(Exception):
    """Why a checkpoint cannot be used."""


@dataclass(frozen=True)
class Checkpoints:
    """A folder with one folder for each checkpoint, named after its number."""

    path: Path
    key: str
    keep: int
    attempt: int

    def numbers(self) -> list[int]:
        """The numbers of the checkpoints, the newest first."""
        names = (e.name for e in os.scandir(self.path) if e.is_dir(follow_symlinks=False))
        return sorted((int(n) for n in names if n.isascii() and n.isdigit() and n[0] != "0"), reverse=True)

    def newest(self, warn: Callable[[str], Any]) -> Checkpoint | None:
        """The newest one that is complete. `warn` gets in a line why another one is left out."""
        for number in self.numbers():
            try:
                return self.check(number)
            except (DamagedError, OSError) as e:
                warn(f"checkpoint {number}: {e}")
        return None

    def check(self, number: int) -> Checkpoint:
        """The checkpoint, if it is as it was saved. DamagedError or OSError says why not."""
        folder = self.path / str(number)
        try:
            doc = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            version, key, own, attempt, files = (
                doc[k] for k in ("version", "key", "number", "attempt", "files")
            )
            names = set(files.keys())
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
            raise DamagedError(f"it is not complete: {e}") from e
        if version != VERSION:
            raise DamagedError(f"it has version {version} of the format, and this program knows {VERSION}")
        if key != self.key:
            raise DamagedError("it was saved by other code, or with other inputs")
        if own != number:
            raise DamagedError(f"it is a copy of checkpoint {own}")
        found = dict(_parts(folder))
        for name in names | found.keys():
            if files.get(name) != found.get(name):
                raise DamagedError(f"it is damaged: {name} is not what was saved")
        return Checkpoint(number, attempt, folder)

    def save(self, number: int, save: Callable[[Path], Any]) -> None:
        """Saves a checkpoint, and removes older ones than are kept."""
        if number < 1:
            raise ValueError(f"checkpoint {number}: numbers begin at 1")
        with self._beside() as folder:
            save(folder)
            if os.path.lexists(folder / MANIFEST):
                raise ValueError(f"{MANIFEST} is the name of the manifest: choose another name for that file")
            doc = {"version": VERSION, "key": self.key, "number": number, "attempt": self.attempt}
            doc["files"] = dict(_parts(folder, synced=True))
            with open(folder / MANIFEST, "w", encoding="utf-8") as f:
                json.dump(doc, f)
                f.flush()
                os.fsync(f.fileno())
            _sync(folder)
            self._discard(number)  # a damaged one, which was not resumed from
            os.rename(folder, self.path / str(number))
            _sync(self.path)
        # What has a larger number was not resumed from: it is damaged, and would count as the newest.
        kept = [n for n in self.numbers() if n <= number][: self.keep]
        for other in set(self.numbers()).difference(kept):
            self._discard(other)

    def _discard(self, number: int) -> None:
        # It is renamed before, so that what is half removed is not a checkpoint.
        with self._beside() as folder, contextlib.suppress(FileNotFoundError):
            os.rename(self.path / str(number), folder / "old")

    @contextlib.contextmanager
    def _beside(self) -> Iterator[Path]:
        folder = Path(tempfile.mkdtemp(prefix=HALF_WRITTEN, dir=self.path))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _parts(folder: Path, synced: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
    """Path, size and digest of each file but the manifest. `synced` flushes all of them to the disk."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() and not path.is_symlink():
            if synced:
                _sync(path)
            continue
        if path.is_symlink() or not path.is_file():
            raise DamagedError(f"{name} is neither a file nor a folder")
        if name == MANIFEST:
            continue
        with open(path, "rb") as f:
            digest = hashlib.file_digest(f, "sha256").hexdigest()
            if synced:
                os.fsync(f.fileno())
            yield name, {"size": f.tell(), "sha256": digest}


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
