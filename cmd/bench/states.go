package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// writeState writes the state that an apply of the system in dir would leave, with
// other artifacts, and without running anything. The units are in an order in
// which what they read comes first.
func writeState(ctx context.Context, dir, name string, units []*ir.Unit) error {
	stateDir := filepath.Join(dir, ".tenon")
	return withLease(ctx, stateDir, func(lease *state.Lease) error {
		artifacts, err := artifact.Open(filepath.Join(stateDir, "artifacts"))
		if err != nil {
			return err
		}
		revision, err := lease.BeginRevision(ctx, state.Revision{System: name, Target: "local"})
		if err != nil {
			return err
		}
		outputs := map[string]string{}
		sources := planner.Sources{Output: func(unit, port string) string { return outputs[unit+"."+port] }}
		digests := planner.NewFileDigests(stateDir)
		for _, u := range units {
			found, err := planner.Files(dir, u.Files)
			if err != nil {
				return err
			}
			var files []string
			for _, f := range found {
				files = append(files, f...)
			}
			if sources.Files, err = digests.Digest(ctx, dir, files); err != nil {
				return err
			}
			inputs, unknown, err := sources.Inputs(u, files)
			if err != nil || len(unknown) > 0 {
				return fmt.Errorf("%s: inputs %v are not known: %w", u.ID, unknown, err)
			}
			r := state.Run{Key: ir.RunKey(u.Digest, inputs), Unit: u.ID, Definition: u.Digest, Revision: revision, Attempt: 1, Inputs: inputs}
			r.Outputs = map[string]artifact.Artifact{}
			for _, o := range u.Outputs {
				content := []byte(r.Key + o.Port)
				digest, err := artifacts.PutBytes(ctx, content)
				if err != nil {
					return err
				}
				outputs[u.ID+"."+o.Port] = digest
				r.Outputs[o.Port] = artifact.Artifact{Digest: digest, Kind: string(o.Kind), Size: int64(len(content))}
			}
			if err := recordRun(ctx, lease, r, u); err != nil {
				return err
			}
		}
		return lease.EndRevision(ctx, revision, state.Done, "")
	})
}

// recordRun writes what an apply writes of a job: that it begins, how it is
// found again, and how it ended.
func recordRun(ctx context.Context, lease *state.Lease, r state.Run, u *ir.Unit) (err error) {
	if r.ID, err = lease.Begin(ctx, r); err != nil {
		return err
	}
	if err := lease.SetHandle(ctx, r.ID, state.Handle{Executor: "process", ID: u.ID + r.Key}); err != nil {
		return err
	}
	r.Outcome = state.Done
	return lease.Finish(ctx, r, u, &state.Current{Unit: u.ID, Kind: u.Kind, Definition: u.Digest, Key: r.Key, Revision: r.Revision})
}

// withLease calls a function with the locked state of a folder.
func withLease(ctx context.Context, dir string, do func(*state.Lease) error) (err error) {
	store, err := state.Open(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	lease, err := store.Lock(ctx, state.Holder{Command: "bench"}, state.LockOptions{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lease.Release(context.WithoutCancel(ctx))) }()
	return do(lease)
}
