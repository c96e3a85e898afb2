#!/usr/bin/env bash
# Runs the tests of the components in an environment that has all of theirs.
#   run.sh [PYTEST ARGUMENTS]     run.sh --ruff [RUFF ARGUMENTS]     run.sh --index
# --index writes what the compiler knows about the packages, and what its tests compare it with.
set -euo pipefail
cd "$(dirname "$0")/../.."
uv=${UV:-uv}
lock=lib/test/requirements.lock
env="${XDG_CACHE_HOME:-$HOME/.cache}/tenon/test-$(sha256sum "$lock" | cut -c1-16)"
if [ ! -e "$env/.complete" ]; then
	echo "making the environment of the Python tests" >&2
	rm -rf "$env"
	"$uv" venv --quiet --python 3.11 --no-python-downloads "$env"
	"$uv" pip sync --quiet --require-hashes --python "$env/bin/python" "$lock"
	touch "$env/.complete"
fi
if [ "${1:-}" = --ruff ]; then
	shift
	exec "$env/bin/ruff" "$@"
fi
if [ "${1:-}" = --index ]; then
	"$env/bin/python" lib/packages/index.py
	"$env/bin/python" lib/packages/verdicts.py >../compiler/classes/testdata/verdicts.txt
	"$env/bin/python" lib/packages/verdicts.py --native >../compiler/classes/testdata/native.txt
	exit
fi
exec "$env/bin/python" -m pytest -q -p no:cacheprovider -n auto --dist loadfile "$@"
