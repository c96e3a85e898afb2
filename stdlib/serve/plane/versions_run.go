package plane

import (
	"context"
	"fmt"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/release"
)

// serveVersions answers for all versions that are in the route.
func (l *loader) serveVersions(ctx context.Context, given params) error {
	s := l.step
	ctx, hopeless := context.WithCancelCause(ctx)
	defer hopeless(nil)
	serving, stop := serving(ctx)
	defer stop()
	first, err := release.Read(s.Route)
	if err != nil {
		return err
	}
	sock, err := l.bind(ctx, given)
	if err != nil {
		return err
	}
	defer l.edge.Close()
	all := map[string]*version{}
	wanted := names(first)
	for _, name := range l.known() {
		if wanted[name] {
			all[name] = l.version(ctx, name)
		}
	}
	v := newVersions(l.process, all, logLine)
	v.path, v.hopeless = s.Observed, hopeless
	defer v.close()
	v.resume(first.Serial)
	if err := v.apply(first); err != nil {
		return fmt.Errorf("the route: %w", err)
	}
	v.watch(ctx)
	go l.follow.run(ctx)
	go v.follow(ctx, s.Route)
	l.models, l.pools = nil, nil // so that a version that is removed frees its own
	if err := sock.answer(serving, given, v.front(), "versions"); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil && err != context.Canceled {
		return err
	}
	return nil
}

func newVersions(c *process, all map[string]*version, say func(string)) *versions {
	v := &versions{process: c, all: all, say: say}
	v.turns.New = func() any { return new(turn) }
	for _, x := range all {
		if x.plane != nil {
			x.plane.text, v.labels, v.most = v.text, x.plane.Labels, max(v.most, x.plane.MaxBytes)
		}
	}
	return v
}

// watch computes shadows, and notes which versions cannot answer any more.
func (v *versions) watch(ctx context.Context) {
	for _, x := range v.all {
		if x.plane == nil {
			continue
		}
		within, cancel := context.WithCancel(ctx)
		stop := x.stop
		x.stop = func() { cancel(); stop() }
		go x.shadows.run(within)
		if x.plane.functions != nil {
			for _, f := range x.plane.functions.all {
				f.Elsewhere(func() bool { return v.others(x) })
				go v.awaitFault(within, x, f.Failed(), func() error { return fmt.Errorf("%s: %w", f.name, f.Err()) })
			}
		}
		if w := x.plane.workers; w != nil {
			w.Elsewhere(func() bool { return v.others(x) })
			go v.awaitFault(within, x, w.Failed(), w.Err)
		}
	}
}

// awaitFault notes that a version cannot answer any more once processes of it cannot be started again.
func (v *versions) awaitFault(ctx context.Context, x *version, failed <-chan struct{}, why func() error) {
	select {
	case <-failed:
		v.failed(x, why())
	case <-ctx.Done():
	}
}
