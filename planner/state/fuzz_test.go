package state_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// filled returns the file of a state with something in every table.
func filled(t testing.TB) []byte {
	t.Helper()
	dir := t.TempDir()
	s := open(t, dir)
	l := lock(t, s)
	ctx := t.Context()
	rev, err := l.BeginRevision(ctx, state.Revision{System: "demo", Tags: []string{"env=prod"}})
	ok(t, err)
	u := &ir.Unit{ID: "deployments/late", Kind: ir.Service}
	for _, key := range []string{"k1", "k2"} {
		r := state.Run{Key: key, Unit: u.ID, Revision: rev, Attempt: 1, Inputs: map[string]string{"in": "sha256:0"}}
		r.ID, err = l.Begin(ctx, r)
		ok(t, err)
		ok(t, l.SetHandle(ctx, r.ID, state.Handle{Executor: "process", ID: key}))
		if key == "k2" {
			break // it stays in the journal
		}
		r.Outcome, r.Outputs, r.Metrics = state.Done, map[string]artifact.Artifact{"out": {Digest: "sha256:1"}}, map[string]float64{"f1": 1}
		ok(t, l.Finish(ctx, r, u, &state.Current{Unit: u.ID, Kind: u.Kind, Key: key, Handle: &state.Handle{Executor: "process", ID: key}}))
	}
	_, err = l.Register(ctx, state.ModelVersion{Model: "models/late", Digest: "sha256:1", Metrics: map[string]float64{"f1": 1}})
	ok(t, err)
	ok(t, state.Exec(ctx, s, "PRAGMA wal_checkpoint(TRUNCATE)"))
	b, err := os.ReadFile(filepath.Join(dir, "state.db"))
	ok(t, err)
	return b
}

// use calls every read of a state, and tries to write to it.
func use(ctx context.Context, s *state.Store) {
	_, _ = s.Meta(ctx)
	_, _ = s.Current(ctx)
	_, _ = s.CurrentRuns(ctx)
	_, _ = s.Unit(ctx, "deployments/late")
	_, _ = s.Run(ctx, 1)
	_, _ = s.RunFor(ctx, "deployments/late", "k1")
	_, _ = s.Runs(ctx, "", 0)
	_, _ = s.RunsOf(ctx, 1)
	_, _ = s.Ledger(ctx)
	_, _ = s.Registry(ctx)
	_, _ = s.Estimates(ctx)
	_, _ = s.Used(ctx, map[string]string{"deployments/late": "d"})
	_, _ = s.DoneInputs(ctx, []string{"deployments/late"})
	_, _ = s.Pending(ctx)
	_, _ = s.ArtifactCreated(ctx, "sha256:1")
	_, _ = s.Artifact(ctx, "sha256:1")
	_, _ = s.Models(ctx)
	_, _ = s.ModelVersions(ctx, "models/late")
	_, _ = s.Incumbent(ctx, "models/late", "")
	_, _ = s.Revisions(ctx, 0)
	_, _ = s.Revision(ctx, 1)
	// A lease that seems to have expired is watched for its whole length before it is taken.
	soon, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	l, err := s.Lock(soon, state.Holder{}, state.LockOptions{})
	if err != nil {
		return
	}
	if id, err := l.Begin(ctx, state.Run{Key: "k1", Unit: "deployments/late"}); err == nil {
		_ = l.Finish(ctx, state.Run{ID: id, Unit: "deployments/late", Outcome: state.Failure}, nil, nil)
	}
	_ = l.Release(ctx)
}

// Whatever the database contains, it is refused, or read as far as possible.
func FuzzOpen(f *testing.F) {
	good := filled(f)
	f.Add([]byte{}, uint16(0), byte(0))
	f.Add([]byte("not a database"), uint16(3), byte(1))
	f.Add(good[:4096], uint16(0), byte(0))
	for at := range 64 {
		f.Add([]byte{}, uint16(at*4), byte(0xff))
	}
	f.Fuzz(func(t *testing.T, content []byte, at uint16, flip byte) {
		if len(content) == 0 { // the valid one, with one byte changed
			content = append(content, good...)
			content[int(at)%len(content)] ^= flip
			content[(int(at)*31+17)%len(content)] ^= flip
		}
		dir := t.TempDir()
		ok(t, os.WriteFile(filepath.Join(dir, "state.db"), content, 0o600))
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		s, err := state.Open(ctx, dir)
		if err != nil {
			return
		}
		use(ctx, s)
		ok(t, ctx.Err())
		_ = s.Close()
	})
}

// columns lists columns whose text is decoded.
var columns = []string{
	"lease.holder", "revision.tags", "run.inputs", "run.metrics", "run.outcome", "pending.handle", "current.kind", "current.handle",
	"applied.ir", "took.last", "model.metrics", "output.digest", "output.kind",
}

// Whatever a column contains, reading it gives an error or its value.
func FuzzColumn(f *testing.F) {
	good := filled(f)
	for i := range columns {
		for _, text := range []string{"", "null", "[]", "{", `{"a":1e999}`, `{"a":null}`, `"x"`, "-1", "1,,2", strings.Repeat("[", 20000), `{"executor":1}`, "\x00"} {
			f.Add(uint8(i), text)
		}
	}
	f.Fuzz(func(t *testing.T, column uint8, text string) {
		dir := t.TempDir()
		ok(t, os.WriteFile(filepath.Join(dir, "state.db"), good, 0o600))
		s := open(t, dir)
		table, name, _ := strings.Cut(columns[int(column)%len(columns)], ".")
		if err := state.Exec(t.Context(), s, "UPDATE "+table+" SET "+name+" = ?", text); err != nil {
			t.Fatal(err)
		}
		use(t.Context(), s)
	})
}
