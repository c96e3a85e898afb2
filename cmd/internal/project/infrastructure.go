package project

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/executors/aws/cloudformation"
	"github.com/tenon-ml/tenon/executors/terraform"
	"github.com/tenon-ml/tenon/internal/files"
)

// CompileInfrastructure is [Project.Compile] for targets whose infrastructure is written. They need
// no executor.
func (p *Project) CompileInfrastructure(ctx context.Context) (*compiler.Result, error) {
	return p.compileFor(ctx, "infrastructure", all.CheckInfrastructure)
}

// A Format is one in which infrastructure is written.
type Format struct {
	write   func(*ir.System) (docs []terraform.Document, ok bool, err error)
	written func(content []byte) bool
	suffix  string // of its files besides README.md
	targets string // that have it
}

// Formats are those in which infrastructure is written, by name.
var Formats = map[string]Format{
	"terraform":      {all.Infrastructure, terraform.Written, ".tf", "targets tenon.#AWS, tenon.#GCP, tenon.#Azure, tenon.#EKS, tenon.#GKE and tenon.#AKS have infrastructure"},
	"cloudformation": {all.CloudFormation, cloudformation.Written, ".yaml", "a target tenon.#AWS has a template of CloudFormation"},
}

// Infrastructure returns the files with the infrastructure of a compiled system, sorted by name.
func (f Format) Infrastructure(r *compiler.Result) ([]terraform.Document, error) {
	// As for a compilation, collecting garbage takes longer than the memory is worth.
	headroom := make([]byte, 256<<20)
	defer runtime.KeepAlive(headroom)
	if err := r.OneTarget(); err != nil {
		return nil, err
	}
	sys := r.System
	docs, ok, err := f.write(sys)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the infrastructure of %s: %w", sys.Name, err)
	case !ok:
		return nil, fmt.Errorf("%s runs on %s (%s): only %s", sys.Name, sys.Target.Name, sys.Target.Executor, f.targets)
	}
	return docs, nil
}

// Shows reports whether a file is one of the format, and not a page about it.
func (f Format) Shows(d terraform.Document) bool { return strings.HasSuffix(d.Name, f.suffix) }

// Shown returns a file as it is printed, below its name if the format has several.
func (f Format) Shown(d terraform.Document) []byte {
	if d.Name == "template.yaml" {
		return d.Content
	}
	return fmt.Appendf(nil, "# %s\n%s\n", d.Name, d.Content)
}

// Write writes the files into a folder, which it makes. It replaces and removes only what it has written
// before in the same format, and nothing if a file of the same name is somebody else's. It returns the names
// of files that it has removed, because the system does not need them any more.
func (f Format) Write(dir string, docs []terraform.Document) (removed []string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	written := map[string]bool{}
	for _, d := range docs {
		written[d.Name] = true
		old, err := os.ReadFile(filepath.Join(dir, d.Name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, err
		case !f.written(old):
			return nil, fmt.Errorf("%s was not written by tenon in this format: move it, or choose another folder", filepath.Join(dir, d.Name))
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if written[e.Name()] || !e.Type().IsRegular() || !strings.HasSuffix(e.Name(), f.suffix) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		old, err := os.ReadFile(path)
		if err == nil && f.written(old) {
			err = os.Remove(path)
			removed = append(removed, e.Name())
		}
		if err != nil {
			return removed, err
		}
	}
	for _, d := range docs {
		path := filepath.Join(dir, d.Name)
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, d.Content) {
			continue // keeps its time
		}
		if err := files.Write(path, d.Content, 0o644); err != nil {
			return removed, err
		}
	}
	return removed, nil
}
