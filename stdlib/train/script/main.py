"""train.script: a model that a script of the user's fits.

Parameters: `script`, `function` (default "train"), `args` (further keyword arguments), `load`.
Input: `train`, a table with the columns of the model's signature. Output: `model`.

The function is called as `train(features, labels, **args)`, and gets `seed` and `step` too if it has
parameters of these names. `features` is the DataFrame of `tenon_model.prepare`, `labels` an array. It returns
an object with `predict(features)`, which gives one label per row, and, for a classifier,
`predict_proba(features)`, which gives one column per class in the sorted order of the classes, with numbers
between 0 and 1 that add up to 1. The object is pickled, and the files of the code folder are kept beside it,
so that its class is there when it is served.

A function that returns None has written files into `step.outputs["model"].path` itself; then `load` names a
function of the script, `load(folder)`, that gives the object back.
"""

import contextlib
import hashlib
import inspect
import json
import random
import shutil
from pathlib import Path

import tenon_step
from tenon_step import Step, StepError

RESERVED = ("signature.json", "model.json", "model.pkl", "code")


def main(step: Step) -> None:
    import numpy as np

    import tenon_flavours
    import tenon_model

    port = step.output("model", "model")
    if port.signature is None:
        raise StepError("output model has no signature")
    script, name = step.params.get("script"), step.params.get("function") or "train"
    if not script or not (step.code / script).is_file():
        tenon_step.user_module(step, script)  # says what is wrong
    frame, y = tenon_model.training_data(step, port.signature)
    label = tenon_model.describe(y, port.signature)

    files = code_files(step.code)
    module = module_name(step.code, files)
    imported = tenon_flavours.script_module(step.code, script, module)
    function = tenon_step.find_function(imported, script, name)
    random.seed(step.seed32)
    np.random.seed(step.seed32)
    port.path.mkdir(parents=True, exist_ok=True)
    model = train(function, frame, y, step, f"{script}: {name}()")

    loader = step.params.get("load") or ""
    if model is None:
        if not loader:
            raise StepError(
                f"{script}: {name}() returned None: set parameter load to a function that loads it"
            )
        tenon_step.find_function(imported, script, loader)
        for taken in RESERVED:
            if (port.path / taken).exists():
                raise StepError(
                    f"{script}: {name}() wrote {taken} into the model folder; the name is reserved"
                )
    else:
        if not hasattr(model, "predict"):
            raise StepError(f"{script}: {name}() returned {type(model).__name__}, which has no predict")
        loader = ""
        pickle_model(model, port.path / "model.pkl")
    for file in files:
        to = port.path / "code" / file
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(step.code / file, to)
    info = {
        "flavour": "script",
        "estimator": f"{script}:{name}",
        "params": step.params.get("args") or {},
        "script": script,
        "module": module,
        "load": loader,
        "seed": step.seed32,
        "rows": len(frame),
        **label,
    }
    tenon_model.save(port.path, port.signature, info)
    first = step.lazy("train").first([c.name for c in port.signature.input])
    with contextlib.suppress(tenon_model.NoPredictionError):
        tenon_model.load(port.path).predict(first)  # fail here rather than where it is served
    step.metrics(rows=len(frame), features=frame.shape[1])


def train(function, frame, y, step: Step, where: str):
    """Calls the user's function with the arguments that it takes."""
    takes = inspect.signature(function).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in takes.values())
    offered = {"seed": step.seed32, "step": step}
    given = {k: v for k, v in offered.items() if anything or k in takes} | (step.params.get("args") or {})
    try:
        inspect.signature(function).bind(frame, y, **given)
    except TypeError as e:
        raise StepError(f"{where}: {e}; it is called with (features, labels, {', '.join(given)})") from None
    return function(frame, y, **given)


def pickle_model(model, path: Path) -> None:
    """Pickles by cloudpickle, which also takes lambdas and local classes."""
    import cloudpickle

    try:
        path.write_bytes(cloudpickle.dumps(model, protocol=5))
    except Exception as e:
        raise StepError(f"the model cannot be pickled: {type(e).__name__}: {e}") from e


def code_files(code: Path) -> list[str]:
    """The user's files in the code folder, relative to it. Those of the standard library are left out."""
    here, code = Path(__file__).resolve().parent, code.resolve()
    files = (p for p in code.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return sorted(p.relative_to(code).as_posix() for p in files if here not in p.parents)


def module_name(code: Path, files: list[str]) -> str:
    """A name that is unique to the code, so that two versions of it can be loaded side by side."""
    digests = {f: hashlib.sha256((code / f).read_bytes()).hexdigest() for f in files}
    return "tenon_script_" + hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()[:16]


if __name__ == "__main__":
    tenon_step.run(main)
