package executors

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strings"
	"sync"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib"
)

// Programs finds the programs of Tenon that units run in place of one of their own.
type Programs struct {
	// Duck returns the path of tenon-duck, which runs builtins as "tenon-duck step", and planes
	// with DuckDB as "tenon-duck plane".
	Duck func(ctx context.Context) (program string, err error)
	// Serve returns the path of tenon-serve, which runs planes.
	Serve func(ctx context.Context) (program string, err error)
}

// For returns the path of the program for a runtime, or "" if units bring their own.
func (p Programs) For(ctx context.Context, r ir.Runtime) (string, error) {
	switch r {
	case ir.Builtin, ir.PlaneDuckDB:
		return p.Duck(ctx)
	case ir.Plane:
		return p.Serve(ctx)
	}
	return "", nil
}

// Of returns the program for the runtime of code, see [Programs.For], and tenon-duck if the code
// starts that itself.
func (p Programs) Of(ctx context.Context, c ir.Code) (program, duck string, err error) {
	if program, err = p.For(ctx, c.Runtime); err == nil && c.DuckDB != "" {
		duck, err = p.Duck(ctx)
	}
	return program, duck, err
}

// ServeAt returns [Programs].Serve for a tenon-serve at a path. The program is refused if
// its code is not the one that the digests of units state.
func ServeAt(path string) func(context.Context) (string, error) {
	var mu sync.Mutex
	var checked bool
	return func(ctx context.Context) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if checked {
			return path, nil
		}
		out, err := exec.CommandContext(ctx, path, "version").Output()
		code := strings.TrimSpace(string(out))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("tenon-serve, which answers predictions, is not next to tenon: run `make build` to build both: %w", err)
		case err != nil:
			return "", fmt.Errorf("start tenon-serve: %w", err)
		case code != stdlib.Code():
			return "", fmt.Errorf("%s has version %s, but this tenon has version %s: run `make build` to build both", path, code, stdlib.Code())
		}
		checked = true
		return path, nil
	}
}
