package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"cuelang.org/go/mod/modfile"
	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/lang"
	"github.com/tenon-ml/tenon/stdlib"
)

//go:embed starter
var starter embed.FS

func initCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "init [DIR]", Short: "Make a small system that runs, or set up a folder that holds one", Args: atMost(1, "one folder"),
		Long: `In an empty folder, makes a small system on real data that runs as it is. In one
with .cue files, makes sure that it is a CUE module that depends on the standard
library. Nothing that exists is overwritten.

Either way the standard library is put into the cache of the stock cue command,
so that cue vet and CUE's language server resolve the same imports.`,
		Example: "  tenon init iris && cd iris && tenon apply\n  tenon init        set up the current folder",
		RunE: func(c *cobra.Command, args []string) error {
			dir := folder(args)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("make the folder: %w", err)
			}
			existing, err := filepath.Glob(filepath.Join(dir, "*.cue"))
			if err != nil {
				return fmt.Errorf("look into %s: %w", dir, err)
			}
			if err := a.initModule(dir); err != nil {
				return err
			}
			if len(existing) == 0 {
				if err := a.initSystem(dir); err != nil {
					return err
				}
			}
			if err := a.writeNew(filepath.Join(dir, ".gitignore"), []byte("/.tenon/\n")); err != nil {
				return err
			}
			cache, err := lang.CacheDir(os.Getenv)
			if err != nil {
				return err
			}
			if err := lang.Seed(c.Context(), cache); err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "  %s is known to cue vet and the language server\n", stdlib.Module)
			if len(existing) == 0 {
				cd := ""
				if dir != "." {
					cd = "cd " + shellQuote(dir) + " && "
				}
				fmt.Fprintf(a.stdout, "\nNext: %stenon plan, then tenon apply.\n", cd)
			}
			return nil
		},
	}
	return c
}

// initModule writes cue.mod, or adds the dependency to the one that is there.
func (a *app) initModule(dir string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("find the folder: %w", err)
	}
	for d := abs; ; d = filepath.Dir(d) {
		path := filepath.Join(d, "cue.mod", "module.cue")
		b, err := os.ReadFile(path)
		if err == nil {
			return a.addDependency(path, b)
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
	return a.writeNew(filepath.Join(dir, "cue.mod", "module.cue"), []byte(text))
}

func (a *app) addDependency(path string, b []byte) error {
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
	fmt.Fprintf(a.stdout, "  %s now depends on %s %s\n", path, stdlib.Module, stdlib.Version)
	return writeWhole(path, out, 0o644)
}

func (a *app) initSystem(dir string) error {
	for _, f := range []string{"system.cue", "data/iris.csv", "tests/ratio.txtar"} {
		b, err := starter.ReadFile("starter/" + f)
		if err != nil {
			return fmt.Errorf("the starter: %w", err)
		}
		if err := a.writeNew(filepath.Join(dir, filepath.FromSlash(f)), b); err != nil {
			return err
		}
	}
	return nil
}

// writeNew writes a file that is not there yet.
func (a *app) writeNew(path string, b []byte) error {
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
	fmt.Fprintf(a.stdout, "  wrote %s\n", path)
	return nil
}

// moduleName turns a folder's name into the last part of a module path.
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

func shellQuote(s string) string {
	plain := func(r rune) bool {
		return r > 127 || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./+,:@%", r)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}
