package executors_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A sketch is an entity as the property changes it.
type sketch struct {
	kind      string // "source", "feature", "model", "service", "rules"
	name      int
	param     int
	component string // of its jobs
	from      []int  // sketches before it
	data      []string
	retries   int
	timeout   time.Duration
	maxAge    time.Duration
	milliCPU  int64
	gpus      int64 // of its jobs; a service has one if its jobs have any
}

func (s *sketch) String() string {
	if s == nil {
		return "nothing"
	}
	return strings.TrimLeft(fmt.Sprintf("%+v", *s), "&")
}

func (s *sketch) id(i int) string {
	section := map[string]string{"source": "sources", "feature": "features", "model": "models", "service": "deployments", "rules": "slos"}[s.kind]
	return fmt.Sprintf("%s/e%d_%d", section, i, s.name)
}

// out returns the unit and the port that others read.
func (s *sketch) out(i int) (unit, port string, kind ir.PortKind) {
	switch s.kind {
	case "model":
		return s.id(i) + "/register", "model", ir.Model
	case "service":
		return s.id(i), "endpoint", ir.EndpointOf
	case "rules":
		return s.id(i), "rules", ir.File
	}
	return s.id(i), "out", ir.Table
}

func units(sketches []*sketch) []ir.Unit {
	var all []ir.Unit
	for i, s := range sketches {
		if s == nil {
			continue
		}
		id := s.id(i)
		var inputs []ir.Input
		for _, j := range s.from {
			if from := sketches[j]; from != nil {
				unit, port, kind := from.out(j)
				inputs = append(inputs, ir.Input{Port: fmt.Sprint("in", j), Unit: unit, From: port, Kind: kind})
			}
		}
		of := -1 // units of one definition share their results, except for random ones
		if s.component == "random" {
			of = i
		}
		job := func(stage string, in []ir.Input, out ...ir.Output) ir.Unit {
			u := ir.Unit{
				ID: id + stage, Entity: id, Kind: ir.Job, Component: s.component, Params: fmt.Appendf(nil, `{"of":%d,"p":%d,"stage":%q}`, of, s.param, stage),
				Inputs: in, Outputs: out, Retries: s.retries, Timeout: s.timeout, MaxAge: s.maxAge,
			}
			u.Needs.MilliCPU, u.Needs.GPU = s.milliCPU, s.gpus
			return u
		}
		reads := func(port, stage, from string, kind ir.PortKind) ir.Input {
			return ir.Input{Port: port, Unit: id + stage, From: from, Kind: kind}
		}
		switch s.kind {
		case "source", "feature":
			u := job("", inputs, ir.Output{Port: "out", Kind: ir.Table})
			u.Files = s.data
			all = append(all, u)
		case "model":
			report := job("/evaluate", []ir.Input{reads("model", "/train", "model", ir.Model), reads("test", "/split", "test", ir.Table)}, ir.Output{Port: "report", Kind: ir.Report})
			if s.param > 0 {
				incumbent := reads("incumbent", "/register", "model", ir.Model)
				incumbent.Incumbent = true
				report.Inputs = append(report.Inputs, incumbent)
			}
			register := job("/register", []ir.Input{reads("model", "/train", "model", ir.Model), reads("report", "/evaluate", "report", ir.Report), reads("verdict", "/gate", "verdict", ir.Table)},
				ir.Output{Port: "model", Kind: ir.Model, Signature: signature})
			register.Kind, register.Component, register.MaxAge, register.Needs.GPU = ir.Record, "registry.model", 0, 0
			all = append(all,
				job("/split", inputs, ir.Output{Port: "test", Kind: ir.Table}, ir.Output{Port: "train", Kind: ir.Table}),
				job("/train", []ir.Input{reads("train", "/split", "train", ir.Table)}, ir.Output{Port: "model", Kind: ir.Model, Signature: signature}),
				report,
				job("/gate", []ir.Input{reads("report", "/evaluate", "report", ir.Report)}, ir.Output{Port: "verdict", Kind: ir.Table}),
				register)
		case "service":
			u := job("", inputs, ir.Output{Port: "endpoint", Kind: ir.EndpointOf})
			u.Kind, u.MaxAge, u.Needs = ir.Service, 0, ir.Resources{GPU: min(s.gpus, 1)}
			u.Endpoint = &ir.Endpoint{Host: "127.0.0.1", Port: 8000 + i, Ready: "/readyz", Replicas: 1}
			all = append(all, u)
		case "rules":
			u := job("", inputs, ir.Output{Port: "rules", Kind: ir.File})
			u.Kind, u.Component, u.MaxAge, u.Needs.GPU = ir.Record, "slo.rules", 0, 0
			u.Params = fmt.Appendf(nil, `{"content":"rules %d of %d","file":"%d_%d.yml"}`, s.param, i, i, s.param/2)
			all = append(all, u)
		}
	}
	slices.SortFunc(all, func(a, b ir.Unit) int { return strings.Compare(a.ID, b.ID) })
	return all
}

