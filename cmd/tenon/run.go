package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/control"
	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/internal/logfile"
	"github.com/tenon-ml/tenon/planner/state"
)

func runCommand(a *app) *cobra.Command {
	var o runOptions
	c := &cobra.Command{
		Use: "run [DIR]", Short: "Keep a system as it was applied", Args: atMost(1, "one folder"),
		Long: `Watches a system that was applied, until it is interrupted. It starts services again that
have died, writes lost rule files again, takes the steps of releases, measures monitors,
carries out what loops decide, and continues an apply that was killed. Each repair and each
training is a revision with its cause, in tenon history.

It uses what was applied last, never the sources in the folder: a change counts once it is
applied. tenon apply and all other commands work beside it.

What fails is tried again, after a pause that grows. A second controller of the same
environment waits, and takes over when the first one ends or is killed.

It sends the notices of loops and monitors that declare notify. With --metrics, it answers
Prometheus; detached in a cluster, behind a Service.

With --detach, it starts a controller that runs on its own, and returns: in the cluster if
the system runs in one, as a Deployment with the rights of tenon rbac, and otherwise on this
machine. --detach again updates it, --status shows it, and --stop ends it; tenon logs
--controller prints what it says.

With --once, it looks once, does what is due, and ends: for cron. With --systemd, it prints
a unit for systemd that runs it.`,
		Example: `  tenon run
  tenon run --once
  tenon run --metrics :9464
  tenon run -e prod --json
  tenon run --detach && tenon run --status
  tenon run --stop
  tenon run --systemd | sudo tee /etc/systemd/system/churn.service`,
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case o.every < minEvery:
				return &usageError{fmt.Errorf("--every must be at least %s, not %s", minEvery, o.every)}
			case moreThanOne(o.once, o.detach, o.systemd, o.stop, o.status):
				return &usageError{errors.New("--once, --detach, --status, --stop and --systemd are different commands: use one of them")}
			case o.systemd && o.json:
				return &usageError{errors.New("--systemd prints a unit, and starts nothing: leave out --json")}
			case o.once && o.metrics != "":
				return &usageError{errors.New("--once ends before Prometheus can ask for metrics: leave out --metrics, and see tenon monitor metrics --out")}
			case o.systemd:
				return a.printSystemdUnit(c.Context(), folder(args), o)
			case o.detach:
				return a.detachController(c.Context(), folder(args), o)
			case o.stop:
				return a.stopController(c.Context(), folder(args), o.json)
			case o.status:
				return a.controllerStatus(c.Context(), folder(args), o.json)
			}
			return a.control(c.Context(), folder(args), o)
		},
	}
	a.stateFlag(c)
	c.Flags().DurationVar(&o.every, "every", 5*time.Second, "look every `DURATION`")
	c.Flags().BoolVar(&o.once, "once", false, "look once, do what is due, and end; fail if that fails")
	c.Flags().BoolVar(&o.json, "json", false, "print events as JSON, one per line")
	c.Flags().StringVar(&o.metrics, "metrics", "", "expose metrics for Prometheus at `ADDRESS`, such as :9464 on this machine")
	c.Flags().BoolVar(&o.systemd, "systemd", false, "print a unit for systemd instead")
	c.Flags().BoolVar(&o.detach, "detach", false, "start a controller that runs on its own, or update it, and return")
	c.Flags().BoolVar(&o.status, "status", false, "show the controller")
	c.Flags().BoolVar(&o.stop, "stop", false, "end the controller that was detached")
	c.Flags().StringVar(&o.log, "log", "", "append events to the log at `PATH`, for --detach")
	c.Flags().IntVarP(&o.parallel, "parallel", "p", 0, "run at most `N` units at a time (0: as resources allow)")
	_ = c.Flags().MarkHidden("log")
	return c
}

// minEvery keeps a controller from doing nothing but looking.
const minEvery = 100 * time.Millisecond

type runOptions struct {
	every                                     time.Duration
	once, json, systemd, detach, status, stop bool
	parallel                                  int
	log                                       string // path
	metrics                                   string // address
}

// moreThanOne reports whether more than one of some flags is set.
func moreThanOne(flags ...bool) bool {
	n := 0
	for _, set := range flags {
		if set {
			n++
		}
	}
	return n > 1
}

// control runs a controller. A mistake in the command line ends it at once; afterwards, only a signal does.
func (a *app) control(ctx context.Context, dir string, o runOptions) (err error) {
	command := project.RunCommand
	if o.log != "" {
		log, openErr := logfile.Append(o.log)
		if openErr != nil {
			return openErr
		}
		defer func() { err = errors.Join(err, log.Close()) }()
		command, a.stdout, a.stderr, a.color, a.terminal = project.DetachCommand, log, log, false, false
	}
	p, err := a.project(dir)
	if err != nil {
		return err
	}
	first, err := p.OpenApplied(ctx)
	if unreachable := (*state.UnreachableError)(nil); err != nil && (o.once || !errors.As(err, &unreachable)) {
		return err
	}
	defer func() {
		if first != nil {
			err = errors.Join(err, first.Close())
		}
	}()
	return a.controls(ctx, p, command, o, func(ctx context.Context) (control.Engine, error) {
		w := first
		first = nil
		if w == nil {
			var err error
			if w, err = p.OpenApplied(ctx); err != nil {
				return nil, err
			}
		}
		return w.Controlled(project.ApplyOptions{Parallel: o.parallel}), nil
	})
}

// controls runs a controller, and what runs beside it, and prints events of both.
func (a *app) controls(ctx context.Context, p *project.Project, command string, o runOptions, open func(context.Context) (control.Engine, error)) error {
	var failed error
	b, err := startBeside(ctx, p, o, func(e control.Event) {
		if err := a.printControl(e, o.json); failed == nil { // the first says enough
			failed = err
		}
	})
	if err != nil {
		return err
	}
	err = control.Run(ctx, open, control.Options{Every: o.every, Once: o.once, Command: command, Clock: control.SystemClock(), Events: b.saw, Looked: b.looked})
	err = errors.Join(err, b.end(ctx, o.once))
	if err != nil && failed == nil {
		return errReported // as an event
	}
	return failed
}

// controlMarks are how events are shown.
var controlMarks = map[control.EventType]struct{ mark, color string }{
	control.Started: {"▸", blue}, control.Fault: {"✗", red}, control.Repaired: {"✓", green}, control.Healthy: {"✓", green}, control.Continued: {"✓", green},
	control.Released: {"→", cyan}, control.Failed: {"✗", red}, control.Recovered: {"✓", green}, control.ClockSet: {"!", yellow},
}

func (a *app) printControl(e control.Event, asJSON bool) error {
	if asJSON {
		return a.printJSONLine(e)
	}
	m, ok := controlMarks[e.Type]
	if !ok {
		m.mark, m.color = "·", faint
	}
	text := e.Message + e.Error
	if e.Unit != "" && e.Type != control.Repaired { // its reason names the units
		text = e.Unit + "  " + text
	}
	switch e.Type {
	case control.Failed:
		text = "failed: " + text
	case control.Started, control.Continued:
	default:
		text = string(e.Type) + ": " + text
	}
	if e.Retry > 0 {
		text += "; again in " + took(e.Retry)
	}
	if e.Revision > 0 {
		text += "  " + a.paint(faint, fmt.Sprintf("revision %d", e.Revision))
	}
	_, err := fmt.Fprintf(a.stdout, "%s %s %s\n", e.Time.Local().Format(time.DateTime), a.paint(m.color, m.mark), text)
	return err
}
