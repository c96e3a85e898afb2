package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// What a controller costs: while nothing happens but measurements, and to decide.
const (
	overheadRow  = "tenon run, each measured every minute"
	overheadGoal = 0.02 // of a core
	monitorOf    = 100  // columns of a monitor

	decisionRow  = "a look at loops that decide"
	decisionGoal = 500 * time.Millisecond
	actsOf       = 8 // in the record of a loop
)

// measureController measures both.
func (b *bench) measureController(ctx context.Context) error {
	return errors.Join(b.measureOverhead(ctx), b.measureDecisions(ctx))
}

// measureOverhead measures the CPU time of a controller, and of all that it starts, beside the time that
// passes meanwhile. It measures a service with [monitorOf] columns, again and again by as many monitors
// as are needed.
func (b *bench) measureOverhead(ctx context.Context) (err error) {
	if !b.wants(overheadRow, b.columns) {
		return nil
	}
	b.say(overheadRow, b.columns)
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	dir := b.path("monitored")
	if err := writeMonitored(dir, ports[0], b.columns/monitorOf); err != nil {
		return err
	}
	// Python environments may be in the cache of the user.
	env := slices.DeleteFunc(slices.Clone(os.Environ()), func(kv string) bool { return strings.HasPrefix(kv, "TENON_CACHE=") })
	defer func() {
		_, destroyErr := b.run(context.WithoutCancel(ctx), command{args: []string{b.tenon, "destroy", "--yes", dir}, env: env})
		err = errors.Join(err, destroyErr)
	}()
	if _, err := b.run(ctx, command{args: []string{b.tenon, "apply", "--yes", dir}, env: env}); err != nil {
		return err
	}
	if err := askMonitored(ctx, ports[0]); err != nil {
		return err
	}
	watched := 0
	asking, stop := context.WithCancel(ctx)
	asked := make(chan error, 1)
	go func() { asked <- keepAsking(asking, ports[0]) }()
	s, err := b.run(ctx, command{
		// timeout(1) ends it as a user does, with one signal.
		args: []string{"timeout", "--foreground", "--preserve-status", "-s", "TERM", fmt.Sprint(b.watch.Seconds()), b.tenon, "run", dir}, env: env,
		check: func(out string) error {
			watched = strings.Count(out, "measured: monitors/")
			if least := b.columns / monitorOf * int(b.watch/time.Minute); watched < least || strings.Contains(out, "unknown") || strings.Contains(out, "failed") {
				return fmt.Errorf("it has measured %d times, want at least %d", watched, least)
			}
			return nil
		}})
	stop()
	if err := errors.Join(err, <-asked); err != nil {
		return err
	}
	share := s.cpu.Seconds() / s.wall.Seconds()
	b.rows = append(b.rows, tableRow{
		Case: overheadRow, Size: b.columns, Of: "columns", Tenon: timing{s.cpu, s.cpu, s.peak, 1}, Beside: "the time that passed", Other: &timing{Wall: s.wall, Runs: 1},
		Goals: []goal{{Want: fmt.Sprintf("at most %.0f %% of a core", 100*overheadGoal), Got: fmt.Sprintf("%.1f %%", 100*share), Met: share <= overheadGoal}},
	})
	return nil
}

// writeMonitored writes a system with a service that some monitors measure.
func writeMonitored(dir string, port, monitors int) error {
	var schema, csv strings.Builder
	random := rand.New(rand.NewPCG(1, 2))
	csv.WriteString("id,late")
	for c := range monitorOf {
		fmt.Fprintf(&schema, "\t\tx%d: col.#Float64\n", c)
		fmt.Fprintf(&csv, ",x%d", c)
	}
	for row := range 1000 {
		fmt.Fprintf(&csv, "\n%d,%v", row, row%2 == 0)
		for range monitorOf {
			fmt.Fprintf(&csv, ",%.4f", random.NormFloat64())
		}
	}
	system := fmt.Sprintf(`package monitored

import (
	"list"

	"tenon.dev/col"
	"tenon.dev/evaluate"
	"tenon.dev/monitor"
	"tenon.dev/serve"
	"tenon.dev/source"
	"tenon.dev/split"
	"tenon.dev/tenon"
	"tenon.dev/train"
)

tenon.#System
name: "monitored"

sources: rows: source.#CSV & {
	path: "rows.csv"
	keys: ["id"]
	schema: {
		id:   col.#Int64
		late: col.#Bool
%s	}
}
models: late: train.#SKLearn & {
	in: table: sources.rows.out
	label: "late"
	test: split.#Random & {fraction: 0.3}
	estimator:  "sklearn.linear_model.LogisticRegression"
	evaluation: evaluate.#Classification
}
deployments: api: serve.#HTTP & {
	in: model: models.late.out
	port: %d
	log: interval: "1s"
}
monitors: {for i in list.Range(0, %d, 1) {
	"m\(i)": monitor.#Drift & {
		on:      deployments.api.out
		against: models.late.out
		every:   "1m"
	}
}}
`, schema.String(), port, monitors)
	f := &folder{dir: dir}
	f.module()
	f.write("rows.csv", csv.String()+"\n")
	f.write("system.cue", system)
	return f.err
}

// askMonitored asks for predictions, and waits until they are in the log.
func askMonitored(ctx context.Context, port int) error {
	random := rand.New(rand.NewPCG(3, 4))
	for range 10 {
		if err := askOnce(ctx, port, random); err != nil {
			return err
		}
	}
	time.Sleep(3 * time.Second) // for the log
	return nil
}

