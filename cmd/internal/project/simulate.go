package project

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/cmd/internal/control"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner/state"
)

// SimulateOptions say what is simulated.
type SimulateOptions struct {
	// Loops are names such as "late", of the system in the folder; "late@7", as revision 7 has it; or
	// "late@DIR", as the system in another folder has it. Without any, it is the only loop.
	Loops    []string
	From, To time.Time
	// Requests is a table of the system, each row of which is a request. Without one, requests are
	// those of the request log.
	Requests string
	Train    bool          // train for real, on the rows known at the moment
	Takes    time.Duration // how long a training takes in virtual time
}

// A Simulation is what loops would have done.
type Simulation struct {
	From     time.Time       `json:"from"`
	To       time.Time       `json:"to"`
	Requests string          `json:"requests"` // where they are recorded
	Trained  bool            `json:"trained"`  // for real
	Loops    []SimulatedLoop `json:"loops"`
}

// A SimulatedLoop is what one loop would have done. Times are virtual.
type SimulatedLoop struct {
	Loop string `json:"loop"` // as asked for
	Unit string `json:"unit"`
	// Rows are the recorded requests from From to To.
	Rows      int64              `json:"rows"`
	Versions  []SimulatedVersion `json:"versions"`
	Acts      []SimulatedAct     `json:"acts"`     // the oldest first
	Alerts    []SimulatedAlert   `json:"alerts"`   // the oldest first
	Measured  map[string]int     `json:"measured"` // measurements by verdict
	Judge     string             `json:"judge"`    // the monitor by which quality is measured
	Metric    string             `json:"metric"`   // of it, which the report shows; "" if there is no such monitor
	Quality   []SimulatedQuality `json:"quality"`  // of one period after the other
	Overall   *SimulatedQuality  `json:"overall,omitempty"`
	Trainings SimulatedTrainings `json:"trainings"`
	Notes     []string           `json:"notes,omitempty"`
}

// A SimulatedVersion is a version of the model that was in service.
type SimulatedVersion struct {
	Number int       `json:"number"` // from 1
	Of     string    `json:"of"`     // "version 3 of the registry", "trained on rows before 2013-10-08 00:00 UTC"
	Digest string    `json:"digest"`
	Since  time.Time `json:"since"` // when it began to answer
}

// A SimulatedAct is something that a loop would have done. Version is the one in service
// afterwards, if it may be another one.
type SimulatedAct struct {
	At      time.Time         `json:"at"`
	Act     state.LoopActKind `json:"act"`
	Reason  string            `json:"reason"`
	Cause   string            `json:"cause,omitempty"`
	Outcome string            `json:"outcome,omitempty"` // of a training or a rollback
	Version int               `json:"version,omitempty"`
	// Missing is set for a training that would have happened, and of which no recorded version is.
	Missing bool `json:"missing,omitempty"`
}

// LoopStep is the act of a step of a release, beside those of the record of a loop.
const LoopStep state.LoopActKind = "step"

// A SimulatedAlert is a series of alerts of a monitor about one version.
type SimulatedAlert struct {
	Monitor string    `json:"monitor"`
	At      time.Time `json:"at"`    // of the first
	Last    time.Time `json:"last"`  // of the last
	Count   int       `json:"count"` // measurements
	Version int       `json:"version"`
	Reason  string    `json:"reason"` // of the first
	// Was is [AlertLoss], [AlertFalse] or [AlertUnknown], and Why says so with figures.
	Was string `json:"was"`
	Why string `json:"why"`

	begin time.Time // of the window of the first
}

// What an alert turned out to be.
const (
	AlertLoss    = "loss"    // quality was lost
	AlertFalse   = "false"   // it was not
	AlertUnknown = "unknown" // there are no labels, or no gates
)

