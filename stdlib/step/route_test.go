package step_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/stdlib/step"
)

func TestObservationsOfProcessesAddUp(t *testing.T) {
	at := func(n int) time.Time { return time.Date(2026, 1, 31, 12, 0, n, 0, time.UTC) }
	of := func(seconds ...int) (all []step.Example) {
		for _, n := range seconds {
			all = append(all, step.Example{At: at(n)})
		}
		return all
	}
	o := step.Observed{Serial: 3, Since: at(2), At: at(9), Examples: of(1, 4, 6, 8, 10, 12),
		Versions: map[string]step.Observation{"v1": {Requests: 5, Failed: 1, Latency: []int64{5}}},
		Segments: []step.Segment{{Version: "v2", Column: "c", Value: "x", Compared: 4, Different: 1}, {Version: "v2", Column: "c", Value: "y", Compared: 3}}}
	o.Add(step.Observed{Serial: 3, Since: at(1), At: at(7), Examples: of(2, 5, 7, 9, 11, 13),
		Versions: map[string]step.Observation{"v1": {Requests: 2, Refused: 1, Latency: []int64{1, 1}}, "v2": {Shadows: 3, Requests: 3, Compared: 6, Different: 2, Fault: "away"}},
		Segments: []step.Segment{{Version: "v2", Column: "c", Value: "y", Compared: 2, Different: 2}}})
	want := step.Observed{Serial: 3, Since: at(1), At: at(9), Examples: of(4, 5, 6, 7, 8, 9, 10, 11, 12, 13),
		Versions: map[string]step.Observation{
			"v1": {Requests: 7, Failed: 1, Refused: 1, Latency: []int64{6, 1}},
			"v2": {Shadows: 3, Requests: 3, Compared: 6, Different: 2, Fault: "away"},
		},
		Segments: []step.Segment{{Version: "v2", Column: "c", Value: "y", Compared: 5, Different: 2}, {Version: "v2", Column: "c", Value: "x", Compared: 4, Different: 1}}}
	if diff := cmp.Diff(want, o); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for i := range 2 * step.MostSegments {
		o.Add(step.Observed{Segments: []step.Segment{{Column: fmt.Sprint(i), Different: int64(i)}}})
	}
	if n := len(o.Segments); n != step.MostSegments || o.Segments[0].Different != 2*step.MostSegments-1 {
		t.Errorf("%d segments, the first %+v", n, o.Segments[0])
	}
}
