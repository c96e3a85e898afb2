package edge

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
)

// linesOf are those of all files of an audit log.
func linesOf(t testing.TB, dir string) (all []map[string]any) {
	t.Helper()
	names, _ := filepath.Glob(filepath.Join(dir, requests.AuditPrefix+"*"))
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		s := bufio.NewScanner(f)
		for s.Scan() {
			var line map[string]any
			if err := json.Unmarshal(s.Bytes(), &line); err != nil {
				t.Fatalf("%q: %v", s.Bytes(), err)
			}
			all = append(all, line)
		}
		_ = f.Close()
	}
	return all
}

// Every request is a line, in order, also those that wait when the service ends.
func TestAuditLines(t *testing.T) {
	dir := t.TempDir()
	a, err := openAudit(dir, "i", 1<<30, 0, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	a.env = "prod"
	for i := range 1000 {
		a.add(&Entry{Time: at(0), Took: 1500 * time.Microsecond, Caller: "key:a", Address: "10.0.0.1:1", Method: "POST", Path: "/predict", Status: 200, Rows: i + 1})
	}
	a.close()
	all := linesOf(t, dir)
	if len(all) != 1000 {
		t.Fatalf("%d lines", len(all))
	}
	for i, line := range all {
		if line["rows"] != float64(i+1) || line["caller"] != "key:a" || line["env"] != "prod" || line["status"] != 200.0 || line["ms"] != 1.5 || line["time"] != "2026-05-17T12:00:00.000000Z" {
			t.Fatalf("line %d: %v", i, line)
		}
	}
}

// All files together are not larger than declared, for long.
func TestAuditFilesAreDeleted(t *testing.T) {
	dir := t.TempDir()
	const keep = 64 << 10
	a, err := openAudit(dir, "i", keep, 0, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	for range 5000 {
		a.add(&Entry{Time: time.Now(), Method: "GET", Path: "/" + strings.Repeat("x", 100)})
		for len(a.lines) > mostLines/2 {
			time.Sleep(time.Millisecond)
		}
	}
	a.close()
	size := int64(0)
	entries, _ := os.ReadDir(dir)
	for _, f := range entries {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > keep || size < keep/4 || a.dropped.Load() > 0 {
		t.Errorf("%d bytes in %d files, %d dropped", size, len(entries), a.dropped.Load())
	}
}

// A service that is often started again never fills a file. What its lives leave is deleted, too.
func TestAuditFilesOfManyLivesAreTheSizeOfOne(t *testing.T) {
	dir := t.TempDir()
	const keep = 16 << 10
	for life := range 20 {
		a, err := openAudit(dir, fmt.Sprint(life), keep, 0, func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		for range 15 {
			a.add(&Entry{Time: time.Now(), Method: "GET", Path: "/" + strings.Repeat("x", 100)})
		}
		a.close()
	}
	size := int64(0)
	entries, _ := os.ReadDir(dir)
	for _, f := range entries {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > keep || size < keep/2 {
		t.Errorf("%d bytes in %d files", size, len(entries))
	}
}

// Where files are moved away, one has its name once it is complete: after the interval, at the end, and
// if the program was killed, at the next start.
func TestAuditFilesAreMoved(t *testing.T) {
	dir := t.TempDir()
	open := func(interval time.Duration) *auditLog {
		a, err := openAudit(dir, "i", 1<<30, interval, func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	half := func() int {
		names, _ := filepath.Glob(filepath.Join(dir, files.HalfWritten+"*"))
		return len(names)
	}
	killed := open(time.Hour)
	killed.add(&Entry{Path: "/1"})
	until(t, "no line is written", func() bool { return killed.written.Load() == 1 && half() == 1 })
	time.Sleep(2 * every) // it is on the disk
	if n := len(linesOf(t, dir)); n > 0 {
		t.Errorf("%d lines are in a file that is still written to", n)
	}
	a := open(time.Millisecond)
	if n := len(linesOf(t, dir)); n != 1 || half() > 0 {
		t.Errorf("%d lines are complete after another start, and %d files are not", n, half())
	}
	a.add(&Entry{Path: "/2"})
	until(t, "the file is not complete after its interval", func() bool { return len(linesOf(t, dir)) == 2 && half() == 0 })
	a.add(&Entry{Path: "/3"})
	a.close()
	if n := len(linesOf(t, dir)); n != 3 || half() > 0 {
		t.Errorf("%d lines are complete at the end, and %d files are not", n, half())
	}
}

// A store that takes nothing for long costs the oldest files, whose lines are counted.
func TestAuditFilesThatAreNotMoved(t *testing.T) {
	a, err := openAudit(t.TempDir(), "i", 4<<10, time.Hour, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	const all = 200
	for range all {
		a.add(&Entry{Method: "GET", Path: "/" + strings.Repeat("x", 100)})
	}
	a.close()
	if left, lost := len(linesOf(t, a.dir)), int(a.dropped.Load()); lost == 0 || left+lost != all {
		t.Errorf("%d lines are left, %d lost, of %d", left, lost, all)
	}
}

// A disk that fails loses lines, which are counted, and delays no request.
func TestAnAuditLogThatCannotBeWritten(t *testing.T) {
	dir, log := filepath.Join(t.TempDir(), "a"), &said{}
	a, err := openAudit(dir, "i", 1<<30, 0, log.add)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for range 100_000 {
		a.add(&Entry{Method: "GET", Path: "/"})
	}
	until(t, "lost lines are not counted", func() bool { return a.dropped.Load() == 100_000 })
	if n := strings.Count(log.String(), "are lost"); n != 1 {
		t.Errorf("reported %d times", n)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	until(t, "it does not write again", func() bool {
		a.add(&Entry{Method: "GET", Path: "/"})
		return a.written.Load() > 0
	})
	a.close()
}

// Nothing that a client sends can begin another line, end a text or control a terminal.
func FuzzAuditLine(f *testing.F) {
	f.Add("/a\n{\"time\":\"x\"}", "key:\x1b[31m", "\xff\xfe\u2028\u202e", "é😀\x7f\"\\")
	f.Fuzz(func(t *testing.T, path, caller, id, method string) {
		line := string((&Entry{Path: path, Caller: caller, ID: id, Method: method}).appendTo(nil))
		body, ok := strings.CutSuffix(line, "\n")
		if !ok || strings.ContainsFunc(body, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Fatalf("%q", line)
		}
		var got map[string]any
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		if utf8.ValidString(path) && path != "" && len(path) <= longestField && got["path"] != path {
			t.Errorf("%q is %q", path, got["path"])
		}
		if plain := Line(path); strings.ContainsFunc(plain, func(r rune) bool { return r < ' ' && r != '\t' || r > '~' }) {
			t.Errorf("%q is %q", path, plain)
		}
	})
}
