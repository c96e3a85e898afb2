package cloud

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A HostedState is what a task state has about a task at an endpoint whose versions are apart, by variant where there are
// several.
type HostedState struct {
	Endpoint  string            `json:"endpoint,omitempty"`  // id
	Machine   string            `json:"machine,omitempty"`   // type, if it is known
	Operation string            `json:"operation,omitempty"` // that deploys its last variant
	Versions  map[string]string `json:"versions,omitempty"`
	Shares    map[string]int    `json:"shares,omitempty"` // percent of the requests at first
	Serial    int64             `json:"serial,omitempty"` // of its first route, or 0
}

// Weights returns how many percent of the requests go to each variant under a route. Those without requests are not in it.
func (s *HostedState) Weights(r step.Route) map[string]int {
	all := map[string]int{}
	for variant, version := range s.Versions {
		for _, v := range r.Versions {
			if v.Name == version && v.Weight > 0 {
				all[variant] = v.Weight
			}
		}
	}
	return all
}

// RouteMark returns what an endpoint says about the route that it has from now on, of letters, digits and hyphens.
func RouteMark(serial int64) string { return fmt.Sprintf("%d-%d", serial, time.Now().UnixMilli()) }

// MarkedRoute returns the serial of the route that a [RouteMark] names, and since when it is in effect.
func MarkedRoute(mark string) (serial int64, since time.Time, ok bool) {
	first, second, _ := strings.Cut(mark, "-")
	serial, bad := strconv.ParseInt(first, 10, 64)
	at, worse := strconv.ParseInt(second, 10, 64)
	return serial, time.UnixMilli(at).UTC(), bad == nil && worse == nil
}

// Split reports what a release cannot have where a platform, such as "Vertex AI", divides the requests among versions that are
// apart. instead ends each hint: what else to do.
func (c *Checks) Split(u ir.Unit, platform, instead string) {
	r := u.Release
	if r == nil {
		return
	}
	if r.By != "" {
		c.Fault("release.by", "remove by"+instead, "%s chooses the version of each request by chance", platform)
	}
	if r.Shadow > 0 {
		c.Fault("release.shadow", "remove shadow"+instead, "nothing compares what the versions at an endpoint of %s answer", platform)
	}
	if j := r.Judge; j.Disagreement != nil || j.ErrorRate != nil || j.P99 > 0 || j.Requests > 0 || j.Within > 0 {
		c.Fault("release.judge", "remove judge: its steps then take as long as each, and `tenon release abort` ends them"+instead,
			"nothing counts what each version at an endpoint of %s answers in time for a judge", platform)
	}
}
