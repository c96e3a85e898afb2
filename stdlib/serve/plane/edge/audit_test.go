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
)

// linesOf are those of all files of an audit log.
func linesOf(t testing.TB, dir string) (all []map[string]any) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dir, auditPrefix+"*"))
	for _, name := range files {
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
	a, err := openAudit(dir, "i", 1<<30, func(string) {})
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
	a, err := openAudit(dir, "i", keep, func(string) {})
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
	files, _ := os.ReadDir(dir)
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > keep || size < keep/4 || a.dropped.Load() > 0 {
		t.Errorf("%d bytes in %d files, %d dropped", size, len(files), a.dropped.Load())
	}
}

// A service that is often started again never fills a file. What its lives leave is deleted, too.
func TestAuditFilesOfManyLivesAreTheSizeOfOne(t *testing.T) {
	dir := t.TempDir()
	const keep = 16 << 10
	for life := range 20 {
		a, err := openAudit(dir, fmt.Sprint(life), keep, func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		for range 15 {
			a.add(&Entry{Time: time.Now(), Method: "GET", Path: "/" + strings.Repeat("x", 100)})
		}
		a.close()
	}
	size := int64(0)
	files, _ := os.ReadDir(dir)
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > keep || size < keep/2 {
		t.Errorf("%d bytes in %d files", size, len(files))
	}
}

// A disk that fails loses lines, which are counted, and delays no request.
func TestAnAuditLogThatCannotBeWritten(t *testing.T) {
	dir, log := filepath.Join(t.TempDir(), "a"), &said{}
	a, err := openAudit(dir, "i", 1<<30, log.add)
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
