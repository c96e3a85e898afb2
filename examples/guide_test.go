package examples_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// The tests that docs/testing.md shows are tests of examples/flights that pass.
// TENON_UPDATE=1 rewrites their goldens.
func TestTheGuideToTestsShowsTestsThatPass(t *testing.T) {
	const guide = "../docs/testing.md"
	page, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	s := &system{t: t, dir: t.TempDir()}
	if err := os.CopyFS(s.dir, os.DirFS("flights")); err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile("(?ms)^```txtar\n(.*?)^```$")
	tests := filepath.Join(s.dir, "tests")
	if err := os.RemoveAll(tests); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(tests, 0o755); err != nil {
		t.Fatal(err)
	}
	file := func(n int) string { return filepath.Join(tests, fmt.Sprintf("%02d.txtar", n)) }
	found := shown.FindAllSubmatch(page, -1)
	if len(found) < 5 {
		t.Fatalf("found %d tests", len(found))
	}
	for i, m := range found {
		if err := os.WriteFile(file(i), m[1], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"test"}
	if os.Getenv("TENON_UPDATE") != "" {
		args = append(args, "--update")
	}
	if out, err := s.run(args...); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if os.Getenv("TENON_UPDATE") == "" {
		return
	}
	n := -1
	page = shown.ReplaceAllFunc(page, func([]byte) []byte {
		n++
		b, err := os.ReadFile(file(n))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Appendf(nil, "```txtar\n%s```", b)
	})
	if err := os.WriteFile(guide, page, 0o644); err != nil {
		t.Fatal(err)
	}
}
