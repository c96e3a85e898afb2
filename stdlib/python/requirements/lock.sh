#!/bin/sh
# Regenerates every *.lock beside this script from its *.in, with hashes, for all platforms, and sizes.txt,
# which says how large the wheels are: a lock has no room for that.
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

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for name in base model postgres xgboost lightgbm; do
	"$uv" pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --no-deps --no-header \
		--format pylock.toml --output-file "$work/pylock.$name.toml" "$name.lock"
done
"$uv" run --quiet --no-project --python 3.11 --with packaging sizes.py "$work"/*.toml >"$work/sizes.txt"
mv "$work/sizes.txt" sizes.txt
echo "sizes.txt: $(wc -l <sizes.txt) wheels"
