package plane

import (
	"encoding/json"
	"maps"
	"net/http"
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

// releasePath is where the port for management says which versions answer, and what was counted.
const releasePath = "/release"

// report answers what is known of the route in effect, without rows of requests: whoever reaches the
// port for management may ask.
func (v *versions) report(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		detail(w, http.StatusMethodNotAllowed, "Method Not Allowed")
		return
	}
	type version struct {
		step.RouteVersion
		step.Observation
	}
	s := v.routing.Load()
	o := v.observed()
	out := struct {
		Serial   int64     `json:"serial"`
		Since    time.Time `json:"since"`
		By       string    `json:"by,omitempty"`
		Versions []version `json:"versions"`
	}{o.Serial, o.Since, s.By, nil}
	for _, x := range s.Versions {
		out.Versions = append(out.Versions, version{x, o.Versions[x.Name]})
	}
	b, err := json.Marshal(out)
	if err != nil {
		panic(err) // texts, numbers and times have JSON
	}
	write(w, jsonType[0], b)
}
