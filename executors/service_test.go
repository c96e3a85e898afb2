package executors_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/state"
)

// system returns a complete system: data, a model, its evaluation, its registration, a
// service, and its rules. What n changes affects everything up to the service.
func system(n string) []ir.Unit {
	train := model("models/late/train", `{"n":`+n+`}`, "sources/a")
	evaluate := unit("models/late/evaluate", `{}`, ir.Output{Port: "report", Kind: ir.Report})
	evaluate.Inputs = []ir.Input{
		{Port: "model", Unit: "models/late/train", From: "model", Kind: ir.Model},
		{Port: "incumbent", Unit: "models/late/train", From: "model", Kind: ir.Model, Incumbent: true},
	}
	register := ir.Unit{ID: "models/late/register", Entity: "models/late", Kind: ir.Record, Component: "registry.model",
		Inputs: []ir.Input{
			{Port: "model", Unit: "models/late/train", From: "model", Kind: ir.Model},
			{Port: "report", Unit: "models/late/evaluate", From: "report", Kind: ir.Report},
		},
		Outputs: []ir.Output{{Port: "model", Kind: ir.Model, Signature: signature}},
	}
	serve := service("deployments/late", `{}`)
	serve.Inputs = []ir.Input{{Port: "model", Unit: "models/late/register", From: "model", Kind: ir.Model}}
	rules := ir.Unit{ID: "slos/late", Entity: "slos/late", Kind: ir.Record, Component: "slo.rules",
		Params:  []byte(`{"content":"groups: []","file":"late.rules.yml"}`),
		Inputs:  []ir.Input{{Port: "on", Unit: "deployments/late", From: "endpoint", Kind: ir.EndpointOf}},
		Outputs: []ir.Output{{Port: "rules", Kind: ir.File}},
	}
	return []ir.Unit{table("sources/a", `{}`), train, evaluate, register, serve, rules}
}

func TestServiceTakesOverFromItsPredecessor(t *testing.T) {
	b := newBench(t)
	b.mustApply(system("1")...)
	first := b.current("deployments/late").Handle.ID
	b.fake.fewest = b.fake.ready
	b.fake.behave["deployments/late"] = behaviour{takes: 20 * time.Millisecond}

	res := b.mustApply(system("2")...)
	if res.Counts.Updated != 3 { // the register entry, the service, and its rules
		t.Errorf("counts %+v", res.Counts)
	}
	second := b.current("deployments/late").Handle.ID
	if first == second || !slices.Equal(b.fake.alive(), []string{second}) {
		t.Errorf("alive are %v; before there was %s, now %s is recorded", b.fake.alive(), first, second)
	}
	if b.fake.fewest < 1 {
		t.Error("there was a moment at which no service was ready")
	}
	if got := b.eventsOf("deployments/late"); got != "started ready started ready destroyed" {
		t.Errorf("events: %s", got)
	}
	if res := b.mustApply(system("2")...); res.Counts != (executors.Counts{Reused: 3, Unchanged: 3}) {
		t.Errorf("then: %+v", res.Counts)
	}
}

func TestServiceThatIsNotReadyKeepsItsPredecessor(t *testing.T) {
	b := newBench(t)
	b.mustApply(service("deployments/s", `{"n":1}`))
	first := b.current("deployments/s").Handle.ID
	b.fake.behave["deployments/s"] = behaviour{never: true}
	bad := service("deployments/s", `{"n":2}`)
	bad.Timeout = 30 * time.Millisecond
	_, err := b.apply(bad)
	if u := failure(t, err, "deployments/s"); u.Err.Error() != "was not ready within 30ms" || !u.PredecessorReady {
		t.Errorf("error %q, and the one before is ready: %t", u, u.PredecessorReady)
	}
	if got := b.current("deployments/s").Handle.ID; got != first || !slices.Equal(b.fake.alive(), []string{first}) {
		t.Errorf("recorded is %s, alive are %v, before there was %s", got, b.fake.alive(), first)
	}
}

