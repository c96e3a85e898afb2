package project

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// revisionNamed resolves "@3", or "@" for the newest revision.
func (w *Workspace) revisionNamed(ctx context.Context, name string) (*state.Revision, error) {
	if n, ok := revisionNumber(name); ok {
		return w.revision(ctx, n)
	}
	if name != "@" {
		return nil, &RequestError{fmt.Errorf("%q is not a revision: write @1, @2, ...; see tenon history", name)}
	}
	last, err := w.store.Revisions(ctx, 1)
	if err == nil && len(last) == 0 {
		err = errNoRevision
	}
	if err != nil {
		return nil, err
	}
	return &last[0], nil
}

// revisionNumber parses "@3".
func revisionNumber(name string) (int, bool) {
	digits, ok := strings.CutPrefix(name, "@")
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil && n >= 0 && digits[0] != '+'
}

var errNoRevision = errors.New("nothing has been applied yet: there are no revisions")

func (w *Workspace) revision(ctx context.Context, number int) (*state.Revision, error) {
	r, err := w.store.Revision(ctx, number)
	if !errors.Is(err, state.ErrNotFound) {
		return r, err
	}
	last, err := w.store.Revisions(ctx, 1)
	switch {
	case err != nil:
		return nil, err
	case len(last) == 0:
		return nil, errNoRevision
	case number > 0 && number < last[0].Number:
		return nil, fmt.Errorf("revision @%d was removed by tenon gc; see tenon history", number)
	}
	return nil, fmt.Errorf("revision @%d does not exist: the newest is @%d; see tenon history", number, last[0].Number)
}

// recordedPlan returns the plan of a revision, without its code.
func (w *Workspace) recordedPlan(ctx context.Context, r *state.Revision) (*planner.Plan, error) {
	p := new(planner.Plan)
	return p, w.recorded(ctx, r, "plan", r.Plan, p)
}

// recorded reads one of the documents of a revision.
func (w *Workspace) recorded(ctx context.Context, r *state.Revision, what, digest string, v any) error {
	b, err := w.artifacts.Bytes(ctx, digest)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if errors.Is(err, artifact.ErrMissing) {
		return fmt.Errorf("the %s of revision @%d no longer exists: its file was removed from the artifact folder: %w", what, r.Number, err)
	}
	if err != nil {
		return fmt.Errorf("the %s of revision @%d: %w", what, r.Number, err)
	}
	return nil
}

var errOldRevision = errors.New("was recorded by another version of tenon, in a format that this one cannot read")

// system returns what a revision applied, or was meant to apply.
func (w *Workspace) system(ctx context.Context, r *state.Revision) (*ir.System, error) {
	sys := new(ir.System)
	if err := w.recorded(ctx, r, "system", r.IR, sys); err != nil {
		return nil, err
	}
	if sys.Version != ir.Version {
		return nil, fmt.Errorf("revision @%d %w", r.Number, errOldRevision)
	}
	return sys, nil
}

// code returns the code and the locks of units that still exist, by digest.
func (w *Workspace) code(ctx context.Context, units []ir.Unit) map[string][]byte {
	blobs := map[string][]byte{}
	for _, u := range units {
		for _, digest := range codeOf(u) {
			if blobs[digest] != nil {
				continue
			}
			if b, err := w.artifacts.Bytes(ctx, digest); err == nil {
				blobs[digest] = b
			}
		}
	}
	return blobs
}

// codeOf returns the digests of a unit's code and lock.
func codeOf(u ir.Unit) (digests []string) {
	if u.Code.Lock != "" {
		digests = append(digests, u.Code.Lock)
	}
	digests = append(digests, u.Code.Environments...)
	for _, f := range u.Code.Files {
		digests = append(digests, f.Digest)
	}
	return digests
}

// namesSince returns the names that units got after a revision, by the names in that
// revision.
func namesSince(r state.Revision, all []state.Revision) map[string]string {
	now, was := map[string]string{}, map[string]string{}
	for _, later := range slices.Backward(all) {
		if later.Number <= r.Number {
			continue
		}
		for _, m := range later.Moves {
			then := m.From
			if w, ok := was[m.From]; ok {
				then = w
			}
			now[then], was[m.To] = m.To, then
		}
	}
	return now
}

// deployedDigest returns the digest of what is deployed, as the last revision would record it.
func (w *Workspace) deployedDigest(ctx context.Context, last *state.Revision) (string, error) {
	sys, err := w.system(ctx, last)
	if err != nil {
		sys = &ir.System{} // recorded by an older tenon, which pinned nothing
	}
	deployed, err := w.store.Deployed(ctx, sys)
	if err != nil {
		return "", err
	}
	return deployed.Digest(), nil
}
