package remote_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
)

// written makes a file of a service that was complete at a time.
func written(t *testing.T, name, text string, at time.Time) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	ok(t, os.WriteFile(p, []byte(text), 0o600))
	ok(t, os.Chtimes(p, at, at))
	return p
}

// What services keep is listed by time, with everything that is known about it.
func TestKeptFiles(t *testing.T) {
	onEveryService(t, func(t *testing.T, at place) {
		s := open(t, at.url)
		began := time.Date(2026, 1, 31, 9, 0, 0, 123_000_000, time.UTC)
		const folder = "lineage/-/deployments/api/requests"
		for _, f := range []struct{ name, pod, text string }{{"2_b.parquet", "api-0", "later"}, {"1.parquet", "api-1", "first"}, {"1.parquet", "api-0", ""}} {
			_, err := s.Keep(t.Context(), folder, written(t, f.name, f.text, began), f.pod)
			ok(t, err)
		}
		again, err := s.Keep(t.Context(), folder, written(t, "1.parquet", "first", began), "api-1")
		ok(t, err)
		_, err = s.Keep(t.Context(), "lineage/prod/deployments/api/requests", written(t, "3.parquet", "of another environment", began), "api-0")
		ok(t, err)
		all, err := s.Kept(t.Context(), folder)
		ok(t, err)
		var got []string
		for _, k := range all {
			got = append(got, k.Name+" "+k.From)
		}
		if want := "1.parquet api-0, 1.parquet api-1, 2_b.parquet api-0"; strings.Join(got, ", ") != want {
			t.Fatalf("there is %q, want %q", got, want)
		}
		again.Ended = again.Ended.UTC()
		if all[1] != again || all[1].Size != 5 || !all[1].Ended.Equal(began) {
			t.Errorf("it is %+v, want %+v", all[1], again)
		}
		to := filepath.Join(t.TempDir(), "copy")
		ok(t, s.GetKept(t.Context(), all[2], to))
		if b, err := os.ReadFile(to); string(b) != "later" || err != nil {
			t.Errorf("it is %q, %v", b, err)
		}
		ok(t, s.Forget(t.Context(), all[2]))
		ok(t, s.Forget(t.Context(), all[2]))
		if err := s.GetKept(t.Context(), all[2], to); !errors.Is(err, artifact.ErrMissing) {
			t.Errorf("what was removed: %v", err)
		}
		if digests, err := s.All(t.Context()); len(digests) > 0 || err != nil {
			t.Errorf("kept files are blobs: %q, %v", digests, err)
		}
	})
}

func TestKeptFilesAreCompared(t *testing.T) {
	onFiles(t, func(t *testing.T, at place) {
		s := open(t, at.url)
		k, err := s.Keep(t.Context(), "f", written(t, "1.parquet", "rows", time.Now()), "api-0")
		ok(t, err)
		found, err := filepath.Glob(filepath.Join(at.dir, "kept", "f", "*"))
		if err != nil || len(found) != 1 {
			t.Fatalf("there is %q, %v", found, err)
		}
		ok(t, os.WriteFile(found[0], []byte("rags"), 0o644))
		dir := t.TempDir()
		if err := s.GetKept(t.Context(), k, filepath.Join(dir, "copy")); !errors.As(err, new(*artifact.DamagedError)) {
			t.Errorf("got %v", err)
		}
		if left := names(t, dir); len(left) > 0 {
			t.Errorf("it left %q", left)
		}
	})
}

func TestNamesOfKeptFiles(t *testing.T) {
	s := open(t, "file://"+t.TempDir())
	for _, c := range []struct{ folder, name, from string }{{"../f", "a", "p"}, {"f", "a b", "p"}, {"f", "a", "p_q"}, {"f", "a", "p/../.."}, {"", "a", "p"}} {
		if _, err := s.Keep(t.Context(), c.folder, written(t, c.name, "x", time.Now()), c.from); err == nil {
			t.Errorf("%+v was stored", c)
		}
	}
	var all []remote.Kept
	all, err := s.Kept(t.Context(), "f")
	if len(all) > 0 || err != nil {
		t.Errorf("there is %+v, %v", all, err)
	}
}
