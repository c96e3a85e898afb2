package project

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/internal/mlflow"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A tracker implements [executors.Tracker]: it writes what happens into a spool, and sends it to the server at the same time.
type tracker struct {
	w      *Workspace
	to     *ir.Tracking
	about  map[string]string // tags of all runs of this apply
	id     string            // begins the IDs of runs
	spool  mlflow.Spool
	wake   chan struct{}
	ended  chan struct{}
	done   chan struct{}
	stop   context.CancelFunc // of what is being sent
	mu     sync.Mutex
	warned map[string]bool
}

func (w *Workspace) spool() mlflow.Spool { return mlflow.Spool{Dir: filepath.Join(w.dir, "tracking")} }

// track returns a tracker for a system that has one, or nil. Close it.
func (w *Workspace) track(ctx context.Context, sys *ir.System, commit string) (*tracker, error) {
	if err := w.closeTracked(ctx); err != nil || sys.Tracking == nil {
		return nil, err
	}
	m, err := w.store.Meta(ctx)
	if err != nil {
		return nil, err
	}
	t := &tracker{
		w: w, to: sys.Tracking, id: m.Lineage, spool: w.spool(), about: map[string]string{"tenon.system": sys.Name},
		wake: make(chan struct{}, 1), ended: make(chan struct{}), done: make(chan struct{}), warned: map[string]bool{},
	}
	for name, value := range map[string]string{"tenon.environment": m.Env, "mlflow.source.git.commit": strings.TrimSuffix(commit, Dirty), "tenon.commit": commit} {
		if value != "" {
			t.about[name] = value
		}
	}
	if who, err := w.set.identity(); err == nil {
		t.about["mlflow.user"] = who
	}
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	t.stop = stop
	go t.deliver(sending)
	return t, nil
}

// append writes to the spool. If that fails, the apply continues.
func (t *tracker) append(run int64, all ...mlflow.Entry) {
	err := t.spool.Append(run, all...)
	if err != nil {
		t.warn(fmt.Sprintf("tracking of run %d: %v", run, err))
	}
	select {
	case t.wake <- struct{}{}:
	default: // it is awake
	}
}

// warn shows a warning once.
func (t *tracker) warn(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.warned[text] {
		t.warned[text] = true
		t.w.set.notify(Notice{Text: text, Warning: true})
	}
}

// Began tracks jobs that make a model. Others are tracked once they log something.
func (t *tracker) Began(u *ir.Unit, r state.Run) {
	if makesModel(u) {
		t.begin(u, r)
	}
}

// makesModel reports whether the unit makes a model.
func makesModel(u *ir.Unit) bool {
	for _, out := range u.Outputs {
		if out.Kind == ir.Model {
			return true
		}
	}
	return false
}

func (t *tracker) begin(u *ir.Unit, r state.Run) {
	if !t.spool.Has(r.ID) {
		t.append(r.ID, mlflow.Entry{Run: t.describe(u, r)})
	}
}

// idOf ends the ID of a run.
func idOf(r state.Run) string { return fmt.Sprintf("/%d/%d", r.ID, r.Started.UnixMilli()) }

// describe returns what a run is created with.
func (t *tracker) describe(u *ir.Unit, r state.Run) *mlflow.Run {
	out := &mlflow.Run{
		URI: t.to.URI, Experiment: t.to.Experiment, ID: t.id + idOf(r), Name: fmt.Sprintf("%s #%d", r.Unit, r.ID),
		Started: r.Started.UnixMilli(), Params: map[string]string{}, Tags: map[string]string{
			"mlflow.source.name": r.Unit, "mlflow.source.type": "JOB", "tenon.unit": r.Unit, "tenon.component": u.Component, "tenon.key": r.Key,
			"tenon.revision": fmt.Sprint(r.Revision), "tenon.attempt": fmt.Sprint(r.Attempt),
		},
	}
	for name, value := range t.about {
		out.Tags[name] = value
	}
	for port, digest := range r.Inputs {
		out.Tags["tenon.input."+port] = digest
	}
	if params, err := flat(t.w.paramsOf(u, r.Inputs)); err == nil {
		for name, v := range params {
			text, ok := v.(string)
			if !ok {
				b, _ := json.Marshal(v) // it was read from JSON
				text = string(b)
			}
			out.Params[name] = text
		}
	}
	out.Token, _ = json.Marshal(tokenOf{t.to.Token, t.to.PlainHTTP})
	return out
}

