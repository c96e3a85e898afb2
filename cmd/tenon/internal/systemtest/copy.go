package systemtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/planner"
)

// edited is the system with the test's edits, made in a copy.
func (t *test) edited(ctx context.Context, declared *ir.System) compiled {
	dir, err := t.copySystem(declared)
	if err != nil {
		t.fail(0, "copy the system: %v", err)
		return compiled{}
	}
	// A root keeps links from leading out of the copy.
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.fail(0, "copy the system: %v", err)
		return compiled{}
	}
	defer root.Close()
	for i := range t.head.edits {
		d := &t.head.edits[i]
		change := t.edit
		if d.name == "file" {
			change = t.put
		}
		if err := change(d, root); err != nil {
			t.fail(d.line, "%v", err)
		}
	}
	if len(t.res.Failures) > 0 {
		return compiled{}
	}
	return t.compile(ctx, dir, t.temp, t.head.tags, true)
}

// put writes a section to the file of its name.
func (t *test) put(d *directive, root *os.Root) error {
	file := d.args[0]
	s := t.archive.use(file)
	if s == nil {
		return fmt.Errorf("section -- %s -- is missing: it is the content of the file", file)
	}
	err := root.MkdirAll(path.Dir(file), 0o700)
	if err == nil {
		if err = root.Remove(file); errors.Is(err, fs.ErrNotExist) { // what is there may be a link
			err = nil
		}
	}
	if err == nil {
		err = root.WriteFile(file, []byte(s.text), 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot write %s in the system's folder: %w", file, err)
	}
	return nil
}

// edit replaces a text that has to be there once.
func (t *test) edit(d *directive, root *os.Root) error {
	file, before, after := d.args[0], d.args[1], d.args[2]
	b, err := root.ReadFile(file)
	if err != nil {
		return fmt.Errorf("cannot edit %s: %w", file, err)
	}
	text := string(b)
	switch n := strings.Count(text, before); {
	case n == 0:
		return fmt.Errorf("the edit is stale: %s does not contain %q%s", file, before, nearestLine(file, before, text))
	case n > 1:
		return fmt.Errorf("the edit is ambiguous: %s contains %q %d times, on %s", file, before, n, linesOf(text, before))
	}
	return root.WriteFile(file, []byte(strings.Replace(text, before, after, 1)), 0o600)
}

// nearestLine returns where a similar text is: the nearest of what is as
// long and begins with a word.
func nearestLine(file, what, text string) string {
	what = strings.TrimSpace(what)
	lineOf := map[string]int{}
	var pieces []string
	for i, line := range strings.Split(text, "\n") {
		for at := range line {
			if at > 0 && !strings.ContainsRune(" \t", rune(line[at-1])) || strings.ContainsRune(" \t", rune(line[at])) {
				continue
			}
			piece := line[at:min(len(line), at+len(what))]
			if lineOf[piece] == 0 {
				lineOf[piece] = i + 1
				pieces = append(pieces, piece)
			}
		}
	}
	near := diag.Nearest(what, pieces)
	if near == "" {
		return ""
	}
	n := lineOf[near]
	return fmt.Sprintf("; the nearest is %s:%d: %s", file, n, strings.TrimSpace(strings.Split(text, "\n")[n-1]))
}

func linesOf(text, what string) string {
	var at []string
	for i, rest := 0, text; ; {
		n := strings.Index(rest, what)
		if n < 0 {
			return "lines " + strings.Join(at, ", ")
		}
		i += n
		at = append(at, fmt.Sprint(1+strings.Count(text[:i], "\n")))
		i += len(what)
		rest = text[i:]
	}
}

// moduleRoot is the folder of the module that dir belongs to, or dir.
func moduleRoot(dir string) (string, error) {
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "cue.mod", "module.cue")); err == nil {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return dir, nil
		}
	}
}

// copySystem copies the system's folder without its data, and links what is
// beside it in its module. It returns the copy of the folder.
func (t *test) copySystem(declared *ir.System) (string, error) {
	var err error
	if t.temp, err = os.MkdirTemp("", "tenon-test-"); err != nil {
		return "", err
	}
	rel, err := filepath.Rel(t.root, t.Dir)
	if err != nil {
		return "", err
	}
	from, to := t.root, t.temp
	if rel != "." {
		for name := range strings.SplitSeq(filepath.ToSlash(rel), "/") {
			if err := linkBeside(from, to, name); err != nil {
				return "", err
			}
			from, to = filepath.Join(from, name), filepath.Join(to, name)
		}
	}
	return to, t.copyTree(from, to, declared)
}

// linkBeside links everything in a folder except one name, which becomes a folder.
func linkBeside(from, to, name string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == name || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if err := os.Symlink(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return os.Mkdir(filepath.Join(to, name), 0o700)
}

// largest is up to which size a file is copied. A larger one is linked, unless
// the system names it as code.
const largest = 1 << 20

func (t *test) copyTree(from, to string, declared *ir.System) error {
	data, code := map[string]bool{}, map[string]bool{}
	if declared != nil {
		for _, u := range declared.Units {
			for _, f := range u.Code.Files {
				code[f.Path] = true
			}
			found, err := planner.Files(from, u.Files)
			if err != nil {
				continue // it does not exist, and need not
			}
			for _, files := range found {
				for _, f := range files {
					data[f] = true
				}
			}
		}
	}
	return filepath.WalkDir(from, func(file string, e fs.DirEntry, err error) error {
		if err != nil || file == from {
			return err
		}
		rel, err := filepath.Rel(from, file)
		if err != nil {
			return err
		}
		slashed, dst := filepath.ToSlash(rel), filepath.Join(to, rel)
		switch {
		case e.IsDir() && (strings.HasPrefix(e.Name(), ".") || e.Name() == "__pycache__"):
			return filepath.SkipDir
		case e.IsDir():
			return os.Mkdir(dst, 0o700)
		case data[slashed] && !code[slashed]:
			return nil
		case e.Type()&fs.ModeSymlink != 0:
			return copyLink(from, to, file, dst)
		case !e.Type().IsRegular():
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if info.Size() > largest && !code[slashed] {
			return os.Symlink(file, dst)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return os.WriteFile(dst, b, 0o600)
	})
}

// copyLink makes a link that stays within the system stay within the copy.
func copyLink(from, to, file, dst string) error {
	target, err := filepath.EvalSymlinks(file)
	if err != nil {
		return nil // it leads nowhere, here as there
	}
	root, err := filepath.EvalSymlinks(from)
	if err != nil {
		return err
	}
	if rel, err := filepath.Rel(root, target); err == nil && filepath.IsLocal(rel) {
		if target, err = filepath.Rel(filepath.Dir(dst), filepath.Join(to, rel)); err != nil {
			return err
		}
	}
	return os.Symlink(target, dst)
}
