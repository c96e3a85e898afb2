package compiler

import (
	"fmt"
	"strconv"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/duration"
)

// objectives resolves what of the objectives of an endpoint is measured: what its audit log shows, if it
// keeps one.
func (m *monitoring) objectives() {
	d := m.deployment()
	if !m.checkEvery() {
		return
	}
	promised := promisedOf(m.e)
	if len(promised) == 0 || d.auditField() == "" {
		return
	}
	m.e.monitor = &ir.Monitor{
		Deployment: d.component.unit(d.id(), m.on.port),
		Every:      duration.Parse(m.e.string("every")), Window: duration.Parse(m.e.string("window")),
		MinRows: m.e.int("min_requests"), Severity: "page", Service: &ir.ServiceLevel{Objectives: promised},
	}
}

// promisedOf are the objectives of an entity that a single request can meet or miss.
func promisedOf(e *entity) (all []ir.Objective) {
	if f := floatOf(e.fields, "availability"); f != nil {
		all = append(all, ir.Objective{Name: "availability", Target: *f})
	}
	latency, _ := e.fields.get("latency").(object)
	for _, f := range latency {
		percent, err := strconv.Atoi(f.name[1:])
		if err != nil {
			continue // the library has no such quantile
		}
		all = append(all, ir.Objective{Name: "latency " + f.name, Target: float64(percent) / 100, Slower: duration.Parse(stringOf(f.value))})
	}
	if f := floatOf(e.fields, "saturation"); f != nil {
		all = append(all, ir.Objective{Name: "saturation", Target: 1 - *f, Refused: true})
	}
	return all
}

// auditField returns the field with the audit log of a deployment, or "" if it keeps none.
func (e *entity) auditField() string {
	if k := e.component.Edge; k != nil && k.Audit != "" && present(e.fields, k.Audit) {
		return k.Audit
	}
	return ""
}

// measured reports a monitor that has no measurements: objectives that no log shows.
func (l *looping) measured(p port, does string) bool {
	e := p.out.entity
	if e.monitor != nil {
		return true
	}
	d := e.input("on").out.entity
	if len(promisedOf(e)) == 0 {
		l.refuse(fmt.Sprintf("%s %s, but it has no objective that a single request can meet or miss", e, does), "add availability, latency or saturation to it, such as availability: 0.999",
			l.reference(p), l.sys.Label("the objectives", e.path()...))
		return false
	}
	hint := "declare the objectives of a serve.#HTTP with audit: {}"
	if k := d.component.Edge; k != nil && k.Audit != "" {
		hint = fmt.Sprintf("add %s: {} to %s", k.Audit, d)
	}
	l.refuse(fmt.Sprintf("%s %s, but %s keeps no audit log to measure it by", e, does, d), hint,
		l.reference(p), l.sys.Label("the objectives", e.path()...), l.sys.Label("keeps no audit log", d.path()...))
	return false
}

// verdictAfter returns how long a step of a release may last until a monitor has a verdict on it, and
// what that consists of. Objectives are measured from the beginning of the step on.
func (l *looping) verdictAfter(e, deployment *entity) (needs time.Duration, parts, hint string) {
	m := e.monitor
	if m.Service != nil {
		interval := duration.Parse(stringOf(deployment.fields.at(deployment.auditField() + ".interval")))
		return m.Every + interval, fmt.Sprintf("%s until requests are in the audit log and %s until it is measured", shortly(interval), shortly(m.Every)),
			"lengthen each, or shorten every of the objectives or interval of audit"
	}
	parts = fmt.Sprintf("its window of %s and %s until it is measured", shortly(m.Window), shortly(m.Every))
	if m.Delay() > 0 {
		parts += fmt.Sprintf(", after %s for labels", shortly(m.Delay()))
	}
	return m.Every + m.Window + m.Delay(), parts, "lengthen each, or shorten window, every or within of the monitor"
}

// spanOf is where a judge is declared.
func (l *looping) spanOf(e *entity) diag.Span {
	if e.section == "slos" {
		return l.sys.Label("the objectives", e.path()...)
	}
	return l.sys.Label("the monitor", e.path()...)
}
