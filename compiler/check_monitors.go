package compiler

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/duration"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
)

// checkMonitors checks what is measured of deployments, and resolves it. It needs to know the
// columns of requests, and which ones are private.
func (c *checker) checkMonitors(pools []ir.Pool) {
	// What compares a metric needs to know it.
	for _, compares := range []bool{false, true} {
		for _, id := range c.order {
			e := c.entities[id]
			if (e.section == "monitors" || e.section == "slos") && !c.broken[id] && compares == (e.input("metric") != nil) {
				c.checkMonitor(e, pools)
			}
		}
	}
}

func (c *checker) checkMonitor(e *entity, pools []ir.Pool) {
	m := &monitoring{checker: c, e: e, on: e.input("on").out}
	switch {
	case c.broken[m.on.entity.id()]:
		c.broken[e.id()] = true // the fault of the deployment is reported
	case e.section == "slos":
		m.objectives()
	case e.component.name == costMonitor:
		m.cost(pools)
	case m.on.kind == ir.Table:
		m.freshness()
	case m.findLog() && m.checkTimes():
		m.resolve()
	}
	if notify := m.receivers(e); e.monitor != nil {
		e.monitor.Notify = notify
	}
}

// monitoring resolves one monitor.
type monitoring struct {
	*checker
	e     *entity
	on    *out   // the endpoint
	model *out   // that the deployment serves
	log   object // the field of the deployment
}

func (m *monitoring) at(label string, field ...string) diag.Span {
	return m.sys.At(label, m.e.path(field...)...)
}

func (m *monitoring) refuse(message, hint string, spans ...diag.Span) {
	m.fail(m.e, diag.Diagnostic{Message: message, Hint: hint, Spans: spans})
}

func (m *monitoring) deployment() *entity { return m.on.entity }

// findLog finds the request log of the deployment, and its model.
func (m *monitoring) findLog() bool {
	d := m.deployment()
	s := d.component.Serves
	if s != nil && s.Log != "" {
		if in := d.input(s.Model); in != nil && in.out.signature != nil && d.fields.has(s.Log) {
			m.model = in.out
			m.log, _ = d.fields.get(s.Log).(object)
			return true
		}
	}
	hint := "measure a serve.#HTTP with log: {}"
	if s != nil && s.Log != "" {
		hint = fmt.Sprintf("add %s: {} to %s", s.Log, d)
	}
	m.refuse(fmt.Sprintf("%s measures %s, which keeps no requests", m.e, d), hint,
		m.at("", "on"), m.sys.Label("keeps no requests", d.path()...))
	return false
}

// checkEvery refuses what is measured too often.
func (m *monitoring) checkEvery() bool {
	if duration.Parse(m.e.string("every")) >= time.Second {
		return true
	}
	m.refuse(fmt.Sprintf("%s is measured every %s, which is too often", m.e, m.e.string("every")), "write a length of time of at least 1s, such as 5m", m.at("", "every"))
	return false
}

// checkTimes compares how often is measured with what the log has by then.
func (m *monitoring) checkTimes() bool {
	if !m.checkEvery() {
		return false
	}
	every, window := duration.Parse(m.e.string("every")), duration.Parse(m.e.string("window"))
	interval := duration.Parse(stringOf(m.log.get("interval")))
	logged := m.sys.At("how long a request waits until it is in the log", m.deployment().path(m.deployment().component.Serves.Log, "interval")...)
	switch {
	case every < interval:
		m.refuse(fmt.Sprintf("%s is measured every %s, but requests are in the log only after up to %s", m.e, m.e.string("every"), stringOf(m.log.get("interval"))),
			"measure less often, or shorten interval", m.at("", "every"), logged)
	case window < every && m.e.input("metric") == nil: // which looks at all of a step
		m.refuse(fmt.Sprintf("%s is measured every %s, but looks at %s only: it would never see the requests in between", m.e, m.e.string("every"), m.e.string("window")),
			"write a window that is at least as long as every", m.at("", "window"), m.at("how often", "every"))
	default:
		return true
	}
	return false
}

// resolve makes the monitor, if there is no fault.
func (m *monitoring) resolve() {
	out := &ir.Monitor{
		Deployment: m.deployment().component.unit(m.deployment().id(), m.on.port),
		Every:      duration.Parse(m.e.string("every")), Window: duration.Parse(m.e.string("window")),
		MinRows: m.e.int("min_rows"), Severity: m.e.string("severity"),
	}
	var columns []ir.Logged // by whose values the figures may be repeated
	switch {
	case m.e.component.name == predictionsMonitor:
		columns = m.segmentsOfAnswers()
		out.Drift = m.predictions()
	case m.e.input("against") != nil:
		if columns = m.requestColumns(); m.e.input("against").kind == ir.Model {
			columns = m.inputs()
		}
		out.Drift = m.drift(columns)
	case m.e.input("metric") != nil:
		if out.Experiment = m.experiment(); out.Experiment != nil {
			out.Window, out.MinRows = out.Experiment.Horizon, out.Experiment.MinUnits
		}
	case m.e.fields.has("sql"):
		columns = m.requestColumns()
		out.Metric = m.metric()
	default:
		columns = m.requestColumns()
		out.Quality = m.quality()
	}
	if out.By = m.by(columns); out.Drift != nil && out.Drift.Answers {
		m.predictHeldOut(out)
	}
	if !m.broken[m.e.id()] {
		m.e.monitor = out
	}
}

