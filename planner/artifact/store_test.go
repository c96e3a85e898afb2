package artifact_test

import (
	"bytes"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/artifact"
)

func open(t *testing.T) *artifact.Store {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "artifacts")
	s, err := artifact.Open(dir)
	ok(t, err)
	t.Cleanup(func() { // so that the test may remove its folder
		filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
			if e.IsDir() {
				os.Chmod(p, 0o700)
			}
			return nil
		})
	})
	return s
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// folder creates a folder from paths and contents. A content that begins with "-> " is a
// link, one that begins with "#!" an executable; a path that ends with a slash is a
// folder.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "made")
	ok(t, os.MkdirAll(dir, 0o755))
	for name, content := range files {
		p := filepath.Join(dir, name)
		ok(t, os.MkdirAll(filepath.Dir(p), 0o755))
		if strings.HasSuffix(name, "/") {
			ok(t, os.MkdirAll(p, 0o755))
		} else if target, is := strings.CutPrefix(content, "-> "); is {
			ok(t, os.Symlink(target, p))
		} else if strings.HasPrefix(content, "#!") {
			ok(t, os.WriteFile(p, []byte(content), 0o755))
		} else {
			ok(t, os.WriteFile(p, []byte(content), 0o644))
		}
	}
	return dir
}

func digest(t *testing.T, path string) string {
	t.Helper()
	d, err := artifact.Digest(t.Context(), path)
	ok(t, err)
	return d
}

func TestPutMovesAFileInAndMakesItReadOnly(t *testing.T) {
	s := open(t)
	p := filepath.Join(t.TempDir(), "table.parquet")
	ok(t, os.WriteFile(p, []byte("rows"), 0o755))
	a, err := s.Put(t.Context(), p, "table")
	ok(t, err)
	if want := (artifact.Artifact{Digest: ir.Sum([]byte("rows")), Kind: "table", Size: 4}); a != want {
		t.Errorf("got %+v, want %+v", a, want)
	}
	if _, err := os.Stat(p); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still where it was: %v", err)
	}
	info, err := os.Stat(s.Path(a.Digest))
	ok(t, err)
	if info.Mode().Perm() != 0o444 {
		t.Errorf("mode %v, want 0444", info.Mode())
	}
	b, err := s.Bytes(t.Context(), a.Digest)
	ok(t, err)
	if string(b) != "rows" {
		t.Errorf("content %q", b)
	}
	ok(t, s.Check(t.Context(), a.Digest))
}

func TestAddedFilesStayInPlace(t *testing.T) {
	s := open(t)
	file := filepath.Join(t.TempDir(), "out")
	ok(t, os.WriteFile(file, []byte("result"), 0o644))
	for path, text := range map[string]string{file: "", folder(t, map[string]string{"a": "x", "b/c": "y"}): "a folder"} {
		want := digest(t, path)
		for _, name := range []string{"first", "again"} {
			a, err := s.Add(t.Context(), path, "file")
			ok(t, err)
			if a.Digest != want || digest(t, path) != want || s.Check(t.Context(), want) != nil {
				t.Errorf("%s, %s: %+v; at its path is %s, in the store %v", text, name, a, digest(t, path), s.Check(t.Context(), want))
			}
		}
		stored, err := os.Stat(s.Path(want))
		ok(t, err)
		here, err := os.Stat(path)
		ok(t, err)
		if info := stored; os.SameFile(info, here) != (text == "") {
			t.Errorf("%s: one file, or two of the same content: %v", text, os.SameFile(info, here))
		}
		ok(t, os.RemoveAll(path))
		ok(t, s.Check(t.Context(), want))
	}
	// A file with another hard link may change and is not trusted.
	ok(t, os.WriteFile(file, []byte("other"), 0o644))
	ok(t, os.Link(file, file+"-too"))
	a, err := s.Add(t.Context(), file, "file")
	ok(t, err)
	ok(t, os.WriteFile(file+"-too", []byte("wrong"), 0o644))
	ok(t, s.Check(t.Context(), a.Digest))
}

func TestPutMovesAFolderIn(t *testing.T) {
	s := open(t)
	content := map[string]string{"signature.json": "{}", "deep/er/weights": "w", "run": "#!/bin/sh", "empty/": "", "latest": "-> deep/er/weights"}
	first, second := folder(t, content), folder(t, content)
	want := digest(t, first)
	for _, p := range []string{first, second} {
		a, err := s.Put(t.Context(), p, "model")
		ok(t, err)
		if a.Digest != want || a.Size != 12 {
			t.Errorf("got %+v, want %s and 12 bytes", a, want)
		}
		if _, err := os.Lstat(p); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("it is still where it was: %v", err)
		}
	}
	ok(t, s.Check(t.Context(), want))
	modes := map[string]fs.FileMode{".": 0o555, "deep": 0o555, "signature.json": 0o444, "run": 0o555, "deep/er/weights": 0o444}
	for name, mode := range modes {
		info, err := os.Stat(filepath.Join(s.Path(want), name))
		ok(t, err)
		if info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v, want %v", name, info.Mode(), mode)
		}
	}
}

