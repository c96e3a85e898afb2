package remote_test

import (
	"bytes"
	crand "crypto/rand"
	"errors"
	"io/fs"
	"math/rand"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/test/s3test"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, url string) *remote.Store {
	t.Helper()
	s, err := remote.OpenHasty(t.Context(), url)
	ok(t, err)
	t.Cleanup(func() { ok(t, s.Close()) })
	return s
}

// A place is an empty store, and the folder in which its service keeps blobs as files, if
// it does.
type place struct{ url, dir string }

// onEveryService runs a test on every service, with fakes for the clouds of Google and
// Microsoft, and on the stores whose URLs are in $TENON_STORES.
func onEveryService(t *testing.T, test func(t *testing.T, at place)) {
	onFiles(t, test)
	for name, start := range fakes {
		t.Run(name, func(t *testing.T) { test(t, place{url: start(t).url}) })
	}
	for _, text := range strings.Fields(os.Getenv("TENON_STORES")) {
		u, err := url.Parse(text)
		ok(t, err)
		t.Run(u.Scheme, func(t *testing.T) {
			u.Path += "/" + crand.Text()
			test(t, place{url: u.String()})
		})
	}
}

// onFiles runs a test on the services that keep blobs as files.
func onFiles(t *testing.T, test func(t *testing.T, at place)) {
	t.Run("file", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "made", "of it")
		test(t, place{"file://" + strings.ReplaceAll(dir, " ", "%20"), dir})
	})
	t.Run("s3", func(t *testing.T) {
		server := s3test.Start(t)
		server.Setenv(t)
		url := strings.Replace(server.Bucket(t, "bucket"), "bucket?", "bucket/some/prefix?", 1)
		test(t, place{url, filepath.Join(server.Dir, "bucket", "some", "prefix")})
	})
}

// blob returns where the service of a store keeps a blob.
func (p place) blob(digest string) string {
	h := strings.TrimPrefix(digest, "sha256:")
	return filepath.Join(p.dir, "cas", "sha256", h[:2], h[2:])
}

// folder creates a folder from paths and contents. A content that begins with "-> " is a
// link, one that begins with "#!" an executable; a path that ends with a slash is a
// folder.
func folder(t *testing.T, content map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "made")
	ok(t, os.MkdirAll(dir, 0o755))
	for name, text := range content {
		p := filepath.Join(dir, name)
		ok(t, os.MkdirAll(filepath.Dir(p), 0o755))
		if strings.HasSuffix(name, "/") {
			ok(t, os.MkdirAll(p, 0o755))
		} else if target, is := strings.CutPrefix(text, "-> "); is {
			ok(t, os.Symlink(target, p))
		} else {
			mode := fs.FileMode(0o644)
			if strings.HasPrefix(text, "#!") {
				mode = 0o755
			}
			ok(t, os.WriteFile(p, []byte(text), mode))
		}
	}
	return dir
}

// file creates a file of that many bytes.
func file(t *testing.T, size int) string {
	t.Helper()
	b := make([]byte, size)
	rand.New(rand.NewSource(int64(size))).Read(b)
	p := filepath.Join(t.TempDir(), "file")
	ok(t, os.WriteFile(p, b, 0o644))
	return p
}

func digest(t *testing.T, path string) string {
	t.Helper()
	d, err := artifact.Digest(t.Context(), path)
	ok(t, err)
	return d
}

// names returns the names in a folder.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	ok(t, err)
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// everything is a folder with one of each kind of entry.
var everything = map[string]string{
	"weights": "w", "deep/er/weights": "w", "run": "#!/bin/sh", "empty/": "", "nothing": "", "latest": "-> deep/er/weights",
	"here": "-> deep", "deep/up": "-> ../run", "größe/模型 α.json": "{}", "line\nbreak": "1", "a\"b\\c": "2", "sp ace.attrs": "3", "\xff\xfe": "4",
}

func TestPutThenGet(t *testing.T) {
	onEveryService(t, func(t *testing.T, at place) {
		s := open(t, at.url)
		for name, path := range map[string]string{
			"an empty file":           file(t, 0),
			"a small file":            file(t, 100),
			"a file of one part":      file(t, remote.PartSize),
			"a file of several parts": file(t, 3*remote.PartSize+1),
			"an empty folder":         folder(t, nil),
			"a folder":                folder(t, everything),
		} {
			want := digest(t, path)
			ref, err := s.Put(t.Context(), path)
			ok(t, err)
			if info, _ := os.Stat(path); ref.Digest != want || ref.Dir != info.IsDir() || !ref.Dir && ref.Size != info.Size() {
				t.Errorf("%s: put %+v, want %s", name, ref, want)
			}
			if has, err := s.Has(t.Context(), ref); !has || err != nil {
				t.Errorf("%s: has %v, %v", name, has, err)
			}
			to := filepath.Join(t.TempDir(), "got")
			ok(t, s.Get(t.Context(), ref, to))
			if got := digest(t, to); got != want {
				t.Errorf("%s: got %s, want %s", name, got, want)
			}
			if left := names(t, filepath.Dir(to)); len(left) != 1 {
				t.Errorf("%s: beside it lies %q", name, left)
			}
			ok(t, s.Get(t.Context(), ref, to)) // it exists already
		}
	})
}

