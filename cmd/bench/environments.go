package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner"
)

// example is the system of the demo.
const example = "examples/flights"

// measureEnvironments measures the first apply of the demo, which makes its Python
// environments, beside uv with the same locks. Both begin with nothing: no
// environment, and no package in uv's cache.
func (b *bench) measureEnvironments(ctx context.Context) (err error) {
	const name = "apply flights, no environments"
	if !b.only.MatchString(name) {
		return nil
	}
	uv, err := exec.LookPath(cmp.Or(os.Getenv("TENON_UV"), "uv"))
	if err != nil {
		return fmt.Errorf("%w: .ci/tools run installs it", err)
	}
	dir := b.path("flights")
	if err := copyExample(dir); err != nil {
		return err
	}
	env := []string{"TENON_UV=" + uv, "UV_CACHE_DIR=" + b.path("uv-cache")}
	destroy := func() error {
		if _, err := os.Stat(filepath.Join(dir, ".tenon")); err != nil {
			return nil
		}
		_, err := b.run(context.WithoutCancel(ctx), command{args: []string{b.tenon, "destroy", "--yes", dir}, env: env})
		return err
	}
	defer func() { err = errors.Join(err, destroy()) }()
	locks, err := b.locksOf(ctx, dir, env)
	if err != nil {
		return err
	}
	b.say(name, len(locks))
	var units time.Duration
	apply := command{args: []string{b.tenon, "apply", "--yes", "--json", dir}, env: env,
		prepare: func() error {
			return errors.Join(destroy(), b.forget(dir), files.RemoveAll(b.path("uv-cache")))
		},
		check: func(out string) (err error) {
			units, err = timesOfUnits(out)
			return err
		}}
	beside := command{args: []string{"sh", "-ec", uvScript, "sh", uv, b.path("uv-environments")}, env: env,
		prepare: func() error {
			return errors.Join(files.RemoveAll(b.path("uv-environments")), files.RemoveAll(b.path("uv-cache")))
		},
		check: hasTimes("Bytecode compiled", len(locks))}
	beside.args = append(beside.args, locks...)
	tenon, other, err := b.versus(ctx, 1, apply, beside)
	if err != nil {
		return err
	}
	limit := 2*other.Wall + units
	row := tableRow{Case: name, Size: len(locks), Of: "environments", Tenon: tenon, Beside: "uv", Other: &other, Goals: []goal{{
		Want: fmt.Sprintf("at most twice uv and the units' own %s: %s", short(units), short(limit)), Got: short(tenon.Wall), Met: tenon.Wall <= limit,
	}}}
	return b.add(ctx, row, apply)
}

// uvScript makes an environment for each lock.
const uvScript = `uv=$1 at=$2
shift 2
for lock; do
	"$uv" venv --no-project --python 3.11 "$at/${lock##*/}"
	"$uv" pip sync --require-hashes --compile-bytecode --python "$at/${lock##*/}/bin/python" "$lock"
done
`

// copyExample copies the system of the demo and has it answer on a port that is free.
func copyExample(dir string) error {
	if err := os.CopyFS(dir, os.DirFS(example)); err != nil {
		return err
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	port := free.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // of TCP
	if err := free.Close(); err != nil {
		return err
	}
	path := filepath.Join(dir, "flights.cue")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	changed := strings.Replace(string(text), "8080", strconv.Itoa(port), 1)
	if changed == string(text) {
		return fmt.Errorf("%s names no port 8080", path)
	}
	return os.WriteFile(path, []byte(changed), 0o644)
}

// locksOf writes the locks that the units of a system run on into files, and returns
// their paths.
func (b *bench) locksOf(ctx context.Context, dir string, env []string) ([]string, error) {
	path := b.path("flights.plan")
	if _, err := b.run(ctx, command{args: []string{b.tenon, "plan", "--out", path, dir}, env: env}); err != nil {
		return nil, err
	}
	p, err := planner.Read(path)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var locks []string
	for _, u := range p.System.Units {
		if u.Code.Lock == "" || u.Kind == ir.Record || seen[u.Code.Lock] {
			continue
		}
		seen[u.Code.Lock] = true
		lock := b.path(fmt.Sprintf("lock%d.txt", len(locks)))
		if err := os.WriteFile(lock, p.Blobs[u.Code.Lock], 0o644); err != nil {
			return nil, err
		}
		locks = append(locks, lock)
	}
	return locks, nil
}

// timesOfUnits is how long the units of an apply took, all together, as its events say.
func timesOfUnits(out string) (sum time.Duration, err error) {
	ended, prepared := false, 0
	lines := bufio.NewScanner(strings.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if !strings.HasPrefix(lines.Text(), "{") {
			continue // of another stream
		}
		var e struct {
			Type     string        `json:"type"`
			Duration time.Duration `json:"duration_ns"`
			Result   struct {
				Outcome string `json:"outcome"`
			} `json:"result"`
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return 0, fmt.Errorf("read an event: %w", err)
		}
		switch e.Type {
		case "finished", "ready":
			sum += e.Duration
		case "prepared":
			prepared++
		case "end":
			ended = e.Result.Outcome == "done"
		}
	}
	if !ended || prepared == 0 {
		return 0, fmt.Errorf("it prepared %d environments, and is done: %v", prepared, ended)
	}
	return sum, nil
}
