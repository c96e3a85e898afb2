package state_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/internal/test/postgrestest"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

func TestOpenMakesAPrivateFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "odd name?#%", ".tenon")
	s := open(t, dir)
	info, err := os.Stat(dir)
	ok(t, err)
	if got := info.Mode().Perm(); got != 0o700 {
		t.Errorf("mode %o, want 700", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "state.db")); err != nil {
		t.Error(err)
	}
	first := must[state.Meta](t)(s.Meta(t.Context()))
	ok(t, s.Close())
	if again := must[state.Meta](t)(open(t, dir).Meta(t.Context())); again != first {
		t.Errorf("opened again: %+v, want %+v", again, first)
	}
}

func TestManyOpenAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		lineages := make([]string, 8)
		var wg sync.WaitGroup
		for i := range lineages {
			wg.Go(func() {
				s, err := state.Open(t.Context(), where)
				if err != nil {
					t.Error(err)
					return
				}
				defer s.Close()
				m, err := s.Meta(t.Context())
				if err != nil {
					t.Error(err)
				}
				lineages[i] = m.Lineage
			})
		}
		wg.Wait()
		for _, l := range lineages {
			if l != lineages[0] {
				t.Fatalf("lineages differ: %v", lineages)
			}
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	with := func(f func(path string, s *state.Store) error) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			s := open(t, dir)
			ok(t, f(filepath.Join(dir, "state.db"), s))
			s.Close()
		}
	}
	tests := []struct {
		name  string
		setup func(t *testing.T, dir string)
		want  []string
	}{
		{"a newer layout", with(func(_ string, s *state.Store) error {
			return state.Exec(context.Background(), s, "PRAGMA user_version=7")
		}), []string{"state was written by a newer tenon (layout 7, this one supports 6): upgrade tenon"}},
		{"text", func(t *testing.T, dir string) {
			ok(t, os.WriteFile(filepath.Join(dir, "state.db"), []byte(strings.Repeat("not a database\n", 100)), 0o600))
		}, []string{"state.db is damaged", "restore it from a backup", "move the folder away"}},
		{"a header with nothing behind it", func(t *testing.T, dir string) {
			s := open(t, dir)
			ok(t, state.Exec(t.Context(), s, "PRAGMA wal_checkpoint(TRUNCATE)"))
			s.Close()
			ok(t, os.Truncate(filepath.Join(dir, "state.db"), 4096))
		}, []string{"state.db is damaged"}},
		{"another program's database", with(func(_ string, s *state.Store) error {
			return state.Exec(context.Background(), s, "PRAGMA application_id=1")
		}), []string{"database of another program"}},
		{"a file in place of the folder", func(t *testing.T, dir string) {
			ok(t, os.Remove(dir))
			ok(t, os.WriteFile(dir, nil, 0o600))
		}, []string{"not a directory"}},
		{"a folder in place of the database", func(t *testing.T, dir string) {
			ok(t, os.Mkdir(filepath.Join(dir, "state.db"), 0o700))
		}, []string{"cannot open the state", "must be writable"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "s")
			ok(t, os.Mkdir(dir, 0o700))
			tt.setup(t, dir)
			s, err := state.Open(t.Context(), dir)
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not say %q", err, w)
				}
			}
		})
	}
}

// A new state would know nothing of what the old one recorded.
func TestOpenRefusesAFolderWhoseStateIsGone(t *testing.T) {
	for _, left := range []string{"runs/steps-x-1", "artifacts/ab"} {
		dir := t.TempDir()
		ok(t, os.MkdirAll(filepath.Join(dir, left), 0o755))
		_, err := state.Open(t.Context(), dir)
		var lost *state.LostError
		if !errors.As(err, &lost) || !strings.Contains(err.Error(), "restore it from a backup") {
			t.Errorf("with %s: %v, want LostError", left, err)
		}
		if _, err := os.Lstat(filepath.Join(dir, "state.db")); err == nil {
			t.Errorf("with %s: one was made", left)
		}
	}
	dir := t.TempDir()
	ok(t, os.MkdirAll(filepath.Join(dir, "artifacts", "tmp"), 0o755))
	open(t, dir)
}

