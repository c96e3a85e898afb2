package planner

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

// releasing plans a service of which several versions answer, or one was rejected. It returns
// false if that makes no difference.
func (m *maker) releasing(item *Item, l *look) (bool, error) {
	if l.current == nil || l.current.Route == nil || l.u.Kind != ir.Service || m.recalls || m.forced[l.u.ID] {
		return false, nil
	}
	c, r := l.current, l.current.Route
	known := len(l.unknown) == 0
	switch {
	case r.Rejected == nil:
	case known && r.Rejected.Key == l.key:
		return true, m.staysRejected(item, l)
	case !known && m.dead(l) == nil: // it may turn out to be the rejected version
		steps, err := m.steps(l)
		item.Action, item.Unless, item.Reasons = Update, true, append(m.changingInputs(l), steps...)
		item.Route = &state.Route{Rejected: r.Rejected}
		return true, err
	}
	if !r.Releasing() || !known {
		return false, nil
	}
	champion, challenger := r.Champion(), r.Challenger()
	switch {
	case l.key == champion.Key:
		item.Action = Update
		item.Reasons = []Reason{{What: "release ends", Before: weightOf(challenger), After: weightOf(&state.RouteVersion{Name: champion.Name, Weight: 100})}}
		return true, nil
	case l.key == c.Key && l.u.Release == nil && m.dead(l) == nil:
		item.Action = Release
		item.Reasons = []Reason{{What: "release was removed", Before: weightOf(challenger), After: weightOf(&state.RouteVersion{Name: challenger.Name, Weight: 100})}}
		return true, nil
	case l.key == c.Key && m.dead(l) == nil:
		given, err := m.givenOtherwise(l)
		if err != nil || len(given) > 0 {
			return false, err
		}
		old, err := m.applied(l.u.ID)
		if err != nil || old == nil {
			return false, err
		}
		d := &differ{}
		d.tree("release", releaseFields(old.Release), releaseFields(l.u.Release))
		if len(d.out) == 0 {
			item.Releasing = weightOf(champion) + ", " + weightOf(challenger)
			if r.Paused {
				item.Releasing += ", paused"
			}
			return false, nil
		}
		item.Action, item.Reasons = Release, d.out
		return true, nil
	}
	return false, nil
}

// staysRejected plans a service whose declared version was rejected: the champion stays.
func (m *maker) staysRejected(item *Item, l *look) error {
	c, r := l.current, l.current.Route
	item.Key, item.Action, item.Route = ServingKey(*c), None, &state.Route{Rejected: r.Rejected}
	item.Rejected = fmt.Sprintf("%s was rejected in revision %d: %s", r.Rejected.Name, r.Rejected.Revision, r.Rejected.Reason)
	m.rejections = append(m.rejections, ir.Warning{
		Message: fmt.Sprintf("%s stays as it is: %s", l.u.ID, item.Rejected),
		Hint:    fmt.Sprintf("change something, or run tenon release retry %s", l.u.ID),
	})
	if dead := m.dead(l); dead != nil {
		item.Action, item.Reasons = Replace, dead
	}
	if r.Ending() {
		item.Pinned = &state.Pinned{Unit: *r.Champion().Unit, Run: r.Champion().Run}
		return nil
	}
	u, err := m.applied(l.u.ID)
	if err != nil || u == nil {
		return err
	}
	item.Pinned = &state.Pinned{Unit: *u, Run: c.Run}
	item.Pinned.Unit.ID = l.u.ID
	return nil
}

