package planner_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// chain is raw -> clean -> train -> serve -> rules.
func chain(opts ...func(*ir.Unit)) []ir.Unit {
	us := []ir.Unit{
		job("sources/raw/fetch"),
		job("features/clean/build", reads("raw", "sources/raw/fetch.table")),
		job("models/late/train", reads("table", "features/clean/build.table")),
		service("deployments/late/serve", reads("model", "models/late/train.table")),
		record("slos/late/rules", reads("endpoint", "deployments/late/serve.endpoint")),
	}
	for _, o := range opts {
		for i := range us {
			o(&us[i])
		}
	}
	return us
}

// What a record puts out follows from its key. So another environment, where it is not written yet,
// takes the results of those who read it.
func TestARecordOfAnotherEnvironment(t *testing.T) {
	w := world1(t)
	s := sys(
		job("models/m/train"),
		record("models/m/register", reads("model", "models/m/train.table"), puts("version")),
		job("deployments/api/parity", reads("model", "models/m/register.version"), params(`{"of":"api"}`)),
	)
	w.apply(w.plan(s))
	w.store = w.store.In("prod")
	want := []string{"reuse models/m/train: new", "create models/m/register: new", "reuse deployments/api/parity: new"}
	if d := cmp.Diff(want, lines(w.plan(s))); d != "" {
		t.Error(d)
	}
}

// on restricts options to a single unit.
func on(id string, opts ...func(*ir.Unit)) func(*ir.Unit) {
	return func(u *ir.Unit) {
		for _, o := range opts {
			if u.ID == id {
				o(u)
			}
		}
	}
}