func TestDigestOfAFolderIsItsContent(t *testing.T) {
	base := map[string]string{"a": "1", "b/c": "2"}
	want := digest(t, folder(t, base))
	if got := digest(t, folder(t, map[string]string{"b/c": "2", "a": "1"})); got != want {
		t.Error("the order of writing counts")
	}
	for name, other := range map[string]map[string]string{
		"content":             {"a": "1", "b/c": "3"},
		"name":                {"a": "1", "b/d": "2"},
		"moved":               {"a": "1", "c": "2"},
		"executable bit":      {"a": "#!", "b/c": "2"},
		"more":                {"a": "1", "b/c": "2", "d": ""},
		"an empty folder":     {"a": "1", "b/c": "2", "d/": ""},
		"a link":              {"a": "1", "b/c": "-> ../a"},
		"newline in a name":   {"a\nf": "1", "b/c": "2"},
		"nothing":             {},
		"less":                {"a": "1"},
		"a file swallowed it": {"a": "1", "b": "2"},
	} {
		if got := digest(t, folder(t, other)); got == want {
			t.Errorf("%s does not count", name)
		}
	}
}

func TestPutRefusesInvalidArtifacts(t *testing.T) {
	special := func(make func(p string) error) func(t *testing.T) string {
		return func(t *testing.T) string {
			dir := folder(t, map[string]string{"a": "1"})
			ok(t, make(filepath.Join(dir, "x")))
			return dir
		}
	}
	tests := []struct {
		name string
		make func(t *testing.T) string
		want string
	}{
		{"a link up and out", special(func(p string) error { return os.Symlink("../../etc", p) }), "points outside the folder"},
		{"an absolute link", special(func(p string) error { return os.Symlink("/etc/passwd", p) }), "points outside the folder"},
		{"a link out through a link", special(func(p string) error {
			return errors.Join(os.Mkdir(p+"d", 0o755), os.Symlink("xd/up/../..", p), os.Symlink("..", p+"d/up"))
		}), "points outside the folder"},
		{"a link to nothing", special(func(p string) error { return os.Symlink("gone", p) }), "is dangling"},
		{"a pipe", special(func(p string) error { return syscall.Mkfifo(p, 0o600) }), "x is a pipe"},
		{"a socket", special(func(p string) error {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: p, Net: "unix"})
			if err == nil {
				l.SetUnlinkOnClose(false)
				err = l.Close()
			}
			return err
		}), "x is a socket"},
		{"a link in place of a file", func(t *testing.T) string {
			return filepath.Join(folder(t, map[string]string{"a": "1", "l": "-> a"}), "l")
		}, "a symbolic link is neither a file nor a folder"},
		{"nothing", func(t *testing.T) string { return filepath.Join(t.TempDir(), "none") }, "no such file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t)
			_, err := s.Put(t.Context(), tt.make(t), "file")
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestFileWithAnotherNameIsCopied(t *testing.T) {
	s := open(t)
	dir := folder(t, map[string]string{"a": "1"})
	other := filepath.Join(t.TempDir(), "other")
	ok(t, os.Link(filepath.Join(dir, "a"), other))
	a, err := s.Put(t.Context(), dir, "file")
	ok(t, err)
	ok(t, os.WriteFile(other, []byte("2"), 0o644))
	ok(t, s.Check(t.Context(), a.Digest))
}

func TestPutFromAnotherFileSystem(t *testing.T) {
	const shm = "/dev/shm"
	if info, err := os.Stat(shm); err != nil || !info.IsDir() {
		t.Fatalf("this test needs a second file system at %s", shm)
	}
	s := open(t)
	dir, err := os.MkdirTemp(shm, "tenon-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	p := filepath.Join(dir, "model")
	ok(t, os.CopyFS(p, os.DirFS(folder(t, map[string]string{"a": "1", "b/run": "#!"}))))
	want := digest(t, p)
	a, err := s.Put(t.Context(), p, "model")
	ok(t, err)
	if a.Digest != want {
		t.Errorf("digest %s, want %s", a.Digest, want)
	}
	ok(t, s.Check(t.Context(), want))
	if _, err := os.Stat(p); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still where it was: %v", err)
	}
}

func TestBytes(t *testing.T) {
	s := open(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			d, err := s.PutBytes(t.Context(), []byte("x"))
			if err != nil || d != ir.Sum([]byte("x")) {
				t.Errorf("got %s, %v", d, err)
			}
		})
	}
	wg.Wait()
	b, err := s.Bytes(t.Context(), ir.Sum([]byte("x")))
	ok(t, err)
	if !bytes.Equal(b, []byte("x")) {
		t.Errorf("content %q", b)
	}
	if left, _ := os.ReadDir(filepath.Join(filepath.Dir(filepath.Dir(s.Path(ir.Sum(nil)))), "tmp")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestDamageIsFound(t *testing.T) {
	s := open(t)
	d, err := s.PutBytes(t.Context(), []byte("x"))
	ok(t, err)
	ok(t, os.Chmod(s.Path(d), 0o644))
	ok(t, os.WriteFile(s.Path(d), []byte("y"), 0o644))
	var damaged *artifact.DamagedError
	if err := s.Check(t.Context(), d); !errors.As(err, &damaged) {
		t.Errorf("check: %v", err)
	}
	if _, err := s.Bytes(t.Context(), d); !errors.As(err, &damaged) {
		t.Errorf("bytes: %v", err)
	}
}

func TestPutReplacesDamagedArtifacts(t *testing.T) {
	s := open(t)
	content := map[string]string{"weights": "w", "signature.json": "{}"}
	for _, make := range []func() string{
		func() string { return folder(t, content) },
		func() string { return filepath.Join(folder(t, content), "weights") },
	} {
		a, err := s.Put(t.Context(), make(), "model")
		ok(t, err)
		at := s.Path(a.Digest)
		if info, err := os.Stat(at); err == nil && info.IsDir() {
			at = filepath.Join(at, "weights")
		}
		ok(t, os.Chmod(at, 0o644))
		ok(t, os.WriteFile(at, nil, 0o644))
		again, err := s.Put(t.Context(), make(), "model")
		ok(t, err)
		if again != a {
			t.Errorf("put %+v, then %+v", a, again)
		}
		ok(t, s.Check(t.Context(), a.Digest))
		if left, _ := os.ReadDir(filepath.Join(filepath.Dir(filepath.Dir(s.Path(a.Digest))), "tmp")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestNamesThatAreNoDigestAreNotThere(t *testing.T) {
	s := open(t)
	for _, d := range []string{"", "sha256:", "sha256:../../../../etc/passwd", "md5:0", strings.ToUpper(ir.Sum(nil)), ir.Sum(nil)} {
		if s.Has(d) {
			t.Errorf("has %q", d)
		}
		if _, err := s.Bytes(t.Context(), d); !errors.Is(err, artifact.ErrMissing) {
			t.Errorf("bytes of %q: %v", d, err)
		}
		if err := s.Check(t.Context(), d); !errors.Is(err, artifact.ErrMissing) {
			t.Errorf("check of %q: %v", d, err)
		}
	}
}

func TestRemoveDeletesExactlyOneArtifact(t *testing.T) {
	s := open(t)
	dir := folder(t, map[string]string{"a/b": "1", "c": "2"})
	kept, err := s.PutBytes(t.Context(), []byte("kept"))
	ok(t, err)
	a, err := s.Put(t.Context(), dir, "model")
	ok(t, err)
	// What is not an artifact is ignored.
	ok(t, os.WriteFile(filepath.Join(filepath.Dir(s.Path(kept)), "note"), nil, 0o644))
	all, err := s.All()
	ok(t, err)
	if want := slices.Sorted(slices.Values([]string{a.Digest, kept})); !slices.Equal(all, want) {
		t.Errorf("there are %q, want %q", all, want)
	}
	ok(t, s.Remove(a.Digest))
	if all, err := s.All(); err != nil || !slices.Equal(all, []string{kept}) {
		t.Errorf("after it there are %q, %v", all, err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(s.Path(kept))), "tmp", "*")); err != nil || len(left) > 0 {
		t.Errorf("it left %q, %v", left, err)
	}
	ok(t, s.Remove(a.Digest))
}

// To ask about many artifacts at once gives the same answers as to ask about each.
func TestPresentAgreesWithHas(t *testing.T) {
	s := open(t)
	digests := []string{ir.Sum([]byte("missing")), "", "sha256:", "sha256:../../etc", "none"}
	for i := range 600 { // more than one part
		digest, err := s.PutBytes(t.Context(), []byte(strconv.Itoa(i)))
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, digest)
	}
	if err := s.Remove(digests[300]); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", s.Path(digests[300])); err != nil { // what is in its place counts, as it is
		t.Fatal(err)
	}
	if err := s.Remove(digests[400]); err != nil {
		t.Fatal(err)
	}
	present := s.Present(digests)
	there := 0
	for _, d := range digests {
		if present[d] != s.Has(d) {
			t.Errorf("%q is present: %t, but the store has it: %t", d, present[d], s.Has(d))
		}
		if present[d] {
			there++
		}
	}
	if there != 599 || len(present) != len(digests) {
		t.Errorf("%d of %d artifacts are present", there, len(present))
	}
}
