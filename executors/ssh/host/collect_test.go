package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/artifact"
)

// A host loses what no state needs, and nothing that another one may need, or that a run uses.
func TestCollect(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "host")
	s, err := open(Options{Dir: dir})
	ok(t, err)
	put := func(text string) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "x")
		ok(t, os.WriteFile(path, []byte(text), 0o644))
		a, err := s.artifacts.Put(t.Context(), path, "input")
		ok(t, err)
		return a.Digest
	}
	const day = 24 * time.Hour
	aged := func(by, digest string, age time.Duration) {
		t.Helper()
		ok(t, s.mark(by, digest))
		at := time.Now().Add(-age)
		ok(t, os.Chtimes(filepath.Join(dir, "used", strings.TrimPrefix(digest, "sha256:")+"-"+by), at, at))
	}
	mine, theirs := markOf("mine"), markOf("theirs")
	all := map[string]string{}
	for _, a := range []struct {
		name string
		by   map[string]time.Duration
	}{
		{"kept by this state", map[string]time.Duration{mine: 0}},
		{"not kept by this state", map[string]time.Duration{mine: 0}},
		{"used by both states", map[string]time.Duration{mine: 0, theirs: 0}},
		{"read by a run", map[string]time.Duration{mine: 40 * day}},
		{"data, of late", map[string]time.Duration{others: day}},
		{"data, long ago", map[string]time.Duration{others: 40 * day}},
		{"of both states, long ago", map[string]time.Duration{mine: 40 * day, theirs: 40 * day}},
		{"just arrived", nil},
	} {
		all[a.name] = put(a.name)
		for by, age := range a.by {
			aged(by, all[a.name], age)
		}
	}
	rec := func(run, state string, uses ...string) {
		t.Helper()
		ok(t, os.MkdirAll(s.run(run), 0o700))
		ok(t, local.SaveJSON(recordPath(s.run(run)), record{UID: "u", Run: run, Name: "task-" + run, Unit: Unit{Service: Service{State: state}}, Uses: append([]string{}, uses...)}))
	}
	rec("kept", "mine", all["read by a run"])
	rec("old", "mine")
	rec("other", "theirs")
	// A file that only its name under its digest is left of.
	lonely := filepath.Join(dir, "files", "ab", "cd")
	ok(t, os.MkdirAll(filepath.Dir(lonely), 0o700))
	ok(t, os.WriteFile(lonely, nil, 0o444))

	// A tree that no state has used for long.
	tree := filepath.Join(dir, "trees", strings.Repeat("5", 64))
	ok(t, os.MkdirAll(filepath.Join(tree, "packages"), 0o755))
	aged(others, filepath.Base(tree), 40*day)

	in := Collecting{State: "mine", Tasks: map[string]bool{"task-kept": true}, Digests: map[string]bool{all["kept by this state"]: true}, Dry: true}
	names := func(in Collecting) (found []string) {
		t.Helper()
		out, err := s.collect(t.Context(), in)
		ok(t, err)
		for _, g := range out.Garbage {
			name := g.Name
			for n, digest := range all {
				if digest == g.Name {
					name = n
				}
			}
			found = append(found, name)
		}
		slices.Sort(found)
		return found
	}
	soon := []string{"not kept by this state", "task-old"}
	if got := names(in); !slices.Equal(got, soon) {
		t.Errorf("without an age, garbage is %q, want %q", got, soon)
	}
	in.Age = 30 * day
	later := []string{filepath.Base(tree), "data, long ago", "not kept by this state", "of both states, long ago", "task-old"}
	if got := names(in); !slices.Equal(got, later) {
		t.Errorf("garbage is %q, want %q", got, later)
	}
	in.Dry = false
	if got := names(in); !slices.Equal(got, later) {
		t.Errorf("%q were removed, want %q", got, later)
	}
	if got := names(in); len(got) != 0 {
		t.Errorf("afterwards, garbage is %q", got)
	}
	left, err := s.artifacts.All()
	ok(t, err)
	if len(left) != len(all)-3 {
		t.Errorf("%d artifacts are left", len(left))
	}
	for path, there := range map[string]bool{s.run("old"): false, s.run("kept"): true, s.run("other"): true, lonely: false, tree: false} {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) == there {
			t.Errorf("%s: %v", path, err)
		}
	}
	if half, err := filepath.Glob(filepath.Join(dir, files.HalfWritten+"*")); err != nil || len(half) > 0 {
		t.Errorf("left half removed: %q, %v", half, err)
	}
	// What a run of an earlier version uses is not known.
	ok(t, local.SaveJSON(recordPath(s.run("kept")), record{UID: "u", Run: "kept", Name: "task-kept", Unit: Unit{Service: Service{State: "mine"}}}))
	in.Digests = nil
	if got := names(in); len(got) != 0 {
		t.Errorf("beside a run that does not say what it uses, garbage is %q", got)
	}
}

