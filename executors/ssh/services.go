package ssh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/ssh/host"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// anyHost are the addresses of services that name no particular host.
var anyHost = []string{"", "127.0.0.1", "localhost", "::1", "0.0.0.0", "::"}

// candidates returns the hosts that may have a task, in the order in which they are asked: the one
// where a service takes over from its former version first, and cheaper ones before others.
func (e *Executor) candidates(u ir.Unit, former *taskState) []Host {
	all := slices.Clone(e.opts.Hosts)
	slices.SortStableFunc(all, func(a, b Host) int {
		switch {
		case former != nil && former.Host.same(a) != former.Host.same(b):
			if former.Host.same(a) {
				return -1
			}
			return 1
		default:
			return cmp.Compare(a.perHour(), b.perHour())
		}
	})
	if u.Endpoint == nil || slices.Contains(anyHost, u.Endpoint.Host) {
		return all
	}
	return slices.DeleteFunc(all, func(h Host) bool { return h.Address != u.Endpoint.Host })
}

// formerOf decodes the service that a new one takes over from. One of another executor is none.
func (e *Executor) formerOf(prior *state.Handle) *taskState {
	if prior == nil || prior.Executor != Name {
		return nil
	}
	st, err := e.fromHandle(*prior)
	if err != nil {
		return nil
	}
	return &st
}

// endpoint returns the address of a service on a host, or "" if it has none.
func (st taskState) endpoint() string {
	if st.Endpoint == nil {
		return ""
	}
	at := *st.Endpoint
	at.Host = st.Host.Address
	return at.URL()
}

// called returns a task whose inputs that are endpoints have the addresses of the hosts where these
// run, also those of the versions beside it.
func (e *Executor) called(ctx context.Context, t executors.Task) (executors.Task, error) {
	t.Inputs, t.Beside = maps.Clone(t.Inputs), maps.Clone(t.Beside)
	for _, in := range t.Unit.Inputs {
		p, ok := t.Inputs[in.Port]
		if in.Kind != ir.EndpointOf || !ok {
			continue
		}
		h, err := e.serving(ctx, host.Service{State: t.State, Environment: t.Environment, Unit: in.Unit})
		if err != nil {
			return t, fmt.Errorf("input %s: %w", in.Port, err)
		}
		at, err := url.Parse(p.Path)
		if err != nil {
			return t, fmt.Errorf("input %s: %w", in.Port, err)
		}
		at.Host = net.JoinHostPort(h.Address, at.Port())
		p.Path = at.String()
		t.Inputs[in.Port] = p
	}
	for name, other := range t.Beside {
		var err error
		if t.Beside[name], err = e.called(ctx, other); err != nil {
			return t, err
		}
	}
	return t, nil
}

