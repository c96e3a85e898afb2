package fingerprint

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// aged is a tracker that begins when the files of a test are old.
func aged() *Tracker {
	r := New()
	r.begin = r.begin.Add(time.Hour)
	return r
}

func TestOldFileIsIdentifiedByItsMetadata(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	write(t, path, "before")
	r := aged()
	r.File(path, []byte("something else")) // so a look at the content would tell
	x := r.Reads()[0]
	if !x.Same() {
		t.Error("a file that looks the same was read")
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, "after!")
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if x.Same() {
		t.Error("a new content of the same size and time was not noticed")
	}
}

func TestRecentFileIsIdentifiedByItsContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	write(t, path, "before")
	r := New()
	r.File(path, []byte("before"))
	x := r.Reads()[0]
	if x.Looks != (Looks{}) {
		t.Error("the times of a file that was just written prove something")
	}
	if !x.Same() || x.Looks != (Looks{}) {
		t.Error("a file that was just written is not the same, or is taken for old")
	}
	write(t, path, "after!")
	if x.Same() {
		t.Error("a new content was not noticed")
	}
}

func TestFileIsNotReadAgainOnceItIsOld(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	write(t, path, "before")
	r := New()
	r.File(path, []byte("before"))
	x := r.Reads()[0]
	if !x.sameFile(time.Now().Add(time.Hour), os.ReadFile) || x.Looks != LooksOf(path) {
		t.Error("what it looks like was not noted")
	}
}

func TestOnlyTheFirstLineCounts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.csv")
	write(t, path, "id,age\n1,2\n")
	r := New()
	r.FirstLine(path)
	x := r.Reads()[0]
	write(t, path, "id,age\n3,4\n5,6\n")
	if !x.Same() {
		t.Error("another row counts")
	}
	write(t, path, "age,id\n3,4\n5,6\n")
	if x.Same() {
		t.Error("another header was not noticed")
	}
	r.FirstLine(filepath.Join(filepath.Dir(path), "missing"))
	if r.Reads() != nil {
		t.Error("a file that cannot be read is recorded")
	}
}

func TestAFileThatChangesWhileItIsReadIsNotRecorded(t *testing.T) {
	r := New()
	r.File("/a", []byte("before"))
	r.File("/a", []byte("after"))
	if r.Reads() != nil {
		t.Error("it is recorded")
	}
}

func TestUnrecordableResultForgetsAllReads(t *testing.T) {
	r := New()
	r.Absent("/a")
	r.Cannot("the clock was read")
	if r.Reads() != nil {
		t.Error("something is recorded")
	}
}

func TestNilTrackerAcceptsEverything(t *testing.T) {
	var r *Tracker
	r.File("/a", nil)
	r.Absent("/a")
	r.Link("/a", "/b")
	r.Names("/a", nil)
	r.Sources("/a", r.Files("/a"))
	r.Cannot("")
}

// What was read of a file that changed just now proves nothing: it may change again without
// another time.
func TestRecentFileThatWasReadInPartIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	write(t, path, "before")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	r := New()
	r.Looks(path, info)
	if x := r.Reads()[0]; x.Same() {
		t.Error("it is taken for the same")
	}
	r = aged()
	r.Looks(path, info)
	x := r.Reads()[0]
	if !x.Same() {
		t.Error("an old file is not the same")
	}
	write(t, path, "afterwards")
	if x.Same() {
		t.Error("a change was not noticed")
	}
}

func TestIdentityOfARecentFileIsItsContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	identity := func() string {
		t.Helper()
		id, err := Identity(path)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	missing := identity()
	write(t, path, "before")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	before := identity()
	if before == missing || before != identity() {
		t.Error("a file has no identity, or two")
	}
	write(t, path, "after!")
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if identity() == before {
		t.Error("a new content of the same size and time was not noticed")
	}
}