func TestPlan(t *testing.T) {
	tests := []struct {
		name   string
		before *ir.System
		do     func(w *world)
		after  *ir.System
		rerun  []string
		want   []string
		ran    []string // by the apply of that plan
	}{{
		name:  "nothing is deployed yet",
		after: sys(chain()...),
		want: []string{
			"run sources/raw/fetch: new",
			"run features/clean/build: new; input raw changes ( -> sources/raw/fetch)",
			"run models/late/train: new; input table changes ( -> features/clean/build)",
			"create deployments/late/serve: new; input model changes ( -> models/late/train)",
			"create slos/late/rules: new; input endpoint changes ( -> deployments/late/serve)",
		},
		ran: []string{"sources/raw/fetch", "features/clean/build", "models/late/train", "deployments/late/serve", "slos/late/rules"},
	}, {
		name:   "nothing changed",
		before: sys(chain()...),
		after:  sys(chain()...),
	}, {
		name:   "what is not part of the definition changed",
		before: sys(chain()...),
		after: sys(chain(func(u *ir.Unit) {
			if u.Retries, u.Timeout, u.Priority, u.Pos.Line = 3, 5, 7, 9; u.Kind != ir.Service {
				u.Needs.MilliCPU, u.Kubernetes = 2000, &ir.Placement{Queue: "research"}
			}
		})...),
	}, {
		name:   "a service is to have other needs, and another place",
		before: sys(chain(on("deployments/late/serve", func(u *ir.Unit) { u.Needs.Memory = 64 << 20 }))...),
		after: sys(chain(on("deployments/late/serve", func(u *ir.Unit) {
			u.Needs.Memory, u.Kubernetes = 128<<20, &ir.Placement{PriorityClass: "high"}
		}))...),
		want: []string{`update deployments/late/serve: needs.memory ("64MiB" -> "128MiB"); kubernetes.priority_class ( -> "high")`},
		ran:  []string{"deployments/late/serve"},
	}, {
		name:   "a service is to have more replicas",
		before: sys(chain(on("deployments/late/serve", func(u *ir.Unit) { u.Endpoint = &ir.Endpoint{Port: 1, Replicas: 1} }))...),
		after:  sys(chain(on("deployments/late/serve", func(u *ir.Unit) { u.Endpoint = &ir.Endpoint{Port: 1, Replicas: 3} }))...),
		want:   []string{`update deployments/late/serve: replicas (1 -> 3)`},
		ran:    []string{"deployments/late/serve"},
	}, {
		name:   "a parameter changed",
		before: sys(chain(on("models/late/train", params(`{"max_depth":6,"p":{"alpha":0.50}}`)))...),
		after:  sys(chain(on("models/late/train", params(`{"max_depth":8,"p":{"alpha":0.5}}`)))...),
		want: []string{
			"run models/late/train: params.max_depth (6 -> 8); params.p.alpha (0.50 -> 0.5)",
			"update deployments/late/serve unless same: input model changes ( -> models/late/train)",
			"update slos/late/rules unless same: input endpoint changes ( -> deployments/late/serve)",
		},
		ran: []string{"models/late/train", "deployments/late/serve", "slos/late/rules"},
	}, {
		name:   "what came out is the same: the change stops there",
		before: sys(chain(on("features/clean/build", constant, params(`{"a":1}`)))...),
		after:  sys(chain(on("features/clean/build", constant, params(`{"a":2}`)))...),
		want: []string{
			"run features/clean/build: params.a (1 -> 2)",
			"run models/late/train unless same: input table changes ( -> features/clean/build)",
			"update deployments/late/serve unless same: input model changes ( -> models/late/train)",
			"update slos/late/rules unless same: input endpoint changes ( -> deployments/late/serve)",
		},
		ran: []string{"features/clean/build"},
	}, {
		name:   "two changes in one chain: the second runs in any case",
		before: sys(chain()...),
		after:  sys(chain(on("features/clean/build", constant), on("models/late/train", params(`{"x":1}`)))...),
		want: []string{
			"run features/clean/build: component (sql -> constant)",
			"run models/late/train: params.x ( -> 1); input table changes ( -> features/clean/build)",
			"update deployments/late/serve unless same: input model changes ( -> models/late/train)",
			"update slos/late/rules unless same: input endpoint changes ( -> deployments/late/serve)",
		},
		ran: []string{"features/clean/build", "models/late/train", "deployments/late/serve", "slos/late/rules"},
	}, {
		name:   "a change that was made and taken back is found again",
		before: sys(chain()...),
		do: func(w *world) {
			w.apply(w.plan(sys(chain(on("models/late/train", params(`{"x":1}`)))...)))
		},
		after: sys(chain()...),
		want: []string{
			"reuse models/late/train: params.x (1 -> )",
			"update deployments/late/serve: input model (10 rows, # -> 10 rows, #)",
			"update slos/late/rules: input endpoint changes ( -> deployments/late/serve)",
		},
		ran: []string{"deployments/late/serve", "slos/late/rules"},
	}, {
		name:   "a unit was renamed: its run is found",
		before: sys(job("features/a/build")),
		after:  sys(job("features/b/build")),
		want:   []string{"reuse features/b/build: new", "delete features/a/build: no longer declared"},
	}, {
		name:   "units went: what depends on others goes first",
		before: sys(chain()...),
		after:  sys(chain()[:2]...),
		want: []string{
			"delete slos/late/rules: no longer declared",
			"delete deployments/late/serve: no longer declared",
			"delete models/late/train: no longer declared",
		},
	}, {
		name:   "requested",
		before: sys(chain()...),
		after:  sys(chain()...),
		rerun:  []string{"models/late", "deployments/late/serve"},
		want: []string{
			"run models/late/train: requested",
			"replace deployments/late/serve: requested",
			"update slos/late/rules unless same: input endpoint changes ( -> deployments/late/serve)",
		},
		ran: []string{"models/late/train", "deployments/late/serve"},
	}, {
		name:   "an artifact was lost",
		before: sys(job("a/b/c")),
		do: func(w *world) {
			w.lost[ir.Sum([]byte(w.plan(sys(job("a/b/c"))).Items[0].Key+"table"))] = true
		},
		after: sys(job("a/b/c")),
		want:  []string{"run a/b/c: artifact table lost (10 rows, # -> )"},
		ran:   []string{"a/b/c"},
	}, {
		name:   "a result grew old",
		before: sys(job("a/b/c", func(u *ir.Unit) { u.MaxAge = time.Hour }), job("a/b/d", func(u *ir.Unit) { u.MaxAge = 2 * time.Hour })),
		do:     func(w *world) { w.now = w.now.Add(90 * time.Minute) },
		after:  sys(job("a/b/c", func(u *ir.Unit) { u.MaxAge = time.Hour }), job("a/b/d", func(u *ir.Unit) { u.MaxAge = 2 * time.Hour })),
		want:   []string{"run a/b/c: older than max_age (1h30m0s -> 1h0m0s)"},
		ran:    []string{"a/b/c"},
	}, {
		name:   "a service died",
		before: sys(chain()...),
		do: func(w *world) {
			for id := range w.statuses {
				if strings.HasPrefix(id, "deployments/") {
					w.statuses[id] = state.Status{Phase: state.Failed, ExitCode: 1}
				}
			}
		},
		after: sys(chain()...),
		want:  []string{"replace deployments/late/serve: process died: exit 1"},
		ran:   []string{"deployments/late/serve"},
	}, {
		name:   "a service is busy, and answers after a while",
		before: sys(chain()...),
		do: func(w *world) {
			for id := range w.statuses {
				w.busy[id] = 2
			}
		},
		after: sys(chain()...),
	}, {
		name:   "service and record are gone",
		before: sys(chain()...),
		do:     func(w *world) { clear(w.statuses) },
		after:  sys(chain()...),
		want: []string{
			"replace deployments/late/serve: it is gone: no process runs",
			"create slos/late/rules: it is gone",
		},
		ran: []string{"deployments/late/serve", "slos/late/rules"},
	}, {
		name:   "data files",
		before: sys(job("sources/a/read", files("data/*.csv"))),
		do: func(w *world) {
			w.data("data/one.csv", "other")
			w.data("data/three.csv", "3")
		},
		after: sys(job("sources/a/read", files("data/*.csv"))),
		want:  []string{"run sources/a/read: file data/one.csv (# -> #); file data/three.csv is new ( -> #)"},
		ran:   []string{"sources/a/read"},
	}, {
		name:   "an input was connected to something else",
		before: sys(job("a/a/a"), job("a/b/b", params(`{"b":1}`)), job("c/c/c", reads("in", "a/a/a.table"))),
		after:  sys(job("a/a/a"), job("a/b/b", params(`{"b":1}`)), job("c/c/c", reads("in", "a/b/b.table"))),
		want:   []string{"run c/c/c: input in (a/a/a.table -> a/b/b.table); input in (10 rows, # -> 10 rows, #)"},
		ran:    []string{"c/c/c"},
	}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := world1(t)
			w.data("data/one.csv", "1")
			w.data("data/two.csv", "2")
			if tt.before != nil {
				w.apply(w.plan(tt.before))
			}
			if tt.do != nil {
				tt.do(w)
			}
			p := w.plan(tt.after, tt.rerun...)
			if diff := cmp.Diff(tt.want, lines(p)); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
			w.apply(p)
			if diff := cmp.Diff(tt.ran, w.ran); diff != "" {
				t.Errorf("ran (-want +got):\n%s", diff)
			}
			if again := lines(w.plan(tt.after)); len(again) > 0 {
				t.Errorf("the next plan is not empty: %q", again)
			}
		})
	}
}

