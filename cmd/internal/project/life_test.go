package project_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/cmd/tenon-duck/program"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/duck/worker"
)

// The test binary also serves as tenon-duck.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && (os.Args[1] == "serve" || os.Args[1] == "step" || os.Args[1] == "monitors") {
		os.Exit(program.Run(os.Args[1:]))
	}
	os.Exit(executortest.RunWithPrograms(m))
}

// orders is a source in CSV, a feature in SQL, and a step that is a shell script and
// takes a secret from the environment. %s is the filter of the feature.
const orders = `package orders

import (
	"tenon.dev/col"
	"tenon.dev/feature"
	"tenon.dev/source"
	"tenon.dev/step"
	"tenon.dev/tenon"
)

tenon.#System
name: "orders"
sources: orders: source.#CSV & {
	path: "orders.csv"
	keys: ["id"]
	schema: {id: col.#Int64 & {unique: true}, amount: col.#Float64}
}
features: large: feature.#SQL & {
	in: o: sources.orders.out
	sql: "SELECT id, amount FROM o WHERE amount > %s"
	keys: ["id"]
	schema: {id: col.#Int64 & {unique: true}, amount: col.#Float64}
}
steps: report: step.#Command & {
	in: rows: features.large.out
	outputs: out: kind: "file"
	files: ["report.sh"]
	secrets: GREETING: secret: env: "ORDERS_GREETING"
	command: ["sh", "report.sh"]
}
`

// reportSh writes the digest of the table that it reads, so that another table gives
// another report.
const reportSh = `[ "$GREETING" = hello ] || { echo "no greeting"; exit 3; }
echo "writing the report"
sed 's/.*"digest":"\([^"]*\)".*/\1/' "$TENON_STEP" > "${TENON_STEP%/step.json}/out/out"
`

// A life is a project that a test drives, without a command line.
type life struct {
	*testing.T
	settings project.Settings
	notices  []string
}

func newLife(t *testing.T) *life {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l := &life{T: t}
	dir := t.TempDir()
	l.settings = project.Settings{
		Dir: dir, Cache: filepath.Join(dir, "cache"), SQL: worker.New(self),
		Config: all.Config{Tenon: self, Runner: os.Getenv("TENON_RUN"), Programs: executors.Programs{Serve: executors.ServeAt(os.Getenv("TENON_SERVE"))}, Environ: append(os.Environ(), "ORDERS_GREETING=hello", "CUE_CACHE_DIR="+filepath.Join(dir, "cue"))},
		Notify: func(n project.Notice) { l.notices = append(l.notices, n.Text) },
	}
	return l
}