// requestColumns are the columns that a caller sends, as far as the log has them.
func (m *monitoring) requestColumns() []ir.Logged {
	return m.logged(m.on.request, requests.RequestPrefix)
}

// inputs are those of the model, as far as the log has them.
func (m *monitoring) inputs() []ir.Logged {
	if m.deployment().contract == nil {
		return m.logged(m.model.signature.Input, requests.RequestPrefix)
	}
	return m.logged(m.model.signature.Input, requests.FeaturePrefix)
}

func (m *monitoring) logged(s ir.Schema, prefix string) (all []ir.Logged) {
	for _, c := range s {
		if !slices.Contains(m.deployment().private, c.Name) {
			all = append(all, ir.Logged{Name: c.Name, Log: prefix + c.Name, Type: c.Type})
		}
	}
	return all
}

// find returns the column of a name, or reports that there is none. what says what the columns
// are, and spans where the name is written.
func (m *monitoring) find(all []ir.Logged, name, field, what string, spans ...diag.Span) *ir.Logged {
	names := make([]string, len(all))
	for i := range all {
		if names[i] = all[i].Name; names[i] == name {
			return &all[i]
		}
	}
	d := diag.Diagnostic{
		Message: fmt.Sprintf("%s of %s names %q, which is no %s", field, m.e, name, what),
		Wanted:  "one of " + strings.Join(names, ", "), Spans: append(spans, m.sys.Label("the deployment", m.deployment().path()...)),
		Hint: nearest(name, names),
	}
	if slices.Contains(m.deployment().private, name) {
		d.Message = fmt.Sprintf("%s of %s names %q, which is private: the log of %s does not have it", field, m.e, name, m.deployment())
		d.Hint = "remove it, or declare the column as private: false where it reveals nothing"
	}
	m.fail(m.e, d)
	return nil
}

// compares says what the columns of a monitor are.
func (m *monitoring) compares() string {
	if against := m.e.input("against"); against != nil && against.kind == ir.Model {
		return "input of its model"
	}
	return "column of its requests"
}

// by resolves the columns by whose values the figures are repeated.
func (m *monitoring) by(columns []ir.Logged) (all []ir.Logged) {
	for i, name := range stringsOf(m.e.fields.get("by")) {
		at := m.at("", "by", fmt.Sprint(i))
		col := m.find(columns, name, "by", m.compares(), at)
		switch {
		case col == nil:
		case strings.HasPrefix(col.Type, "float") || col.Type == "bytes" || isMoment(col.Type):
			m.refuse(fmt.Sprintf("by of %s names %q of type %s, which has too many values for segments", m.e, name, col.Type),
				"name a column of strings, bools or whole numbers, or compute ranges in a feature", at)
		case slices.ContainsFunc(all, func(c ir.Logged) bool { return c.Name == name }):
			m.refuse(fmt.Sprintf("by of %s names %q twice", m.e, name), "remove one of them", at)
		default:
			all = append(all, *col)
		}
	}
	return all
}

// drift resolves which inputs are compared with which rows.
func (m *monitoring) drift(inputs []ir.Logged) *ir.Drift {
	table := m.e.input("against").out
	if table.kind != ir.Table {
		trained := m.checkRecorded(table.entity)
		if trained == nil {
			return nil
		}
		table = trained.out
	}
	declared := objectOr(m.e.fields.get("columns"))
	excluded := m.excluded(inputs, m.compares())
	for _, f := range declared {
		at := m.sys.Label("", m.e.path("columns", f.name)...)
		if col := m.find(inputs, f.name, "columns", m.compares(), at); col != nil {
			m.checkTest(col, objectOr(f.value), table)
		}
	}
	d := m.comparison()
	if against := m.e.input("against"); against.kind == ir.Table {
		d.Source = against.from
	}
	for _, col := range inputs {
		if slices.Contains(excluded, col.Name) || len(fitting(col.Type)) == 0 || !m.checkReference(&col, table) {
			continue
		}
		d.Columns = append(d.Columns, compared(ir.Compared{Logged: col}, declared))
	}
	if len(d.Columns) == 0 && !m.broken[m.e.id()] {
		m.refuse(fmt.Sprintf("%s compares no column", m.e), "private columns, bytes and excluded columns are not compared", m.sys.Label("", m.e.path()...))
	}
	return d
}

