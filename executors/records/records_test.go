package records_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/records"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// shelf is a registry of its own: any will do.
type shelf struct {
	versions []state.ModelVersion
	err      error
}

func (s *shelf) Register(_ context.Context, v state.ModelVersion) (int, error) {
	s.versions = append(s.versions, v)
	return len(s.versions), s.err
}

func TestModelIsRegisteredAndDeployed(t *testing.T) {
	now := time.Unix(1, 0)
	model := artifact.Artifact{Digest: "sha256:1", Kind: "model"}
	r := executors.Record{
		Unit: &ir.Unit{
			ID: "models/late/register", Entity: "models/late", Kind: ir.Record,
			Inputs:  []ir.Input{{Port: "verdict", Kind: ir.File}, {Port: "candidate", Kind: ir.Model}},
			Outputs: []ir.Output{{Port: "version", Kind: ir.Model}},
		},
		Inputs:  map[string]executors.RecordInput{"candidate": {Artifact: model, Key: "k"}},
		Metrics: map[string]float64{"r2": 0.9}, Now: now,
	}
	var s shelf
	x := records.New(t.TempDir(), nil, &s)[ir.Model]
	outputs, metrics, err := x.Write(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	want := []state.ModelVersion{{Model: "models/late", Digest: "sha256:1", Key: "k", Metrics: map[string]float64{"r2": 0.9}, Created: now}}
	if diff := cmp.Diff(want, s.versions); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if outputs["version"] != model || metrics["r2"] != 0.9 {
		t.Errorf("it has %v with %v", outputs, metrics)
	}
	s.err = errors.New("the disk is full")
	if _, _, err := x.Write(t.Context(), r); !errors.Is(err, s.err) || err.Error() == s.err.Error() {
		t.Errorf("a registry that fails is no fault of the state: %v", err)
	}
	r.Inputs = nil
	if _, _, err := x.Write(t.Context(), r); err == nil {
		t.Error("nothing was registered, without an error")
	}
}

// Prometheus reads the rules as another user, and nothing else in the state folder.
func TestRuleFilesAreReadableByOthers(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	for _, tt := range []struct{ state, want, db fs.FileMode }{{0o700, 0o711, 0o600}, {0o711, 0o711, 0o600}, {0o750, 0o750, 0o644}} {
		dir := filepath.Join(t.TempDir(), "state")
		for _, err := range []error{os.MkdirAll(filepath.Join(dir, "runs"), 0o755), os.WriteFile(filepath.Join(dir, "state.db"), nil, 0o644),
			os.Chmod(filepath.Join(dir, "state.db"), 0o644), os.Chmod(dir, tt.state)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		artifacts, err := artifact.Open(filepath.Join(dir, "artifacts"))
		if err != nil {
			t.Fatal(err)
		}
		u := ir.Unit{ID: "slos/a", Kind: ir.Record, Outputs: []ir.Output{{Port: "rules", Kind: ir.File}}, Params: []byte(`{"file":"a.yml","content":"a"}`)}
		if _, _, err := records.New(dir, artifacts, nil)[ir.File].Write(t.Context(), executors.Record{Unit: &u}); err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]fs.FileMode{dir: tt.want, filepath.Join(dir, "rules"): 0o755, records.RulesPath(dir, &u): 0o644, filepath.Join(dir, "state.db"): tt.db} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
				t.Errorf("state of mode %o: %s has %v, %v, want %o", tt.state, path, info.Mode(), err, want)
			}
		}
	}
}

func TestRuleFiles(t *testing.T) {
	dir := t.TempDir()
	artifacts, err := artifact.Open(filepath.Join(dir, "artifacts"))
	if err != nil {
		t.Fatal(err)
	}
	all := records.New(dir, artifacts, nil)
	unit := func(file, content string) ir.Unit {
		return ir.Unit{ID: "slos/" + file, Kind: ir.Record, Outputs: []ir.Output{{Port: "rules", Kind: ir.File}}, Params: []byte(`{"file":"` + file + `","content":"` + content + `"}`)}
	}
	files := func() map[string]string {
		found := map[string]string{}
		paths, _ := filepath.Glob(filepath.Join(dir, "rules", "*"))
		for _, p := range paths {
			b, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			found[filepath.Base(p)] = string(b)
		}
		return found
	}
	equal := func(what string, want map[string]string) {
		t.Helper()
		if diff := cmp.Diff(want, files()); diff != "" {
			t.Errorf("%s (-want +got)\n%s", what, diff)
		}
	}
	x := all[ir.File]
	a, b := unit("a.yml", "a"), unit("b.yml", "b")
	for _, u := range []*ir.Unit{&a, &b} {
		if why := all.Lost(u); why == "" {
			t.Errorf("%s is there before it is written", u.ID)
		}
		if _, _, err := x.Write(t.Context(), executors.Record{Unit: u}); err != nil {
			t.Fatal(err)
		}
		if why := all.Lost(u); why != "" {
			t.Errorf("%s: %s", u.ID, why)
		}
	}
	equal("written", map[string]string{"a.yml": "a", "b.yml": "b"})
	if err := x.Remove(&a, []ir.Unit{unit("./a.yml", "of another unit")}); err != nil {
		t.Fatal(err)
	}
	equal("another unit has the file as well", map[string]string{"a.yml": "a", "b.yml": "b"})
	if err := x.Remove(&a, []ir.Unit{b}); err != nil {
		t.Fatal(err)
	}
	equal("removed", map[string]string{"b.yml": "b"})
	edited := unit("b.yml", "edited")
	if why := all.Lost(&edited); why != "rules/b.yml was modified by hand" {
		t.Errorf("it says %q", why)
	}
	if err := x.(executors.Filer).Sync([]ir.Unit{a, edited}); err != nil {
		t.Fatal(err)
	}
	equal("brought", map[string]string{"a.yml": "a", "b.yml": "edited"})
	if err := x.(executors.Filer).Sync(nil); err != nil {
		t.Fatal(err)
	}
	equal("of no unit", map[string]string{})
	outside := unit("../c.yml", "c")
	if _, _, err := x.Write(t.Context(), executors.Record{Unit: &outside}); err == nil {
		t.Error("a file is written outside of the folder")
	}
}
