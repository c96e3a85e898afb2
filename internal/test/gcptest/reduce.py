"""Reduce the discovery documents of Google's APIs to the methods that are called.

usage: reduce.py APIS DOCUMENT...

Writes the methods below and what their requests and answers consist of. The documents are in the Go module
google.golang.org/api: run/v2/run-api.json, logging/v2/logging-api.json,
secretmanager/v1/secretmanager-api.json and aiplatform/v1/aiplatform-api.json.
"""

import json
import pathlib
import sys

METHODS = {
    "run.projects.locations.jobs.create",
    "run.projects.locations.jobs.get",
    "run.projects.locations.jobs.delete",
    "run.projects.locations.jobs.executions.cancel",
    "run.projects.locations.jobs.executions.get",
    "run.projects.locations.jobs.executions.tasks.list",
    "run.projects.locations.services.create",
    "run.projects.locations.services.delete",
    "run.projects.locations.services.get",
    "run.projects.locations.services.list",
    "run.projects.locations.services.patch",
    "run.projects.locations.services.revisions.delete",
    "run.projects.locations.services.revisions.get",
    "run.projects.locations.services.revisions.list",
    "aiplatform.projects.locations.customJobs.cancel",
    "aiplatform.projects.locations.customJobs.create",
    "aiplatform.projects.locations.customJobs.delete",
    "aiplatform.projects.locations.customJobs.get",
    "aiplatform.projects.locations.customJobs.list",
    "aiplatform.projects.locations.endpoints.create",
    "aiplatform.projects.locations.endpoints.delete",
    "aiplatform.projects.locations.endpoints.deployModel",
    "aiplatform.projects.locations.endpoints.get",
    "aiplatform.projects.locations.endpoints.operations.cancel",
    "aiplatform.projects.locations.endpoints.operations.get",
    "aiplatform.projects.locations.endpoints.operations.list",
    "aiplatform.projects.locations.endpoints.patch",
    "aiplatform.projects.locations.endpoints.undeployModel",
    "aiplatform.projects.locations.models.delete",
    "aiplatform.projects.locations.models.get",
    "aiplatform.projects.locations.models.list",
    "aiplatform.projects.locations.models.operations.get",
    "aiplatform.projects.locations.models.upload",
    "logging.entries.list",
    "secretmanager.projects.secrets.addVersion",
    "secretmanager.projects.secrets.versions.access",
}
KEPT = ("$ref", "type", "format", "enum", "readOnly", "items", "additionalProperties")


def methods(resource: dict) -> list[dict]:
    found = list(resource.get("methods", {}).values())
    for inner in resource.get("resources", {}).values():
        found += methods(inner)
    return found


def kept(prop: dict) -> dict:
    out = {k: prop[k] for k in KEPT if k in prop}
    for k in ("items", "additionalProperties"):
        if k in out:
            out[k] = kept(out[k])
    return out


def main() -> None:
    path, *documents = sys.argv[1:]
    calls, schemas, versions = [], {}, {}
    for name in documents:
        doc = json.loads(pathlib.Path(name).read_text())
        versions[doc["name"]] = doc["version"] + " of " + doc["revision"]
        wanted = []
        for m in methods(doc):
            if m["id"] not in METHODS:
                continue
            call = {"id": m["id"], "method": m["httpMethod"], "path": "/" + m.get("flatPath", m["path"])}
            call["query"] = sorted(k for k, p in m.get("parameters", {}).items() if p["location"] == "query")
            for side in ("request", "response"):
                if side in m:
                    call[side] = doc["name"] + "." + m[side]["$ref"]
                    wanted.append(m[side]["$ref"])
            calls.append(call)
        while wanted:
            ref = wanted.pop()
            key = doc["name"] + "." + ref
            if key in schemas:
                continue
            props = doc["schemas"][ref].get("properties", {})
            schemas[key] = {k: kept(p) for k, p in sorted(props.items())}
            text = json.dumps(schemas[key])
            for other in doc["schemas"]:
                if f'"$ref": "{other}"' in text:
                    wanted.append(other)
    found = {c["id"] for c in calls}
    if missing := METHODS - found:
        sys.exit(f"the documents have no {', '.join(sorted(missing))}")
    calls.sort(key=lambda c: c["id"])
    apis = {"versions": versions, "methods": calls, "schemas": dict(sorted(schemas.items()))}
    pathlib.Path(path).write_text(json.dumps(apis, indent="\t") + "\n")


if __name__ == "__main__":
    main()
