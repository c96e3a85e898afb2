package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/tenon-ml/tenon/executors/pyenv"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/artifact"
)

// environments makes the Python environments that starts name. Their packages and interpreters are
// trees; what belongs to a place is made here:
//
//	environments/KEY/pyvenv.cfg  names the interpreter
//	environments/KEY/bin         a link to the interpreter, and console scripts that name it
//	environments/KEY/*           links to the packages
type environments struct{ s *server }

// Ensure returns the interpreter of the environment that the start in the context has for a lock.
func (e environments) Ensure(ctx context.Context, lock []byte, _ func(pyenv.Progress)) (string, error) {
	env, ok := startIn(ctx).Environments[artifact.DigestOf(lock)]
	if !ok {
		return "", errors.New("the request has no Python environment for a lock that the task names")
	}
	python, err := e.s.environment(ctx, env)
	if err != nil {
		return "", fmt.Errorf("python environment: %w", err)
	}
	return python, nil
}

// prepare makes the environments of a start.
func (s *server) prepare(ctx context.Context, in Start) error {
	for _, env := range in.Environments {
		if _, err := s.environment(ctx, env); err != nil {
			return fmt.Errorf("python environment: %w", err)
		}
	}
	return nil
}

// An unfitError says why an environment does not work on this host, whatever is sent.
type unfitError struct{ error }

// Missing returns nil: what is missing was sent.
func (environments) Missing([]byte) *pyenv.Missing { return nil }

// Version returns "": each environment has its own interpreter.
func (environments) Version(context.Context, bool) (string, error) { return "", nil }

// environmentName is the name of the folder of an environment.
func environmentName(env Environment) string {
	b, _ := json.Marshal(env) // a struct of strings
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// environment makes an environment, or finds it. The caller holds the lock of the folder.
func (s *server) environment(ctx context.Context, env Environment) (python string, err error) {
	dir := filepath.Join(s.dir, "environments", environmentName(env))
	python = filepath.Join(dir, "bin", "python")
	if _, err := os.Stat(python); err == nil {
		return python, nil
	}
	base := env.Path
	if env.Interpreter != "" {
		base = filepath.Join(s.treePath(env.Interpreter), "bin", env.Name)
	}
	if err := fits(ctx, base, env); err != nil {
		return "", &unfitError{err}
	}
	// The link in bin is made last: without it, the environment is made again.
	if err := errors.Join(files.RemoveAll(dir), os.MkdirAll(filepath.Join(dir, "bin"), 0o755)); err != nil {
		return "", err
	}
	config := fmt.Sprintf("home = %s\ninclude-system-site-packages = false\nversion = %s\n", filepath.Dir(base), env.Version)
	if err := os.WriteFile(filepath.Join(dir, "pyvenv.cfg"), []byte(config), 0o644); err != nil {
		return "", err
	}
	packages := s.treePath(env.Packages)
	entries, err := os.ReadDir(packages)
	if err != nil {
		return "", err
	}
	for _, entry := range entries {
		from := filepath.Join(packages, entry.Name())
		if entry.Name() == "bin" {
			err = scripts(from, filepath.Join(dir, "bin"), python)
		} else {
			err = os.Symlink(from, filepath.Join(dir, entry.Name()))
		}
		if err != nil {
			return "", err
		}
	}
	for _, name := range []string{"python3", env.Name} {
		if err := os.Symlink("python", filepath.Join(dir, "bin", name)); err != nil {
			return "", err
		}
	}
	return python, os.Symlink(base, python)
}

// scripts copies the console scripts of an environment, and names its interpreter in them.
func scripts(from, to, python string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(from, entry.Name())
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if rest, ok := bytes.CutPrefix(b, []byte(pyenv.PortableScript)); ok {
			b = append([]byte("#!"+python+"\n"), rest...)
		}
		if err := os.WriteFile(filepath.Join(to, entry.Name()), b, info.Mode().Perm()|0o200); err != nil {
			return err
		}
	}
	return nil
}

// fits reports why an interpreter does not do what that of the sender does, on this host.
func fits(ctx context.Context, python string, env Environment) error {
	const other = "install %s with Python %s there, or let uv manage the one here, which is then sent: uv python install %[2]s"
	cmd := exec.CommandContext(ctx, python, "-I", "-c", env.Probe)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil && env.Interpreter == "" {
		return fmt.Errorf("the host has no %s: %w; "+other, python, err, env.Path, env.Version)
	}
	if err != nil {
		return fmt.Errorf("the interpreter does not run on the host: %w: %s", err, strings.Join(strings.Fields(said.String()), " "))
	}
	first, says, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	libc, glibc := strings.CutPrefix(first, "glibc ")
	switch {
	case !glibc:
		return fmt.Errorf("the host has the C library %q, and packages need glibc", first)
	case pyenv.LibcBefore(libc, env.Libc):
		return fmt.Errorf("the host has glibc %s, and the packages need %s", libc, env.Libc)
	case says != env.Says && env.Interpreter == "":
		return fmt.Errorf("%s on the host differs from the one here: there %q, here %q; "+other, python, says, env.Says, env.Path, env.Version)
	case says != env.Says:
		return fmt.Errorf("the host lacks libraries of the interpreter: with them it says %q, and there %q", env.Says, says)
	}
	return nil
}