func drawSketch(t *rapid.T, i int) *sketch {
	s := &sketch{
		kind:      rapid.SampledFrom([]string{"source", "feature", "feature", "model", "service", "rules"}).Draw(t, "kind"),
		component: rapid.SampledFrom([]string{"usual", "usual", "constant", "random"}).Draw(t, "component"),
		param:     rapid.IntRange(0, 2).Draw(t, "param"),
		retries:   rapid.IntRange(0, 2).Draw(t, "retries"),
		timeout:   rapid.SampledFrom([]time.Duration{0, 10 * time.Second}).Draw(t, "timeout"),
		gpus:      rapid.SampledFrom([]int64{0, 0, 1, 2}).Draw(t, "gpus"),
		milliCPU:  rapid.SampledFrom([]int64{0, 500, 2000}).Draw(t, "cpu"),
	}
	if i > 0 {
		s.from = rapid.SliceOfNDistinct(rapid.IntRange(0, i-1), 0, min(i, 3), rapid.ID).Draw(t, "from")
	}
	if s.kind == "source" {
		s.data = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"data/a.csv", "data/b.csv", "data/*.csv"}), 0, 2, rapid.ID).Draw(t, "data")
		s.maxAge = rapid.SampledFrom([]time.Duration{0, 0, time.Hour}).Draw(t, "max age")
	}
	return s
}

// An edit is a change between two applies, by whatever cause.
type edit struct {
	what string
	n    int
	to   *sketch
}

func (e edit) String() string {
	if e.to != nil {
		return fmt.Sprintf("%s %d: %s", e.what, e.n, e.to)
	}
	return fmt.Sprintf("%s %d", e.what, e.n)
}

func drawEdit(t *rapid.T, entities int) edit {
	e := edit{
		what: rapid.SampledFrom([]string{"declare", "remove", "set the parameter of", "rename", "rewire", "change data", "lose artifact", "damage artifact",
			"kill service", "delete rules", "reboot", "wait", "collect"}).Draw(t, "edit"),
		n: rapid.IntRange(0, 5).Draw(t, "of"),
	}
	switch e.what {
	case "declare", "rewire", "rename", "set the parameter of":
		e.n %= entities
		e.to = drawSketch(t, e.n)
	}
	return e
}

// A round is some edits, and an apply during which something goes wrong.
type round struct {
	edits    []edit
	rerun    int  // the index of a unit, or negative
	between  bool // data changes between plan and apply
	troubles []trouble
	end      string // "", "killed", "fenced", "canceled"
	after    int    // number of writes and calls; seconds for a cancel
	parallel int
	polls    bool // the executor has no Wait
}

