package stdlib_test

import (
	"io/fs"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/stdlib"
)

// The name of a component and the folder that it is in are the same everywhere.
func TestAComponentIsNamedAfterItsFolder(t *testing.T) {
	uses := regexp.MustCompile(`component: +"([a-z._]+)"`)
	states := regexp.MustCompile(`(?m)^components: (\w+): `)
	folders, err := fs.Glob(stdlib.Files(), "*/*/*.cue")
	if err != nil || len(folders) < 15 {
		t.Fatalf("%d definitions, %v", len(folders), err)
	}
	for _, file := range folders {
		dir := path.Dir(file)
		if base := path.Base(file); base != path.Base(dir)+".cue" {
			continue // an example
		}
		b, err := fs.ReadFile(stdlib.Files(), file)
		if err != nil {
			t.Fatal(err)
		}
		m := states.FindSubmatch(b)
		if m == nil || string(m[1]) != path.Base(dir) {
			t.Errorf("%s does not state components: %s", file, path.Base(dir))
		}
		want := strings.ReplaceAll(dir, "/", ".")
		for _, m := range uses.FindAllSubmatch(b, -1) {
			if string(m[1]) != want {
				t.Errorf("%s names the component %s; want %s", file, m[1], want)
			}
		}
	}
}

func TestEveryLockIsPinned(t *testing.T) {
	var locks []string
	for _, pattern := range []string{"lib/*/requirements.lock", "*/*/requirements.lock"} {
		found, err := fs.Glob(stdlib.Files(), pattern)
		if err != nil {
			t.Fatal(err)
		}
		locks = append(locks, found...)
	}
	if len(locks) < 6 {
		t.Fatalf("only %d locks", len(locks))
	}
	for _, lock := range locks {
		b, err := fs.ReadFile(stdlib.Files(), lock)
		if err != nil {
			t.Fatal(err)
		}
		pins := stdlib.Pins(b)
		if len(pins) == 0 {
			t.Errorf("%s is empty", lock)
		}
		for _, pin := range pins {
			if !strings.Contains(pin, "==") {
				t.Errorf("%s: %q is not pinned", lock, pin)
			}
		}
	}
}
