"""source.python: what a function of the user's may return, and errors in one line."""

import pytest

from conftest import col, table_out

OUT = table_out(col("n", "int64"), col("s", "string", nullable=True))


@pytest.mark.parametrize(
    "body",
    [
        "import pandas as pd; return pd.DataFrame({'n': [1, 2], 's': ['a', None]})",
        "import pyarrow as pa; return pa.table({'n': [1, 2], 's': ['a', None]})",
        "return {'n': [1, 2], 's': ['a', None]}",
        "return [{'n': 1, 's': 'a'}, {'n': 2}]",
        "return iter([{'n': 1, 's': 'a'}, {'n': 2, 's': None}])",
        "return ({'n': [i], 's': ['a'] if i == 1 else [None]} for i in (1, 2))",
        "import pandas as pd; return [pd.DataFrame({'n': [n], 's': [s]}) for n, s in ((1, 'a'), (2, None))]",
    ],
)
def test_source_takes_any_form(lab, body):
    got = lab.ok(
        "source.python",
        params={"script": "fetch.py"},
        scripts={"fetch.py": f"def load():\n  {body}"},
        outputs=OUT,
    )
    rows = got.table().astype(object).where(got.table().notna(), None).to_dict("records")
    assert rows == [{"n": 1, "s": "a"}, {"n": 2, "s": None}]
    assert got.metrics == {"rows": 2}


def test_source_passes_arguments_and_finds_modules_beside_the_script(lab):
    scripts = {
        "d/fetch.py": "import helper as h\ndef rows(n): return {'n': [*range(n)], 's': h.s(n), 'm': [0] * n}",
        "d/helper.py": "def s(n): return ['x'] * n",
    }
    params = {"script": "d/fetch.py", "function": "rows", "args": {"n": 3}}
    got = lab.ok("source.python", params=params, scripts=scripts, outputs=OUT)
    assert got.table()["n"].tolist() == [0, 1, 2]
    assert "dropped undeclared columns: m" in got.log


def test_errors_are_one_line(lab):
    scripts = {
        "fetch.py": "def load(n=1): return {'n': ['x'], 'S': ['a']}\ndef boom(): raise KeyError('gone')"
    }

    def error(**params):
        return lab.error(
            "source.python", params={"script": "fetch.py", **params}, scripts=scripts, outputs=OUT
        )

    assert error(script="fetsh.py") == "script fetsh.py is not in the code folder; did you mean fetch.py?"
    assert error(function="laod") == "fetch.py has no function laod; did you mean load?"
    assert "unexpected keyword argument 'm'; it takes (n=1) but gets (m)" in error(args={"m": 1})
    assert error() == "output out: column s is missing; it has: S, n"


def test_a_fault_of_the_script_shows_the_scripts_own_frames(lab):
    scripts = {"fetch.py": "def load():\n    return inner()\n\ndef inner():\n    raise KeyError('gone')\n"}
    got = lab.run("source.python", params={"script": "fetch.py"}, scripts=scripts, outputs=OUT)
    assert got.status == 1
    assert got.log.rstrip().endswith("KeyError: 'gone'")
    assert 'fetch.py", line 5, in inner' in got.log
    assert "tenon_step.py" not in got.log
