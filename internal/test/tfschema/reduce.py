"""Reduce the schema of a Terraform provider, from a wheel of CDK bindings, to the types that are used.

usage: reduce.py WHEEL SCHEMA [TYPE...]

Writes the types that the file SCHEMA has already, and others, with the version of the provider. A type is
"aws_vpc", or "data.aws_ecr_repository". The wheel has a jsii assembly: a class for each type, with its
computed attributes, and an interface for what can be set. An attribute that has to be set has "r", a
computed one "c", a block "b" with its content, and an attribute of objects, some of which may be written as
blocks, "a" with theirs.
"""

import gzip
import io
import json
import pathlib
import re
import sys
import tarfile
import zipfile

# What Terraform itself defines for each resource.
META = {
    "connection",
    "count",
    "depends_on",
    "for_each",
    "lifecycle",
    "provider",
    "provisioner",
    "provisioners",
}
# What the classes of the CDK have beside the attributes.
CDK = {
    "cdktf_stack",
    "friendly_unique_id",
    "fqn",
    "node",
    "terraform_generator_metadata",
    "terraform_meta_arguments",
    "terraform_resource_type",
}


def assembly(wheel: str) -> dict:
    """Return the types of the assembly in a wheel."""
    with zipfile.ZipFile(wheel) as z:
        packed = z.read(next(n for n in z.namelist() if n.endswith(".jsii.tgz")))
    with tarfile.open(fileobj=io.BytesIO(packed)) as t:
        text = t.extractfile("package/.jsii").read()
        found = json.loads(gzip.decompress(text) if text[:2] == b"\x1f\x8b" else text)
        if found.get("schema") == "jsii/file-redirect":
            found = json.loads(gzip.decompress(t.extractfile("package/" + found["filename"]).read()))
    return found["types"]


def snake(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", lambda m: "_" + m[1].lower(), name)


def attribute(prop: dict) -> str:
    """Return the name of an attribute: the anchor of its documentation, or the property in snake case."""
    found = re.search(r"#([a-z0-9_]+) ", json.dumps(prop.get("docs", {})))
    return found[1] if found else snake(prop["name"])


def struct(types: dict, kind: dict) -> dict | None:
    """Return the interface of a block, which may be in a list or a union, or None."""
    if "collection" in kind:
        return struct(types, kind["collection"]["elementtype"])
    for part in kind.get("union", {}).get("types", []):
        if found := struct(types, part):
            return found
    found = types.get(kind.get("fqn", ""))
    return found if found and found["kind"] == "interface" and found["name"] != "IResolvable" else None


def properties(types: dict, interface: dict, seen: tuple = ()) -> dict:
    """Return the attributes and blocks of an interface, by name. Those in seen are around it."""
    out = {}
    for prop in interface.get("properties", []):
        name = attribute(prop)
        if not seen and (name in META or snake(prop["name"]) in META):
            continue
        entry = {}
        if not prop.get("optional"):
            entry["r"] = True
        inner = struct(types, prop["type"])
        if prop.get("docs", {}).get("summary", "").endswith(" block."):
            entry["b"] = (
                properties(types, inner, (*seen, inner["fqn"])) if inner and inner["fqn"] not in seen else {}
            )
        elif inner:
            entry["a"] = properties(types, inner, (*seen, inner["fqn"])) if inner["fqn"] not in seen else {}
        out[name] = entry
    return out


def reduced(types: dict, wanted: set[str]) -> dict:
    out = {}
    for t in types.values():
        base = t.get("base", "").rsplit(".", 1)[-1]
        if t["kind"] != "class" or base not in ("TerraformResource", "TerraformDataSource"):
            continue
        found = re.search(
            r"\b(?:resources|data-sources)/[a-z0-9_]+ ([a-z0-9_]+)", json.dumps(t.get("docs", {}))
        )
        name = ("data." if base == "TerraformDataSource" else "") + (found[1] if found else snake(t["name"]))
        if name not in wanted:
            continue
        config = next(
            (p["type"]["fqn"] for p in t["initializer"]["parameters"] if p["name"] == "config"), None
        )
        entries = properties(types, types[config]) if config in types else {}
        for prop in t.get("properties", []):
            n = snake(prop["name"])
            if (
                not prop.get("static")
                and n not in entries
                and n not in META | CDK
                and not n.endswith("_input")
                and prop.get("immutable")
            ):
                entries[n] = {"c": True}
        out[name] = dict(sorted(entries.items()))
    return dict(sorted(out.items()))


def main() -> None:
    wheel, path, *more = sys.argv[1:]
    schema = pathlib.Path(path)
    wanted = {*more, *(json.loads(schema.read_text())["types"] if schema.exists() else ())}
    types = assembly(wheel)
    found = reduced(types, wanted)
    if missing := wanted - set(found):
        sys.exit(f"the provider has no {', '.join(sorted(missing))}")
    version = re.search(
        r"providers/[a-z]+/[a-z]+/([0-9.]+)/docs", json.dumps(next(iter(types.values())))[:2000]
    )[1]
    schema.write_text(json.dumps({"version": version, "types": found}, indent="\t") + "\n")


if __name__ == "__main__":
    main()
