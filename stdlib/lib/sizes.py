"""Prints the sizes of the wheels that locks install, for `tenon plan`: "ARCHITECTURE DIGEST BYTES FILE".

usage: sizes.py PYLOCK..., the locks in the format pylock.toml of uv. Needs the package `packaging`. Digest
and bytes are those of the wheel that uv takes on Linux, with the C library that images are made for.
"""

import sys
import tomllib
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from packaging import markers, tags, utils

PYTHON = (3, 11)
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}  # as Go and as Python name them
GLIBC = (2, 28)


def supported(machine):
    """The tags of wheels that the machine takes, the best first."""
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(GLIBC[1], 4, -1)]
    platforms += [f"{old}_{machine}" for old in ("manylinux2014", "manylinux2010", "manylinux1", "linux")]
    return [
        *tags.cpython_tags(PYTHON, platforms=platforms),
        *tags.compatible_tags(PYTHON, interpreter="cp311", platforms=platforms),
    ]


def main(locks):
    lines = set()
    for arch, machine in MACHINES.items():
        rank = {tag: i for i, tag in enumerate(supported(machine))}
        here = {
            "sys_platform": "linux",
            "platform_system": "Linux",
            "os_name": "posix",
            "platform_machine": machine,
            "python_version": "3.11",
            "python_full_version": "3.11.0",
            "platform_python_implementation": "CPython",
            "implementation_name": "cpython",
        }
        for lock in locks:
            with open(lock, "rb") as f:
                packages = tomllib.load(f)["packages"]
            for package in packages:
                if "marker" in package and not markers.Marker(package["marker"]).evaluate(here):
                    continue
                fitting = []
                for wheel in package.get("wheels", []):
                    name = unquote(PurePosixPath(urlsplit(wheel["url"]).path).name)
                    ranks = [rank[t] for t in utils.parse_wheel_filename(name)[3] if t in rank]
                    if ranks and "size" in wheel:
                        fitting.append((min(ranks), name, wheel))
                if fitting:
                    _, name, wheel = min(fitting, key=lambda w: w[:2])
                    lines.add(f"{arch} sha256:{wheel['hashes']['sha256']} {wheel['size']} {name}")
                else:
                    print(f"{package['name']}: no wheel for {machine} whose size is known", file=sys.stderr)
    print("\n".join(sorted(lines, key=lambda line: (line.split()[3], line))))


if __name__ == "__main__":
    main(sys.argv[1:])
