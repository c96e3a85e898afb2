package state_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tenon-ml/tenon/internal/test/postgrestest"
	"github.com/tenon-ml/tenon/planner/state"
)

// A folder belongs to one state.
func TestBind(t *testing.T) {
	ctx := t.Context()
	work := func(dir string) { ok(t, os.MkdirAll(filepath.Join(dir, "runs"), 0o700)) }
	one, two := open(t, postgrestest.URL(t)), open(t, postgrestest.URL(t))
	var elsewhere *state.ElsewhereError
	var lost *state.LostError

	dir := filepath.Join(t.TempDir(), "new")
	for _, s := range []*state.Store{one, two, one, one} { // it is still empty, so it may change
		ok(t, s.Bind(ctx, dir))
	}
	work(dir)
	ok(t, one.Bind(ctx, dir))
	if err := two.Bind(ctx, dir); !errors.As(err, &elsewhere) || elsewhere.Where != one.Where() {
		t.Errorf("of another state: %v", err)
	}
	ok(t, os.Rename(filepath.Join(dir, "database.json"), filepath.Join(dir, "record.json"))) // as earlier versions name it
	ok(t, one.Bind(ctx, dir))
	if err := two.Bind(ctx, dir); !errors.As(err, &elsewhere) || elsewhere.Where != one.Where() {
		t.Errorf("of another state, in a folder of an earlier version: %v", err)
	}
	if _, err := state.Open(ctx, dir); !errors.As(err, &elsewhere) || elsewhere.Where != one.Where() {
		t.Errorf("opened as a folder: %v", err)
	}
	ok(t, state.Exec(ctx, one, "UPDATE meta SET lineage = 'other'"))
	if err := one.Bind(ctx, dir); !errors.As(err, &lost) {
		t.Errorf("the database was started over: %v", err)
	}

	old := t.TempDir()
	s := open(t, old)
	ok(t, s.Bind(ctx, old))
	if err := two.Bind(ctx, old); !errors.As(err, &elsewhere) || elsewhere.Where != filepath.Join(old, "state.db") {
		t.Errorf("a folder with a state: %v", err)
	}
	alone := t.TempDir()
	work(alone)
	if err := two.Bind(ctx, alone); !errors.As(err, &lost) {
		t.Errorf("a folder without one: %v", err)
	}
}