// judged returns a system with a model that is compared with the one in service.
func judged(seed int64) *ir.System {
	return sys(
		job("models/late/train", func(u *ir.Unit) { u.Seed = seed }),
		job("models/late/evaluate", reads("model", "models/late/train.table"), func(u *ir.Unit) {
			u.Inputs = append(u.Inputs, ir.Input{Port: "incumbent", Unit: "models/late/train", From: "table", Kind: ir.Model, Incumbent: true})
		}),
	)
}

func TestIncumbent(t *testing.T) {
	w := world1(t)
	register := func(seed int64) {
		r, err := w.store.RunFor(t.Context(), "models/late/train", w.plan(judged(seed)).Items[0].Key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.lease.Register(t.Context(), state.ModelVersion{Model: "models/late", Digest: r.Outputs["table"].Digest}); err != nil {
			t.Fatal(err)
		}
	}
	quiet := func(seed int64, when string) {
		t.Helper()
		if got := lines(w.plan(judged(seed))); len(got) > 0 {
			t.Errorf("%s: %q", when, got)
		}
	}
	w.apply(w.plan(judged(1)))
	quiet(1, "the first model has no incumbent")
	register(1)
	quiet(1, "a model is not its own incumbent")
	p := w.plan(judged(2))
	want := []string{
		"run models/late/train: seed (1 -> 2)",
		"run models/late/evaluate unless same: input model changes ( -> models/late/train)",
	}
	if diff := cmp.Diff(want, lines(p)); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	w.apply(p)
	quiet(2, "the second model was compared with the first")
	register(2)
	quiet(2, "the second model was registered")
	p = w.plan(judged(1))
	if got := lines(p); len(got) != 2 || !strings.HasPrefix(got[0], "reuse models/late/train") || !strings.HasPrefix(got[1], "run models/late/evaluate") || !strings.Contains(got[1], "input incumbent (10 rows") {
		t.Errorf("the first model against the second: %q", got)
	}
}

// A model in service whose artifact is lost remains what the next one is compared with, also once
// that one is registered: a second plan finds the same incumbent and has nothing to do. An older
// version does not take its place.
func TestALostIncumbentStays(t *testing.T) {
	for _, older := range []bool{false, true} {
		w := world1(t)
		var last *ir.System
		register := func(seed int64) (digest string) {
			last = judged(seed)
			w.apply(w.plan(last))
			r, err := w.store.RunFor(t.Context(), "models/late/train", w.plan(last).Items[0].Key)
			if err != nil {
				t.Fatal(err)
			}
			digest = r.Outputs["table"].Digest
			if _, err := w.lease.Register(t.Context(), state.ModelVersion{Model: "models/late", Digest: digest}); err != nil {
				t.Fatal(err)
			}
			return digest
		}
		if older {
			register(1)
		}
		w.lost[register(2)] = true
		register(3)
		if got := lines(w.plan(last)); len(got) > 0 {
			t.Errorf("with an older version %t: the plan after the model was registered: %q", older, got)
		}
	}
}

func TestReasonsNameEachFieldThatChanged(t *testing.T) {
	cols := func(cs ...ir.Column) ir.Schema { return cs }
	tests := []struct {
		name   string
		change func(u *ir.Unit)
		want   string
	}{
		{"code file", func(u *ir.Unit) { u.Code.Files[0].Digest = ir.Sum([]byte("y")) }, "code main.py (# -> #)"},
		{"code file renamed", func(u *ir.Unit) { u.Code.Files[0].Path = "b.py" }, "code main.py is gone (# -> ); code b.py is new ( -> #)"},
		{"lock", func(u *ir.Unit) { u.Code.Lock = "sha256:cd" }, "lock (ab -> cd)"},
		{"environments", func(u *ir.Unit) { u.Code.Environments = []string{"sha256:cd"} }, `environments ([] -> ["cd"])`},
		{"command", func(u *ir.Unit) { u.Code.Command = []string{"main.py", "-v"} }, `command (["main.py"] -> ["main.py","-v"])`},
		{"image", func(u *ir.Unit) { u.Code.Image = "acme/tool:2" }, "image (acme/tool:1 -> acme/tool:2)"},
		{"no image", func(u *ir.Unit) { u.Code.Image = "" }, "image (acme/tool:1 -> )"},
		{"source", func(u *ir.Unit) { u.Code.Source = "sha256:2" }, "component code (1 -> 2)"},
		{"component", func(u *ir.Unit) { u.Component = "other" }, "component (sql -> other)"},
		{"nested parameter", func(u *ir.Unit) { u.Params = json.RawMessage(`{"a":{"b":[1,3]},"sql":"x < 1"}`) }, "params.a.b[1] (2 -> 3)"},
		{"parameter gone", func(u *ir.Unit) { u.Params = json.RawMessage(`{"a":{"b":[1,2]}}`) }, `params.sql ("x < 1" -> )`},
		{"odd parameter", func(u *ir.Unit) { u.Params = json.RawMessage(`{"a":{"b":[1,2],"x-y":null},"sql":"x < 1"}`) }, `params.a."x-y" ( -> null)`},
		{"seed", func(u *ir.Unit) { u.Seed = 8 }, "seed (7 -> 8)"},
		{"secret", func(u *ir.Unit) { u.Secrets[0].Env = "B" }, "secret PW (env A -> env B)"},
		{"secret of a cluster", func(u *ir.Unit) {
			u.Secrets[0] = ir.Secret{Name: "PW", Kubernetes: &ir.SecretKey{Name: "db", Key: "pw"}}
		}, "secret PW (env A -> kubernetes db/pw)"},
		{"no secret", func(u *ir.Unit) { u.Secrets = nil }, "secret PW (env A -> none)"},
		{"column gone", func(u *ir.Unit) { u.Outputs[0].Schema = cols(ir.Column{Name: "a", Type: "int64"}) }, "output table column b is gone (string -> )"},
		{"column new", func(u *ir.Unit) {
			u.Outputs[0].Schema = append(u.Outputs[0].Schema, ir.Column{Name: "c", Type: "bool"})
		}, "output table column c is new ( -> bool)"},
		{"column changed", func(u *ir.Unit) {
			u.Outputs[0].Schema = cols(ir.Column{Name: "a", Type: "int32", Min: "0"}, ir.Column{Name: "b", Type: "string"})
		}, `output table column a.min ( -> 0); output table column a.type ("int64" -> "int32")`},
		{"columns in another order", func(u *ir.Unit) {
			u.Outputs[0].Schema = cols(ir.Column{Name: "b", Type: "string"}, ir.Column{Name: "a", Type: "int64"})
		}, `output table order of columns (["a","b"] -> ["b","a"])`},
		{"keys", func(u *ir.Unit) { u.Outputs[0].Keys = []string{"a"} }, `output table keys ([] -> ["a"])`},
		{"output", func(u *ir.Unit) { u.Outputs = append(u.Outputs, ir.Output{Port: "log", Kind: ir.File}) }, "output log is new ( -> file)"},
		{"runtime", func(u *ir.Unit) { u.Code.Runtime = ir.Command }, "runtime (python -> command)"},
		{"endpoint", func(u *ir.Unit) { u.Endpoint = &ir.Endpoint{Host: "h", Port: 2, Ready: "/"} }, `endpoint (null -> {"host":"h","port":2,"ready":"/","replicas":0})`},
	}
	base := func() ir.Unit {
		return job("a/b/c", func(u *ir.Unit) {
			u.Code = ir.Code{Runtime: ir.Python, Source: "sha256:1", Image: "acme/tool:1", Lock: "sha256:ab", Command: []string{"main.py"}, Files: []ir.CodeFile{{Path: "main.py", Digest: ir.Sum([]byte("x"))}}}
			u.Params = json.RawMessage(`{"a":{"b":[1,2]},"sql":"x < 1"}`)
			u.Seed = 7
			u.Secrets = []ir.Secret{{Name: "PW", Env: "A"}}
			u.Outputs[0].Schema = cols(ir.Column{Name: "a", Type: "int64"}, ir.Column{Name: "b", Type: "string"})
		})
	}
	w := world1(t)
	w.apply(w.plan(sys(base())))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := base()
			tt.change(&u)
			if diff := cmp.Diff([]string{"run a/b/c: " + tt.want}, lines(w.plan(sys(u)))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The image that a name refers to is part of a unit's inputs.
func TestMovedImageTagIsAReason(t *testing.T) {
	const ref = "acme/tool:1"
	pin := func(digit string) map[string]string {
		return map[string]string{ref: "docker.io/" + ref + "@sha256:" + strings.Repeat(digit, 64)}
	}
	w := world1(t)
	s := sys(job("steps/tool", func(u *ir.Unit) { u.Code.Image = ref }))
	for _, step := range []struct {
		images map[string]string
		want   string // without the marks of digests
	}{
		{pin("a"), "run steps/tool: new"},
		{pin("a"), ""},
		{pin("b"), "run steps/tool: image acme/tool:1 (# -> #)"},
		{nil, "run steps/tool: image acme/tool:1 (# -> not known)"},
		{pin("a"), "reuse steps/tool: image acme/tool:1 (not known -> #)"},
	} {
		w.images = step.images
		p := w.plan(s)
		if got := strings.Join(lines(p), "\n"); got != step.want {
			t.Errorf("with %v: %q, want %q", step.images, got, step.want)
		}
		w.apply(p)
	}
}

func TestPlanRefuses(t *testing.T) {
	tests := []struct {
		name  string
		sys   *ir.System
		rerun []string
		want  string
	}{
		{"a cycle", sys(job("a/a/a", reads("x", "c/c/c.table")), job("b/b/b", reads("x", "a/a/a.table")), job("c/c/c", reads("x", "b/b/b.table")), job("d/d/d", reads("x", "a/a/a.table"))), nil,
			"units form a cycle: a/a/a reads from c/c/c reads from b/b/b reads from a/a/a"},
		{"a unit that does not exist", sys(job("a/a/a", reads("x", "b/b/b.table"))), nil, "a/a/a reads from b/b/b, which does not exist"},
		{"a port that does not exist", sys(job("a/a/a", reads("x", "b/b/b.tabel")), job("b/b/b")), nil, "port tabel of b/b/b, which has no such port"},
		{"a duplicate unit twice", sys(job("a/a/a"), job("a/a/a")), nil, "unit a/a/a"},
		{"a rerun of nothing", sys(job("models/late/train")), []string{"models/lite"}, "rerun models/lite: no such unit or entity; did you mean models/late?"},
		{"a file that does not exist", sys(job("a/a/a", files("data/on.csv"))), nil, "no file matches data/on.csv; did you mean data/one.csv?"},
		{"an incumbent of nothing", sys(job("a/a/a", func(u *ir.Unit) { u.Inputs = []ir.Input{{Port: "i", Incumbent: true}} })), nil, "no candidate on port model"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := world1(t)
			w.data("data/one.csv", "1")
			_, err := w.try(tt.sys, tt.rerun...)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestServiceThatBecameAJobIsRefused(t *testing.T) {
	w := world1(t)
	w.apply(w.plan(sys(service("a/b/c"))))
	if _, err := w.try(sys(job("a/b/c"))); err == nil || !strings.Contains(err.Error(), "deployed as a service") {
		t.Errorf("got %v", err)
	}
}

func TestEstimatesAndTheCriticalPath(t *testing.T) {
	w := world1(t)
	for i, took := range []time.Duration{4, 2, 9} {
		w.took = took * time.Second
		w.apply(w.plan(sys(chain(on("features/clean/build", params(fmt.Sprintf(`{"x":%d}`, i))))...)))
	}
	p := w.plan(sys(append(chain(on("features/clean/build", params(`{"x":9}`))), job("features/new/fit", reads("raw", "sources/raw/fetch.table")))...))
	got := map[string]planner.Estimate{}
	for _, it := range p.Items {
		got[it.Unit] = it.Estimate
	}
	want := map[string]planner.Estimate{
		"sources/raw/fetch":      {}, // it does not run
		"features/new/fit":       {}, // it has never run, and nothing like it
		"features/clean/build":   {Runs: 3, Time: 4 * time.Second},
		"models/late/train":      {Runs: 3, Time: 4 * time.Second},
		"deployments/late/serve": {Runs: 3, Time: 4 * time.Second},
		"slos/late/rules":        {Runs: 3, Time: 4 * time.Second},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("estimates (-want +got):\n%s", diff)
	}
	summary := planner.Summary{Run: 3, Unless: 1, Reuse: 1, Update: 2, Time: planner.Estimate{Runs: 12, Time: 16 * time.Second}}
	if diff := cmp.Diff(summary, p.Summary()); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	priorities := map[string]time.Duration{
		"sources/raw/fetch": 16 * time.Second, "features/clean/build": 16 * time.Second, "features/new/fit": 4 * time.Second,
		"models/late/train": 12 * time.Second, "deployments/late/serve": 8 * time.Second, "slos/late/rules": 4 * time.Second,
	}
	if diff := cmp.Diff(priorities, planner.Priorities(p)); diff != "" {
		t.Errorf("priorities (-want +got):\n%s", diff)
	}
}

// What waits for GPUs takes as long as they are busy, even if no chain is that long.
func TestTheEstimateCountsGPUs(t *testing.T) {
	pools := []ir.Pool{
		{Name: "whole", Resources: ir.Resources{GPU: 2}},
		{Name: "shared", Resources: ir.Resources{GPU: 2, GPUMemory: 40}, Shares: 4},
		{Name: "cut", Resources: ir.Resources{GPU: 1}, Slices: []ir.Slice{{Name: "l", Count: 1, Memory: 20}, {Name: "s", Count: 2, Memory: 10}}},
	}
	for _, c := range []struct {
		name  string
		pool  string
		needs ir.Resources
		want  time.Duration // of six jobs of a minute
	}{
		{"none", "whole", ir.Resources{}, time.Minute},
		{"one each", "whole", ir.Resources{GPU: 1}, 3 * time.Minute},
		{"all", "whole", ir.Resources{GPU: 2}, 6 * time.Minute},
		{"a share each", "shared", ir.Resources{GPU: 1, GPUMemory: 10}, time.Minute},
		{"three shares each", "shared", ir.Resources{GPU: 1, GPUMemory: 25}, 135 * time.Second},
		{"a slice each", "cut", ir.Resources{GPU: 1, GPUMemory: 5}, 3 * time.Minute},
		{"the large slice", "cut", ir.Resources{GPU: 1, GPUSlice: "l"}, 6 * time.Minute},
	} {
		p := &planner.Plan{System: &ir.System{Pools: pools}}
		for i := range 6 {
			id := fmt.Sprint("features/f", i)
			p.System.Units = append(p.System.Units, ir.Unit{ID: id, Kind: ir.Job, Pool: c.pool, Needs: c.needs})
			p.Items = append(p.Items, planner.Item{Unit: id, Kind: ir.Job, Action: planner.Run, Estimate: planner.Estimate{Runs: 1, Time: time.Minute}})
		}
		if got := p.Summary().Time.Time; got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
