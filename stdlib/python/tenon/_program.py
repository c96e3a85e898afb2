"""Calls of the program `tenon`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from typing import Any

MESSAGE = "tenon: "  # begins an error or a warning


class Error(Exception):
    """What was asked for does not exist or is not possible. The message is that of `tenon`."""


def program() -> str:
    """The path of `tenon`: $TENON, or the one in the path."""
    named = os.environ.get("TENON")
    found = shutil.which(named or "tenon")
    if found:
        return found
    if named:
        raise Error(
            f"$TENON is {named}, which is not a program: name the program tenon, such as /opt/tenon/bin/tenon"
        )
    raise Error("the program tenon is not in the path: add its folder to PATH, or set $TENON to its path")


def call(*args: str) -> Any:
    """What `tenon ARGS --json` prints. Raises Error with its message if it fails.

    Notices and warnings, such as that it makes an environment, go to standard error while it works.
    """
    command = [program(), *args, "--json"]
    with tempfile.TemporaryFile() as out:
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE)
        except OSError as e:
            raise Error(f"cannot run {command[0]}: {e.strerror}") from e
        try:
            said = _message(process)
        except BaseException:  # such as the interrupt of a notebook
            process.terminate()
            process.wait()
            raise
        if process.returncode != 0:
            said = said.strip().removeprefix(MESSAGE)
            raise Error(said or f"{command[0]} {command[1]} ended with status {process.returncode}")
        _show(said)
        out.seek(0)
        try:
            return json.load(out)
        except ValueError as e:
            raise Error(f"{command[0]} {args[0]} printed no JSON: is it the program of Tenon?") from e


def _message(process: subprocess.Popen[bytes]) -> str:
    """The last message of a process, once it has ended. What it prints before is shown."""
    said = ""
    assert process.stderr is not None
    for line in process.stderr:
        text = line.decode(errors="replace")
        if text.startswith(MESSAGE):
            _show(said)  # it was a warning
            said = text
        elif said:
            said += text
        else:
            _show(text)
    process.stderr.close()
    process.wait()
    return said


def _show(text: str) -> None:
    print(text, end="", file=sys.stderr, flush=True)
