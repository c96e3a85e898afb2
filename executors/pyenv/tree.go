package pyenv

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/internal/files"
)

// A Tree is an environment that will be used elsewhere, such as in an image.
type Tree struct {
	Dir    string // where to write it; Dir.uv.lock is held while any process writes there
	At     string // its final place: "/opt/tenon/env"
	Python string // the interpreter there: "/usr/local/bin/python3.11"
	Arch   string // of the machine there, as Go names it
}

// platforms maps architectures to the platform of their wheels.
var platforms = map[string]string{
	"amd64": "x86_64-manylinux_2_28",
	"arm64": "aarch64-manylinux_2_28",
}

// Lay writes the environment that the lock describes for another place. Equal locks and
// trees give equal files, wherever and whenever, if all packages have wheels; for other
// packages that depends on how they are built.
func (e *Env) Lay(ctx context.Context, lockText []byte, t Tree) error {
	if err := e.lay(ctx, lockText, t); err != nil {
		return fmt.Errorf("python environment: %w", err)
	}
	return nil
}

func (e *Env) lay(ctx context.Context, lockText []byte, t Tree) error {
	platform, ok := platforms[t.Arch]
	if !ok {
		return fmt.Errorf("there are no wheels for %s, only for amd64 and arm64", t.Arch)
	}
	in, err := e.interpreter(ctx, true)
	if err != nil {
		return err
	}
	version, err := minor(in.Version)
	if err != nil {
		return err
	}
	// A uv that outlived its parent holds the lock and still writes.
	held, err := files.Lock(ctx, t.Dir+".uv.lock")
	if err != nil {
		return err
	}
	defer held.Close()
	lockFile := t.Dir + ".txt"
	if err := errors.Join(os.RemoveAll(t.Dir), os.MkdirAll(t.Dir, 0o755), os.WriteFile(lockFile, lockText, 0o644)); err != nil {
		return err
	}
	defer os.Remove(lockFile)
	_, err = e.uv(ctx, uvRun{held: []*os.File{held}}, "pip", "sync", "--require-hashes", "--allow-empty-requirements", "--link-mode", "copy",
		"--python", in.Path, "--python-version", version, "--python-platform", platform, "--prefix", t.Dir, lockFile)
	if err != nil {
		return err
	}
	packages := filepath.Join(t.Dir, "lib", "python"+version, "site-packages")
	if err := os.MkdirAll(packages, 0o755); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(t.Dir, ".lock")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := errors.Join(scripts(t, in.Path), updateRecords(packages), root(t, version)); err != nil {
		return err
	}
	return compile(ctx, held, in.Path, packages, path.Join(t.At, "lib", "python"+version, "site-packages"))
}

// minor returns "3.11" for "cpython 3.11.7 final".
func minor(version string) (string, error) {
	f := strings.Fields(version)
	if len(f) < 2 || f[0] != "cpython" {
		return "", fmt.Errorf("an environment for another machine needs CPython, not %s", version)
	}
	major, rest, _ := strings.Cut(f[1], ".")
	second, _, _ := strings.Cut(rest, ".")
	return major + "." + second, nil
}

// scripts makes console scripts use the interpreter of the other place. uv makes them use
// the one that it was given.
func scripts(t Tree, python string) error {
	bin := filepath.Join(t.Dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(bin)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := filepath.Join(bin, entry.Name())
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rest, ok := cutInterpreter(b, python)
		if !ok {
			continue
		}
		b = append([]byte("#!"+t.At+"/bin/python\n"), rest...)
		if err := os.WriteFile(name, b, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// cutInterpreter returns what follows the lines of a console script that name its interpreter, if it
// is one that names python.
func cutInterpreter(script []byte, python string) (rest []byte, ok bool) {
	if rest, ok = bytes.CutPrefix(script, []byte("#!"+python+"\n")); ok {
		return rest, true
	}
	// The form where the path is long or has spaces.
	head, rest, found := bytes.Cut(script, []byte("\n' '''\n"))
	return rest, found && bytes.HasPrefix(head, []byte("#!/bin/sh\n'''exec' "))
}

// cacheNote is the file in which uv notes what only its cache needs.
const cacheNote = "uv_cache.json"

// updateRecords updates the lists of installed files for the changed scripts, and sorts them.
func updateRecords(packages string) error {
	lists, err := filepath.Glob(filepath.Join(packages, "*.dist-info", "RECORD"))
	if err != nil {
		return err
	}
	for _, list := range lists {
		b, err := os.ReadFile(list)
		if err != nil {
			return err
		}
		note := filepath.Base(filepath.Dir(list)) + "/" + cacheNote
		if err := os.Remove(filepath.Join(packages, note)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		var lines []string
		for line := range strings.Lines(string(b)) {
			line = strings.TrimRight(line, "\r\n")
			name, _, _ := strings.Cut(line, ",")
			if name == note {
				continue
			}
			if strings.HasPrefix(name, "../../../bin/") {
				script, err := os.ReadFile(filepath.Join(packages, filepath.FromSlash(name)))
				if err != nil {
					return err
				}
				sum := sha256.Sum256(script)
				line = name + ",sha256=" + base64.RawURLEncoding.EncodeToString(sum[:]) + "," + strconv.Itoa(len(script))
			}
			lines = append(lines, line)
		}
		slices.Sort(lines)
		if err := os.WriteFile(list, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// root writes the files that let the interpreter find the environment.
func root(t Tree, version string) error {
	config := fmt.Sprintf("home = %s\ninclude-system-site-packages = false\nversion = %s\n", path.Dir(t.Python), version)
	if err := os.WriteFile(filepath.Join(t.Dir, "pyvenv.cfg"), []byte(config), 0o644); err != nil {
		return err
	}
	for name, target := range map[string]string{"python": t.Python, "python3": "python", "python" + version: "python"} {
		if err := os.Symlink(target, filepath.Join(t.Dir, "bin", name)); err != nil {
			return err
		}
	}
	return nil
}

//go:embed compile.py
var compileScript string

// compilers is how many processes compile in parallel. It is constant, because the
// bytecode of a module depends on which modules were compiled before it.
const compilers = 2

// compile compiles all modules to bytecode that Python loads without a check: nobody
// changes a file of an image.
func compile(ctx context.Context, held *os.File, python, packages, at string) error {
	errs := make(chan error, compilers)
	for i := range compilers {
		go func() {
			cmd := exec.CommandContext(ctx, python, "-S", "-s", "-W", "ignore", "-c", compileScript, packages, at, strconv.Itoa(i), strconv.Itoa(compilers))
			cmd.ExtraFiles = []*os.File{held}
			cmd.Env = []string{"PYTHONHASHSEED=0", "LC_ALL=C.UTF-8"}
			out, err := cmd.CombinedOutput()
			switch {
			case ctx.Err() != nil:
				err = context.Cause(ctx)
			case err != nil:
				err = fmt.Errorf("compile to bytecode: %w: %s", err, explain(string(out)))
			}
			errs <- err
		}()
	}
	var err error
	for range compilers {
		err = errors.Join(err, <-errs)
	}
	return err
}
