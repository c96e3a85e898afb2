"""What is known of a package that a user added: certain facts, and nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

PACKAGE = {
    "__init__.py": '''
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from numbers import Integral

class Forest(ClassifierMixin, BaseEstimator):
    _parameter_constraints = {
        "trees": [Interval(Integral, 1, None, closed="left")],
        "split": [StrOptions({"a", "b"})],
    }
    def __init__(self, trees=3, split="a"):
        self.trees, self.split = trees, split
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y):
        return self
    def predict(self, X): ...

class Careless(Forest):
    """It takes what its rules exclude."""
    def fit(self, X, y):
        return self

class Corrects(Forest):
    """It takes 0 trees as 3."""
    def __init__(self, trees=3, split="a"):
        super().__init__(trees or 3, split)

class Open(Forest):
    def __init__(self, trees=3, **more): ...

class Needs(TransformerMixin, BaseEstimator):
    def __init__(self, base):
        self.base = base
    def transform(self, X): ...

class Passes:
    """It has the methods of another object."""
    def __init__(self, of=None): ...
    def __getattr__(self, name): ...

class Old:
    """Estimators need no base class."""
    def __init__(self, *, depth=None): ...
    def fit(self, X, y): ...
    def predict(self, X): ...

class Wraps(BaseEstimator):
    """It is of the kind of what it wraps, a regressor if that is nothing."""
    def __init__(self, of=None):
        self.of = of
    def fit(self, X, y): ...
    def predict(self, X): ...
    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.estimator_type = "regressor" if self.of is None else self.of.__sklearn_tags__().estimator_type
        return tags

class Names:
    _estimator_type = "regressor"
    def fit(self, X, y): ...
    def predict(self, X): ...

class _Hidden: ...

def function(): ...
''',
    "again.py": "from acme import Forest, BaseEstimator",
    "broken.py": "import a_package_that_is_missing",
    "ends.py": "import sys\nsys.exit(3)",
    "prints.py": "print('{}')\nclass Printed: ...",
    "tests/__init__.py": "raise AssertionError",
    "few.py": """
def __getattr__(name):
    if name == "Late":
        from acme import Forest
        return Forest
    if name == "Gone":
        import a_package_that_is_missing
    raise AttributeError(name)
""",
    "many.py": """
def __getattr__(name):
    import acme
    return getattr(acme, name.removeprefix("New"))
""",
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    for name, code in PACKAGE.items():
        (folder / "acme" / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / "acme" / name).write_text(code)
    metadata = folder / "Acme_Trees-1.5.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: Acme_Trees\nVersion: 1.5\n")
    (metadata / "RECORD").write_text(
        "acme/__init__.py,,\nfast.cpython-311-x86_64-linux-gnu.so,,\nAcme_Trees-1.5.dist-info/RECORD,,\n"
    )
    return look(folder, "acme")


def look(folder, module):
    out = folder / "out.json"
    subprocess.run(
        [sys.executable, HERE / "locked.py", out, module],
        check=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
    )
    return json.loads(out.read_text())


def line(found, path):
    texts = [rest for name, _, rest in (x.partition(" ") for x in found["classes"][1:]) if name == path]
    return json.loads(texts[0]) if texts and texts[0].startswith("{") else "".join(texts)


def test_the_first_line_has_the_pin_as_locks_write_it(found):
    assert found["classes"][0] == "acme-trees==1.5"


def test_packages_have_the_modules_of_their_files(found):
    assert "acme-trees==1.5 acme fast" in found["modules"]


def test_a_module_that_does_not_exist_has_no_index(tmp_path):
    assert look(tmp_path, "acme")["classes"] == []


def test_a_class_is_described(found):
    assert line(found, "acme.Forest") == {
        "is": "classifier",
        "does": ["fit", "predict"],
        "params": {
            "trees": {"default": "3", "takes": [{"int": "[1,inf)"}]},
            "split": {"default": '"a"', "takes": [{"is": ["a", "b"]}]},
        },
    }
    assert line(found, "acme.Old") == {"does": ["fit", "predict"], "params": {"depth": {"default": "null"}}}
    assert line(found, "acme.Needs") == {
        "is": "transformer",
        "does": ["transform"],
        "params": {"base": {"required": True}},
    }
    assert line(found, "acme.again.Forest") == "=acme.Forest"


def test_a_class_is_of_a_kind_if_all_of_its_objects_are(found):
    assert line(found, "acme.Names")["is"] == "regressor"
    assert "is" not in line(found, "acme.Wraps")


@pytest.mark.parametrize("name", ["Careless", "Corrects"])
def test_rules_that_a_class_does_not_keep_are_dropped(found, name):
    assert line(found, f"acme.{name}")["params"] == {"trees": {"default": "3"}, "split": {"default": '"a"'}}


def test_a_class_may_take_other_parameters_and_have_other_methods(found):
    assert line(found, "acme.Open")["open"] is True
    assert line(found, "acme.Passes")["does"] == ["fit", "predict", "transform"]


def test_what_cannot_be_imported_is_unknown(found):
    for name in ("broken", "ends", "tests"):
        assert line(found, f"acme.{name}.*") == "?"
    assert line(found, "acme.again.BaseEstimator") == "?"
    assert line(found, "acme.prints.Printed") != ""


def test_names_that_a_module_makes_are_known_if_it_lists_them(found):
    assert line(found, "acme.few.Late") == "=acme.Forest"
    assert line(found, "acme.few.Gone") == "?"
    assert line(found, "acme.few.+") == ""
    assert line(found, "acme.many.+") == "?"


def test_what_is_not_public_or_no_class_has_no_line(found):
    assert line(found, "acme._Hidden") == ""
    assert line(found, "acme.function") == ""