// serving returns the host that runs a service. While one version replaces another on another host,
// that is where the newer one is.
func (e *Executor) serving(ctx context.Context, of host.Service) (Host, error) {
	found := make([]host.Serving, len(e.opts.Hosts))
	gone := make([]error, len(found))
	group, inGroup := errgroup.WithContext(ctx) // at once: each that is lost takes the whole patience
	for i, h := range e.opts.Hosts {
		group.Go(func() (err error) {
			if e.opts.Autostop != nil { // one that is stopped has no service
				err = e.line(h).quickly(inGroup, func(l *link) (err error) {
					found[i], err = ask[host.Serving](inGroup, l, host.ServicePath, of)
					return err
				})
			} else {
				found[i], err = asked[host.Serving](inGroup, e, h, host.ServicePath, of)
			}
			var lost *lostError
			if errors.As(err, &lost) {
				gone[i] = err
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return Host{}, err
	}
	var at Host
	var newest time.Time
	for i, got := range found {
		if got.Began.IsZero() {
			continue
		}
		if began := got.Began.Add(time.Since(got.Now)); began.After(newest) {
			at, newest = e.opts.Hosts[i], began
		}
	}
	if newest.IsZero() {
		return at, errors.Join(append([]error{fmt.Errorf("%s runs on no host: tenon apply starts it again", of.Unit)}, gone...)...)
	}
	return at, nil
}

// asked asks a host, as long as it takes to reach it.
func asked[Out any](ctx context.Context, e *Executor, h Host, path string, in any) (out Out, err error) {
	err = e.line(h).patiently(ctx, e.opts.Patience, func(l *link) (err error) {
		out, err = ask[Out](ctx, l, path, in)
		return err
	})
	return out, err
}

// SetRoute makes a route effective on the host of the service.
func (e *Executor) SetRoute(ctx context.Context, h state.Handle, r step.Route) error {
	st, err := e.fromHandle(h)
	if err == nil {
		_, err = asked[struct{}](ctx, e, st.Host, host.RoutePath, host.Routed{Named: st.named(), Route: r})
	}
	if err != nil {
		return fmt.Errorf("set the route of %s: %w", st.Service.Unit, err)
	}
	return nil
}

// Observe returns what the service counted on its host.
func (e *Executor) Observe(ctx context.Context, h state.Handle) (*step.Observed, error) {
	st, err := e.fromHandle(h)
	if err != nil {
		return nil, err
	}
	seen, err := asked[*step.Observed](ctx, e, st.Host, host.ObservePath, st.named())
	if err != nil {
		return nil, fmt.Errorf("observe %s: %w", st.Service.Unit, err)
	}
	return seen, nil
}

// fromHost separates the name of a file, in a copy, from that of its host.
const fromHost = "_"

// BringKept copies what a service has kept on the hosts of the target, where its versions may have
// been, and on the one that has it now. It does not wait for a host that does not answer, of which
// it keeps the copies that are here, and then returns an [executors.PartialError].
func (e *Executor) BringKept(ctx context.Context, h state.Handle, from ir.Shipment, since time.Time, to string) error {
	st, err := e.fromHandle(h)
	if err != nil {
		return err
	}
	hosts := e.opts.Hosts
	if len(hosts) == 0 {
		return fmt.Errorf("bring what %s has kept: it may be on any host of the target, which is not known: run tenon apply", st.Service.Unit)
	}
	if !slices.ContainsFunc(hosts, st.Host.same) {
		hosts = append(slices.Clone(hosts), st.Host)
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	there := make([]map[string]bool, len(hosts))
	gone := make([]*lostError, len(hosts))
	group, inGroup := errgroup.WithContext(ctx)
	for i, at := range hosts {
		group.Go(func() (err error) {
			there[i], err = e.bringKept(inGroup, at, host.Keeping{Service: st.Service, Folder: from.Folder}, since, to)
			if errors.As(err, &gone[i]) {
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("bring what %s has kept: %w", st.Service.Unit, err)
	}
	var partial executors.PartialError
	var answered []string
	all := map[string]bool{}
	for i, at := range hosts {
		if gone[i] != nil {
			partial.Lacks = append(partial.Lacks, "host "+at.String())
			partial.Errs = append(partial.Errs, gone[i])
			continue
		}
		answered = append(answered, at.id())
		maps.Copy(all, there[i])
	}
	if err := removeOthers(to, answered, all); err != nil {
		return fmt.Errorf("bring what %s has kept: %w", st.Service.Unit, err)
	}
	if len(partial.Lacks) > 0 {
		return &partial
	}
	return nil
}

// bringKept copies from one host the files that are not here yet, and returns the names of all.
func (e *Executor) bringKept(ctx context.Context, at Host, in host.Keeping, since time.Time, to string) (there map[string]bool, err error) {
	var all host.Kept
	err = e.line(at).quickly(ctx, func(l *link) (err error) {
		ctx, cancel := context.WithTimeout(ctx, e.opts.Quick)
		defer cancel()
		all, err = ask[host.Kept](ctx, l, host.KeptPath, in)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, f := range all.Files {
		if !portOf(f.Name) {
			return nil, own(fmt.Errorf("host %s reports a file %q", at, f.Name))
		}
	}
	there = map[string]bool{}
	group, inGroup := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, f := range all.Files {
		ext := path.Ext(f.Name)
		name := strings.TrimSuffix(f.Name, ext) + fromHost + at.id() + ext
		there[name] = true
		if _, err := os.Lstat(filepath.Join(to, name)); err == nil || f.Ended.Add(time.Since(all.Now)).Before(since) {
			continue
		}
		in.Name = f.Name
		file := in
		group.Go(func() error { return e.getKept(inGroup, at, file, filepath.Join(to, name)) })
	}
	return there, group.Wait()
}

func (e *Executor) getKept(ctx context.Context, at Host, in host.Keeping, to string) error {
	tmp, err := os.MkdirTemp(filepath.Dir(to), files.HalfWritten)
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // what is left has such a name
	half := filepath.Join(tmp, "file")
	err = e.line(at).quickly(ctx, func(l *link) error {
		body, err := l.ask(ctx, host.KeptFilePath, in)
		if err != nil {
			return err
		}
		defer body.Close()
		return errors.Join(removed(half), host.ReceiveFile(body, half))
	})
	var said *saidError
	if errors.As(err, &said) && said.absent() {
		return nil // it has just become too old
	}
	if err != nil {
		return err
	}
	return os.Rename(half, to)
}

// removeOthers removes copies of files that these hosts do not have any more.
func removeOthers(dir string, ids []string, there map[string]bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range entries {
		stem := strings.TrimSuffix(f.Name(), path.Ext(f.Name()))
		of := stem[strings.LastIndex(stem, fromHost)+1:]
		if there[f.Name()] || !slices.Contains(ids, of) {
			continue
		}
		if err := removed(filepath.Join(dir, f.Name())); err != nil {
			return err
		}
	}
	return nil
}
