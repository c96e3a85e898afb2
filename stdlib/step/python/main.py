"""step.python: a step that is a function of the user's.

Parameters: `script`, `function` (default "main"), `args` (further keyword arguments).
Inputs and outputs: as declared. The function is called as `function(step, **args)`, with a `tenon_step.Step`.
"""

import functools

import tenon_step
from tenon_step import Step


def main(step: Step) -> None:
    name = step.params.get("function") or "main"
    function = functools.partial(step.function(), step)
    tenon_step.call(function, step.params.get("args") or {}, f"{step.params['script']}: {name}()")


if __name__ == "__main__":
    tenon_step.run(main)