// Whoever uses something marks it, and what a start reads counts as its state's.
func TestUses(t *testing.T) {
	s, err := open(Options{Dir: filepath.Join(t.TempDir(), "host"), Runner: "sha256:" + strings.Repeat("1", 64)})
	ok(t, err)
	digest := func(c string) artifact.Ref { return artifact.Ref{Digest: "sha256:" + strings.Repeat(c, 64)} }
	code := digest("2")
	in := Start{Part: Part{Code: &code, Inputs: map[string]artifact.Ref{"in": digest("3")}}, Data: []Datum{{Ref: digest("4")}}}
	in.Task.State = "mine"
	used, err := s.uses(in)
	ok(t, err)
	if len(used) != 4 {
		t.Errorf("it uses %q", used)
	}
	var marks []string
	entries, err := os.ReadDir(filepath.Join(s.dir, "used"))
	ok(t, err)
	for _, e := range entries {
		marks = append(marks, e.Name()[:1]+e.Name()[64:])
	}
	want := []string{"1-others", "2-others", "3-" + markOf("mine"), "4-others"}
	if !slices.Equal(marks, want) {
		t.Errorf("marks are %q, want %q", marks, want)
	}
}

// A mark that is renewed while others have the lock is seen.
func TestCollectBesideMarks(t *testing.T) {
	s, err := open(Options{Dir: filepath.Join(t.TempDir(), "host"), Runner: "sha256:" + strings.Repeat("1", 64)})
	ok(t, err)
	digest := "sha256:" + strings.Repeat("2", 64)
	name := strings.TrimPrefix(digest, "sha256:")
	ok(t, s.mark(markOf("theirs"), digest))
	before := time.Now().Add(-48 * time.Hour)
	ok(t, os.Chtimes(filepath.Join(s.dir, "used", name+"-"+markOf("theirs")), before, before))
	c := &collector{server: s}
	ok(t, c.readMarks())
	if at := c.marks[name][markOf("theirs")]; !at.Equal(before) {
		t.Fatalf("it was used %v, want %v", at, before)
	}
	ok(t, s.mark(markOf("theirs"), digest))
	ok(t, c.readMarks())
	if at := c.marks[name][markOf("theirs")]; time.Since(at) > time.Hour {
		t.Errorf("a collector takes it for unused since %v", at)
	}
}

// A collection lets others have the lock. What a task begins to use meanwhile stays, and what a job of
// another state has made.
func TestCollectBesideStarts(t *testing.T) {
	s, err := open(Options{Dir: filepath.Join(t.TempDir(), "host"), Runner: "sha256:" + strings.Repeat("1", 64)})
	ok(t, err)
	stored := func(text string) string {
		path := filepath.Join(t.TempDir(), "file")
		ok(t, os.WriteFile(path, []byte(text), 0o644))
		a, err := s.artifacts.Put(t.Context(), path, "input")
		ok(t, err)
		ok(t, s.mark(markOf("mine"), a.Digest))
		return a.Digest
	}
	begun, unused, made := stored("begun"), stored("unused"), stored("made")
	theirs := &record{Unit: Unit{Service: Service{State: "theirs"}}}
	c := &collector{server: s, Collecting: Collecting{State: "mine", Tasks: map[string]bool{"first": true}}, seen: map[uint64]bool{}}
	known, err := c.hold(t.Context())
	if err != nil || !known {
		t.Fatalf("the lock: %t, %v", known, err)
	}
	waits := make(chan error)
	go func() {
		locked, err := s.lock(t.Context())
		if err == nil {
			err = errors.Join(os.MkdirAll(s.run("first"), 0o700), local.SaveJSON(recordPath(s.run("first")), record{UID: "u", Run: "first", Name: "first", Uses: []string{begun}}), locked.Close())
		}
		if err == nil {
			var there bool
			there, err = s.took(t.Context(), theirs, map[string]artifact.Ref{"out": {Digest: made}})
			if !there {
				t.Errorf("the output is not there: %v", err)
			}
		}
		waits <- err
	}()
	c.release()
	ok(t, <-waits)
	for _, digest := range []string{begun, unused, made} {
		ok(t, c.item(t.Context(), "host artifact", digest, s.artifacts.Path(digest), func(string) error { return s.artifacts.Remove(digest) }))
	}
	c.release()
	if !s.artifacts.Has(begun) || s.artifacts.Has(unused) || !s.artifacts.Has(made) {
		t.Errorf("begun %t, unused %t, made %t", s.artifacts.Has(begun), s.artifacts.Has(unused), s.artifacts.Has(made))
	}
	if there, err := s.took(t.Context(), theirs, map[string]artifact.Ref{"out": {Digest: unused}}); there || err != nil {
		t.Errorf("an output that was removed is there: %t, %v", there, err)
	}
}
