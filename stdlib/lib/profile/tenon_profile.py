"""The columns that profiles of requests have."""

from __future__ import annotations

from tenon_step import Step, StepError, nearest


def compared(step: Step) -> dict[str, str]:
    """The types of the columns that the requests and the reference have, in the order of the requests.

    Bytes are left out, and what the parameter `exclude` lists. Raises StepError if a column has two types, or
    if none is left.
    """
    requests, reference = (step.input(name, "table").schema for name in ("requests", "reference"))
    others = {c.name: c.type for c in reference}
    types = {}
    for c in requests:
        if c.name not in others or c.name in step.params["exclude"] or c.type == "bytes":
            continue
        if others[c.name] != c.type:
            raise StepError(
                f"column {c.name} is {c.type} in the requests and {others[c.name]} in the reference: "
                "declare the same type, or exclude it"
            )
        types[c.name] = c.type
    if not types:
        there = [c.name for c in reference]
        raise StepError(f"no column of the requests is compared{nearest('', there, 'the reference has')}")
    return types
