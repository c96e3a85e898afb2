package aws

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/internal/bundle"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/stdlib"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// archive returns the archive of a function that answers as a service: its program, its model
// and the tables that it looks up.
func (e functions) archive(ctx context.Context, t executors.Task) ([]byte, error) {
	native, err := e.opts.Programs.Serve(ctx)
	if err != nil {
		return nil, err
	}
	arch := map[string]string{"x86_64": "amd64", "arm64": "arm64"}[e.opts.Architecture]
	program := native
	if runtime.GOOS != "linux" || runtime.GOARCH != arch {
		program = filepath.Join(filepath.Dir(native), "linux_"+arch, bundle.Program)
		if err := bundle.CheckProgram(program, "linux", arch); err != nil {
			return nil, err
		}
	}
	tmp, err := os.MkdirTemp(t.Dir, files.HalfWritten)
	if err != nil {
		return nil, err
	}
	defer files.RemoveAll(tmp) //nolint:errcheck // what is left is swept
	dir := filepath.Join(tmp, "bundle")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	if _, err := bundle.Ask(ctx, native, local.Inherited(os.Environ()), bundle.Question{Service: served(t), Rows: 1, Dir: dir}, "bundle"); err != nil {
		return nil, fmt.Errorf("make its archive: %w", err)
	}
	if err := bundle.CopyProgram(program, filepath.Join(dir, bundle.Bootstrap)); err != nil {
		return nil, err
	}
	m := bundle.Manifest{Name: e.opts.System + "/" + strings.TrimPrefix(t.Unit.Entity, "deployments/"), Platform: "linux/" + arch, Code: stdlib.Code()}
	if _, err := m.Write(dir); err != nil {
		return nil, err
	}
	zip := filepath.Join(tmp, "function.zip")
	size, err := bundle.Zip(dir, zip)
	if err != nil {
		return nil, err
	}
	if size > bundle.MostUploaded {
		return nil, fmt.Errorf("its archive has %d MiB: %s", size>>20, tooLarge)
	}
	return os.ReadFile(zip)
}

// served returns the document of a service without what only this machine has. Each version of a release
// has an archive of its own.
func served(t executors.Task) step.Step {
	t.Beside, t.Route = nil, nil
	s := local.Document(t)
	s.Code, s.Scratch, s.Metrics, s.Progress, s.Lives, s.Kept, s.Instance, s.Files = "", "", "", "", "", "", "", nil
	inputs, outputs := map[string]step.Port{}, map[string]step.Port{}
	for port, p := range s.Inputs {
		if p.Kind == ir.Model || p.Kind == ir.Table || port == "report" { // others were checked before
			inputs[port] = p
		}
	}
	for port, p := range s.Outputs {
		p.Path = ""
		outputs[port] = p
	}
	s.Inputs, s.Outputs = inputs, outputs
	return s
}
