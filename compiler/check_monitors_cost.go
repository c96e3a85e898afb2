package compiler

import (
	"fmt"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/duration"
)

// costMonitor is the component of monitors that compare costs with limits.
const costMonitor = "monitor.cost"

// cost resolves what a deployment may cost.
func (m *monitoring) cost(pools []ir.Pool) {
	d := m.deployment()
	out := &ir.Cost{Entities: []string{d.id()}}
	for _, p := range d.ports {
		if p.kind == ir.Model && p.out != nil {
			out.Entities = append(out.Entities, p.from)
		}
	}
	every, window := duration.Parse(m.e.string("every")), duration.Parse(m.e.string("window"))
	switch {
	case !m.checkEvery():
		return
	case window < every:
		m.refuse(fmt.Sprintf("%s is measured every %s, but looks at %s only: it would never see the costs in between", m.e, m.e.string("every"), m.e.string("window")),
			"write a window that is at least as long as every", m.at("", "window"), m.at("how often", "every"))
	case !m.e.fields.has("per_day") && !m.e.fields.has("per_prediction"):
		m.refuse(fmt.Sprintf("%s limits nothing", m.e), `add per_day: "20 USD", or per_prediction: "0.001 USD"`, m.sys.Label("", m.e.path()...))
	}
	if m.e.fields.has("per_day") {
		out.PerDay, out.Currency = m.amount(m.e, pools, "per_day", "per_day")
	}
	if m.e.fields.has("per_prediction") {
		out.PerPrediction, out.Currency = m.amount(m.e, pools, "per_prediction", "per_prediction")
		if !m.findLog() {
			return
		}
		if sample := floatOf(m.log, "sample"); sample != nil && *sample < 1 {
			m.refuse(fmt.Sprintf("%s limits the cost of a prediction, but the log of %s has only a sample of them", m.e, d), "log all requests: sample: 1",
				m.at("", "per_prediction"), m.sys.At("the sample", d.path(d.component.Serves.Log, "sample")...))
		}
	}
	if !m.broken[m.e.id()] {
		m.e.monitor = &ir.Monitor{Deployment: d.component.unit(d.id(), m.on.port), Every: every, Window: window, Severity: m.e.string("severity"), Cost: out}
	}
}
