package planner

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
)

func TestWarningsOfTimeouts(t *testing.T) {
	const place = "shop.cue:7:2"
	for name, tt := range map[string]struct {
		timeout time.Duration
		kind    ir.Kind
		usual   Estimate
		want    string
	}{
		"longer than the timeout":  {10 * time.Minute, ir.Job, Estimate{Runs: 3, Time: 90 * time.Minute}, "models/m/train took 1h30m, the median of its last 3 runs, and its timeout is 10m"},
		"a single run":             {time.Second, ir.Job, Estimate{Runs: 1, Time: 1500 * time.Millisecond}, "models/m/train took 1.5s in its last run, and its timeout is 1s"},
		"shorter than the timeout": {10 * time.Minute, ir.Job, Estimate{Runs: 3, Time: 10 * time.Minute}, ""},
		"no timeout":               {0, ir.Job, Estimate{Runs: 3, Time: time.Hour}, ""},
		"no history":               {time.Second, ir.Job, Estimate{}, ""},
		"a service":                {time.Second, ir.Service, Estimate{Runs: 3, Time: time.Hour}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := &Plan{
				System: &ir.System{
					Units:    []ir.Unit{{ID: "models/m/train", Entity: "models/m", Timeout: tt.timeout}},
					Entities: []ir.Entity{{ID: "models/m", Places: ir.PlacesOf(map[string]string{"timeout": place})}},
				},
				Items: []Item{{Unit: "models/m/train", Kind: tt.kind, Action: Run, Estimate: tt.usual}},
			}
			p.warn()
			var want []ir.Warning
			if tt.want != "" {
				want = []ir.Warning{{Message: tt.want, At: place, Hint: "raise the timeout"}}
			}
			if diff := cmp.Diff(want, p.Warnings); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWarningsOfTheCompilerAreThoseOfAPlan(t *testing.T) {
	w := ir.Warning{Message: "tested on random rows", At: "shop.cue:7:2"}
	p := &Plan{System: &ir.System{Entities: []ir.Entity{{ID: "models/a"}, {ID: "models/m", Warnings: []ir.Warning{w}}}}}
	p.warn()
	if diff := cmp.Diff([]ir.Warning{w}, p.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}
