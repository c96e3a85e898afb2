"""Runs steps of a component in Python again, for `tenon replay`: `python tenon_parity_steps.py CODE`.

CODE is the folder with the code of a unit. Each line of the standard input is the path of a document of a
step; the answer is a line with the error of the step as JSON, "" if there is none. What the step prints goes
to the standard error.
"""

import importlib
import json
import os
import sys
from pathlib import Path


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.path[0] = str(Path(sys.argv[1]) / "_tenon")  # instead of the folder of this file
    import tenon_step

    component = importlib.import_module("main")
    for line in sys.stdin:
        os.environ[tenon_step.ENV] = line.rstrip("\n")
        says = ""
        try:
            component.main(tenon_step.load())
        except tenon_step.StepError as e:
            says = " ".join(str(e).split()) or "it failed"
        except Exception as e:
            says = f"{type(e).__name__}: {' '.join(str(e).split())}"
        answers.write(json.dumps(says) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