func TestGetKeepsOtherFiles(t *testing.T) {
	onEveryService(t, func(t *testing.T, at place) {
		s := open(t, at.url)
		ref, err := s.PutBytes(t.Context(), []byte("x"))
		ok(t, err)
		to := file(t, 3)
		before := digest(t, to)
		if err := s.Get(t.Context(), ref, to); err == nil || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("got %v", err)
		}
		if digest(t, to) != before {
			t.Error("it was replaced")
		}
	})
}

func TestBytes(t *testing.T) {
	onEveryService(t, func(t *testing.T, at place) {
		s := open(t, at.url)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if ref, err := s.PutBytes(t.Context(), []byte("xyz")); err != nil || ref != (artifact.Ref{Digest: ir.Sum([]byte("xyz")), Size: 3}) {
					t.Errorf("got %+v, %v", ref, err)
				}
			})
		}
		wg.Wait()
		b, err := s.Bytes(t.Context(), artifact.Ref{Digest: ir.Sum([]byte("xyz")), Size: 3})
		if err != nil || string(b) != "xyz" {
			t.Errorf("got %q, %v", b, err)
		}
	})
}

func TestMissingPackages(t *testing.T) {
	onEveryService(t, func(t *testing.T, at place) {
		s := open(t, at.url)
		for _, d := range []string{ir.Sum(nil), "", "sha256:", "sha256:../../x", "md5:0", strings.ToUpper(ir.Sum(nil))} {
			for _, ref := range []artifact.Ref{{Digest: d}, {Digest: d, Dir: true}} {
				if has, err := s.Has(t.Context(), ref); has || err != nil {
					t.Errorf("has %+v: %v, %v", ref, has, err)
				}
				to := filepath.Join(t.TempDir(), "to")
				if err := s.Get(t.Context(), ref, to); !errors.Is(err, artifact.ErrMissing) {
					t.Errorf("get %+v: %v", ref, err)
				}
				if left := names(t, filepath.Dir(to)); len(left) != 0 {
					t.Errorf("it left %q", left)
				}
			}
			if _, err := s.Bytes(t.Context(), artifact.Ref{Digest: d}); !errors.Is(err, artifact.ErrMissing) {
				t.Errorf("bytes of %q: %v", d, err)
			}
			ok(t, s.Remove(t.Context(), d))
		}
	})
}

func TestNotes(t *testing.T) {
	onEveryService(t, func(t *testing.T, at place) {
		s := open(t, at.url)
		if _, err := s.Note(t.Context(), "runs/a/result.json"); !errors.Is(err, artifact.ErrMissing) {
			t.Errorf("a note that does not exist: %v", err)
		}
		for _, name := range []string{"runs/a/result.json", "runs/a/log", "runs/ab/result.json"} {
			ok(t, s.PutNote(t.Context(), name, []byte("first")))
			ok(t, s.PutNote(t.Context(), name, []byte(name)))
		}
		if all, err := s.Notes(t.Context(), "runs/a/"); err != nil || len(all) != 2 || string(all["runs/a/log"]) != "runs/a/log" {
			t.Errorf("notes %q, %v", all, err)
		}
		ok(t, s.DeleteNotes(t.Context(), "runs/a/"))
		ok(t, s.DeleteNotes(t.Context(), "runs/a/"))
		if b, err := s.Note(t.Context(), "runs/ab/result.json"); err != nil || string(b) != "runs/ab/result.json" {
			t.Errorf("what was not deleted: %q, %v", b, err)
		}
		if _, err := s.Note(t.Context(), "runs/a/log"); !errors.Is(err, artifact.ErrMissing) {
			t.Errorf("what was deleted: %v", err)
		}
		if all, err := s.All(t.Context()); err != nil || len(all) != 0 {
			t.Errorf("artifacts: %q, %v", all, err)
		}
		for _, name := range []string{"", "/a", "a/", "a//b", "../a", "a/../b", "ä", "a b", "a\nb", "."} {
			if err := s.PutNote(t.Context(), name, nil); err == nil || !strings.Contains(err.Error(), "not a name of a note") {
				t.Errorf("put %q: %v", name, err)
			}
			if _, err := s.Note(t.Context(), name); err == nil || errors.Is(err, artifact.ErrMissing) {
				t.Errorf("get %q: %v", name, err)
			}
		}
	})
}

