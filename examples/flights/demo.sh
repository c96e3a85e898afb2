#!/usr/bin/env bash
# The demo of the README: plan, apply, predict, plan again.
set -euo pipefail
cd "$(dirname "$0")"
say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }
show() { say "$@"; "$@"; }
started=$(date +%s)
before=$(du -sk "${TENON_CACHE:-$HOME/.cache/tenon}" 2>/dev/null | cut -f1 || true)

show tenon apply --yes
show tenon models
request='{"instances": [{"carrier": "UA", "origin": "EWR", "dest": "ORD", "distance": 719, "month": 12,
  "weekday": 5, "dep_hour": 19, "arr_hour": 21, "plane_age": 12, "seats": 149, "temp": 35.1,
  "wind_speed": 24.2, "precip": 0.12, "pressure": 1004.2, "visib": 2.5}]}'
say "curl http://127.0.0.1:8080/predict -H 'Content-Type: application/json' -d '$request'"
REQUEST=$request python3 - <<'P'
import os, urllib.request
request = urllib.request.Request(
    "http://127.0.0.1:8080/predict", os.environ["REQUEST"].encode(), {"Content-Type": "application/json"}
)
print(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).read().decode())
P
show tenon plan
show tenon status

after=$(du -sk "${TENON_CACHE:-$HOME/.cache/tenon}" 2>/dev/null | cut -f1 || true)
printf '\nThe demo took %s s; %s MB of Python environments were added to the disk.\n' \
	$(($(date +%s) - started)) $(((${after:-0} - ${before:-0}) / 1024))
cat <<E2

The service goes on running: http://127.0.0.1:8080/docs is its page, and
http://127.0.0.1:8080/metrics its metrics. End it with:

    bin/tenon destroy examples/flights --yes
E2
