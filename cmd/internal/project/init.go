package project

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"cuelang.org/go/mod/modfile"

	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/lang"
	"github.com/tenon-ml/tenon/stdlib"
)

//go:embed starter
var starter embed.FS

// Initialized describes what Init did. After an error it describes what was done before
// it.
type Initialized struct {
	Module  string   // path of a module.cue to which the standard library was added, or ""
	Wrote   []string // paths of new files
	Starter bool     // a small system was written, or an empty one
}

// Init writes a small system into an empty folder, one without entities if empty is set, or turns a folder with .cue files into
// a module that depends on the standard library. It overwrites nothing. It also puts the
// standard library into the cache of the cue command.
func (p *Project) Init(ctx context.Context, empty bool) (Initialized, error) {
	i := initializing{dir: p.set.Dir, empty: empty}
	err := i.run(ctx, func(name string) string { v, _ := p.set.lookup(name); return v })
	return i.Initialized, err
}

type initializing struct {
	dir   string
	empty bool
	Initialized
}

func (i *initializing) run(ctx context.Context, getenv func(string) string) error {
	if err := os.MkdirAll(i.dir, 0o755); err != nil {
		return fmt.Errorf("make the folder: %w", err)
	}
	existing, err := filepath.Glob(filepath.Join(i.dir, "*.cue"))
	if err != nil {
		return fmt.Errorf("look into %s: %w", i.dir, err)
	}
	if err := i.module(); err != nil {
		return err
	}
	if len(existing) == 0 {
		if err := i.system(); err != nil {
			return err
		}
	}
	if err := i.writeNew(filepath.Join(i.dir, ".gitignore"), []byte("/.tenon/\n")); err != nil {
		return err
	}
	cache, err := lang.CacheDir(getenv)
	if err != nil {
		return err
	}
	if err := lang.Seed(ctx, cache); err != nil {
		return err
	}
	i.Starter = len(existing) == 0
	return nil
}

// module writes cue.mod, or adds the dependency to an existing one.
func (i *initializing) module() error {
	abs, err := filepath.Abs(i.dir)
	if err != nil {
		return fmt.Errorf("find the folder: %w", err)
	}
	for d := abs; ; d = filepath.Dir(d) {
		path := filepath.Join(d, "cue.mod", "module.cue")
		b, err := os.ReadFile(path)
		if err == nil {
			return i.addDependency(path, b)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read the module: %w", err)
		}
		if d == filepath.Dir(d) {
			break
		}
	}
	b, err := starter.ReadFile("starter/module.cue")
	if err != nil {
		return fmt.Errorf("the starter: %w", err)
	}
	text := strings.Replace(string(b), "example.com/iris", "example.com/"+moduleName(abs), 1)
	return i.writeNew(filepath.Join(i.dir, "cue.mod", "module.cue"), []byte(text))
}

func (i *initializing) addDependency(path string, b []byte) error {
	f, err := modfile.ParseNonStrict(b, path)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if dep := f.Deps[stdlib.Module]; dep != nil && dep.Version == stdlib.Version {
		return nil
	}
	if f.Deps == nil {
		f.Deps = map[string]*modfile.Dep{}
	}
	f.Deps[stdlib.Module] = &modfile.Dep{Version: stdlib.Version, Default: true}
	out, err := modfile.Format(f)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := files.Write(path, out, 0o644); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	i.Module = path
	return nil
}

const emptySystem = `package system

import "tenon.dev/tenon"

tenon.#System
name: "%s"
`

func (i *initializing) system() error {
	if i.empty {
		abs, err := filepath.Abs(i.dir)
		if err != nil {
			return fmt.Errorf("find the folder: %w", err)
		}
		return i.writeNew(filepath.Join(i.dir, "system.cue"), fmt.Appendf(nil, emptySystem, moduleName(abs)))
	}
	for _, f := range []string{"system.cue", "data/iris.csv", "tests/ratio.txtar"} {
		b, err := starter.ReadFile("starter/" + f)
		if err != nil {
			return fmt.Errorf("the starter: %w", err)
		}
		if err := i.writeNew(filepath.Join(i.dir, filepath.FromSlash(f)), b); err != nil {
			return err
		}
	}
	return nil
}

// writeNew writes a file unless it exists.
func (i *initializing) writeNew(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make %s: %w", filepath.Dir(path), err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	i.Wrote = append(i.Wrote, path)
	return nil
}

// moduleName turns the name of a folder into the last part of a module path.
func moduleName(dir string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, filepath.Base(dir))
	if name = strings.Trim(name, "-_"); name == "" {
		return "system"
	}
	return name
}