func TestAllAndRemove(t *testing.T) {
	onEveryService(t, func(t *testing.T, at place) {
		s := open(t, at.url)
		a, err := s.PutBytes(t.Context(), []byte("a"))
		ok(t, err)
		b, err := s.Put(t.Context(), folder(t, map[string]string{"b": "b", "c": "a", "d/l": "-> ../b"}))
		ok(t, err)
		want := []string{a.Digest, b.Digest, ir.Sum([]byte("b")), ir.Sum([]byte("../b"))}
		slices.Sort(want)
		// Unfinished writes are not artifacts.
		if at.dir != "" {
			ok(t, os.WriteFile(at.blob(a.Digest)+".1.tmp", nil, 0o644))
		}
		if all, err := s.All(t.Context()); err != nil || !slices.Equal(slices.Sorted(slices.Values(all)), want) {
			t.Errorf("there are %q, %v, want %q", all, err, want)
		}
		ok(t, s.Remove(t.Context(), b.Digest))
		if has, err := s.Has(t.Context(), b); has || err != nil {
			t.Errorf("it is still there: %v, %v", has, err)
		}
		if has, err := s.Has(t.Context(), a); !has || err != nil {
			t.Errorf("the other one is gone: %v, %v", has, err)
		}
	})
}

func TestSharedFilesAreSentOnce(t *testing.T) {
	onFiles(t, func(t *testing.T, at place) {
		s := open(t, at.url)
		_, err := s.Put(t.Context(), folder(t, map[string]string{"a": "shared", "b": "1"}))
		ok(t, err)
		before, err := os.Stat(at.blob(ir.Sum([]byte("shared"))))
		ok(t, err)
		ref, err := s.Put(t.Context(), folder(t, map[string]string{"c/d": "shared", "b": "2"}))
		ok(t, err)
		after, err := os.Stat(at.blob(ir.Sum([]byte("shared"))))
		ok(t, err)
		if !os.SameFile(before, after) {
			t.Error("it was sent again")
		}
		ok(t, s.Get(t.Context(), ref, filepath.Join(t.TempDir(), "to")))
	})
}

func TestDamageIsFound(t *testing.T) {
	onFiles(t, func(t *testing.T, at place) {
		s := open(t, at.url)
		dir, err := s.Put(t.Context(), folder(t, map[string]string{"a": "content", "l": "-> a"}))
		ok(t, err)
		for name, of := range map[string]string{"file": ir.Sum([]byte("content")), "link": ir.Sum([]byte("a")), "listing": dir.Digest} {
			whole, err := os.ReadFile(at.blob(of))
			ok(t, err)
			ok(t, os.WriteFile(at.blob(of), bytes.Repeat([]byte("x"), len(whole)), 0o644))
			to := filepath.Join(t.TempDir(), "to")
			if err := s.Get(t.Context(), dir, to); err == nil {
				t.Errorf("%s: nobody noticed", name)
			} else if damaged := (*artifact.DamagedError)(nil); !errors.As(err, &damaged) || damaged.Digest != of {
				t.Errorf("%s: %v", name, err)
			}
			if left := names(t, filepath.Dir(to)); len(left) != 0 {
				t.Errorf("%s: it left %q", name, left)
			}
			ok(t, os.WriteFile(at.blob(of), whole, 0o644))
		}
		ok(t, s.Get(t.Context(), dir, filepath.Join(t.TempDir(), "to")))
	})
}

func TestTruncatedUploadsAreSentAgain(t *testing.T) {
	onFiles(t, func(t *testing.T, at place) {
		s := open(t, at.url)
		p := file(t, 1000)
		ref, err := s.Put(t.Context(), p)
		ok(t, err)
		ok(t, os.Truncate(at.blob(ref.Digest), 10))
		if has, err := s.Has(t.Context(), ref); has || err != nil {
			t.Errorf("has it: %v, %v", has, err)
		}
		_, err = s.Put(t.Context(), p)
		ok(t, err)
		ok(t, s.Get(t.Context(), ref, filepath.Join(t.TempDir(), "to")))
	})
}

