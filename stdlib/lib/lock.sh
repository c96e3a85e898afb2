#!/bin/sh
# Regenerates every requirements.lock of the library from the requirements.in beside it, with hashes, for all
# platforms; sizes.txt, which says how large the wheels are: a lock has no room for that; and packages/, what the
# compiler knows of the packages. Pins that are there are kept; `lock.sh --upgrade` moves them. Needs uv.
set -eu
cd "$(dirname "$0")/.."
uv=${UV:-uv}

# lock FOLDER "CONSTRAINING FOLDERS" [OPTION...]: a lock made earlier constrains a later one, so that a package has
# one version in all environments. A lock names packages and hashes, never where they are fetched from.
lock() {
	folder=$1
	constraints=$(for c in $2; do printf -- '--constraint %s/requirements.lock ' "$c"; done)
	shift 2
	# shellcheck disable=SC2086
	"$uv" pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links $constraints "$@" \
		--output-file "$folder/requirements.lock" "$folder/requirements.in"
	echo "$folder: $(grep -c '==' "$folder/requirements.lock") packages"
}

lock lib/model "" "$@"
lock lib/step lib/model "$@"
lock lib/onnx lib/model "$@"
components=$(ls -d */*/requirements.in | grep -v '^lib/' | xargs -n1 dirname)
# Evidently and whylogs need older versions than all others. test/run.sh tests them in their own environments.
apart='monitor/evidently monitor/whylogs'
for c in $components; do
	case " $apart " in
	*" $c "*) lock "$c" "" "$@" ;;
	*) lock "$c" "lib/model lib/onnx" "$@" ;;
	esac
done
# The tests of train/pytorch run in its own environment, which is 20 times as large as all others together.
tested=$(echo "$components" | grep -v -e '^train/pytorch$' -e '^monitor/')
{
	printf '# Runs all tests of the library. Written by lock.sh.\n-r ../model/requirements.in\n-r ../onnx/requirements.in\n'
	for c in $tested; do printf -- '-r ../../%s/requirements.in\n' "$c"; done
	printf 'pytest\npytest-xdist\nhttpx\nruff\nshap; sys_platform != "darwin"\n'
} >lib/test/requirements.in
lock lib/test "lib/model lib/onnx $tested" "$@"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for folder in lib/step lib/model lib/onnx $components; do
	"$uv" pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --no-deps --no-header \
		--format pylock.toml --output-file "$work/pylock.$(echo "$folder" | tr / -).toml" "$folder/requirements.lock"
done
"$uv" run --quiet --no-project --python 3.11 --with packaging lib/sizes.py "$work"/*.toml >"$work/sizes.txt"
mv "$work/sizes.txt" lib/sizes.txt
echo "lib/sizes.txt: $(wc -l <lib/sizes.txt) wheels"
UV=$uv lib/test/run.sh --index
