package project

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tenon-ml/tenon/cmd/internal/control"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// DetachCommand is the command of a controller that was detached.
const DetachCommand = RunCommand + " --detach"

// lookForController is how often a controller is looked for that was just started or asked to end.
const lookForController = 200 * time.Millisecond

// A ControllerOptions configure a controller that is detached.
type ControllerOptions struct {
	Every    time.Duration // between two looks
	Parallel int           // how many units may run at once; 0 means that only the pools limit them
	// Args returns the arguments with which tenon calls [OpenController] in a cluster, given the URL
	// of the artifact store and the digest of the request.
	Args func(artifacts, request string) []string
	// Command is the command line of the controller on this machine.
	Command []string
	Metrics string // the address at which it answers Prometheus, or ""; in a cluster, only its port counts
}

// A DetachedController is a controller that runs on its own.
type DetachedController struct {
	PID  int    `json:"pid,omitempty"` // on this machine
	Host string `json:"host,omitempty"`
	Log  string `json:"log,omitempty"` // path on this machine

	Namespace  string      `json:"namespace,omitempty"` // in a cluster
	Deployment string      `json:"deployment,omitempty"`
	Metrics    string      `json:"metrics,omitempty"` // URL within the cluster
	Rule       string      `json:"rule,omitempty"`    // of EventBridge, which starts passes
	Every      string      `json:"every,omitempty"`   // how often it does
	Phase      state.Phase `json:"phase,omitempty"`
	Message    string      `json:"message,omitempty"`
	// Unchanged reports that the same one ran before.
	Unchanged bool `json:"unchanged,omitempty"`
}

// A sentController is what a controller in a cluster receives: everything that this machine has and
// the cluster lacks. It is a blob of the store.
type sentController struct {
	Lineage  string                  `json:"lineage"`
	Env      string                  `json:"env,omitempty"`
	Dir      string                  `json:"dir"` // of the system on this machine, absolute
	By       string                  `json:"by"`  // who started it, and in whose name it acts
	Packed   executors.Packed        `json:"packed"`
	Files    map[string]artifact.Ref `json:"files"` // data files, by path as in [planner.Files]
	Every    time.Duration           `json:"every"`
	Parallel int                     `json:"parallel,omitempty"`
	Metrics  int                     `json:"metrics,omitempty"` // port at which it answers Prometheus
	Once     bool                    `json:"once,omitempty"`    // the platform starts it for each pass
}

