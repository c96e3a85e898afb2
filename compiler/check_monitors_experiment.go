package compiler

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/duration"
)

// experiment resolves how the versions of a release are compared.
func (m *monitoring) experiment() *ir.Experiment {
	of := m.e.input("metric").out.entity
	d := m.deployment()
	if m.broken[of.id()] {
		m.broken[m.e.id()] = true // the fault of the metric is reported
		return nil
	}
	if of.monitor == nil || of.monitor.Metric == nil {
		m.refuse(fmt.Sprintf("%s compares %s, which is not a metric", m.e, of), "name a monitor.#Metric of the same deployment", m.at("", "metric"), m.sys.Label("", of.path()...))
		return nil
	}
	if on := of.input("on").out.entity; on != d {
		m.refuse(fmt.Sprintf("%s compares versions of %s by %s, which measures %s", m.e, d, of, on), "name a metric of the same deployment",
			m.at("", "on"), m.at("", "metric"), m.sys.Label("what it measures", of.path("on")...))
		return nil
	}
	out := &ir.Experiment{
		Of: of.component.unit(of.id(), m.e.input("metric").port), Metric: of.monitor.Metric,
		Observe: duration.Parse(m.e.string("observe")), Horizon: duration.Parse(m.e.string("horizon")),
		Alpha: m.float("alpha"), Power: m.float("power"), MinEffect: m.float("min_effect"), MinUnits: m.e.int("min_units"), Expected: m.e.int("expected_units"),
		Lower: m.e.string("better") == "lower",
	}
	m.steps(out)
	m.unit(out)
	if needs := out.Observe + of.monitor.Delay() + 2*duration.Parse(m.e.string("every")); out.Horizon <= needs && !m.broken[m.e.id()] {
		m.refuse(fmt.Sprintf("%s ends after %s, but the first request of a step is compared only after up to %s", m.e, m.e.string("horizon"), shortly(needs)),
			"lengthen horizon, or shorten every or observe, or within of the metric", m.at("", "horizon"), m.sys.Label("the metric", of.path()...))
	}
	return out
}

// steps finds the steps of the release in which both versions answer.
func (m *monitoring) steps(out *ir.Experiment) {
	d := m.deployment()
	release := d.releaseField()
	if release == "" {
		m.refuse(fmt.Sprintf("%s compares versions of %s, which replaces a version at once", m.e, d),
			fmt.Sprintf(`add steps to %s: release: {steps: [50], each: "1h", by: "customer"}`, d), m.at("", "on"), m.sys.Label("has no release", d.path()...))
		return
	}
	steps, _ := d.fields.at(release + ".steps").([]any)
	for _, s := range steps {
		n, _ := s.(json.Number)
		if weight, err := n.Int64(); err == nil && weight > 0 && weight < 100 {
			out.Steps = append(out.Steps, int(weight))
		}
	}
	if len(out.Steps) == 0 {
		m.refuse(fmt.Sprintf("%s compares versions of %s, but in no step of its release do two of them answer", m.e, d), "add a step, such as 50",
			m.at("", "on"), m.sys.Label("its steps", d.path(release, "steps")...))
	}
}

// unit finds what is assigned to a version as a whole.
func (m *monitoring) unit(out *ir.Experiment) {
	d := m.deployment()
	release := d.releaseField()
	if release == "" {
		return
	}
	by := stringOf(d.fields.at(release + ".by"))
	columns := m.requestColumns()
	i := slices.IndexFunc(columns, func(c ir.Logged) bool { return c.Name == by })
	switch {
	case by == "" && m.e.fields.has("observe"):
		m.refuse(fmt.Sprintf("%s observes values of a column, but each request to %s gets a version of its own", m.e, d),
			"remove observe, or add by to the release", m.at("", "observe"), m.sys.Label("the release", d.path(release)...))
	case by == "":
	case i < 0:
		m.refuse(fmt.Sprintf("%s needs to know which requests have the same %s, and the log of %s does not have it", m.e, by, d),
			"declare the column as private: false where it reveals nothing, or release by another one", m.at("", "on"), m.sys.Label("the column", d.path(release, "by")...))
	case out.Observe <= 0:
		m.refuse(fmt.Sprintf("%s does not say how long a value of %s is observed", m.e, by),
			`add the time in which it shows what a version is worth, such as observe: "1d": requests with the same value depend on each other, so they count as one`,
			m.sys.Label("", m.e.path()...), m.sys.Label("they get the same version", d.path(release, "by")...))
	default:
		out.Unit = &columns[i]
	}
}
