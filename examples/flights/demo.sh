#!/usr/bin/env bash
# The demo of the README: plan, apply, predict, plan again. With "containerd" all of it
# runs in containers, and is taken away at the end.
set -euo pipefail
cd "$(dirname "$0")"
say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }
show() { say "$@"; "$@"; }
started=$(date +%s)
target=()

if [ "${1:-local}" = containerd ]; then
	work=$(mktemp -d /tmp/tenon-demo.XXXXXX)
	export CONTAINERD_NAMESPACE=tenon-demo CONTAINERD_ADDRESS=${CONTAINERD_ADDRESS:-/run/containerd/containerd.sock}
	clean() {
		tenon destroy --yes --state "$work/state" >/dev/null 2>&1 || true
		if [ -n "${daemon:-}" ]; then
			kill "$daemon" && wait "$daemon" || true
		else
			images=$(ctr images ls -q)
			[ -z "$images" ] || ctr images rm --sync $images >/dev/null
			ctr namespaces rm "$CONTAINERD_NAMESPACE" >/dev/null 2>&1 || true
		fi
		rm -rf "$work"
		echo "All that the demo made in containerd is gone."
	}
	trap clean EXIT
	if ! ctr version >/dev/null 2>&1; then
		CONTAINERD_ADDRESS=$work/c.sock
		printf 'version = 2\nroot = "%s/root"\nstate = "%s/run"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "%s"\n' \
			"$work" "$work" "$CONTAINERD_ADDRESS" >"$work/config.toml"
		containerd -c "$work/config.toml" 2>"$work/log" &
		daemon=$!
		until ctr version >/dev/null 2>&1; do
			kill -0 "$daemon" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
			sleep 0.1
		done
		echo "No containerd was running, so the demo has started its own."
	fi
	target=(-t target=containerd --state "$work/state")
	. /etc/os-release
	if [ "${VERSION_CODENAME:-}" = bookworm ]; then
		make -s -C ../.. base-image # elsewhere the image on which units are built is fetched
		target+=(-t base=localhost/tenon/python:3.11)
	fi
fi
state=()
[ ${#target[@]} -eq 0 ] || state=(--state "$work/state")
before=$(du -sk "${TENON_CACHE:-$HOME/.cache/tenon}" 2>/dev/null | cut -f1 || true)

show tenon apply --yes "${target[@]}"
show tenon models "${state[@]}"
say "curl http://127.0.0.1:8080/predict -H 'Content-Type: application/json' -d @request.json"
cat request.json
python3 - <<'P'
import pathlib, urllib.request
body = pathlib.Path("request.json").read_bytes()
request = urllib.request.Request(
    "http://127.0.0.1:8080/predict", body, {"Content-Type": "application/json"}
)
print(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).read().decode())
P
show tenon plan "${target[@]}"
show tenon status "${state[@]}"
if [ ${#target[@]} -gt 0 ]; then
	show tenon show models/late/train "${state[@]}"
	show ctr containers ls
fi

after=$(du -sk "${TENON_CACHE:-$HOME/.cache/tenon}" 2>/dev/null | cut -f1 || true)
printf '\nThe demo took %s s; %s MB of Python environments were added to the disk.\n' \
	$(($(date +%s) - started)) $(((${after:-0} - ${before:-0}) / 1024))
[ ${#target[@]} -eq 0 ] || exit 0
cat <<E2

The service keeps running: http://127.0.0.1:8080/docs is its page, and
http://127.0.0.1:8080/metrics its metrics. End it with:

    bin/tenon destroy examples/flights --yes
E2