// DetachController starts a controller that runs on its own, in the cluster if the system runs in one,
// and returns once it watches. One that was detached before is replaced, unless it is the same.
func (w *Workspace) DetachController(ctx context.Context, o ControllerOptions) (*DetachedController, error) {
	last, err := w.declared(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := w.permitStep(ctx); err != nil {
		return nil, err
	}
	sys, err := w.system(ctx, last)
	if err != nil {
		return nil, err
	}
	if other, err := w.watching(ctx); err != nil {
		return nil, err
	} else if other != nil && other.Holder.Command != DetachCommand {
		return nil, fmt.Errorf("tenon run, process %d on %s, watches since %s: end it first, with Ctrl-C or systemctl stop", other.Holder.PID, other.Holder.Host, other.Since.Local().Format(time.DateTime))
	}
	if !w.detaches(sys.Target) {
		return w.detachHere(ctx, o)
	}
	return w.detachThere(ctx, last, sys, o)
}

// declared returns the last revision that has the system as it was declared.
func (w *Workspace) declared(ctx context.Context) (*state.Revision, error) {
	revisions, err := w.store.Revisions(ctx, 0)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(revisions, declares)
	if i < 0 {
		return nil, errNoRevision
	}
	return &revisions[i], nil
}

// detaches reports whether the executor of a target runs tenon on its platform.
func (w *Workspace) detaches(t ir.Target) bool {
	x, err := all.New(t, w.setupApart())
	_, ok := x.(executors.Detacher)
	return err == nil && ok
}

// watching returns the controller that watches now, as far as is known, or nil.
func (w *Workspace) watching(ctx context.Context) (*state.Controller, error) {
	c, err := w.store.Controller(ctx)
	if err != nil || c == nil || c.Gone || time.Since(c.At) > control.BeatsLast {
		return nil, err
	}
	return c, nil
}

// detachThere starts the controller in the cluster of the target.
func (w *Workspace) detachThere(ctx context.Context, last *state.Revision, sys *ir.System, o ControllerOptions) (*DetachedController, error) {
	if err := w.checkDetach(ctx, sys, "the controller cannot run"); err != nil {
		return nil, err
	}
	port, err := metricsPort(o.Metrics)
	if err != nil {
		return nil, err
	}
	for _, u := range sys.Units {
		for _, r := range u.Receivers() {
			if r.Webhook != nil {
				return nil, fmt.Errorf("%s notifies %s, a secret of this machine that the cluster lacks: notify an alertmanager, or run tenon run on a machine that reaches the cluster", u.ID, r)
			}
		}
	}
	in, err := w.inputs(ctx, sys) // also looks for artifacts
	if err != nil {
		return nil, err
	}
	p, err := w.recordedPlan(ctx, last)
	if err != nil {
		return nil, err
	}
	p.System, p.Blobs, p.Dir = sys, w.code(ctx, sys.Units), in.Dir
	setup, err := w.setup(ctx, sys.Name)
	if err != nil {
		return nil, err
	}
	x, err := detacher(sys.Target, setup)
	if err != nil {
		return nil, err
	}
	sent := sentController{Lineage: setup.State, Env: w.set.Env, Dir: in.Dir, Every: o.Every, Parallel: o.Parallel, Metrics: port}
	if sent.By, err = w.set.identity(); err != nil {
		return nil, err
	}
	program := x.Controller(setup.State)
	_, sent.Once = program.(executors.ScheduledProgram)
	if sent.Once && port != 0 {
		return nil, errors.New("a controller on a schedule does not serve metrics: leave out --metrics")
	}
	if err := w.checkTrackingThere(sys, sent.Once); err != nil {
		return nil, err
	}
	w.set.notify(Notice{Text: "sending images and data ..."})
	group, inGroup := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		sent.Packed, err = x.Pack(inGroup, p)
		return err
	})
	group.Go(func() (err error) {
		var units []*ir.Unit
		for i := range sys.Units {
			units = append(units, &sys.Units[i])
		}
		sent.Files, err = w.send(inGroup, in.Dir, units)
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	before, err := program.Status(ctx)
	if err != nil {
		return nil, err
	}
	launch := executors.Launch{Base: p.Images[sys.Target.Base()], Metrics: port, State: w.set.State, Secrets: cloud.SecretVariables(sys)}
	if err := w.start(ctx, program, launch, sent, o.Args); err != nil {
		return nil, err
	}
	if p, ok := program.(executors.ScheduledProgram); ok {
		return w.awaitPass(ctx, p)
	}
	d, err := w.awaitThere(ctx, program, before, startsThereWithin)
	if err == nil && port != 0 {
		d.Metrics = fmt.Sprintf("http://%s.%s.svc:%d/metrics", d.Deployment, d.Namespace, port)
	}
	return d, err
}

// firstPort is the lowest port at which the user of a pod may listen.
const firstPort = 1024

// metricsPort returns the port of an address at which a controller in a cluster answers Prometheus, or 0 for "".
func metricsPort(address string) (int, error) {
	if address == "" {
		return 0, nil
	}
	host, number, err := net.SplitHostPort(address)
	port, bad := strconv.Atoi(number)
	if err != nil || bad != nil || port < firstPort || port > math.MaxUint16 || !slices.Contains([]string{"", "0.0.0.0", "::"}, host) {
		return 0, fmt.Errorf("in a cluster, --metrics takes a port from %d on and no host, such as :9464, not %q: a Service leads to it", firstPort, address)
	}
	return port, nil
}

// startsThereWithin is how long a controller in a cluster may take until it watches: a node may have to be added for it.
const startsThereWithin = 10 * time.Minute

// awaitThere waits until a controller watches in its cluster. One that cannot is removed. One that may yet, when the time is
// over, stays.
func (w *Workspace) awaitThere(ctx context.Context, program executors.DetachedProgram, before state.Status, within time.Duration) (*DetachedController, error) {
	job, deadline := program.Job(), time.Now().Add(within)
	for said := ""; ; {
		st, err := program.Status(ctx)
		if err != nil {
			return nil, err
		}
		if st.Phase == state.Failed {
			err := fmt.Errorf("the controller does not start: %s", cmp.Or(st.Message, "unknown reason"))
			return nil, errors.Join(err, program.End(context.WithoutCancel(ctx)))
		}
		if c, err := w.watching(ctx); err != nil {
			return nil, err
		} else if c != nil && st.Phase == state.Ready && strings.HasPrefix(c.Holder.Host, job.Name+"-") {
			same := before.Phase == state.Ready && before.Started.Equal(st.Started)
			d := detachedThere(program, st)
			d.Unchanged = same
			return d, nil
		}
		if st.Message != said && st.Message != "" {
			w.set.notify(Notice{Text: "waits: " + st.Message})
		}
		said = st.Message
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("the controller does not watch after %s: %s; it stays, and watches once it can: tenon run --status shows it, and tenon run --stop removes it",
				within, cmp.Or(said, "its pod runs, and has not opened the state"))
		}
		if err := pause(ctx, lookForController); err != nil {
			return nil, err
		}
	}
}

