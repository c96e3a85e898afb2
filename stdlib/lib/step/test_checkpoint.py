"""Checkpoints: whenever a step is killed, it resumes from a whole one and makes the same result."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tenon_checkpoint import MANIFEST
from tenon_step import Step

HERE = Path(__file__).parent


def step_in(folder: Path, key: str = "key", attempt: int = 1, keep: int = 2) -> Step:
    (folder / "checkpoints").mkdir(exist_ok=True)
    doc = {"path": str(folder / "checkpoints"), "key": key, "keep": keep, "attempt": attempt}
    return Step({"checkpoints": doc, "progress": str(folder / "progress")})


def text(value: str):
    def save(folder: Path) -> None:
        (folder / "deep").mkdir()
        (folder / "deep" / "value").write_text(value)

    return save


def value(step: Step) -> str | None:
    found = step.restore()
    return found and (found.path / "deep" / "value").read_text()


def folders(folder: Path) -> list[str]:
    return sorted(os.listdir(folder / "checkpoints"))


def test_the_newest_is_restored_and_old_ones_are_removed(tmp_path, capfd):
    assert value(step_in(tmp_path)) is None
    for n in (9, 10, 11):
        assert step_in(tmp_path, attempt=n).checkpoint(n, text(f"at {n}"))
    assert folders(tmp_path) == ["10", "11"]
    assert value(step_in(tmp_path)) == "at 11"
    says = "resumed from checkpoint 11 of attempt 11"
    assert says in capfd.readouterr().err
    assert json.loads((tmp_path / "progress").read_text()) == {"done": 11, "message": says}


def test_without_checkpoints_nothing_is_saved():
    step = Step({})
    assert step.restore() is None
    assert step.checkpoint(1, lambda folder: pytest.fail("it is called")) is False


def test_one_of_another_key_is_never_used(tmp_path, capfd):
    step_in(tmp_path, key="other").checkpoint(1, text("other"))
    assert value(step_in(tmp_path)) is None
    assert (
        "checkpoint 1: it was saved by other code, or with other inputs: it is not used"
        in capfd.readouterr().err
    )


def no_manifest(at: Path) -> None:
    (at / MANIFEST).unlink()


def cut(at: Path) -> None:
    (at / "deep" / "value").write_text("at")


def changed(at: Path) -> None:
    (at / "deep" / "value").write_text("as 2")


def more(at: Path) -> None:
    (at / "more").write_text("")


def less(at: Path) -> None:
    (at / "deep" / "value").unlink()


def renamed(at: Path) -> None:
    shutil.copytree(at, at.parent / "3")
    shutil.rmtree(at)


def linked(at: Path) -> None:
    (at / "link").symlink_to("deep/value")


def other_version(at: Path) -> None:
    doc = json.loads((at / MANIFEST).read_text())
    (at / MANIFEST).write_text(json.dumps(doc | {"version": 2}))


def half_a_manifest(at: Path) -> None:
    (at / MANIFEST).write_text((at / MANIFEST).read_text()[:40])


def files_in_a_list(at: Path) -> None:
    doc = json.loads((at / MANIFEST).read_text())
    (at / MANIFEST).write_text(json.dumps(doc | {"files": []}))


@pytest.mark.parametrize(
    "damage",
    [no_manifest, cut, changed, more, less, renamed, linked, other_version, half_a_manifest, files_in_a_list],
)
def test_a_damaged_one_is_left_out_and_can_be_saved_again(tmp_path, capfd, damage):
    step = step_in(tmp_path)
    step.checkpoint(1, text("at 1"))
    step.checkpoint(2, text("at 2"))
    damage(tmp_path / "checkpoints" / "2")
    assert value(step) == "at 1"
    assert ": it is not used\n" in capfd.readouterr().err
    step.checkpoint(2, text("again"))
    assert value(step) == "again"
    assert folders(tmp_path) == ["1", "2"]


def test_what_fails_to_save_leaves_nothing(tmp_path):
    step = step_in(tmp_path)
    step.checkpoint(1, text("at 1"))

    def fails(folder: Path) -> None:
        (folder / "half").write_text("")
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        step.checkpoint(2, fails)
    with pytest.raises(ValueError, match="name of the manifest"):
        step.checkpoint(2, lambda folder: (folder / MANIFEST).write_text(""))
    assert folders(tmp_path) == ["1"]
    with pytest.raises(ValueError, match="begin at 1"):
        step.checkpoint(0, text(""))


# It mixes a number with random ones, saves a checkpoint every third time, and writes down what it does.
PROGRAM = """
import random, sys, time, tenon_step
def main(step):
    rng, x, done = random.Random(7), 1, 0
    if found := step.restore():
        done = found.number
        x, state = eval((found.path / "state").read_text())
        rng.setstate(state)
    while done < 120:
        with open(sys.argv[1], "a") as f:
            f.write(f"{done}\\n")
        time.sleep(0.01)
        x = (x * rng.randrange(1, 10**9) + done) % (2**61 - 1)
        done += 1
        if done % 3 == 0:
            step.checkpoint(done, lambda folder: (folder / "state").write_text(repr((x, rng.getstate()))))
    with open(sys.argv[2], "w") as f:
        f.write(str(x))
tenon_step.run(main)
"""


def test_a_step_killed_at_any_moment_ends_with_the_same_result(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)

    def start(folder: Path, attempt: int) -> subprocess.Popen:
        folder.mkdir(exist_ok=True)
        (folder / "step.json").write_text(json.dumps({"version": 1, **step_in(folder, attempt=attempt).doc}))
        env = {"PYTHONPATH": str(HERE), "TENON_STEP": str(folder / "step.json"), "PATH": os.environ["PATH"]}
        command = [sys.executable, str(tmp_path / "program.py"), str(folder / "did"), str(folder / "result")]
        return subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)

    def lines() -> int:
        did = folder / "did"
        return did.read_text().count("\n") if did.exists() else 0

    assert start(tmp_path / "whole", 1).wait() == 0
    want = (tmp_path / "whole" / "result").read_text()
    moments, kills, folder = random.Random(19), 6, tmp_path / "killed"
    for attempt in range(1, kills + 1):
        until = lines() + moments.randrange(1, 9)
        p = start(folder, attempt)
        while lines() < until:
            assert p.poll() is None
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.02))
        p.send_signal(signal.SIGKILL)
        assert p.wait() == -signal.SIGKILL
    assert start(folder, kills + 1).wait() == 0
    assert (folder / "result").read_text() == want
    did = (folder / "did").read_text().split()
    assert len(did) - 120 <= 3 * kills, "it did more again than what came after the last checkpoint"
    assert sorted(set(map(int, did))) == list(range(120))