// Logged tracks values at a step. Without a time of their own, they have that at which the run began, so that they are the same
// when they are sent twice.
func (t *tracker) Logged(u *ir.Unit, r state.Run, p step.Progress) {
	t.begin(u, r)
	t.append(r.ID, mlflow.Entry{Metrics: &mlflow.Metrics{Step: p.Step, Time: cmp.Or(p.Time, r.Started.UnixMilli()), Values: p.Values}})
}

// Ended tracks the end of a run. The metrics of an evaluation become those of the training that made its model.
func (t *tracker) Ended(u *ir.Unit, r state.Run, made map[string]state.Run) {
	if t.spool.Has(r.ID) {
		t.append(r.ID, t.w.ending(r)...)
		return
	}
	all := t.w.found(r)
	for _, in := range u.Inputs {
		training, ok := made[in.Port]
		if in.Kind != ir.Model || in.Incumbent || !ok || r.Outcome != state.Done || len(all) == 0 {
			continue
		}
		of, err := t.w.trainedBy(training)
		if err != nil || of == nil {
			continue // the revision of that training was removed
		}
		first := mlflow.Entry{Run: t.describe(of, training)}
		for _, tag := range []string{"tenon.commit", "mlflow.source.git.commit", "mlflow.user"} {
			delete(first.Run.Tags, tag) // of this apply: another one may have trained the model before it was tracked
		}
		t.append(r.ID, append(append([]mlflow.Entry{first}, all...), endOfTraining(training)...)...)
		return
	}
}

// found returns what a run found: its metrics, and small files of its reports.
func (w *Workspace) found(r state.Run) (all []mlflow.Entry) {
	metrics := &mlflow.Metrics{Time: r.Finished.UnixMilli(), Values: map[string]step.Value{}}
	for name, x := range r.Metrics {
		metrics.Values[name] = step.Value(x)
	}
	if len(metrics.Values) > 0 {
		all = append(all, mlflow.Entry{Metrics: metrics})
	}
	for _, port := range slices.Sorted(maps.Keys(r.Outputs)) {
		all = append(all, w.reportOf(r.Unit, port, r.Outputs[port])...)
	}
	return all
}

// ending returns the last entries of the file of a run that has ended.
func (w *Workspace) ending(r state.Run) []mlflow.Entry {
	all := w.found(r)
	tags := map[string]string{}
	for port, a := range r.Outputs {
		tags["tenon.output."+port] = a.Digest
	}
	if len(tags) > 0 {
		all = append(all, mlflow.Entry{Tags: tags})
	}
	return append(all, mlflow.Entry{End: endOf(r)}, mlflow.Entry{Closed: true})
}

// endOfTraining returns the last entries of the file of an evaluation, which is about its training.
func endOfTraining(training state.Run) []mlflow.Entry {
	last := []mlflow.Entry{{Closed: true}}
	if !training.Finished.IsZero() {
		last = slices.Insert(last, 0, mlflow.Entry{End: endOf(training)})
	}
	return last
}

// trainedBy returns the unit of a training as it was then, or nil if that is no longer known.
func (w *Workspace) trainedBy(r state.Run) (*ir.Unit, error) {
	d := definitions{w: w, systems: map[revisionOf]*ir.System{}}
	u, err := d.unit(context.Background(), r)
	if err != nil || u == nil || !makesModel(u) {
		return nil, err
	}
	return u, nil
}

func endOf(r state.Run) *mlflow.End {
	status := map[state.Outcome]string{state.Done: "FINISHED", state.Canceled: "KILLED"}[r.Outcome]
	return &mlflow.End{Status: cmp.Or(status, "FAILED"), Time: r.Finished.UnixMilli()}
}

// maxSmall is how large a file may be, in bytes, that is sent along.
const maxSmall = 1 << 20

// reportOf returns the small files of a report.
func (w *Workspace) reportOf(unit, port string, a artifact.Artifact) (all []mlflow.Entry) {
	if a.Kind != string(ir.Report) {
		return nil
	}
	_, name := ir.SplitID(unit)
	for _, file := range []string{"report.json", "details.json"} {
		b, err := os.ReadFile(filepath.Join(w.artifacts.Path(a.Digest), file))
		if err == nil && len(b) <= maxSmall {
			all = append(all, mlflow.Entry{File: &mlflow.File{Name: strings.ReplaceAll(name, "/", "_") + "/" + port + "/" + file, Content: b}})
		}
	}
	return all
}

