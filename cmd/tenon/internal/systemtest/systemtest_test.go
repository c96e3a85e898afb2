package systemtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
)

// Tests run in parallel and are reported in order, and a system without edits is
// compiled once for each set of tags.
func TestRunSharesWhatItCompiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, Folder), 0o755); err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range 20 {
		text := "plan from .\n"
		if i%2 == 0 {
			text += "tag env=prod\n"
		}
		name := fmt.Sprintf("%02d", i)
		if err := os.WriteFile(filepath.Join(dir, Folder, name+".txtar"), []byte(text+"-- plan --\nnothing\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		want = append(want, name)
	}
	var compiled atomic.Int64
	o := Options{
		Dir: dir,
		Compile: func(context.Context, string, []string, bool) (*compiler.Result, string, error) {
			compiled.Add(1)
			return &compiler.Result{System: &ir.System{}}, "", nil
		},
		Plan: func(*planner.Plan) (string, error) { return "nothing\n", nil },
	}
	var got []string
	err := Run(t.Context(), o, func(r Result) {
		got = append(got, r.Name)
		if len(r.Failures) > 0 || r.Updated != nil {
			t.Errorf("%s: %v", r.Name, r.Failures)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" || compiled.Load() != 2 {
		t.Errorf("compiled %d times\n%s", compiled.Load(), d)
	}

	// Reports end with the context.
	stopped := errors.New("stopped")
	ctx, stop := context.WithCancelCause(t.Context())
	got = nil
	err = Run(ctx, o, func(r Result) {
		got = append(got, r.Name)
		stop(stopped)
	})
	if d := cmp.Diff(want[:1], got); d != "" || !errors.Is(err, stopped) {
		t.Errorf("%v\n%s", err, d)
	}
}
