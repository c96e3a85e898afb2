package ssh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/ssh/host"
	"github.com/tenon-ml/tenon/internal/duration"
)

// lookAtAutostop finds out whether a host of the target can stop itself. It changes nothing there.
func (e *Executor) lookAtAutostop(ctx context.Context, l *link) error {
	got, err := e.askAutostop(ctx, l, true)
	if got.Failed != "" && e.opts.Warn != nil {
		e.opts.Warn(fmt.Errorf("host %s was idle and is not stopped: %s", l.host, oneLine(got.Failed)))
	}
	l.cannotStop = got.Fault
	return err
}

// setAutostop says to a host of the target, before something starts there, when to stop itself.
func (e *Executor) setAutostop(ctx context.Context, l *link) error {
	if l.saidStop.Load() {
		return nil
	}
	_, err := e.askAutostop(ctx, l, false)
	l.saidStop.Store(err == nil)
	return err
}

// askAutostop asks nothing of a host that the target has left.
func (e *Executor) askAutostop(ctx context.Context, l *link, look bool) (host.Stopper, error) {
	if !slices.ContainsFunc(e.opts.Hosts, l.host.same) {
		return host.Stopper{}, nil
	}
	in := host.Autostop{Look: look}
	if a := e.opts.Autostop; a != nil {
		in.After, in.Command, in.Results = duration.Parse(a.After), a.Command, duration.Parse(a.Results)
	}
	return ask[host.Stopper](ctx, l, host.AutostopPath, in)
}

// Admit finds out whether the hosts that can be reached at once can stop themselves, if they have to. Why
// others cannot be reached concerns only the units that run there.
func (e *Executor) Admit(ctx context.Context, units []ir.Unit) (bool, error) {
	if e.opts.Autostop == nil || len(units) == 0 {
		return false, nil
	}
	faults := make([]error, len(e.opts.Hosts))
	var asked sync.WaitGroup
	for i, h := range e.opts.Hosts {
		asked.Go(func() {
			_ = e.line(h).quickly(ctx, func(l *link) error {
				if l.cannotStop != "" {
					faults[i] = fmt.Errorf("host %s: %s", h, l.cannotStop)
				}
				return nil
			})
		})
	}
	asked.Wait()
	if err := errors.Join(faults...); err != nil {
		return false, &executors.LackingError{Err: err}
	}
	return false, ctx.Err()
}

var _ executors.Admitter = (*Executor)(nil)

// A start of a host is shared by all callers that need it.
type hostStart struct {
	done chan struct{} // closed at its end
	err  error
}

// awake makes sure that there is a connection, and starts the host if it does not answer.
func (n *line) awake(ctx context.Context) error {
	if len(n.host.Start) == 0 {
		return nil // whoever asks it waits until it is lost
	}
	err := n.quickly(ctx, func(*link) error { return nil })
	var gone *lostError
	if errors.As(err, &gone) {
		return n.wake(ctx)
	}
	return err
}

// wake starts the host, and waits until it answers.
func (n *line) wake(ctx context.Context) error {
	n.mu.Lock()
	s := n.starting
	if s == nil {
		s = &hostStart{done: make(chan struct{})}
		n.starting = s
		go func() {
			s.err = n.start(n.e.life)
			n.mu.Lock()
			n.starting = nil
			n.mu.Unlock()
			close(s.done)
		}()
	}
	n.mu.Unlock()
	select {
	case <-s.done:
		return s.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// How long a host may take to start by default, and after how long its command runs again: one that is
// still going down cannot be started yet.
const (
	startWithin = 5 * time.Minute
	startAgain  = 15 * time.Second
)

func (n *line) start(ctx context.Context) error {
	within := cmp.Or(duration.Parse(n.host.StartWithin), startWithin)
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	command := strings.Join(n.host.Start, " ")
	var last error
	for {
		cmd := exec.CommandContext(ctx, n.host.Start[0], n.host.Start[1:]...)
		cmd.Env, cmd.WaitDelay = n.e.opts.Env, time.Second
		said, err := cmd.CombinedOutput()
		if errors.Is(err, exec.ErrWaitDelay) { // it has left a process that has its output, such as a virtual machine
			err = nil
		}
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) && ctx.Err() == nil {
			return n.host.refused(err, "`%s`, which starts it, cannot run: %v", command, err)
		}
		if err != nil && ctx.Err() == nil {
			last = fmt.Errorf("`%s`: %w: %s", command, err, oneLine(string(said[max(0, len(said)-1000):])))
		}
		for end := time.Now().Add(startAgain); time.Now().Before(end); {
			err := n.reach(ctx)
			var gone *lostError
			if err == nil || !errors.As(err, &gone) && ctx.Err() == nil {
				return err
			}
			select {
			case <-ctx.Done():
				return breakers.lost(n.lost(fmt.Errorf("it did not answer within %s after `%s`: %w", duration.Text(within), command, cmp.Or(last, err))))
			case <-time.After(500 * time.Millisecond):
			}
		}
	}
}

// wakeOne starts the first of some hosts that can be started and may have room, and reports whether one
// answers now. Those that declare the GPUs that a task needs come first, and those that declare fewer are not started. Those
// that cannot be started are in tired, with the reason.
func (e *Executor) wakeOne(ctx context.Context, asleep []*lostError, claim, needs ir.Resources, tired map[string]error) bool {
	var sure, maybe []Host
	for _, gone := range asleep {
		h := gone.host
		switch lacks, promised := h.lacks(claim, needs); {
		case tired[h.id()] != nil || lacks:
		case promised:
			sure = append(sure, h)
		default:
			maybe = append(maybe, h)
		}
	}
	for _, h := range append(sure, maybe...) {
		err := e.line(h).wake(ctx)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		tired[h.id()] = err
	}
	return false
}