// A SimulatedQuality is the quality of a period, with the loop and with the first version alone.
// Figures are by the name of the metric; one that cannot be computed is missing.
type SimulatedQuality struct {
	Begin   time.Time          `json:"begin"`
	End     time.Time          `json:"end"`
	Rows    int64              `json:"rows"` // requests
	With    map[string]float64 `json:"with"`
	Without map[string]float64 `json:"without"`
}

// SimulatedTrainings are what trainings took. Without the loop, there are none.
type SimulatedTrainings struct {
	Done     int           `json:"done"`
	Failed   int           `json:"failed"`
	Missing  int           `json:"missing"` // that would have happened
	Took     time.Duration `json:"took_ns"` // of all jobs, where they ran
	Cost     money.Amount  `json:"cost"`    // in billionths of the currency
	Currency string        `json:"currency,omitempty"`
}

// Simulate runs loops over recorded requests in virtual time: the controller of tenon run, with
// another engine and another clock. It changes nothing in the state.
func (w *Workspace) Simulate(ctx context.Context, o SimulateOptions) (_ *Simulation, err error) {
	switch {
	case !o.From.Before(o.To):
		return nil, &RequestError{fmt.Errorf("the time to simulate is empty: %s is not before %s", o.From.UTC().Format(time.DateTime), o.To.UTC().Format(time.DateTime))}
	case o.To.After(time.Now()):
		return nil, &RequestError{errors.New("the time to simulate ends in the future: nothing is recorded of that")}
	}
	names := o.Loops
	if len(names) == 0 {
		names = []string{""}
	}
	deployed, err := w.deployed(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "tenon-simulate-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, files.RemoveAll(dir)) }()
	out := &Simulation{From: o.From.UTC(), To: o.To.UTC(), Trained: o.Train}
	for i, name := range names {
		s := &simulation{Workspace: w, o: o, deployed: deployed, dir: filepath.Join(dir, strconv.Itoa(i))}
		if err := os.Mkdir(s.dir, 0o755); err != nil {
			return nil, err
		}
		l, err := s.run(ctx, name)
		if err != nil {
			return nil, err
		}
		out.Requests = s.recorded
		out.Loops = append(out.Loops, *l)
	}
	return out, nil
}

// run simulates one loop.
func (s *simulation) run(ctx context.Context, name string) (_ *SimulatedLoop, err error) {
	if err := s.declared(ctx, name); err != nil {
		return nil, err
	}
	if s.o.Train {
		if _, err := s.trainsOn(); err != nil {
			return nil, err
		}
	}
	s.out.Loop = name
	if name == "" {
		s.out.Loop = strings.TrimPrefix(s.loop.ID, "loops/")
	}
	if s.duck, err = s.startDuck(ctx, s.loop, simulateCommand); err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, s.duck.close())
		for _, w := range s.states {
			err = errors.Join(err, w.Close())
		}
	}()
	if err := s.take(ctx); err != nil {
		return nil, err
	}
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	virtual, cancel := context.WithCancel(ctx)
	defer cancel()
	s.clock, s.cancel = &virtualClock{began: s.o.From, now: s.o.From, end: s.o.To, over: cancel}, cancel
	if err := control.Run(virtual, func(context.Context) (control.Engine, error) { return s, nil }, control.Options{Every: lookEvery, Clock: s.clock, Events: func(control.Event) {}}); err != nil {
		return nil, err
	}
	if err := errors.Join(context.Cause(ctx), s.err); err != nil {
		return nil, fmt.Errorf("simulate %s: %w", s.loop.ID, err)
	}
	return s.out, s.report(ctx)
}

// lookEvery is how often the simulated controller looks, in virtual time. It also looks when something is due.
const lookEvery = 5 * time.Minute

