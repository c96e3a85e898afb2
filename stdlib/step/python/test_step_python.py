"""step.python: a function that gets the whole step."""

from conftest import col


def test_step_has_everything(lab):
    script = """
def main(step, word):
    step.scratch.joinpath("x").write_text("x")
    step.progress(1, 2, word)
    step.metrics({"a": 1}, b=2.5, c=float("nan"))
    step.output("notes").path.write_text(f"{step.params['args']} {step.seed} {len(step.table('t'))}")
"""
    table = lab.table({"n": [1]}, [col("n", "int64")])
    got = lab.ok(
        "step.python",
        params={"script": "s.py", "args": {"word": "hello"}},
        inputs={"t": table},
        outputs={"notes": {"kind": "file"}},
        scripts={"s.py": script},
    )
    assert got.path("notes").read_text() == "{'word': 'hello'} 7 1"
    assert got.progress == [{"done": 1, "total": 2, "message": "hello"}]
    assert got.metrics == {"a": 1.0, "b": 2.5}