func TestAWriteNoticesThatTheDatabaseIsGone(t *testing.T) {
	for _, tt := range []struct {
		name string
		gone func(path string) error
	}{
		{"removed", os.Remove},
		{"replaced", func(path string) error {
			return errors.Join(os.Rename(path, path+".old"), os.WriteFile(path, nil, 0o600))
		}},
		{"its log removed", func(path string) error { return os.Remove(path + "-wal") }},
		{"its folder removed", func(path string) error { return os.RemoveAll(filepath.Dir(path)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "s")
			l := lock(t, open(t, dir))
			n, err := l.BeginRevision(t.Context(), state.Revision{})
			ok(t, err)
			ok(t, tt.gone(filepath.Join(dir, "state.db")))
			var lost *state.LostError
			if err := l.EndRevision(t.Context(), n, state.Done, ""); !errors.As(err, &lost) || !lost.Used {
				t.Errorf("got %v, want LostError", err)
			}
		})
	}
}

func TestOpenNeedsAWritableFolder(t *testing.T) {
	if os.Getuid() == 0 {
		asNobody(t)
		return
	}
	dir := t.TempDir()
	open(t, dir).Close()
	ok(t, os.Chmod(filepath.Join(dir, "state.db"), 0o400))
	ok(t, os.Chmod(dir, 0o500))
	t.Cleanup(func() { os.Chmod(dir, 0o700) })
	s, err := state.Open(t.Context(), dir)
	if err == nil {
		s.Close()
	}
	var access *state.AccessError
	if !errors.As(err, &access) {
		t.Errorf("got %v, want AccessError", err)
	}
}

// asNobody runs the calling test again as a user without rights, because root may write
// everywhere.
func asNobody(t *testing.T) {
	t.Helper()
	dir, err := os.MkdirTemp("", "tenon-nobody-")
	ok(t, err)
	defer os.RemoveAll(dir)
	ok(t, os.Chmod(dir, 0o777))
	self, err := os.Executable()
	ok(t, err)
	b, err := os.ReadFile(self)
	ok(t, err)
	program := filepath.Join(dir, "test")
	ok(t, os.WriteFile(program, b, 0o755))
	cmd := exec.Command(program, "-test.v", "-test.run", "^"+t.Name()+"$")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("as a user without rights: %v\n%s", err, out)
	}
}

func TestDamageInTheMiddleIsReported(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := open(t, dir)
	fill(t, s, 500)
	ok(t, state.Exec(ctx, s, "PRAGMA wal_checkpoint(TRUNCATE)"))
	ok(t, s.Close())
	path := filepath.Join(dir, "state.db")
	b, err := os.ReadFile(path)
	ok(t, err)
	for i := len(b) / 4; i < len(b)*3/4; i++ {
		b[i] ^= 0xff
	}
	ok(t, os.WriteFile(path, b, 0o600))
	s, err = state.Open(ctx, dir)
	if err == nil {
		defer s.Close()
		_, err1 := s.Current(ctx)
		_, err2 := s.CurrentRuns(ctx)
		_, err3 := s.Runs(ctx, "", 0)
		err = errors.Join(err1, err2, err3)
	}
	var damaged *state.DamagedError
	if !errors.As(err, &damaged) || damaged.Path != path {
		t.Errorf("got %v, want DamagedError", err)
	}
}

func fill(t testing.TB, s *state.Store, n int) {
	t.Helper()
	ok(t, state.Fill(s, n))
}

func BenchmarkRead10000(b *testing.B) {
	s := open(b, b.TempDir())
	fill(b, s, 10_000)
	b.Run("Current", func(b *testing.B) {
		for b.Loop() {
			must[map[string]state.Current](b)(s.Current(b.Context()))
		}
	})
	b.Run("CurrentRuns", func(b *testing.B) {
		for b.Loop() {
			must[map[string]state.Run](b)(s.CurrentRuns(b.Context()))
		}
	})
	b.Run("Used", func(b *testing.B) {
		definitions := map[string]string{}
		for unit := range must[map[string]state.Current](b)(s.Current(b.Context())) {
			definitions[unit] = "sha256:d"
		}
		for b.Loop() {
			must[map[string]state.Used](b)(s.Used(b.Context(), definitions))
		}
	})
	b.Run("RunFor", func(b *testing.B) {
		for b.Loop() {
			must[*state.Run](b)(s.RunFor(b.Context(), "features/f00000/build", "key0000000000000000000000000"))
		}
	})
}

func BenchmarkOneRun(b *testing.B) {
	for name, where := range map[string]string{"sqlite": b.TempDir(), "postgres": postgrestest.URL(b)} {
		b.Run(name, func(b *testing.B) {
			s := open(b, where)
			l := lock(b, s)
			u := unit("a/b/c")
			i := 0
			for b.Loop() {
				i++
				finish(b, l, u, fmt.Sprint("bench", i), noon, time.Second, map[string]artifact.Artifact{"out": {Digest: "sha256:x"}})
			}
		})
	}
}