func TestNothingIsCurrentBeforeTheFirstVersion(t *testing.T) {
	b := newBench(t)
	b.fake.behave["deployments/s"] = behaviour{never: true}
	first := service("deployments/s", `{}`)
	first.Timeout = 30 * time.Millisecond
	_, err := b.apply(first)
	if u := failure(t, err, "deployments/s"); u.PredecessorReady {
		t.Errorf("a service is said to be ready before %q", u)
	}
}

func TestAServiceThatDiedIsReplaced(t *testing.T) {
	b := newBench(t)
	b.mustApply(service("deployments/s", `{}`))
	first := b.current("deployments/s").Handle.ID
	delete(b.fake.tasks, first)
	res := b.mustApply(service("deployments/s", `{}`))
	if res.Counts != (executors.Counts{Replaced: 1}) {
		t.Errorf("counts %+v", res.Counts)
	}
	if second := b.current("deployments/s").Handle.ID; second == first {
		t.Errorf("it has the name of the one that died")
	}
}

func TestUndeclaredServiceRunsUntilItsSuccessorIsReady(t *testing.T) {
	b := newBench(t)
	b.mustApply(service("deployments/old", `{"n":1}`))
	b.fake.behave["deployments/new"] = behaviour{never: true}
	successor := service("deployments/new", `{"n":2}`)
	successor.Timeout = 20 * time.Millisecond
	res, err := b.apply(successor)
	failure(t, err, "deployments/new")
	if want := []executors.Blocked{{Unit: "deployments/old", By: "deployments/new"}}; !slices.Equal(res.Blocked, want) {
		t.Errorf("blocked %v", res.Blocked)
	}
	b.fake.behave["deployments/new"] = behaviour{}
	if res := b.mustApply(successor); res.Counts != (executors.Counts{Created: 1, Deleted: 1}) {
		t.Errorf("counts %+v", res.Counts)
	}
	if left := b.fake.alive(); len(left) != 1 || !strings.HasPrefix(left[0], "deployments-new") {
		t.Errorf("alive: %v", left)
	}
}

// Both would answer at the address, so the old one does not stay because of a third.
func TestReplacedUndeclaredServiceIsStoppedDespiteOtherFailures(t *testing.T) {
	b := newBench(t)
	elsewhere := service("deployments/elsewhere", `{"n":1}`)
	elsewhere.Endpoint.Port = 8081
	b.mustApply(service("deployments/old", `{"n":1}`), elsewhere)
	b.fake.behave["deployments/bad"] = behaviour{never: true}
	bad := service("deployments/bad", `{"n":2}`)
	bad.Endpoint.Port, bad.Timeout = 8082, 20*time.Millisecond
	res, err := b.apply(service("deployments/new", `{"n":2}`), bad)
	failure(t, err, "deployments/bad")
	if want := []executors.Blocked{{Unit: "deployments/elsewhere", By: "deployments/bad"}}; !slices.Equal(res.Blocked, want) || res.Counts.Deleted != 1 {
		t.Errorf("blocked %v and deleted %d units, want %v and 1", res.Blocked, res.Counts.Deleted, want)
	}
	if left := b.fake.alive(); len(left) != 2 || !strings.HasPrefix(left[0], "deployments-elsewhere") || !strings.HasPrefix(left[1], "deployments-new") {
		t.Errorf("alive: %v", left)
	}
}

func TestPredecessorThatDoesNotStopDoesNotBlockApply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.lease.Release(t.Context()) //nolint:errcheck // its heartbeat has to end
		b.mustApply(service("deployments/s", `{"n":1}`))
		b.fake.behave["deployments/s"] = behaviour{lingers: true}
		_, err := b.apply(service("deployments/s", `{"n":2}`))
		if u := failure(t, err, "deployments/s"); !errors.Is(u, context.DeadlineExceeded) {
			t.Errorf("error %v", u)
		}
	})
}

