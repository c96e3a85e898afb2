package pyenv

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/internal/files"
)

// PythonVersion is the version that locks are made for, and that environments
// have unless Options ask for another.
const PythonVersion = "3.11"

// Options say where environments are kept and what makes them.
type Options struct {
	Dir    string    // root of the cache; made if need be
	UV     string    // path or name of uv; empty is "uv"
	Python string    // path or version of the interpreter; empty is [PythonVersion]
	Log    io.Writer // gets what uv says; nil is nobody
}

// Env makes and finds environments. Its methods are safe for concurrent use,
// also by several processes.
type Env struct {
	opts Options

	logging sync.Mutex
	finding sync.Mutex
	found   *interpreter
}

// New returns an Env. It does nothing yet.
func New(o Options) *Env {
	if o.UV == "" {
		o.UV = "uv"
	}
	if o.Python == "" {
		o.Python = PythonVersion
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	return &Env{opts: o}
}

// Ensure returns the interpreter of the environment that the lock describes, and
// makes the environment first if it is not there. Of several callers one makes
// it and the others wait.
func (e *Env) Ensure(ctx context.Context, lockText []byte) (python string, err error) {
	in, err := e.interpreter(ctx)
	if err != nil {
		return "", fmt.Errorf("python environment: %w", err)
	}
	dir := filepath.Join(e.opts.Dir, key(lockText, in))
	python = filepath.Join(dir, "bin", "python")
	// When it was last asked for says whether it may be collected, see [Env.Collect].
	_ = os.Chtimes(filepath.Join(dir, marker), time.Time{}, time.Now())
	if complete(dir) {
		return python, nil
	}
	held, err := LockFile(ctx, dir+".lock")
	if err != nil {
		return "", fmt.Errorf("python environment: %w", err)
	}
	defer held.Close()
	if complete(dir) {
		return python, nil
	}
	if err := e.build(ctx, dir, lockText, in, held); err != nil {
		return "", fmt.Errorf("python environment: %w", err)
	}
	return python, nil
}

// build makes the environment in a folder that nobody else has.
func (e *Env) build(ctx context.Context, dir string, lockText []byte, in *interpreter, held *os.File) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if _, err := e.uv(ctx, nil, held, "venv", "--no-project", "--python", in.Path, dir); err != nil {
		return err
	}
	path := filepath.Join(dir, "requirements.txt")
	if err := os.WriteFile(path, lockText, 0o644); err != nil {
		return err
	}
	_, err := e.uv(ctx, nil, held, "pip", "sync", "--require-hashes", "--allow-empty-requirements", "--compile-bytecode",
		"--python", filepath.Join(dir, "bin", "python"), path)
	if err != nil {
		return err
	}
	return files.Write(filepath.Join(dir, marker), []byte(in.String()+"\n"), 0o600)
}

const marker = ".complete"

// complete says whether the environment can be used: it was finished, and the
// interpreter that it links to is still there.
func complete(dir string) bool {
	if _, err := os.Stat(filepath.Join(dir, marker)); err != nil {
		return false
	}
	_, err := os.Stat(filepath.Join(dir, "bin", "python"))
	return err == nil
}

// key names an environment by what it is made of.
func key(lockText []byte, in *interpreter) string {
	h := sha256.New()
	fmt.Fprintf(h, "pyenv 1\n%s\n", in)
	h.Write(lockText)
	return hex.EncodeToString(h.Sum(nil))[:32]
}

// Lock resolves requirements such as "scikit-learn>=1.5" to exact versions with
// hashes, for all platforms and Python from [PythonVersion]. The result is sorted
// by name and does not say where the packages come from.
func (e *Env) Lock(ctx context.Context, requirements []string) ([]byte, error) {
	sorted := slices.Sorted(slices.Values(requirements))
	out, err := e.uv(ctx, strings.NewReader(strings.Join(sorted, "\n")+"\n"), nil, "pip", "compile", "--universal",
		"--python-version", PythonVersion, "--generate-hashes", "--no-header", "--no-annotate",
		"--no-emit-index-url", "--no-emit-find-links", "-")
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", strings.Join(sorted, ", "), err)
	}
	// The user's configuration may ask for comments and options that name hosts.
	var b bytes.Buffer
	for line := range strings.Lines(string(out)) {
		s := strings.TrimSpace(line)
		if s == "" || strings.HasPrefix(s, "#") || strings.HasPrefix(line, "--") {
			continue
		}
		b.WriteString(line)
	}
	return b.Bytes(), nil
}