// declared finds the loop and what belongs to it.
func (s *simulation) declared(ctx context.Context, name string) error {
	name, at, _ := strings.Cut(name, "@")
	of := "the system in this folder"
	switch number, err := strconv.Atoi(at); {
	case at != "" && err == nil:
		of = "revision @" + at
		r, err := s.revision(ctx, number)
		if err != nil {
			return err
		}
		if s.system, err = s.Workspace.system(ctx, r); err != nil {
			return err
		}
		s.blobs = s.code(ctx, s.system.Units)
	default:
		p := s.Project
		if at != "" {
			of, p = at, p.in(at)
		}
		r, err := p.Compile(ctx)
		if err != nil {
			return err
		}
		s.system, s.blobs = r.System, r.Blobs
	}
	if s.deployed.system != s.system.Name {
		return &RequestError{fmt.Errorf("%s is %q, and the state is of %q: requests, labels and versions of it are not recorded there", of, s.system.Name, s.deployed.system)}
	}
	found := &snapshot{system: s.system.Name, units: map[string]*ir.Unit{}, of: of}
	for i := range s.system.Units {
		found.units[s.system.Units[i].ID] = &s.system.Units[i]
	}
	var err error
	if s.loop, err = found.one("loops", name, isLoop, "loops: late: loop.#Retrain"); err != nil {
		return err
	}
	s.out = &SimulatedLoop{Unit: s.loop.ID, Measured: map[string]int{}, Acts: []SimulatedAct{}, Alerts: []SimulatedAlert{}, Quality: []SimulatedQuality{}}
	return s.watched(found)
}

// watched finds the monitors of the loop, and the one by which quality is measured.
func (s *simulation) watched(all *snapshot) error {
	s.monitors = map[string]*ir.Unit{}
	for _, w := range s.loop.Loop.When {
		if w.Data != "" {
			return s.refused("it is called by rows of %s: only schedules and monitors can be simulated", w.Data)
		}
	}
	for _, id := range s.loop.Loop.Monitors() {
		u := all.units[id]
		if u == nil || u.Monitor == nil || (u.Monitor.Drift == nil || u.Monitor.Drift.Answers || u.Monitor.Drift.Source != "") && u.Monitor.Quality == nil {
			return s.refused("%s cannot be measured on recorded requests: only a monitor.#Drift against a model and a monitor.#Quality can", id)
		}
		s.monitors[id] = u
	}
	isJudge := func(u *ir.Unit) bool {
		entity := ""
		if u.Monitor != nil && u.Monitor.Quality != nil {
			entity, _ = ir.SplitID(u.Monitor.Deployment)
		}
		return entity != "" && slices.Contains(s.loop.Loop.Deployments, entity)
	}
	judges := all.having(isJudge)
	slices.SortStableFunc(judges, func(a, b string) int { // those of the loop first
		return boolOrder(s.monitors[b] != nil) - boolOrder(s.monitors[a] != nil)
	})
	if len(judges) > 0 {
		s.judge = all.units[judges[0]]
		s.out.Judge = s.judge.ID
	}
	watching := s.watching()
	if len(watching) == 0 {
		return s.refused("it has no monitors, and no monitor.#Quality watches its model: a simulation could only show its schedule")
	}
	s.service = watching[0].Monitor.Deployment
	for _, u := range watching {
		if u.Monitor.Deployment != s.service {
			return s.refused("its monitors watch both %s and %s: requests of one deployment can be simulated", s.service, u.Monitor.Deployment)
		}
		s.delay = max(s.delay, u.Monitor.Delay())
	}
	return nil
}

func boolOrder(b bool) int {
	if b {
		return 1
	}
	return 0
}

// watching returns the monitors that are measured, sorted.
func (s *simulation) watching() (all []*ir.Unit) {
	for _, u := range s.monitors {
		all = append(all, u)
	}
	if s.judge != nil && s.monitors[s.judge.ID] == nil {
		all = append(all, s.judge)
	}
	slices.SortFunc(all, func(a, b *ir.Unit) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// refused says why a loop cannot be simulated.
func (s *simulation) refused(format string, args ...any) error {
	return &RequestError{fmt.Errorf("%s cannot be simulated: "+format, append([]any{s.loop.ID}, args...)...)}
}