func TestPredecessorThatCannotBeStoppedIsReportedAndStoppedByTheNextApply(t *testing.T) {
	b := newBench(t)
	b.mustApply(service("deployments/s", `{"n":1}`))
	b.fake.behave["deployments/s"] = behaviour{undying: errors.New("no answer")}
	_, err := b.apply(service("deployments/s", `{"n":2}`))
	u := failure(t, err, "deployments/s")
	if want := "it is ready, but the previous version could not be stopped: no answer"; u.Err.Error() != want {
		t.Errorf("error %q", u)
	}
	if n := len(b.fake.alive()); n != 2 {
		t.Errorf("%d alive", n)
	}
	b.fake.behave["deployments/s"] = behaviour{}
	b.mustApply(service("deployments/s", `{"n":2}`))
	if left := b.fake.alive(); !slices.Equal(left, []string{b.current("deployments/s").Handle.ID}) {
		t.Errorf("alive: %v", left)
	}
}

func TestModelsAreRegisteredWithTheirReport(t *testing.T) {
	b := newBench(t)
	b.mustApply(system("1")...)
	b.mustApply(system("2")...)
	versions, err := b.store.ModelVersions(t.Context(), "models/late")
	b.ok(err)
	if len(versions) != 2 || versions[0].Version != 2 || versions[0].Metrics["roc_auc"] != 0.9 {
		t.Fatalf("registered: %+v", versions)
	}
	train, err := b.store.Run(t.Context(), b.current("models/late/train").Run)
	b.ok(err)
	record, err := b.store.Run(t.Context(), b.current("models/late/register").Run)
	b.ok(err)
	if got := record.Outputs["model"]; got != train.Outputs["model"] {
		t.Errorf("passed on %+v, trained %+v", got, train.Outputs["model"])
	}
	if versions[0].Digest != train.Outputs["model"].Digest || versions[0].Key != train.Key {
		t.Errorf("registered %+v, trained %+v", versions[0], train)
	}
	evaluate := b.fake.started("models/late/evaluate")
	if len(evaluate) != 2 {
		t.Errorf("evaluated %v", evaluate)
	}
	runs, err := b.store.Runs(t.Context(), "models/late/evaluate", 1)
	b.ok(err)
	if runs[0].Inputs["incumbent"] != versions[1].Digest {
		t.Errorf("the incumbent was %q, registered before was %+v", runs[0].Inputs["incumbent"], versions[1])
	}
}

// A model in service whose artifact is lost is not the same as none: the evaluation gets it as lost.
func TestALostIncumbentIsNotAbsent(t *testing.T) {
	b := newBench(t)
	b.mustApply(system("1")...)
	versions, err := b.store.ModelVersions(t.Context(), "models/late")
	b.ok(err)
	b.ok(b.arts.Remove(versions[0].Digest))
	b.mustApply(system("2")...)
	incumbent := b.fake.last["models/late/evaluate"].Inputs["incumbent"]
	if !incumbent.Lost || incumbent.Version != 1 || incumbent.Digest != versions[0].Digest || incumbent.Path != "" {
		t.Errorf("the evaluation was given the incumbent %+v", incumbent)
	}
	runs, err := b.store.Runs(t.Context(), "models/late/evaluate", 1)
	b.ok(err)
	if in := runs[0].Inputs["incumbent"]; in == "" || in == versions[0].Digest {
		t.Errorf("its run has the incumbent %q, as if that were there or none", in)
	}
	// It is the same once the new model is registered.
	if again := b.mustApply(system("2")...); again.Counts.Ran > 0 || again.Counts.Updated > 0 {
		t.Errorf("the same system again: %+v", again.Counts)
	}
}

