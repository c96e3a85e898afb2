package project

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/internal/lazyregexp"
)

// A ProgramError is what a program said when it failed.
type ProgramError struct{ Text string }

func (e *ProgramError) Error() string { return e.Text }

// Try runs one job on Parquet files, by input port, instead of what it reads, and returns
// the path of its only output. It runs as in an apply on local processes, with its own
// environment, in a state of its own below dir. blobs hold its code. If the program fails,
// the error is a [ProgramError].
func (p *Project) Try(ctx context.Context, u ir.Unit, blobs map[string][]byte, inputs map[string]string, dir string) (path string, err error) {
	s := p.set
	s.Dir, s.State, s.Artifacts, s.Notify, s.Tags = dir, filepath.Join(dir, "state"), "", nil, nil
	r, err := tried(u, blobs, inputs)
	if err != nil {
		return "", err
	}
	// Folders of code are read-only.
	defer func() { err = errors.Join(err, files.RemoveAll(filepath.Join(dir, "state", "code"))) }()
	ws, err := New(s).Open(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, ws.Close()) }()
	plan, err := ws.Plan(ctx, r, PlanOptions{})
	if err != nil {
		return "", err
	}
	session, err := ws.Lock(ctx, "tenon test", 0)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, session.Release(ctx)) }()
	if result, err := session.Apply(ctx, plan, ApplyOptions{}); err != nil {
		if ctx.Err() == nil && result != nil && len(result.Failed) > 0 {
			return "", said(result.Failed[0])
		}
		return "", err
	}
	found, err := ws.Units(ctx, u.ID)
	if err != nil {
		return "", err
	}
	return found[0].Artifacts[u.Outputs[0].Port], nil
}

// tried is a system of the unit and of sources that read the files.
func tried(u ir.Unit, blobs map[string][]byte, inputs map[string]string) (*compiler.Result, error) {
	sys := &ir.System{Version: ir.Version, Name: "test", Target: ir.Target{Name: "test", Executor: all.Default}}
	u = alone(u)
	for i, in := range u.Inputs {
		source := ir.Unit{
			ID: "sources/" + in.Port, Entity: "sources/" + in.Port, Kind: ir.Job, Component: "source.parquet",
			Code: ir.Code{Runtime: ir.Builtin}, Files: []string{filepath.ToSlash(inputs[in.Port])},
			Outputs: []ir.Output{{Port: "out", Kind: ir.Table, Schema: in.Schema}},
		}
		if err := source.Define(); err != nil {
			return nil, err
		}
		sys.Units = append(sys.Units, source)
		u.Inputs[i].Unit, u.Inputs[i].From = source.ID, "out"
	}
	if err := u.Define(); err != nil {
		return nil, err
	}
	sys.Units = append(sys.Units, u)
	return &compiler.Result{System: sys, Blobs: blobs}, nil
}

// raised is the place in a traceback of Python, in a file of the user's.
var raised = lazyregexp.New(`^  File ".*/code/[0-9a-f]+/([^"]+)", line ([0-9]+)`)

// said returns the error of a program, without paths of this run: the last line of its log
// that is one, or what Python raised and where, or else all that is known.
func said(f *executors.UnitError) error {
	log, at, last := f.LogTail, "", ""
	for _, line := range log {
		if m := raised.FindStringSubmatch(line); m != nil {
			at = m[1] + ":" + m[2]
		}
		if strings.TrimSpace(line) != "" {
			last = line
		}
	}
	for _, line := range slices.Backward(log) {
		if text, ok := strings.CutPrefix(line, "error: "); ok {
			return &ProgramError{text}
		}
	}
	switch {
	case at != "":
		return &ProgramError{at + ": " + last}
	case last != "":
		return &ProgramError{fmt.Sprintf("%v: %s", f.Err, last)}
	}
	return &ProgramError{f.Err.Error()}
}