// pause waits, or returns why ctx ended.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// controllerThere returns the controller in the cluster of what was applied last, whether it exists
// or not, or nil if there can be none.
func (w *Workspace) controllerThere(ctx context.Context) (executors.DetachedProgram, error) {
	if !w.store.Shared() {
		return nil, nil
	}
	last, err := w.declared(ctx)
	if errors.Is(err, errNoRevision) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	sys, err := w.system(ctx, last)
	if err != nil {
		if w.unshared(err) {
			err = &SettingError{ArtifactsSetting, err}
		}
		return nil, err
	}
	setup, err := w.setup(ctx, sys.Name)
	if err != nil {
		return nil, err
	}
	x, err := all.New(sys.Target, setup)
	if err != nil {
		return nil, err
	}
	if d, ok := x.(executors.Detacher); ok {
		return d.Controller(setup.State), nil
	}
	return nil, nil
}

// A ControllerStatus is what is known of the controller of an environment.
type ControllerStatus struct {
	// Controller is the one that the state knows, or nil.
	Controller *state.Controller `json:"controller,omitempty"`
	// Detached is where it runs on its own, or nil if it was not detached.
	Detached *DetachedController `json:"detached,omitempty"`
}

// ControllerStatus looks at the controller of the environment.
func (w *Workspace) ControllerStatus(ctx context.Context) (s ControllerStatus, err error) {
	if s.Controller, err = w.store.Controller(ctx); err != nil {
		return s, err
	}
	program, err := w.controllerThere(ctx)
	if err != nil {
		return s, err
	}
	if program != nil {
		st, err := program.Status(ctx)
		if err != nil {
			return s, err
		}
		if st.Phase != state.Absent {
			s.Detached = detachedThere(program, st)
			return s, nil
		}
	}
	if c := s.Controller; c != nil && c.Holder.Command == DetachCommand {
		s.Detached = &DetachedController{PID: c.Holder.PID, Host: c.Holder.Host}
		if c.Holder.Here() {
			s.Detached.Log = w.controllerLog()
		}
	}
	return s, nil
}

// StopController ends the controller of the environment that was detached, and returns it, or nil if
// there is none. What runs for it is ended in an orderly way.
func (w *Workspace) StopController(ctx context.Context) (*DetachedController, error) {
	s, err := w.ControllerStatus(ctx)
	if err != nil || s.Detached == nil {
		return nil, err
	}
	if s.Detached.Deployment != "" || s.Detached.Rule != "" {
		program, err := w.controllerThere(ctx)
		if err != nil {
			return nil, err
		}
		w.set.notify(Notice{Text: fmt.Sprintf("stopping %s ...", program.Job().Name)})
		return s.Detached, program.End(ctx)
	}
	switch c := s.Controller; {
	case c.Gone:
		return nil, nil
	case !c.Holder.Here():
		return nil, fmt.Errorf("the controller is process %d on %s: run tenon run --stop there", c.Holder.PID, c.Holder.Host)
	}
	return s.Detached, w.stopHere(ctx, s.Controller)
}

// ControllerLog copies the output of the controller that was detached. With follow, it continues until
// that ends or ctx is done.
func (w *Workspace) ControllerLog(ctx context.Context, to io.Writer, follow bool) error {
	program, err := w.controllerThere(ctx)
	if err != nil {
		return err
	}
	if program != nil {
		st, err := program.Status(ctx)
		if err != nil {
			return err
		}
		if st.Phase != state.Absent {
			if err := program.Log(ctx, to, follow); err != nil && ctx.Err() == nil {
				return err
			}
			return nil
		}
	}
	return w.copyControllerLog(ctx, to, follow)
}

// endController ends a detached controller after everything was destroyed: there is nothing left to
// watch. If it cannot be ended it does nothing either, and is only reported.
func (w *Workspace) endController(ctx context.Context) error {
	_, err := w.StopController(ctx)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil && !w.unshared(err):
		w.set.warn(fmt.Errorf("a detached controller may still run: %w", err))
	}
	return nil
}