func TestRulesAreWrittenMovedAndRemoved(t *testing.T) {
	b := newBench(t)
	rules := func(entity, file, content string) ir.Unit {
		return ir.Unit{ID: "slos/" + entity, Entity: "slos/" + entity, Kind: ir.Record, Component: "slo.rules",
			Params: []byte(`{"content":"` + content + `","file":"` + file + `"}`), Outputs: []ir.Output{{Port: "rules", Kind: ir.File}}}
	}
	expect := func(step, want string) {
		t.Helper()
		got := ""
		entries, _ := os.ReadDir(filepath.Join(b.dir, "rules"))
		for _, e := range entries {
			c, err := os.ReadFile(filepath.Join(b.dir, "rules", e.Name()))
			b.ok(err)
			got += e.Name() + "=" + string(c) + " "
		}
		if got != want {
			t.Errorf("%s: %q, want %q", step, got, want)
		}
	}
	b.mustApply(rules("a", "a.rules.yml", "one"))
	expect("created", "a.rules.yml=one ")
	run, err := b.store.Run(t.Context(), b.current("slos/a").Run)
	b.ok(err)
	if c, err := b.arts.Bytes(t.Context(), run.Outputs["rules"].Digest); string(c) != "one" {
		t.Errorf("kept as %q, %v", c, err)
	}
	b.mustApply(rules("a", "b.rules.yml", "one"))
	expect("its file renamed", "b.rules.yml=one ")
	b.mustApply(rules("b", "b.rules.yml", "two"))
	expect("taken over by another entity", "b.rules.yml=two ")
	b.ok(os.Remove(filepath.Join(b.dir, "rules", "b.rules.yml")))
	b.mustApply(rules("b", "b.rules.yml", "two"))
	expect("lost", "b.rules.yml=two ")
	b.mustApply(table("sources/a", `{}`))
	expect("undeclared", "")

	_, err = b.apply(rules("c", "../c.rules.yml", "x"))
	if u := failure(t, err, "slos/c"); u.Err.Error() != `"../c.rules.yml" is not a file name of rules` {
		t.Errorf("error %q", u)
	}
}

func TestDestroyRemovesEverythingAndCanBeRepeated(t *testing.T) {
	b := newBench(t)
	b.mustApply(system("1")...)
	b.events = nil
	res, err := executors.Destroy(t.Context(), b.options())
	b.ok(err)
	if res.Counts.Deleted != 6 || res.Outcome != state.Done {
		t.Errorf("result %+v", res)
	}
	var order []string
	for _, e := range b.events {
		order = append(order, e.Unit)
	}
	at := func(unit string) int { return slices.Index(order, unit) }
	if at("slos/late") > at("deployments/late") || at("deployments/late") > at("models/late/register") || at("models/late/train") > at("sources/a") {
		t.Errorf("order %v: what depends on something goes before it", order)
	}
	if c, err := b.store.Current(t.Context()); err != nil || len(c) > 0 {
		t.Errorf("still deployed: %v, %v", c, err)
	}
	if left := b.fake.alive(); len(left) > 0 {
		t.Errorf("alive: %v", left)
	}
	again, err := executors.Destroy(t.Context(), b.options())
	b.ok(err)
	if again.Revision != 0 || again.Counts != (executors.Counts{}) {
		t.Errorf("again: %+v", again)
	}
}

func TestFailedDestroyKeepsDependencies(t *testing.T) {
	b := newBench(t)
	b.mustApply(system("1")...)
	b.fake.behave["deployments/late"] = behaviour{undying: errors.New("no answer")}
	_, err := executors.Destroy(t.Context(), b.options())
	failure(t, err, "deployments/late")
	if b.current("slos/late").Unit != "" || b.current("models/late/register").Unit == "" {
		t.Error("the rules should be gone, and the registered model should stay")
	}
	b.fake.behave["deployments/late"] = behaviour{}
	if _, err := executors.Destroy(t.Context(), b.options()); err != nil {
		t.Error(err)
	}
}
