package planner_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/artifact"
)

func tree(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, n := range names {
		p := filepath.Join(dir, n)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(n), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFiles(t *testing.T) {
	top := tree(t, "outside.csv", "sys/a.csv", "sys/.hidden.csv", "sys/data/b.csv", "sys/data/c.txt", "sys/data/2024/d.csv", "sys/data/2024/01/e.csv", "sys/.git/f.csv", "sys/[x].csv")
	dir := filepath.Join(top, "sys")
	if err := errors.Join(os.Symlink("..", filepath.Join(dir, "data", "loop")), os.Symlink("b.csv", filepath.Join(dir, "data", "link.csv"))); err != nil {
		t.Fatal(err)
	}
	abs := filepath.ToSlash(dir)
	tests := map[string][]string{
		"a.csv":               {"a.csv"},
		"./data//b.csv":       {"data/b.csv"},
		"data/2024":           {"data/2024"},
		"*.csv":               {"[x].csv", "a.csv"},
		".*.csv":              {".hidden.csv"},
		`\[x\].csv`:           {"[x].csv"},
		"data/*.csv":          {"data/b.csv", "data/link.csv"},
		"data/*/*.csv":        {"data/2024/d.csv", "data/loop/[x].csv", "data/loop/a.csv"},
		"data/[bc].*":         {"data/b.csv", "data/c.txt"},
		"**/*.csv":            {"[x].csv", "a.csv", "data/2024/01/e.csv", "data/2024/d.csv", "data/b.csv", "data/link.csv"},
		"data/**/e.csv":       {"data/2024/01/e.csv"},
		"data/2024/**":        {"data/2024/01/e.csv", "data/2024/d.csv"},
		"**/01/**/*.csv":      {"data/2024/01/e.csv"},
		"../outside.csv":      {"../outside.csv"},
		"../*.csv":            {"../outside.csv"},
		abs + "/data/b.csv":   {abs + "/data/b.csv"},
		abs + "/da*/?.csv":    {abs + "/data/b.csv"},
		"data/**/../data/b.*": nil, // a glob only goes down
	}
	for pattern, want := range tests {
		got, err := planner.Files(dir, []string{pattern})
		if want == nil {
			if err == nil {
				t.Errorf("%s: got %v, want an error", pattern, got)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", pattern, err)
		}
		if diff := cmp.Diff(want, got[pattern]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", pattern, diff)
		}
	}
}

func TestFilesSaysAllThatIsMissing(t *testing.T) {
	dir := tree(t, "data/flights.csv", "data/weather.csv")
	_, err := planner.Files(dir, []string{"data/flihgts.csv", "data/*.parquet", "nowhere/x.csv", "data/[.csv", "data/weather.csv"})
	if err == nil {
		t.Fatal("no error")
	}
	want := strings.Join([]string{
		"no file matches data/flihgts.csv; did you mean data/flights.csv?",
		"no file matches data/*.parquet",
		"no file matches nowhere/x.csv",
		`"data/[.csv" is not a pattern for files: syntax error in pattern`,
	}, "\n")
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func digestOf(t *testing.T, d *planner.FileDigests, dir, name string) string {
	t.Helper()
	got, err := d.Digest(t.Context(), dir, []string{name})
	if err != nil {
		t.Fatal(err)
	}
	return got[name]
}

func age(t *testing.T, path string, by time.Duration) {
	t.Helper()
	at := time.Now().Add(-by)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

func TestALinkToNothingIsNamed(t *testing.T) {
	dir := tree(t, "data/flights.csv")
	if err := os.Symlink("gone.csv", filepath.Join(dir, "data", "late.csv")); err != nil {
		t.Fatal(err)
	}
	_, err := planner.Files(dir, []string{"data/late.csv"})
	if want := "data/late.csv is a link to gone.csv: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestALinkToNothingAmongOthersIsNamed(t *testing.T) {
	dir := tree(t, "parts/a.csv", "other/b.csv")
	for _, link := range []string{"parts/b.csv", "other/.#lock", "other/readme"} {
		if err := os.Symlink("../annex/b", filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := planner.Files(dir, []string{"parts/*.csv", "other/*.csv"})
	if want := "files parts/*.csv: parts/b.csv is a link to ../annex/b: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestAFileWhoseNameIsAPattern(t *testing.T) {
	dir := tree(t, "run[1]/a.csv")
	_, err := planner.Files(dir, []string{"run[1]/a.csv"})
	if want := "no file matches run[1]/a.csv as a pattern; for the file of this very name, write run[[]1]/a.csv"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	found, err := planner.Files(dir, []string{"run[[]1]/a.csv"})
	if got := found["run[[]1]/a.csv"]; err != nil || len(got) != 1 || got[0] != "run[1]/a.csv" {
		t.Errorf("found %v, %v", got, err)
	}
}

func TestDigestsOfFiles(t *testing.T) {
	dir := tree(t, "a.csv", "data/b.csv", "data/c.csv")
	d := planner.NewFileDigests(filepath.Join(dir, ".tenon"))
	if got := digestOf(t, d, dir, "a.csv"); got != ir.Sum([]byte("a.csv")) {
		t.Errorf("digest %s", got)
	}
	before := digestOf(t, d, dir, "data")
	if err := os.WriteFile(filepath.Join(dir, "data/c.csv"), []byte("other"), 0o644); err != nil {
		t.Fatal(err)
	}
	if digestOf(t, d, dir, "data") == before {
		t.Error("a file of a folder changed, and the folder's digest did not")
	}
	if _, err := d.Digest(t.Context(), dir, []string{"x.csv", "a.csv", "y.csv"}); err == nil || !strings.Contains(err.Error(), "x.csv") || !strings.Contains(err.Error(), "y.csv") {
		t.Errorf("got %v, want both missing files", err)
	}
}

// A file that was just written may change again within one tick of the file system's
// clock, at the same size: only its content shows it.
func TestRecentFileIsNotTrusted(t *testing.T) {
	dir := tree(t, "a.csv")
	state := filepath.Join(dir, ".tenon")
	path := filepath.Join(dir, "a.csv")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	before := digestOf(t, planner.NewFileDigests(state), dir, "a.csv")
	if err := errors.Join(os.WriteFile(path, []byte("b.csv"), 0o644), os.Chtimes(path, info.ModTime(), info.ModTime())); err != nil {
		t.Fatal(err)
	}
	if digestOf(t, planner.NewFileDigests(state), dir, "a.csv") == before {
		t.Error("the change was not seen")
	}
}

func TestOldFileIsReadOnceAndADamagedCacheIsDropped(t *testing.T) {
	dir := tree(t, "a.csv")
	state := filepath.Join(dir, ".tenon")
	cache := filepath.Join(state, "cache", "files.json")
	age(t, filepath.Join(dir, "a.csv"), time.Hour)
	time.Sleep(2100 * time.Millisecond) // the time of the last change cannot be set
	want := digestOf(t, planner.NewFileDigests(state), dir, "a.csv")
	b, err := os.ReadFile(cache)
	if err != nil || !strings.Contains(string(b), want) {
		t.Fatalf("the cache is %q, %v", b, err)
	}
	// The cache is trusted, which shows that it is used.
	fake := ir.Sum([]byte("fake"))
	if err := os.WriteFile(cache, []byte(strings.ReplaceAll(string(b), want, fake)), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := digestOf(t, planner.NewFileDigests(state), dir, "a.csv"); got != fake {
		t.Errorf("a file that is known was read again")
	}
	for _, broken := range []string{"", "{", `{"version":9,"files":{}}`, string(b[:len(b)/2])} {
		if err := os.WriteFile(cache, []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		d := planner.NewFileDigests(state)
		var dropped error
		d.OnDrop = func(err error) { dropped = err }
		if got := digestOf(t, d, dir, "a.csv"); got != want {
			t.Errorf("with the cache %q: %s", broken, got)
		}
		if dropped == nil {
			t.Errorf("the cache %q was dropped silently", broken)
		}
	}
}

func TestFileThatChangesWhileItIsReadIsAnError(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	if err := os.WriteFile(path, make([]byte, 64<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan bool), make(chan bool)
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
				if err == nil {
					f.WriteString("x")
					f.Close()
				}
			}
		}
	}()
	_, err := planner.NewFileDigests(dir).Digest(t.Context(), dir, []string{"log"})
	close(stop)
	<-done
	if !errors.Is(err, artifact.ErrChanged) {
		t.Errorf("got %v, want ErrChanged", err)
	}
}
