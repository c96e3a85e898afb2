package project

import (
	"context"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/cmd/internal/dashboard"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/slo/rules"
)

// Dashboards returns dashboards of Grafana for everything that has metrics: endpoints, monitors and loops,
// by file name.
func (w *Workspace) Dashboards(ctx context.Context) (map[string][]byte, error) {
	m, err := w.measuredSystem(ctx)
	if err != nil {
		return nil, err
	}
	about := func(kind, id string) dashboard.About {
		return dashboard.About{System: m.system, Env: w.set.Env, Unit: id, Name: dotted(id), Selector: w.selector(m.system, kind, id)}
	}
	selected := func(kind string, ids []string) (all []dashboard.Selected) {
		for _, id := range ids {
			all = append(all, dashboard.Selected{Name: dotted(id), Selector: w.selector(m.system, kind, id)})
		}
		return all
	}
	all := map[string]*dashboard.Dashboard{}
	for _, id := range m.services {
		if u := m.units[id]; u.Endpoint != nil {
			all[id] = dashboard.Endpoint(about("deployment", id), rules.Predictions, u.Release != nil)
		}
	}
	for _, h := range m.monitors {
		kind := ""
		switch {
		case h.Monitor.Drift != nil:
			kind = dashboard.Drift
		case h.Monitor.Quality != nil:
			kind = dashboard.Quality
		}
		all[h.Unit] = dashboard.Monitor(about("monitor", h.Unit), kind)
	}
	for _, u := range m.loops {
		var released []string
		for _, id := range m.services {
			if entity, _ := ir.SplitID(id); m.units[id].Release != nil && slices.Contains(u.Loop.Deployments, entity) {
				released = append(released, id)
			}
		}
		all[u.ID] = dashboard.Loop(about("loop", u.ID), selected("monitor", u.Loop.Monitors()), selected("deployment", released), w.selector(m.system, "", ""))
	}
	out := map[string][]byte{}
	for id, d := range all {
		name := strings.ReplaceAll(id, "/", "-") + ".json"
		if w.set.Env != "" {
			name = w.set.Env + "-" + name
		}
		if out[name], err = d.JSON(); err != nil {
			return nil, err
		}
	}
	return out, nil
}