func (l *life) ok(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

func (l *life) write(name, content string) {
	l.Helper()
	l.ok(os.WriteFile(filepath.Join(l.settings.Dir, name), []byte(content), 0o644))
}

// declare writes the system with a filter.
func (l *life) declare(filter string) { l.write("orders.cue", fmt.Sprintf(orders, filter)) }

// open opens the state, until the test ends.
func (l *life) open() *project.Workspace {
	l.Helper()
	w, err := project.New(l.settings).Open(l.Context())
	l.ok(err)
	l.Cleanup(func() { _ = w.Close() })
	return w
}

// locked calls f with the lock of the state.
func (l *life) locked(w *project.Workspace, f func(s *project.Session)) {
	l.Helper()
	s, err := w.Lock(l.Context(), "test", 0)
	l.ok(err)
	f(s)
	l.ok(s.Release(l.Context()))
}

// plan compiles the system and plans it.
func (l *life) plan(w *project.Workspace) *planner.Plan {
	l.Helper()
	r, err := project.New(l.settings).Compile(l.Context())
	l.ok(err)
	p, err := w.Plan(l.Context(), r, project.PlanOptions{})
	l.ok(err)
	return p
}

// apply plans and applies the system, and returns the outcome of each unit.
func (l *life) apply(w *project.Workspace, p *planner.Plan) (*executors.Result, map[string]executors.EventType) {
	l.Helper()
	last := map[string]executors.EventType{}
	var result *executors.Result
	l.locked(w, func(s *project.Session) {
		work, err := s.Work(l.Context(), p)
		l.ok(err)
		if work.None() {
			l.Fatal("there is nothing to apply")
		}
		l.ok(s.CheckSecrets(p))
		result, err = s.Apply(l.Context(), p, project.ApplyOptions{Events: func(e executors.Event) { last[e.Unit] = e.Type }})
		if err != nil && (result == nil || len(result.Failed) == 0) {
			l.Fatal(err)
		}
	})
	return result, last
}

// report returns what the step wrote.
func (l *life) report(w *project.Workspace) string {
	l.Helper()
	units, err := w.Units(l.Context(), "steps.report")
	l.ok(err)
	b, err := os.ReadFile(units[0].Artifacts["out"])
	l.ok(err)
	return string(b)
}

func (l *life) equal(what string, got, want any) {
	l.Helper()
	a, err := json.Marshal(got)
	l.ok(err)
	b, err := json.Marshal(want)
	l.ok(err)
	if string(a) != string(b) {
		l.Errorf("%s: %s, want %s", what, a, b)
	}
}

// actions returns the actions of a plan that change something.
func actions(p *planner.Plan) map[string]planner.Action {
	out := map[string]planner.Action{}
	for _, i := range p.Items {
		if i.Action.Changes() {
			out[i.Unit] = i.Action
		}
	}
	return out
}

// The engine takes a system through its whole life without a command line.
func TestTheLifeOfASystem(t *testing.T) {
	l := newLife(t)
	ctx := t.Context()
	l.declare("10")
	l.write("orders.csv", "id,amount\n1,5\n2,50\n3,500\n")
	l.write("report.sh", reportSh)
	p := project.New(l.settings)

	done, err := p.Init(ctx, false)
	l.ok(err)
	if done.Starter || len(done.Wrote) != 2 {
		t.Errorf("init: %+v", done)
	}
	if _, err := p.OpenApplied(ctx); err == nil {
		t.Error("a state is opened before there is one")
	}

	// At first, everything runs.
	w := l.open()
	first := l.plan(w)
	l.equal("plan", actions(first), map[string]planner.Action{"sources/orders": "run", "features/large": "run", "steps/report": "run"})
	result, last := l.apply(w, first)
	l.equal("apply", result.Counts, executors.Counts{Ran: 3})
	l.equal("events", last, map[string]executors.EventType{"sources/orders": "finished", "features/large": "finished", "steps/report": "finished"})
	before := l.report(w)

	// The second time, nothing does.
	again := l.plan(w)
	l.equal("second plan", actions(again), map[string]planner.Action{})
	l.locked(w, func(s *project.Session) {
		if work, err := s.Work(ctx, again); !work.None() || err != nil {
			t.Errorf("after an apply there is work: %v %v", work, err)
		}
	})

	// The status is available.
	status, err := w.Status(ctx)
	l.ok(err)
	var names []string
	for _, u := range status.Units {
		names = append(names, u.Unit+" "+string(u.Phase))
	}
	l.equal("status", names, []string{"sources/orders succeeded", "features/large succeeded", "steps/report succeeded"})
	var log strings.Builder
	l.ok(w.Logs(ctx, "steps.report", &log, false))
	l.equal("log", log.String(), "writing the report\n")
	units, err := w.Units(ctx, "features/large")
	l.ok(err)
	l.equal("made from", units[0].Lineage.From[0].Unit, "sources/orders")
	tables, err := w.Preview(ctx, units[0], 1)
	l.ok(err)
	l.equal("rows", tables, []project.Preview{{Port: "out", Columns: []string{"id", "amount"}, Rows: [][]string{{"2", "50.0"}}, Total: 2}})

	// A change is detected, explained and applied.
	l.declare("100")
	diff, err := p.Diff(ctx, "", "")
	l.ok(err)
	var changed []string
	for _, e := range diff.Entities {
		changed = append(changed, e.Entity+" "+string(e.Change))
	}
	l.equal("diff", changed, []string{"features/large changed"})
	var runs []string
	for _, a := range diff.Impact.Run {
		runs = append(runs, a.Entity)
	}
	l.equal("what runs because of it", runs, []string{"features/large", "steps/report"})
	second := l.plan(w)
	l.equal("plan of the change", actions(second), map[string]planner.Action{"features/large": "run", "steps/report": "run"})
	l.apply(w, second)
	if l.report(w) == before {
		t.Error("the change left the report as it was")
	}
	revisions, err := w.History(ctx, 0)
	l.ok(err)
	if len(revisions) != 2 || !revisions[0].Current || revisions[1].Current {
		t.Errorf("history: %+v", revisions)
	}

	// A rollback is one revision, and trains nothing.
	to, err := w.RollbackTo(ctx, "")
	l.ok(err)
	l.equal("back to", to.Number, 1)
	back, err := w.PlanRollback(ctx, to)
	l.ok(err)
	result, _ = l.apply(w, back)
	l.equal("rollback", result.Counts.Ran, 0)
	l.equal("report after the rollback", l.report(w), before)
	detail, err := w.RevisionDetail(ctx, "@", true)
	l.ok(err)
	l.equal("newest revision", []any{detail.Act, detail.BackTo, len(detail.IR) > 0}, []any{state.Rollback, 1, true})

	// What is neither deployed nor needed for a rollback is removed.
	l.locked(w, func(s *project.Session) {
		o := project.CollectOptions{Retention: executors.Retention{Revisions: 1}}
		g, err := s.Collect(ctx, o)
		l.ok(err)
		l.equal("revisions that go", g.Revisions, []int{2, 1})
		l.ok(g.Remove(ctx))
		left, err := s.Collect(ctx, o)
		l.ok(err)
		if g.Empty() || !g.Removed || !left.Empty() {
			t.Errorf("collected %+v, then %+v", g, left)
		}
	})

	// At the end nothing is deployed.
	l.locked(w, func(s *project.Session) {
		destroyed, err := s.Destroy(ctx, project.ApplyOptions{})
		l.ok(err)
		l.equal("destroyed", destroyed.Counts.Deleted, 3)
		nothing, err := s.Destroy(ctx, project.ApplyOptions{})
		l.ok(err)
		l.equal("destroyed again", nothing.Revision, 0)
	})
	deployed, err := w.Deployed(ctx)
	l.ok(err)
	l.equal("deployed", deployed, []string(nil))
	l.equal("notices", l.notices, []string(nil))
}

// Faults that the user has to fix are returned all at once, with their places and
// sources.
func TestFaultsComeWithTheirSources(t *testing.T) {
	l := newLife(t)
	l.write("orders.csv", "id,amount\n")
	l.write("report.sh", reportSh)
	l.declare("nowhere")
	_, err := project.New(l.settings).Init(t.Context(), false)
	l.ok(err)
	_, err = project.New(l.settings).Compile(t.Context())
	var faults *project.SourceError
	if !errors.As(err, &faults) {
		t.Fatalf("it says %v", err)
	}
	span := faults.Faults[0].Spans[0]
	line := strings.Split(string(faults.Source(span.File)), "\n")[span.Line-1]
	if !strings.Contains(line, "nowhere") {
		t.Errorf("it points at %q", line)
	}
}

// A failed unit is reported with the cause, and what depends on it does not run. The next
// apply continues from there.
func TestAFailureAndTheApplyAfterIt(t *testing.T) {
	l := newLife(t)
	l.declare("10")
	l.write("orders.csv", "id,amount\n1,5\n2,50\n")
	l.write("report.sh", "echo it does not work; exit 3\n")
	_, err := project.New(l.settings).Init(t.Context(), false)
	l.ok(err)
	w := l.open()
	result, last := l.apply(w, l.plan(w))
	if len(result.Failed) != 1 || result.Failed[0].Unit != "steps/report" || !slices.Contains(result.Failed[0].LogTail, "it does not work") {
		t.Errorf("failed: %+v", result.Failed)
	}
	l.equal("event", last["steps/report"], executors.EventFailed)
	status, err := w.Status(t.Context())
	l.ok(err)
	if len(status.Failed) != 1 || status.Revision.Outcome != state.Failure {
		t.Errorf("status: %+v", status)
	}
	l.write("report.sh", reportSh)
	p := l.plan(w)
	l.equal("plan", actions(p), map[string]planner.Action{"steps/report": "run"})
	result, _ = l.apply(w, p)
	l.equal("apply", result.Counts, executors.Counts{Ran: 1, Reused: 2})
}

// Secrets are checked before anything runs, only where the settings say.
func TestMissingSecret(t *testing.T) {
	l := newLife(t)
	l.declare("10")
	l.write("orders.csv", "id,amount\n")
	l.write("report.sh", reportSh)
	_, err := project.New(l.settings).Init(t.Context(), false)
	l.ok(err)
	l.settings.Environ = slices.DeleteFunc(l.settings.Environ, func(v string) bool { return strings.HasPrefix(v, "ORDERS_") })
	w := l.open()
	if err := w.CheckSecrets(l.plan(w)); err == nil || !strings.Contains(err.Error(), "ORDERS_GREETING") {
		t.Errorf("it says %v", err)
	}
}

// Only one session changes a state at a time.
func TestASecondSessionIsRefused(t *testing.T) {
	l := newLife(t)
	w := l.open()
	l.locked(w, func(*project.Session) {
		var held *state.HeldError
		if _, err := l.open().Lock(t.Context(), "second", 0); !errors.As(err, &held) || held.Holder.Command != "test" {
			t.Errorf("it says %v", err)
		}
	})
	l.locked(w, func(*project.Session) {})
}

// A canceled context ends an apply in an orderly way, and the next one continues from
// there.
func TestAContextEndsAnApply(t *testing.T) {
	l := newLife(t)
	l.declare("10")
	l.write("orders.csv", "id,amount\n1,50\n")
	l.write("report.sh", "sleep 60\n")
	_, err := project.New(l.settings).Init(t.Context(), false)
	l.ok(err)
	w := l.open()
	p := l.plan(w)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	l.locked(w, func(s *project.Session) {
		result, err := s.Apply(ctx, p, project.ApplyOptions{Events: func(e executors.Event) {
			if e.Unit == "steps/report" && e.Type == executors.EventStarted {
				cancel(enough)
			}
		}})
		if !errors.Is(err, enough) || result == nil || !slices.Contains(result.Canceled, "steps/report") {
			t.Errorf("it says %v, %+v", err, result)
		}
	})
	l.equal("plan", actions(l.plan(w)), map[string]planner.Action{"steps/report": "run"})
}
