"""Calls of the program `tenon`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any


class Error(Exception):
    """What was asked for is not there or not possible. The message is that of `tenon`."""


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
    """What `tenon ARGS --json` prints. Raises Error with its message if it fails."""
    command = [program(), *args, "--json"]
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError as e:
        raise Error(f"cannot run {command[0]}: {e.strerror}") from e
    try:
        out, err = process.communicate()
    except BaseException:  # such as the interrupt of a notebook
        process.terminate()
        process.wait()
        raise
    if process.returncode != 0:
        raise Error(message(err.decode(errors="replace"), command, process.returncode))
    try:
        return json.loads(out)
    except ValueError as e:
        raise Error(f"{command[0]} {args[0]} printed no JSON: is it the program of Tenon?") from e


def message(text: str, command: Sequence[str], status: int) -> str:
    """The message of a call that failed, without the notices before it."""
    _, found, rest = f"\n{text}".rpartition("\ntenon: ")
    said = (rest if found else text).strip()
    return said or f"{command[0]} {command[1]} ended with status {status}"
