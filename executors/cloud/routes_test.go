package cloud

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// What a release is judged by is the sum of what all instances saw of the route that each living one has.
func TestWhatInstancesObserve(t *testing.T) {
	now := time.Now().UTC()
	seen := func(serial int64, ago time.Duration, requests int64, fault string) step.Observed {
		return step.Observed{Serial: serial, At: now.Add(-ago), Versions: map[string]step.Observation{"v2": {Requests: requests, Fault: fault}}}
	}
	for _, c := range []struct {
		name     string
		reports  map[string]step.Observed
		ended    []string
		idle     bool
		serial   int64
		requests int64
		fault    string
		ago      time.Duration // of the sum
	}{
		{"all have the route", map[string]step.Observed{"a": seen(3, time.Second, 5, ""), "b": seen(3, 2*time.Second, 7, "")}, nil, false, 3, 12, "", 2 * time.Second},
		{"one does not have it yet", map[string]step.Observed{"a": seen(3, time.Second, 5, ""), "b": seen(2, time.Second, 7, "")}, nil, false, 2, 7, "", time.Second},
		{"that one has ended", map[string]step.Observed{"a": seen(3, time.Second, 5, ""), "b": seen(2, time.Second, 7, "")}, []string{"b"}, false, 3, 5, "", time.Second},
		{"one that ended has counted", map[string]step.Observed{"a": seen(3, time.Second, 5, ""), "b": seen(3, time.Hour, 7, "it was gone")}, []string{"b"}, false, 3, 12, "", time.Second},
		{"one is silent, and may still have the former route", map[string]step.Observed{"a": seen(3, time.Second, 5, ""), "b": seen(2, 30*time.Second, 7, "")}, nil, false, 2, 7, "", 30 * time.Second},
		{"one is silent for so long that it was killed", map[string]step.Observed{"a": seen(3, time.Second, 5, ""), "b": seen(2, 2*time.Minute, 7, "")}, nil, false, 3, 5, "", time.Second},
		{"the clock here is ahead", map[string]step.Observed{"a": seen(3, 2*time.Minute, 5, ""), "b": seen(2, 2*time.Minute, 7, "")}, nil, false, 2, 7, "", 2 * time.Minute},
		{"one cannot answer", map[string]step.Observed{"a": seen(3, time.Second, 5, "no memory")}, nil, false, 3, 5, "instance a: no memory", time.Second},
		{"all are silent", map[string]step.Observed{"a": seen(3, time.Hour, 5, "")}, nil, false, 3, 5, "", time.Hour},
		{"no requests, so that there are none", map[string]step.Observed{"a": seen(2, time.Hour, 5, ""), "b": seen(4, time.Hour, 2, "")}, []string{"a", "b"}, true, 4, 2, "", 0},
	} {
		stores := &Stores{}
		r := Run{Start: "late-1", Notes: "file://" + t.TempDir(), Stores: stores}
		if got, err := r.Observed(t.Context(), c.idle); got != nil || err != nil {
			t.Errorf("%s: before a report: %+v, %v", c.name, got, err)
		}
		if err := r.PutRoute(t.Context(), step.Route{Serial: 4}); err != nil {
			t.Fatal(err)
		}
		notes, err := stores.At(t.Context(), r.Notes)
		if err != nil {
			t.Fatal(err)
		}
		put := func(name string, b []byte) {
			if err := notes.PutNote(t.Context(), name, b); err != nil {
				t.Fatal(err)
			}
		}
		for id, o := range c.reports {
			b, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			put(pod.ObservedNotes(r.Start)+id, b)
		}
		for _, id := range c.ended {
			put(pod.EndedNotes(r.Start)+id, nil)
		}
		got, err := r.Observed(t.Context(), c.idle)
		if err != nil || got == nil {
			t.Fatalf("%s: %+v, %v", c.name, got, err)
		}
		v := got.Versions["v2"]
		if got.Serial != c.serial || v.Requests != c.requests || v.Fault != c.fault {
			t.Errorf("%s: got %+v", c.name, got)
		}
		if off := now.Add(-c.ago).Sub(got.At).Abs(); off > 10*time.Second {
			t.Errorf("%s: it is of %s", c.name, got.At)
		}
		if err := stores.Close(); err != nil {
			t.Error(err)
		}
	}
}