// Pauses of a tracker whose server does not answer, and how long the end of an apply waits for it.
const (
	firstPause = time.Second
	longPause  = 30 * time.Second
	lastWait   = 15 * time.Second
)

// deliver sends until the apply has ended.
func (t *tracker) deliver(ctx context.Context) {
	defer close(t.done)
	pause := firstPause
	for {
		select {
		case <-t.ended:
			return
		case <-t.wake:
		}
		for {
			_, err := t.w.sendTracked(ctx, t.warn)
			if err == nil {
				pause = firstPause
				break
			}
			select {
			case <-t.ended:
				return
			case <-time.After(pause):
				pause = min(2*pause, longPause)
			}
		}
		select { // so that values travel together
		case <-t.ended:
			return
		case <-time.After(firstPause):
		}
	}
}

// close sends the rest, if the server answers, and says what is left. A nil tracker has nothing to close.
func (t *tracker) close(ctx context.Context) {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWait)
	defer cancel()
	close(t.ended)
	select {
	case <-t.done:
	case <-ctx.Done():
	}
	t.stop()
	<-t.done // it holds the lock until then
	_, err := t.w.sendTracked(ctx, t.warn)
	if err != nil {
		t.warn(fmt.Sprintf("not everything was sent to MLflow, nothing is lost: %v\n  the next apply or tenon runs sync sends the rest", err))
	}
}

// errSending is the error of a second process that would send the same.
var errSending = errors.New("another tenon is sending at this moment")

// sendTracked sends what waits, and returns for how many runs something was sent.
func (w *Workspace) sendTracked(ctx context.Context, warn func(string)) (n int, err error) {
	s := w.spool()
	runs, err := s.Runs()
	if err != nil || len(runs) == 0 {
		return 0, err
	}
	lock, err := files.TryLock(filepath.Join(s.Dir, "sending.lock"))
	if err != nil {
		return 0, err
	}
	if lock == nil {
		return 0, errSending
	}
	defer lock.Close()
	type place struct{ uri, experiment, token string }
	down := map[place]error{} // where nothing can be sent
	for _, run := range runs {
		about, err := s.First(run)
		if err != nil {
			warn(fmt.Sprintf("tracking: %v: it is left out", err))
			continue
		}
		at := place{about.URI, about.Experiment, string(about.Token)}
		if down[at] != nil {
			continue
		}
		with, err := w.credentials(about)
		if err == nil {
			err = s.Send(ctx, run, with, func(what string, err error) { warn(fmt.Sprintf("%s: %v: it is left out", what, err)) })
		}
		if err != nil {
			down[at] = err
			continue
		}
		n++
	}
	var all []error
	for _, err := range down {
		all = append(all, err)
	}
	return n, errors.Join(all...)
}

// closeTracked closes the files of runs of the environment that have ended while nothing followed them, as after a kill. The lock is
// held, and nothing runs.
func (w *Workspace) closeTracked(ctx context.Context) error {
	s := w.spool()
	runs, err := s.Runs()
	if err != nil {
		return err
	}
	for _, run := range runs {
		r, err := w.store.Run(ctx, run)
		removed := errors.Is(err, state.ErrNotFound) // by tenon gc
		if err != nil && !removed {
			return err
		}
		if !removed && (r.Outcome == state.Started || r.Env != w.set.Env) {
			continue
		}
		if closed, err := s.Closed(run); err != nil || closed {
			continue // sending it reports the error
		}
		last := []mlflow.Entry{{Closed: true}}
		if !removed {
			if last, err = w.lastOf(ctx, *r); err != nil {
				return err
			}
		}
		if err := s.Append(run, last...); err != nil && !errors.Is(err, mlflow.ErrFull) {
			return err
		}
	}
	return nil
}

