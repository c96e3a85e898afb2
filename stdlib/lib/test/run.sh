#!/usr/bin/env bash
# Runs the tests of the components in an environment that has all of theirs.
#   run.sh [PYTEST ARGUMENTS]     run.sh --ruff [RUFF ARGUMENTS]     run.sh --index
# --index writes what the compiler knows about the packages, and what its tests compare it with.
set -euo pipefail
cd "$(dirname "$0")/../.."
uv=${UV:-uv}
export GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-1000}" # threads that wait in a loop take the cores from other tests

# environment LOCK: the folder of an environment with the packages of a lock, which it makes if there is none.
environment() {
	local made
	made="${XDG_CACHE_HOME:-$HOME/.cache}/tenon/test-$(sha256sum "$1" | cut -c1-16)"
	if [ ! -e "$made/.compiled" ]; then
		echo "making the environment of $1" >&2
		rm -rf "$made"
		"$uv" venv --quiet --python 3.11 --no-python-downloads "$made"
		"$uv" pip sync --quiet --require-hashes --compile-bytecode --python "$made/bin/python" "$1"
		touch "$made/.compiled"
	fi
	echo "$made"
}

env=$(environment lib/test/requirements.lock)
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

# Components whose packages do not go with those of all others. Theirs come first, and pytest is in the others.
apart="monitor/evidently monitor/whylogs"
status=0
# shellcheck disable=SC2086
"$env/bin/python" -m pytest -q -p no:cacheprovider -n auto --dist loadfile $(printf -- '--ignore=%s ' $apart) "$@" || status=$?
if [ $# = 0 ]; then
	for c in $apart; do
		own=$(environment "$c/requirements.lock")
		echo "$env/lib/python3.11/site-packages" >"$own/lib/python3.11/site-packages/tests.pth"
		"$own/bin/python" -m pytest -q -p no:cacheprovider -p no:xdist "$c" || status=$?
	done
fi
exit "$status"
