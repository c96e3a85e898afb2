package systemtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// What compiling reads is copied; data is not, and what is large is linked.
func TestTheCopyOfASystem(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "systems", "shop")
	large := strings.Repeat("x", largest+1)
	for name, text := range map[string]string{
		"cue.mod/module.cue":           "module",
		"shared/shared.cue":            "shared",
		".git/HEAD":                    "not copied",
		"systems/other/other.cue":      "other",
		"systems/shop/shop.cue":        "shop",
		"systems/shop/sql/x.sql":       "sql",
		"systems/shop/.hidden":         "a file as others",
		"systems/shop/data/a.csv":      "data",
		"systems/shop/data/b.csv":      large,
		"systems/shop/notes.bin":       large,
		"systems/shop/table.json":      large,
		"systems/shop/.tenon/state.db": "state",
		"systems/shop/__pycache__/x":   "cache",
	} {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"inside.sql": "sql/x.sql", "outside.cue": "../../shared/shared.cue", "nowhere": "gone"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	test := &test{runner: &runner{Options: Options{Dir: dir}, root: root}}
	copied, err := test.copySystem(&ir.System{Units: []ir.Unit{
		{Files: []string{"data/*.csv"}, Code: ir.Code{Files: []ir.CodeFile{{Path: "table.json"}}}},
	}})
	t.Cleanup(func() { _ = os.RemoveAll(test.temp) })
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	err = filepath.WalkDir(test.temp, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(test.temp, path)
		if err != nil {
			return err
		}
		got[rel] = "copied"
		if e.Type()&fs.ModeSymlink != 0 {
			target, err := filepath.EvalSymlinks(path)
			if err != nil {
				return err
			}
			got[rel] = "to " + strings.NewReplacer(test.temp, "COPY", root, "SYSTEM").Replace(target)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{
		"cue.mod":                  "to SYSTEM/cue.mod",
		"shared":                   "to SYSTEM/shared",
		"systems/other":            "to SYSTEM/systems/other",
		"systems/shop/shop.cue":    "copied",
		"systems/shop/sql/x.sql":   "copied",
		"systems/shop/.hidden":     "copied",
		"systems/shop/inside.sql":  "to COPY/systems/shop/sql/x.sql",
		"systems/shop/outside.cue": "to SYSTEM/shared/shared.cue",
		"systems/shop/notes.bin":   "to SYSTEM/systems/shop/notes.bin",
		"systems/shop/table.json":  "copied",
	}, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", copied, d)
	}
}

// An edit through a link that leads out of the system would change what is not
// the test's.
func TestAnEditStaysInTheCopy(t *testing.T) {
	root := t.TempDir()
	dir, outside := filepath.Join(root, "shop"), filepath.Join(root, "outside")
	for _, d := range []string{dir, outside} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	kept := filepath.Join(outside, "kept.txt")
	if err := os.WriteFile(kept, []byte("as it was"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"folder": outside, "file.txt": kept} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	archive := parseArchive([]byte("edit folder/kept.txt `was` `is`\nedit file.txt `was` `is`\nfile folder/new.txt\nfile file.txt\n" +
		"-- folder/new.txt --\n-- file.txt --\nanother\n"))
	head, faults := parseHead(archive.comment + "errors\n")
	if faults != nil {
		t.Fatal(faults)
	}
	test := &test{runner: &runner{Options: Options{Dir: dir}, root: dir}, archive: archive, head: head}
	test.edited(t.Context(), nil)
	t.Cleanup(func() { _ = os.RemoveAll(test.temp) })
	var lines []int
	for _, f := range test.res.Failures {
		lines = append(lines, f.Line)
	}
	if d := cmp.Diff([]int{1, 2, 3}, lines); d != "" {
		t.Errorf("refused (-want +got):\n%s\n%v", d, test.res.Failures)
	}
	if b, err := os.ReadFile(kept); string(b) != "as it was" {
		t.Errorf("%q %v", b, err)
	}
	if found, err := os.ReadDir(outside); len(found) != 1 {
		t.Errorf("%v %v", found, err)
	}
	if b, err := os.ReadFile(filepath.Join(test.temp, "file.txt")); string(b) != "another\n" {
		t.Errorf("the link is not replaced: %q %v", b, err)
	}
}