// checkReference compares the type of an input with that of the column of the reference.
func (m *monitoring) checkReference(col *ir.Logged, table *out) bool {
	of := table.schema.Column(col.Name)
	if of != nil && of.Type == col.Type {
		return true
	}
	against := m.e.input("against").out.entity
	d := diag.Diagnostic{
		Message: fmt.Sprintf("%s compares %q with the rows of %s, which do not have it", m.e, col.Name, against),
		Spans:   []diag.Span{m.at("", "against"), m.sys.Label("has it", m.deployment().path()...), m.sys.Label("its columns", table.entity.path("schema")...)},
		Hint:    fmt.Sprintf("compare with %s, which the deployment serves, or exclude: [%q]", m.model.entity, col.Name),
	}
	if m.e.input("against").kind == ir.Table {
		d.Hint = fmt.Sprintf("compare with the table of which callers send rows, or exclude: [%q]", col.Name)
	}
	if of != nil {
		d.Message = fmt.Sprintf("%s compares %q with the rows of %s, where it has another type", m.e, col.Name, against)
		d.Wanted, d.Found = col.Type, of.Type
		d.Spans[2] = m.columnSpan(table.entity, col.Name)
	}
	m.fail(m.e, d)
	return false
}

// checkTest refuses a test that does not fit the type of a column. Its table is nil if it is a column of answers.
func (m *monitoring) checkTest(col *ir.Logged, limits object, table *out) {
	test, fits := stringOf(limits.get("test")), fitting(col.Type)
	spans := []diag.Span{m.at("", "columns", col.Name, "test")}
	if table != nil && table.schema.Column(col.Name) != nil {
		spans = append(spans, m.columnSpan(table.entity, col.Name))
	}
	switch {
	case len(fits) == 0:
		m.refuse(fmt.Sprintf("%s cannot compare %q: it has type %s", m.e, col.Name, col.Type), "remove it, or compute a column of another type from it",
			append([]diag.Span{m.sys.Label("", m.e.path("columns", col.Name)...)}, spans[1:]...)...)
	case test != "" && !slices.Contains(fits, test):
		m.fail(m.e, diag.Diagnostic{
			Message: fmt.Sprintf("the test %q of %s does not fit column %q of type %s", test, m.e, col.Name, col.Type),
			Wanted:  "one of " + strings.Join(fits, ", "), Spans: spans,
		})
	case limits.has("max_outside") && !isNumber(col.Type) && !isMoment(col.Type):
		m.refuse(fmt.Sprintf("%s limits the range of %q, but values of type %s have none", m.e, col.Name, col.Type), "limit new values instead: max_new",
			m.at("", "columns", col.Name, "max_outside"))
	case limits.has("max_new") && (isNumber(col.Type) || isMoment(col.Type)):
		m.refuse(fmt.Sprintf("%s limits new values of %q, which are counted of categories only, and it has type %s", m.e, col.Name, col.Type),
			"limit its range instead: max_outside", m.at("", "columns", col.Name, "max_new"))
	default:
		m.checkReach(col.Name, test, limits)
	}
}

// checkReach refuses a limit that no statistic of a test exceeds. A limit that is the highest one is a
// way to say that there is no alert.
func (m *monitoring) checkReach(column, test string, limits object) {
	highest, ok := measure.Highest(test)
	if limit := floatOf(limits, "max"); ok && limit != nil && *limit > highest {
		m.fail(m.e, diag.Diagnostic{
			Message: fmt.Sprintf("%s limits the statistic of %q to %g, which %s never exceeds", m.e, column, *limit, test),
			Wanted:  fmt.Sprintf("from 0 to %g", highest), Found: fmt.Sprint(*limit),
			Spans: []diag.Span{m.at("", "columns", column, "max"), m.at("the test", "columns", column, "test")},
			Hint:  fmt.Sprintf("write a lower limit, or %g for a statistic that is only reported", highest),
		})
	}
}

// float returns a field with a number.
func (m *monitoring) float(field string) float64 {
	if f := floatOf(m.e.fields, field); f != nil {
		return *f
	}
	return 0
}

// floatOf returns a number of an object, or nil.
func floatOf(o object, name string) *float64 {
	n, ok := o.get(name).(json.Number)
	if !ok {
		return nil
	}
	f, err := n.Float64()
	if err != nil {
		return nil
	}
	return &f
}

// isMoment reports whether values of a type are points in time or times of day, which are compared in
// seconds.
func isMoment(typ string) bool { return isTime(typ) || typ == "time" }

// fitting returns the tests that fit a type, or nil if columns of that type are not compared.
func fitting(typ string) []string {
	categories := []string{measure.TestChiSquare, measure.TestJensenShannon, measure.TestPSI}
	switch {
	case typ == "bool" || typ == "string":
		return categories
	case isNumber(typ) || isMoment(typ):
		return append([]string{measure.TestKS, measure.TestWasserstein, measure.TestWassersteinSD}, categories...)
	}
	return nil
}
