package ssh

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/ssh/host"
)

// Collect finds what the hosts of the target no longer need: folders of runs of this state that have
// ended and are not kept, artifacts that only this state has used and does not keep, and, with a
// time, what no state has used since then. A host that does not answer is left out, and the
// [executors.PartialError] names it.
func (e *Executor) Collect(ctx context.Context, n executors.Needed, dry bool) ([]executors.Garbage, error) {
	in := host.Collecting{State: e.opts.State, Tasks: n.Tasks, Keys: n.Checkpoints, Digests: n.Digests, Dry: dry}
	if !n.Since.IsZero() {
		in.Age = time.Since(n.Since)
	}
	found := make([]host.Collected, len(e.opts.Hosts))
	gone := make([]*lostError, len(e.opts.Hosts))
	group, inGroup := errgroup.WithContext(ctx)
	for i, h := range e.opts.Hosts {
		group.Go(func() error {
			err := e.line(h).quickly(inGroup, func(l *link) (err error) {
				found[i], err = ask[host.Collected](inGroup, l, host.CollectPath, in)
				return err
			})
			if errors.As(err, &gone[i]) {
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var all []executors.Garbage
	var partial executors.PartialError
	for i, h := range e.opts.Hosts {
		if gone[i] != nil {
			partial.Lacks, partial.Errs = append(partial.Lacks, "host "+h.String()), append(partial.Errs, gone[i])
			continue
		}
		for _, g := range found[i].Garbage {
			g.Name = h.String() + " " + g.Name
			all = append(all, g)
		}
	}
	if len(partial.Lacks) > 0 {
		return all, &partial
	}
	return all, nil
}
