#!/bin/sh
# Regenerates every *.lock beside this script from its *.in, with hashes, for all platforms.
# Pins that are there are kept; `lock.sh --upgrade` moves them. Needs uv.
set -eu
cd "$(dirname "$0")"
uv=${UV:-uv}

# compile NAME "CONSTRAINING NAMES" [OPTION...]: a lock made earlier constrains a later one, so that a package has
# one version in all environments. A lock names packages and hashes, never where they are fetched from.
compile() {
	name=$1
	constraints=$(for c in $2; do printf -- '--constraint %s.lock ' "$c"; done)
	shift 2
	# shellcheck disable=SC2086
	"$uv" pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links $constraints "$@" \
		--output-file "$name.lock" "$name.in"
	echo "$name.lock: $(grep -c '==' "$name.lock") packages"
}

compile model "" "$@"
compile base model "$@"
compile postgres model "$@"
compile xgboost model "$@"
compile lightgbm model "$@"
compile test "model postgres xgboost lightgbm" "$@"