// lastOf returns the last entries of the file of a run that has ended. The file of an evaluation is about its training. What the
// file has already may be among them: it changes nothing when it arrives twice.
func (w *Workspace) lastOf(ctx context.Context, r state.Run) ([]mlflow.Entry, error) {
	about, err := w.spool().First(r.ID)
	if err != nil || strings.HasSuffix(about.ID, idOf(r)) {
		return w.ending(r), nil // sending the file reports the error
	}
	var training int64
	if parts := strings.Split(about.ID, "/"); len(parts) > 2 {
		training, _ = strconv.ParseInt(parts[len(parts)-2], 10, 64)
	}
	all := w.found(r)
	made, err := w.store.Run(ctx, training)
	switch {
	case errors.Is(err, state.ErrNotFound), err == nil && !strings.HasSuffix(about.ID, idOf(*made)): // removed by tenon gc
		return append(all, mlflow.Entry{Closed: true}), nil
	case err != nil:
		return nil, err
	}
	return append(all, endOfTraining(*made)...), nil
}

// SyncTracked sends what waits for a tracking server. It returns for how many runs something was sent, and for how many
// something still waits.
func (s *Session) SyncTracked(ctx context.Context) (sent, left int, err error) {
	if err := s.closeTracked(ctx); err != nil {
		return 0, 0, err
	}
	sent, err = s.sendTracked(ctx, func(text string) { s.set.notify(Notice{Text: text, Warning: true}) })
	runs, listErr := s.spool().Runs()
	return sent, len(runs), errors.Join(err, listErr)
}

// tokenOf says where the token of a server is.
type tokenOf struct {
	Token     *ir.Secret `json:"token,omitempty"`
	PlainHTTP bool       `json:"plain_http,omitempty"`
}

// credentials returns those for a server. They are in memory only.
func (w *Workspace) credentials(about *mlflow.Run) (c mlflow.Credentials, err error) {
	var of tokenOf
	if err := json.Unmarshal(about.Token, &of); err != nil {
		return c, fmt.Errorf("tracking of %s: %w", about.Name, err)
	}
	if of.Token != nil {
		if c.Token, err = w.secret(*of.Token); err != nil {
			return c, fmt.Errorf("token of %s: %w", about.URI, err)
		}
	} else {
		for i, to := range []*string{&c.Token, &c.User, &c.Password} {
			*to, _ = w.set.lookup(environmentCredentials[i])
		}
	}
	u, err := url.Parse(about.URI)
	if err != nil {
		return c, err
	}
	local := u.Hostname() == "localhost" || u.Hostname() == "::1" || strings.HasPrefix(u.Hostname(), "127.")
	if c != (mlflow.Credentials{}) && u.Scheme == "http" && !local && !of.PlainHTTP {
		return mlflow.Credentials{}, fmt.Errorf("%s gets no credentials without TLS: use https, or permit it with plain_http: true", about.URI)
	}
	return c, nil
}

// environmentCredentials are the variables with the token, user and password of a server without a declared token.
var environmentCredentials = []string{"MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"}

// checkTrackingThere returns an error if a controller that runs elsewhere certainly lacks the token of the tracking server, and warns if
// it may lack credentials. What it cannot send is lost with its container. One in a cluster has the variables of the Secrets
// of its target, one on a schedule only the secrets of units.
func (w *Workspace) checkTrackingThere(sys *ir.System, scheduled bool) error {
	to := sys.Tracking
	if to == nil {
		return nil
	}
	var needs []string
	switch t := to.Token; {
	case t != nil && (scheduled || t.Env == ""):
		return fmt.Errorf("tracking needs the token of %s, a secret of this machine that the controller would lack: what it tracks would be lost; "+
			"run tenon run on a machine that has the token, or remove tracking", to.URI)
	case t != nil:
		needs = []string{t.Env}
	default:
		for _, name := range environmentCredentials {
			if value, _ := w.set.lookup(name); value != "" {
				needs = append(needs, name)
			}
		}
	}
	if len(needs) == 0 {
		return nil
	}
	text := fmt.Sprintf("the controller gets %s only from state_secret of the target: where it is not there, what the controller tracks is lost if %s asks for credentials\n"+
		"  add it to that Secret of the cluster", strings.Join(needs, ", "), to.URI)
	if scheduled {
		text = fmt.Sprintf("the controller does not get %s: what it tracks is lost if %s asks for credentials\n"+
			"  run tenon run on a machine with these credentials to keep it", strings.Join(needs, ", "), to.URI)
	}
	w.set.notify(Notice{Text: text, Warning: true})
	return nil
}