func (r round) String() string {
	var b strings.Builder
	for _, e := range r.edits {
		fmt.Fprintf(&b, "  %s\n", e)
	}
	fmt.Fprintf(&b, "  apply, %d at once", r.parallel)
	if r.rerun >= 0 {
		fmt.Fprintf(&b, ", rerun unit %d", r.rerun)
	}
	if r.between {
		b.WriteString(", data changes after the plan")
	}
	if r.end != "" {
		fmt.Fprintf(&b, ", %s after %d", r.end, r.after)
	}
	if r.polls {
		b.WriteString(", by polling")
	}
	b.WriteString("\n")
	for _, t := range r.troubles {
		fmt.Fprintf(&b, "    %s\n", t)
	}
	return b.String()
}

func drawRound(t *rapid.T, entities int) round {
	r := round{
		rerun:    rapid.IntRange(-5, 5).Draw(t, "rerun"),
		between:  rapid.IntRange(0, 9).Draw(t, "between") == 0,
		end:      rapid.SampledFrom([]string{"", "", "killed", "killed", "fenced", "canceled"}).Draw(t, "end"),
		parallel: rapid.SampledFrom([]int{1, 1, 0}).Draw(t, "parallel"),
		polls:    rapid.Bool().Draw(t, "polls"),
	}
	if r.end != "" {
		r.after = rapid.IntRange(0, 60).Draw(t, "after")
	}
	for range rapid.IntRange(0, 3).Draw(t, "edits") {
		r.edits = append(r.edits, drawEdit(t, entities))
	}
	for range rapid.IntRange(0, 4).Draw(t, "troubles") {
		r.troubles = append(r.troubles, trouble{
			what:  rapid.SampledFrom(troubles).Draw(t, "trouble"),
			unit:  rapid.IntRange(0, 9).Draw(t, "unit"),
			times: rapid.SampledFrom([]int{1, 1, 2, 9}).Draw(t, "times"),
		})
	}
	return r
}

// Whatever systems are applied in sequence, by whatever executor, and whatever happens to
// an apply: once nothing goes wrong any more, exactly what is declared is deployed, as if
// it had been applied at once.
func TestApplyConvergesWhateverTheExecutorDoes(t *testing.T) {
	top := inMemory(t)
	rapid.Check(t, func(rt *rapid.T) {
		var sketches []*sketch
		for i := range rapid.IntRange(1, 5).Draw(rt, "entities") {
			sketches = append(sketches, drawSketch(rt, i))
		}
		var rounds []round
		for range rapid.IntRange(1, 4).Draw(rt, "rounds") {
			rounds = append(rounds, drawRound(rt, len(sketches)))
		}
		story := storyOf(sketches, rounds)
		dir, err := os.MkdirTemp(top, "")
		if err != nil {
			rt.Fatal(err)
		}
		defer removeTree(dir)
		if err := inBubble(t, func(ctx context.Context) error { return play(ctx, dir, sketches, rounds) }); err != nil {
			rt.Fatalf("%v\n\n%s", err, story)
		}
	})
}

// inMemory returns a folder on a file system in memory, if there is one. Power failures
// are not tested here, and every write to the state would wait for the disk.
func inMemory(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "tenon-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { removeTree(dir) })
	return dir
}

func storyOf(sketches []*sketch, rounds []round) string {
	var b strings.Builder
	for i, s := range sketches {
		fmt.Fprintf(&b, "  declare %d: %s\n", i, s)
	}
	for _, r := range rounds {
		b.WriteString(r.String())
	}
	return b.String()
}

// inBubble runs f in time that only passes when everything waits.
func inBubble(t *testing.T, f func(context.Context) error) (err error) {
	var panicked any
	synctest.Test(t, func(t *testing.T) {
		defer func() { panicked = recover() }()
		err = f(t.Context())
	})
	if panicked != nil {
		panic(panicked)
	}
	return err
}

func removeTree(dir string) {
	_ = filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			_ = os.Chmod(p, 0o755)
		}
		return nil
	})
	must(os.RemoveAll(dir))
}