// keepAsking asks for 100 predictions every 10 s until ctx ends, so that each measurement has other rows.
func keepAsking(ctx context.Context, port int) error {
	random := rand.New(rand.NewPCG(5, 6))
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(10 * time.Second):
		}
		if err := askOnce(ctx, port, random); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// askOnce asks for 100 predictions.
func askOnce(ctx context.Context, port int, random *rand.Rand) error {
	instances := make([]map[string]float64, 100)
	for i := range instances {
		instances[i] = map[string]float64{}
		for c := range monitorOf {
			instances[i][fmt.Sprintf("x%d", c)] = random.NormFloat64()
		}
	}
	body, err := json.Marshal(map[string]any{"instances": instances})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d/predict", port), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("predict: %s", resp.Status)
	}
	return nil
}

// measureDecisions measures one look of a controller at loops of which none has to act, and the
// decisions alone.
func (b *bench) measureDecisions(ctx context.Context) error {
	if !b.wants(decisionRow, b.loops) {
		return nil
	}
	b.say(decisionRow, b.loops)
	dir := b.path("loops")
	loops, err := writeLoops(ctx, dir, b.loops)
	if err != nil {
		return err
	}
	w, err := project.New(project.Settings{Dir: dir}).OpenApplied(ctx)
	if err != nil {
		return err
	}
	engine := w.Controlled(project.ApplyOptions{})
	now := time.Now()
	var looks, alone []sample
	for begin := time.Now(); len(looks) < 3 || time.Since(begin) < b.time/4; {
		look := stopwatch()
		if _, err := engine.Look(ctx); err != nil {
			return errors.Join(err, engine.Close())
		}
		for _, u := range loops {
			d, err := engine.Decide(ctx, u.ID, now)
			if err == nil && d.Act != "" {
				err = fmt.Errorf("%s decides %s: %s", u.ID, d.Act, d.Reason)
			}
			if err != nil {
				return errors.Join(err, engine.Close())
			}
		}
		looks = append(looks, look())
		states := make([]*planner.LoopState, len(loops))
		for i, u := range loops {
			if states[i], err = w.LoopState(ctx, u); err != nil {
				return errors.Join(err, engine.Close())
			}
		}
		decide := stopwatch()
		for i, u := range loops {
			planner.DecideLoop(*u.Loop, *states[i], now)
		}
		alone = append(alone, decide())
	}
	m, other := medians(looks), medians(alone)
	b.rows = append(b.rows, tableRow{Case: decisionRow, Size: b.loops, Of: "loops", Tenon: m, Beside: "the decisions alone", Other: &other, Goals: []goal{wallGoal(m, decisionGoal)}})
	return engine.Close()
}

// stopwatch measures what this process does until its result is called.
func stopwatch() func() sample {
	cpu := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			return 0
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	start, before := time.Now(), cpu()
	return func() sample { return sample{wall: time.Since(start), cpu: cpu() - before} }
}

// writeLoops writes the state of a system with loops whose models were trained some times.
func writeLoops(ctx context.Context, dir string, n int) (loops []*ir.Unit, err error) {
	stateDir := filepath.Join(dir, ".tenon")
	err = withLease(ctx, stateDir, func(lease *state.Lease) error {
		revision, err := lease.BeginRevision(ctx, state.Revision{System: "loops", Target: "local"})
		if err != nil {
			return err
		}
		for i := range n {
			model := fmt.Sprintf("models/m%d", i)
			for _, u := range []*ir.Unit{
				{ID: model + "/register", Entity: model, Kind: ir.Record},
				{ID: fmt.Sprintf("loops/l%d", i), Entity: fmt.Sprintf("loops/l%d", i), Kind: ir.Record, Loop: &ir.Loop{
					Model: model, When: []ir.LoopTrigger{{Schedule: "0 3 * * *", Zone: "Europe/Berlin"}}, CatchUp: ir.CatchUpOnce, CoolDown: time.Hour, AtMost: &ir.LoopLimit{Runs: 4, Per: 7 * 24 * time.Hour},
				}},
			} {
				u.Digest = u.ID
				if err := recordRun(ctx, lease, state.Run{Key: u.ID, Unit: u.ID, Definition: u.Digest, Revision: revision, Attempt: 1}, u); err != nil {
					return err
				}
				if u.Loop != nil {
					loops = append(loops, u)
				}
			}
		}
		return lease.EndRevision(ctx, revision, state.Done, "")
	})
	if err != nil {
		return nil, err
	}
	store, err := state.Open(ctx, stateDir)
	if err != nil {
		return nil, err
	}
	for _, u := range loops {
		for k := range actsOf / 2 {
			at := time.Now().Add(time.Duration(k-actsOf) * 24 * time.Hour)
			if k == actsOf/2-1 {
				at = time.Now() // nothing has fired since
			}
			number, err := store.AddLoopAct(ctx, state.LoopAct{Loop: u.ID, At: at, Act: state.LoopRetrain, Cause: "schedule"})
			if err == nil {
				_, err = store.AddLoopAct(ctx, state.LoopAct{Loop: u.ID, At: at.Add(time.Millisecond), Act: state.LoopRetrained, Of: number, Revision: 1})
			}
			if err != nil {
				return nil, errors.Join(err, store.Close())
			}
		}
	}
	return loops, store.Close()
}
