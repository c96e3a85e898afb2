package window

import (
	"fmt"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
)

// Tables that the SQL of a metric may name.
const (
	Requests  = "requests"
	Responses = "responses"
	Outcomes  = "outcomes"
)

// TableOf returns the table that has a column of the log.
func TableOf(c ir.Logged) string {
	if strings.HasPrefix(c.Log, requests.RequestPrefix) {
		return Requests
	}
	return Responses
}

// metric is the metric that is measured or compared, or nil.
func (r *run) metric() *ir.Metric {
	if x := r.Monitor.Experiment; x != nil {
		return x.Metric
	}
	return r.Monitor.Metric
}

// byColumn is the prefix of columns of by while their values are computed, so that the SQL of a metric
// cannot mean them.
const byColumn = ".by."

// valued are the rows of the window with their values. An outcome is joined as a label is. The tables of
// the SQL have one row for each request each.
func (r *run) valued(m *ir.Metric) string {
	columns := r.keyed(m.Outcomes)
	tables := map[string][]string{Requests: {`".n"`}, Responses: {`".n"`}}
	for _, c := range m.Columns {
		table := TableOf(c)
		as := table + "." + c.Name
		// Files of other versions may have another type.
		columns = append(columns, named{"CAST(" + ident(c.Log) + " AS " + ir.Types[c.Type] + ")", c.Type, as})
		tables[table] = append(tables[table], ident(as)+" AS "+ident(c.Name))
	}
	var rest []string
	for _, c := range r.Monitor.By {
		columns = append(columns, loggedAs(c, byColumn+c.Name))
		rest = append(rest, "r."+ident(byColumn+c.Name)+" AS "+ident(c.Name))
	}
	if x := r.Monitor.Experiment; x != nil {
		columns = append(columns, r.assigned(x)...)
		rest = append(rest, "r."+ident(measure.TimeColumn), "r."+ident(measure.UnitColumn), "r."+ident(measure.ArmColumn))
	}
	// The number of a row has to be the same wherever it is read.
	with := "WITH r AS MATERIALIZED (" + r.selected(columns, r.Begin, r.End) + ")"
	from, known := "r", "false"
	for _, table := range []string{Requests, Responses} {
		rows := "SELECT " + strings.Join(tables[table], ", ") + " FROM r"
		if table == Requests && m.Where != "" { // which knows no other table: outcomes may have a column of the same name
			rows = "SELECT * FROM (" + rows + ") AS requests WHERE (" + m.Where + "\n)"
		}
		with += fmt.Sprintf(",\n%s AS (%s)", table, rows)
		from += fmt.Sprintf(" JOIN %s ON r.\".n\" = %[1]s.\".n\"", table)
	}
	if m.Outcomes != nil {
		with += ",\n" + r.known(m.Outcomes, outcome(m)) + ",\noutcomes AS (SELECT n AS \".n\""
		for _, c := range m.OutcomeColumns {
			with += ", label." + ident(c.Name) + " AS " + ident(c.Name)
		}
		with += " FROM m)"
		from += ` LEFT JOIN outcomes ON r.".n" = outcomes.".n"`
		known = `outcomes.".n" IS NOT NULL`
	}
	per := "NULL"
	if m.Per != "" {
		per = "(" + m.Per + "\n)"
	}
	return fmt.Sprintf("SELECT * FROM (%s\nSELECT %sCAST((%s\n) AS DOUBLE) AS %s, CAST(%s AS DOUBLE) AS %s, %s AS %s FROM %s)",
		with, strings.Join(append(rest, ""), ", "), m.Value, ident(measure.ValueColumn), per, ident(measure.PerColumn), known, ident(measure.OutcomeColumn), from)
}

// outcome is what a metric needs of a row of the outcomes, as one value: rows with the same value are
// one outcome.
func outcome(m *ir.Metric) string {
	var fields []string
	for _, c := range m.OutcomeColumns {
		fields = append(fields, ident(c.Name)+" := "+ident(c.Name))
	}
	return "struct_pack(" + strings.Join(fields, ", ") + ")"
}

// assigned are the unit of analysis and the version of a row. Requests of other versions have none; in a
// plan, all count as the champion's.
func (r *run) assigned(x *ir.Experiment) []named {
	request := "PARTITION BY " + ident(requests.RequestID) + ", " + ident(requests.Time)
	unit, typ := "{'id': "+ident(requests.RequestID)+", 'time': "+ident(requests.Time)+"}", "bytes"
	if x.Unit != nil { // its first row decides on the version of a request
		unit, typ = "first_value("+ident(x.Unit.Log)+") OVER ("+request+" ORDER BY "+ident(requests.RowNumber)+")", x.Unit.Type
	}
	arm := "0"
	if v := r.Versions; v != nil {
		arm = fmt.Sprintf("CASE %s WHEN %s THEN 0 WHEN %s THEN 1 END", ident(requests.Digest), quote(v.Champion), quote(v.Challenger))
	}
	return []named{{unit, typ, measure.UnitColumn}, {arm, "int32", measure.ArmColumn}}
}

func (r *run) metricSpec() measure.MetricSpec {
	m := r.Monitor.Metric
	return measure.MetricSpec{Aggregate: m.Aggregate, Gate: measure.Gate(m.Gate), Outcomes: m.Outcomes != nil, By: r.by(), MinRows: r.Monitor.MinRows}
}

func (r *run) experimentSpec() measure.ExperimentSpec {
	s := r.comparison()
	s.Share, s.Over = r.Versions.Share, r.Versions.Over
	return s
}

// comparison is what an experiment and its plan have in common.
func (r *run) comparison() measure.ExperimentSpec {
	x := r.Monitor.Experiment
	return measure.ExperimentSpec{
		Aggregate: x.Metric.Aggregate, Observe: x.Observe, End: r.End.Add(-time.Microsecond), // the end is not in the window
		// By Bonferroni's inequality, all steps together are wrong with a probability of at most alpha.
		Alpha: x.Alpha / float64(len(x.Steps)), MinEffect: x.MinEffect, MinUnits: x.MinUnits, Expected: x.Expected, Lower: x.Lower,
	}
}

func (r *run) planSpec() measure.PlanSpec {
	x := r.Monitor.Experiment
	s := measure.PlanSpec{ExperimentSpec: r.comparison(), Begin: r.Begin, Power: x.Power, Horizon: x.Horizon, Delay: r.Monitor.Delay()}
	for _, weight := range x.Steps {
		s.Shares = append(s.Shares, float64(weight)/100)
	}
	return s
}
