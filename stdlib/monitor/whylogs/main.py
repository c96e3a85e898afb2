"""monitor.whylogs: profiles of whylogs, one of the requests and one of the reference."""

import os
from datetime import UTC, datetime

import tenon_step
from tenon_profile import compared
from tenon_step import Step


def main(step: Step) -> None:
    # They are read when whylogs is imported. Protobuf in C writes maps in any order, and two runs have to
    # write the same bytes.
    os.environ["WHYLOGS_NO_ANALYTICS"] = "True"
    os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"
    from whylogs.core import DatasetProfile

    types = compared(step)
    at = datetime.fromisoformat(step.params["at"])
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    for name in ("requests", "reference"):
        rows = step.table(name)[list(types)]
        profile = DatasetProfile(dataset_timestamp=at, creation_timestamp=at)
        profile.track(pandas=rows)
        profile.view().write(str(step.output(name).path))
        step.metrics({f"{name}_rows": len(rows)})


if __name__ == "__main__":
    tenon_step.run(main)
