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

// PythonVersion is the Python version of locks, and of environments unless Options select
// another.
const PythonVersion = "3.11"

// Options configure where environments are kept and what makes them.
type Options struct {
	Dir    string    // root of the cache; created if missing
	UV     string    // path or name of uv; empty is "uv"
	Python string    // path or version of the interpreter; empty is [PythonVersion]
	Log    io.Writer // receives the output of uv; nil discards it
	// Sizes returns the sizes of wheels for this machine, by digest as in locks. Nil
	// knows none.
	Sizes func() map[string]int64
}

// Env makes and finds environments. Its methods are safe for concurrent use,
// also by several processes.
type Env struct {
	opts Options

	logging sync.Mutex
	finding sync.Mutex
	found   *interpreter
}

// New returns an Env. It does nothing else yet.
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

// A Progress is the progress of an environment in the making.
type Progress struct {
	Stage    Stage
	Packages int   // of the environment; 0 while unknown
	Bytes    int64 // downloaded of Total, as far as uv reports it
	Total    int64
	Files    int // compiled of AllFiles; bytecode of another environment is shared
	AllFiles int
}

// A Stage is a step in making an environment. Stages follow each other in this order.
type Stage string

const (
	Waiting   Stage = "waiting"   // for another environment in the making
	Fetching  Stage = "fetching"  // packages are downloaded and installed
	Compiling Stage = "compiling" // modules are compiled to bytecode
)

// Ensure returns the interpreter of the environment that the lock describes, and makes
// the environment first if it does not exist. Of several callers one makes it and the
// others wait. report, which may be nil, is called with the progress; it is not called if
// the environment exists.
func (e *Env) Ensure(ctx context.Context, lockText []byte, report func(Progress)) (python string, err error) {
	in, err := e.interpreter(ctx, true)
	if err != nil {
		return "", fmt.Errorf("python environment: %w", err)
	}
	dir := filepath.Join(e.opts.Dir, key(lockText, in))
	python = interpreterIn(dir)
	// The time of the last request decides whether it may be collected, see
	// [Env.Collect].
	_ = os.Chtimes(filepath.Join(dir, marker), time.Time{}, time.Now())
	if complete(dir) {
		return python, nil
	}
	if report == nil {
		report = func(Progress) {}
	}
	report(Progress{Stage: Waiting})
	held, err := files.Lock(ctx, dir+".lock")
	if err != nil {
		return "", fmt.Errorf("python environment: %w", err)
	}
	defer held.Close()
	if complete(dir) {
		return python, nil
	}
	b := build{env: e, dir: dir, in: in, held: held, report: report}
	if err := b.run(ctx, lockText); err != nil {
		return "", fmt.Errorf("python environment: %w", err)
	}
	return python, nil
}

const marker = ".complete"

// complete reports whether the environment can be used: it was finished, and the
// interpreter that it links to still exists.
func complete(dir string) bool {
	if _, err := os.Stat(filepath.Join(dir, marker)); err != nil {
		return false
	}
	_, err := os.Stat(interpreterIn(dir))
	return err == nil
}

func interpreterIn(dir string) string { return filepath.Join(dir, "bin", "python") }

// key names an environment by a digest of what it is made from.
func key(lockText []byte, in *interpreter) string {
	h := sha256.New()
	fmt.Fprintf(h, "pyenv 1\n%s\n", in)
	h.Write(lockText)
	return hex.EncodeToString(h.Sum(nil))[:32]
}

// Lock resolves requirements such as "scikit-learn>=1.5" to exact versions with hashes,
// for all platforms and Python from [PythonVersion] on. The result is sorted by name and
// does not say where the packages come from.
func (e *Env) Lock(ctx context.Context, requirements []string) ([]byte, error) {
	sorted := slices.Sorted(slices.Values(requirements))
	out, err := e.uv(ctx, uvRun{stdin: strings.NewReader(strings.Join(sorted, "\n") + "\n")}, "pip", "compile", "--universal",
		"--python-version", PythonVersion, "--generate-hashes", "--no-header", "--no-annotate",
		"--no-emit-index-url", "--no-emit-find-links", "-")
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", strings.Join(sorted, ", "), err)
	}
	// The user's configuration may add comments and options that name hosts.
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