// steps says how a new version of a service is released, if it is.
func (m *maker) steps(l *look) ([]Reason, error) {
	if m.recalls || l.current == nil || l.current.Handle == nil || l.u.Release == nil || l.current.Key == l.key && len(l.unknown) == 0 {
		return nil, nil
	}
	var out []Reason
	champion := (*ir.Unit)(nil)
	r := l.current.Route
	if r.Releasing() {
		out = append(out, Reason{What: fmt.Sprintf("%s ends, %s stays the champion", r.Challenger().Name, r.Champion().Name)})
	}
	if r.Releasing() || r.Ending() { // the applied unit is the challenger's
		champion = r.Champion().Unit
	}
	out = append(out, Reason{What: "released in steps", After: describeRelease(*l.u.Release)})
	if champion == nil {
		var err error
		if champion, err = m.applied(l.u.ID); err != nil {
			return nil, err
		}
	}
	if champion == nil {
		return out, nil
	}
	if changed := edgeChanges(champion, l.u); len(changed) > 0 {
		out = append(out, Reason{What: "holds for both versions from the first step on", After: strings.Join(changed, ", ")})
	}
	return out, Unprotected(champion, l.u)
}

// edgeChanges lists the parameters of the edge in which two versions differ.
func edgeChanges(champion, challenger *ir.Unit) (names []string) {
	old, now := fieldsIn(champion.Params), fieldsIn(challenger.Params)
	for _, name := range challenger.Release.Edge.Params {
		if compact(lookup(old, name)) != compact(lookup(now, name)) {
			names = append(names, name)
		}
	}
	return names
}

// Unprotected refuses a release in which callers of the champion would need less than it asks of
// them: the edge of a process is that of the challenger, and a champion is not to answer strangers, or in
// plain text, before anybody has decided for the challenger.
func Unprotected(champion, challenger *ir.Unit) error {
	if champion.Endpoint == nil || challenger.Endpoint == nil || challenger.Release == nil {
		return nil
	}
	edge := challenger.Release.Edge
	identifies := func(u *ir.Unit) string {
		for _, path := range edge.Identifies {
			var v any = fieldsIn(u.Params)
			for _, name := range strings.Split(path, ".") {
				tree, _ := v.(map[string]any)
				v = tree[name]
			}
			if v != nil {
				return path
			}
		}
		return ""
	}
	var missing string
	switch {
	case champion.Endpoint.TLS && !challenger.Endpoint.TLS:
		missing = "TLS"
	case identifies(champion) != "" && identifies(challenger) == "":
		missing = identifies(champion)
	default:
		return nil
	}
	return fmt.Errorf("the new version is without %s, which the current one has, and a release would take it from both at the first step: "+
		"apply this change without release, and add release again afterwards", missing)
}

// fieldsIn returns the parameters of a unit.
func fieldsIn(params json.RawMessage) map[string]any {
	fields, _ := parse(params).(map[string]any)
	return fields
}

// describeRelease lists the steps of a release.
func describeRelease(p ir.Release) string {
	var parts []string
	if p.Shadow > 0 {
		parts = append(parts, fmt.Sprintf("shadow of %s", percent(p.Shadow)))
	}
	for _, s := range p.Steps {
		parts = append(parts, fmt.Sprintf("%d %%", s))
	}
	return fmt.Sprintf("%s; each %s", strings.Join(parts, ", "), length(p.Each))
}

// releaseFields returns a policy as users write it.
func releaseFields(p *ir.Release) any {
	if p == nil {
		return nil
	}
	judge := map[string]any{}
	if j := p.Judge; j != (ir.Judge{}) {
		if j.ErrorRate != nil {
			judge["error_rate"] = map[string]float64{"max": *j.ErrorRate}
		}
		if j.P99 > 0 {
			judge["p99"] = j.P99.String()
		}
		if j.Disagreement != nil {
			judge["disagreement"] = map[string]float64{"max": *j.Disagreement}
		}
		judge["requests"] = j.Requests
		if j.Within > 0 {
			judge["within"], judge["otherwise"] = j.Within.String(), j.Otherwise
		}
	}
	return plain(map[string]any{"steps": fmt.Sprint(p.Steps), "each": p.Each.String(), "shadow": p.Shadow, "by": p.By, "judge": judge})
}

func weightOf(v *state.RouteVersion) string { return fmt.Sprintf("%s %d %%", v.Name, v.Weight) }