// A store is not trusted: nothing in it can write outside of the folder.
func TestFalseListings(t *testing.T) {
	onEveryService(t, func(t *testing.T, at place) {
		s := open(t, at.url)
		line := func(kind, content, path string) string {
			ref, err := s.PutBytes(t.Context(), []byte(content))
			ok(t, err)
			return string(artifact.Listing([]artifact.Entry{{Kind: rune(kind[0]), Size: ref.Size, Digest: ref.Digest, Path: path}}))
		}
		file := line("f", "x", "a")
		for name, text := range map[string]string{
			"a path up":                line("f", "x", "../a"),
			"a path up within":         "d 0 - \"b\"\n" + line("f", "x", "b/../../a"),
			"an absolute path":         line("f", "x", "/etc/a"),
			"no path":                  line("f", "x", ""),
			"the folder itself":        line("f", "x", "."),
			"a path with a zero byte":  line("f", "x", "a\x00b"),
			"a path that is not neat":  "d 0 - \"b\"\n" + line("f", "x", "b//a"),
			"a path twice":             file + file,
			"a path through a file":    file + line("f", "x", "a/b"),
			"a path through a link":    line("l", "/tmp", "a") + line("f", "x", "a/b"),
			"a path before its folder": line("f", "x", "b/a") + "d 0 - \"b\"\n",
			"a link up":                line("l", "../../etc", "a"),
			"an absolute link":         line("l", "/etc/passwd", "a"),
			"a link that goes around":  "d 0 - \"d\"\n" + line("l", "..", "d/up") + line("l", "d/up/..", "x"),
			"a link to nothing":        line("l", "gone", "a"),
			"an unknown kind":          line("p", "x", "a"),
			"no digest":                "f 1 sha256:../../x \"a\"\n",
			"no size":                  strings.Replace(file, "f 1", "f -1", 1),
			"half a line":              strings.TrimSuffix(file, "\n"),
			"something else":           "{}\n",
		} {
			ref, err := s.PutBytes(t.Context(), []byte(text))
			ok(t, err)
			ref.Dir = true
			around := t.TempDir()
			if err := s.Get(t.Context(), ref, filepath.Join(around, "to")); err == nil {
				t.Errorf("%s: it was taken", name)
			}
			if left := names(t, around); len(left) != 0 {
				t.Errorf("%s: it left %q", name, left)
			}
		}
		ref, err := s.PutBytes(t.Context(), []byte(file))
		ok(t, err)
		ref.Dir = true
		ok(t, s.Get(t.Context(), ref, filepath.Join(t.TempDir(), "to")))
	})
}

func TestPutRefusesInvalidArtifacts(t *testing.T) {
	onEveryService(t, func(t *testing.T, at place) {
		s := open(t, at.url)
		if _, err := s.Put(t.Context(), folder(t, map[string]string{"a": "1", "l": "-> ../../etc"})); err == nil || !strings.Contains(err.Error(), "points outside the folder") {
			t.Errorf("a link out: %v", err)
		}
		if _, err := s.Put(t.Context(), filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("nothing: %v", err)
		}
		if all, err := s.All(t.Context()); err != nil || len(all) != 0 {
			t.Errorf("there are %q, %v", all, err)
		}
	})
}

func TestGetWithoutAFolderForIt(t *testing.T) {
	onEveryService(t, func(t *testing.T, at place) {
		s := open(t, at.url)
		ref, err := s.PutBytes(t.Context(), nil)
		ok(t, err)
		if err := s.Get(t.Context(), ref, filepath.Join(t.TempDir(), "no", "to")); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, artifact.ErrMissing) {
			t.Errorf("got %v", err)
		}
	})
}

// Below a folder that others may write to, every folder is shared, whatever the umask. A
// folder that only its owner may write to, or one like /tmp, passes on nothing.
func TestFolderIsSharedRecursively(t *testing.T) {
	was := unix.Umask(0o077)
	t.Cleanup(func() { unix.Umask(was) })
	for _, c := range []struct{ of, folders, files fs.FileMode }{
		{0o755, 0o700, 0o600},
		{0o777 | fs.ModeSticky, 0o700, 0o600},
		{0o770 | fs.ModeSetgid, 0o770 | fs.ModeSetgid, 0o660},
		{0o775 | fs.ModeSetgid, 0o775 | fs.ModeSetgid, 0o664},
		{0o777, 0o777, 0o666},
	} {
		dir := t.TempDir()
		ok(t, os.Chmod(dir, c.of))
		s := open(t, "file://"+dir+"/made/store")
		_, err := s.PutBytes(t.Context(), []byte("one"))
		ok(t, err)
		ok(t, s.PutNote(t.Context(), "runs/one", []byte("note")))
		found := 0
		ok(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || path == dir {
				return err
			}
			found++
			info, err := d.Info()
			ok(t, err)
			want := c.files
			if d.IsDir() {
				want = c.folders | fs.ModeDir
			}
			if info.Mode() != want {
				t.Errorf("in a folder with mode %v, %s has %v, want %v", c.of, strings.TrimPrefix(path, dir), info.Mode(), want)
			}
			return nil
		}))
		if found != 9 { // folders: made, store, cas, sha256, the first byte, notes, runs; and two files
			t.Errorf("%d files and folders", found)
		}
	}
}
