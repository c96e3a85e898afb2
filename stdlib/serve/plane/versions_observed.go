package plane

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// resume goes on with what an earlier process, which was killed, has observed of the same route.
func (v *versions) resume(serial int64) {
	b, err := os.ReadFile(v.path)
	if err != nil {
		return // there is none
	}
	var o step.Observed
	if json.Unmarshal(b, &o) == nil && o.Serial == serial {
		v.before = o
	}
}

// observed is what was counted since the route is in effect.
func (v *versions) observed() *step.Observed {
	s := v.routing.Load()
	o := &step.Observed{Serial: s.Serial, Since: s.since.UTC(), At: time.Now().UTC(), Versions: map[string]step.Observation{}}
	known := v.before.Serial == s.Serial
	if known {
		o.Since = v.before.Since
	}
	for i, x := range s.versions {
		var of step.Observation
		if known {
			of = v.before.Versions[x.name]
			of.Latency = slices.Clone(of.Latency)
		}
		of.Fault = x.why()
		s.counts[i].AddTo(&of)
		o.Versions[x.name] = of
	}
	s.differences.AddTo(o)
	if known && len(o.Segments) == 0 && len(o.Examples) == 0 {
		o.Segments, o.Examples = v.before.Segments, v.before.Examples
	}
	return o
}

// write writes the file of what is observed. The caller has the lock.
func (v *versions) write() {
	if v.path == "" {
		return
	}
	b, err := json.Marshal(v.observed())
	if err == nil {
		err = files.Write(v.path, b, 0o644)
	}
	says := ""
	if err != nil {
		says = err.Error()
	}
	if says != v.failing && says != "" {
		v.say("error: write what is observed: " + says)
	}
	v.failing = says
}

// names lists the versions that a process has to have.
func names(r step.Route) map[string]bool {
	return maps.Collect(func(yield func(string, bool) bool) {
		for _, x := range r.Versions {
			if !yield(x.Name, true) {
				return
			}
		}
	})
}
