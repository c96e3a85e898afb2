"""The indexes of packages, which the compiler reads: they are what the locked packages say."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_indexes_are_those_of_the_locked_packages(tmp_path):
    # In a process of its own, because reading modules changes others.
    subprocess.run([sys.executable, HERE / "index.py", tmp_path], check=True, capture_output=True)
    for made in tmp_path.iterdir():
        assert made.read_text() == (HERE / made.name).read_text(), "make locks writes it again"
    assert {f.name for f in tmp_path.iterdir()} == {f.name for f in HERE.glob("*.txt")}


def test_answers_of_the_libraries_are_those_that_the_compiler_is_tested_with():
    for name, flags in {"verdicts": [], "native": ["--native"]}.items():
        command = [sys.executable, HERE / "verdicts.py", *flags]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        kept = HERE.parents[2] / f"compiler/classes/testdata/{name}.txt"
        assert run.stdout == kept.read_text()
