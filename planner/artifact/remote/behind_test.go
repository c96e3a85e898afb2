package remote_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
)

// machine returns the empty store of a machine, with a remote store behind it.
func machine(t *testing.T, behind *remote.Store) *artifact.Store {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "artifacts")
	s, err := artifact.OpenShared(dir, behind)
	ok(t, err)
	t.Cleanup(func() { ok(t, files.RemoveAll(dir)) })
	return s
}

// What one machine puts, another one can read.
func TestMachinesShareArtifacts(t *testing.T) {
	onEveryService(t, func(t *testing.T, at place) {
		s := open(t, at.url)
		one, other := machine(t, s), machine(t, s)
		for name, path := range map[string]string{
			"a file":          file(t, 100),
			"an empty file":   file(t, 0),
			"a folder":        folder(t, everything),
			"an empty folder": folder(t, map[string]string{"d/": ""}),
			"a file that looks like the beginning of a listing": filepath.Join(folder(t, map[string]string{"x": "d 0 - \"a\"\n" + "and so on\n"}), "x"),
		} {
			want := digest(t, path)
			a, err := one.Put(t.Context(), path, "file")
			ok(t, err)
			if a.Digest != want {
				t.Errorf("%s: put %s, want %s", name, a.Digest, want)
			}
			ok(t, other.Check(t.Context(), want))
			if got := digest(t, other.Path(want)); got != want {
				t.Errorf("%s: got %s, want %s", name, got, want)
			}
			if left, err := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(other.Path(want))), "tmp", "*")); err != nil || len(left) > 0 {
				t.Errorf("%s: it left %q, %v", name, left, err)
			}
		}
		d, err := one.PutBytes(t.Context(), []byte("bytes"))
		ok(t, err)
		if b, err := other.Bytes(t.Context(), d); err != nil || string(b) != "bytes" {
			t.Errorf("bytes: %q, %v", b, err)
		}
	})
}

func TestHasKnowsWhatWasThereAtTheLook(t *testing.T) {
	onFiles(t, func(t *testing.T, at place) {
		s := open(t, at.url)
		one, other := machine(t, s), machine(t, s)
		d, err := one.PutBytes(t.Context(), []byte("x"))
		ok(t, err)
		if !one.Has(d) || other.Has(d) {
			t.Errorf("before: one has %v, the other %v", one.Has(d), other.Has(d))
		}
		ok(t, other.Look(t.Context()))
		if !other.Has(d) || other.Has(ir.Sum(nil)) {
			t.Errorf("after: has %v, and what is nowhere %v", other.Has(d), other.Has(ir.Sum(nil)))
		}
		ok(t, s.Remove(t.Context(), d))
		if err := other.Check(t.Context(), d); !errors.Is(err, artifact.ErrMissing) {
			t.Errorf("what is gone since: %v", err)
		}
	})
}

// Share sends what was put while no store was behind.
func TestShare(t *testing.T) {
	onFiles(t, func(t *testing.T, at place) {
		dir := filepath.Join(t.TempDir(), "artifacts")
		t.Cleanup(func() { ok(t, files.RemoveAll(dir)) })
		alone, err := artifact.Open(dir)
		ok(t, err)
		a, err := alone.Put(t.Context(), folder(t, everything), "model")
		ok(t, err)
		ok(t, alone.Share(t.Context(), a.Digest))
		s := open(t, at.url)
		shared, err := artifact.OpenShared(dir, s)
		ok(t, err)
		ok(t, shared.Share(t.Context(), ir.Sum([]byte("nowhere"))))
		ok(t, shared.Share(t.Context(), a.Digest))
		ok(t, machine(t, s).Check(t.Context(), a.Digest))
	})
}

// Data that is damaged in transfer is rejected.
func TestDamageBehindIsFound(t *testing.T) {
	onFiles(t, func(t *testing.T, at place) {
		s := open(t, at.url)
		d, err := machine(t, s).PutBytes(t.Context(), []byte("x"))
		ok(t, err)
		ok(t, os.WriteFile(at.blob(d), []byte("y"), 0o644))
		other := machine(t, s)
		var damaged *artifact.DamagedError
		if _, err := other.Bytes(t.Context(), d); !errors.As(err, &damaged) {
			t.Errorf("got %v", err)
		}
		if other.Has(d) {
			t.Error("it was taken")
		}
	})
}
