package pyenv

import (
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
	"time"

	"github.com/tenon-ml/tenon/internal/files"
)

// An interpreter is the Python that environments are made from.
type interpreter struct {
	Path    string    `json:"path"`
	Version string    `json:"version"` // "cpython 3.11.7 final"
	ABI     string    `json:"abi"`     // "cpython-311-x86_64-linux-gnu"
	Size    int64     `json:"size"`    // with ModTime: detects a changed interpreter
	ModTime time.Time `json:"mod_time"`
}

// String identifies the interpreter in the key of an environment.
func (in *interpreter) String() string { return in.Version + " " + in.ABI }

// cacheTag returns the tag in the names of bytecode files: "cpython-311".
func (in *interpreter) cacheTag() string {
	name, rest, _ := strings.Cut(in.ABI, "-")
	version, _, _ := strings.Cut(rest, "-")
	return name + "-" + version
}

// Version returns the exact version of the interpreter, such as "3.11.7". With install, a
// missing one is installed; without, the version is then "".
func (e *Env) Version(ctx context.Context, install bool) (string, error) {
	in, err := e.interpreter(ctx, install)
	if err != nil {
		return "", fmt.Errorf("python environment: %w", err)
	}
	if in == nil {
		return "", nil
	}
	_, rest, _ := strings.Cut(in.Version, " ")
	version, _, _ := strings.Cut(rest, " ")
	return version, nil
}

// interpreter finds the interpreter, or without install returns nil if there is none. Calling uv takes a tenth of a second, so the answer
// is cached.
func (e *Env) interpreter(ctx context.Context, install bool) (*interpreter, error) {
	e.finding.Lock()
	defer e.finding.Unlock()
	if e.found != nil {
		return e.found, nil
	}
	kept := e.kept()
	if in := load(kept); in != nil {
		e.found = in
		return in, nil
	}
	in, err := e.find(ctx, install)
	if err != nil || in == nil {
		return nil, err
	}
	b, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(e.opts.Dir, 0o755); err != nil {
		return nil, err
	}
	if err := files.Write(kept, append(b, '\n'), 0o600); err != nil {
		return nil, err
	}
	e.found = in
	return in, nil
}

// kept returns the file in which the interpreter is cached.
func (e *Env) kept() string {
	sum := sha256.Sum256([]byte(e.opts.Python))
	return filepath.Join(e.opts.Dir, "python-"+hex.EncodeToString(sum[:8])+".json")
}

// load returns the cached interpreter if it is still valid.
func load(path string) *interpreter {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var in interpreter
	if json.Unmarshal(b, &in) != nil || in.Version == "" || in.ABI == "" {
		return nil
	}
	fi, err := os.Stat(in.Path)
	if err != nil || fi.Size() != in.Size || !fi.ModTime().Equal(in.ModTime) {
		return nil
	}
	return &in
}

// find asks uv for the interpreter, lets uv install one if there is none and it may, and
// asks the interpreter for its version.
func (e *Env) find(ctx context.Context, install bool) (*interpreter, error) {
	path := e.opts.Python
	if !strings.ContainsRune(path, filepath.Separator) {
		// A broken interpreter in PATH is an error, too; one that uv installs helps.
		out, err := e.uv(ctx, uvRun{}, "python", "find", "--no-project", path)
		if err != nil && ctx.Err() == nil && !install {
			return nil, nil
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, ErrNoUV) {
			if _, ierr := e.uv(ctx, uvRun{}, "python", "install", path); ierr != nil {
				return nil, fmt.Errorf("no Python %s, and it could not be installed: %w", path, ierr)
			}
			out, err = e.uv(ctx, uvRun{}, "python", "find", "--no-project", "--managed-python", path)
		}
		if err != nil {
			return nil, err
		}
		path = strings.TrimSpace(string(out))
	}
	const ask = `import platform, sys, sysconfig
print(sys.implementation.name, platform.python_version(), sys.version_info.releaselevel)
print(sysconfig.get_config_var("SOABI") or sysconfig.get_platform())`
	out, err := exec.CommandContext(ctx, path, "-I", "-c", ask).Output()
	if err != nil {
		return nil, fmt.Errorf("ask %s for its version: %w", path, err)
	}
	version, abi, ok := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if !ok {
		return nil, fmt.Errorf("%s is not a Python interpreter: it reported the version %q", path, out)
	}
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	return &interpreter{Path: path, Version: version, ABI: abi, Size: fi.Size(), ModTime: fi.ModTime()}, nil
}
