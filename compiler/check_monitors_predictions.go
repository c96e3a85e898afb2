package compiler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
)

// predictionsMonitor is the component of monitors that compare what a model answers.
const predictionsMonitor = "monitor.predictions"

// Columns that such a monitor compares.
const (
	answeredPrediction  = "prediction"
	answeredProbability = "probability"
)

// heldOut is the output of its stage with the reference: predictions for held-out rows. ofTrue is its column with
// the probability of true.
const (
	heldOut = "predictions"
	ofTrue  = "probability_true"
)

// predictions resolves which answers are compared with what.
func (m *monitoring) predictions() *ir.Drift {
	if !m.checkAgainst() {
		return nil
	}
	answered := m.answered()
	if answered == nil {
		return nil
	}
	d := m.comparison()
	d.Answers, d.Previous = true, m.previous()
	d.MaxFallbacks = floatOf(objectOr(m.e.fields.get("fallbacks")), "max")
	excluded := m.excluded(loggedColumns(answered), "column of its answers")
	declared := objectOr(m.e.fields.get("columns"))
	for _, f := range declared {
		if col := m.find(loggedColumns(answered), f.name, "columns", "column of its answers", m.sys.Label("", m.e.path("columns", f.name)...)); col != nil {
			m.checkTest(col, objectOr(f.value), nil)
		}
	}
	for _, col := range answered {
		if !slices.Contains(excluded, col.Name) {
			d.Columns = append(d.Columns, compared(col, declared))
		}
	}
	if len(d.Columns) == 0 {
		m.refuse(fmt.Sprintf("%s compares nothing", m.e), "exclude less", m.at("", "exclude"))
	}
	m.checkFallbacks()
	return d
}

// checkFallbacks refuses a limit of fallbacks where there are none.
func (m *monitoring) checkFallbacks() {
	d := m.deployment()
	if !m.e.fields.has("fallbacks") || d.releaseField() != "" || d.contract.optional() {
		return
	}
	m.refuse(fmt.Sprintf("%s limits fallbacks, but %s has none: it has no release, and no LEFT JOIN looks up a row", m.e, d), "remove fallbacks",
		m.sys.Label("", m.e.path("fallbacks")...), m.sys.Label("the deployment", d.path()...))
}

// previous reports whether answers are compared with the window before.
func (m *monitoring) previous() bool { return m.e.fields.get("previous") == true }

// checkAgainst refuses a monitor without a reference, and one whose reference is that of another model.
func (m *monitoring) checkAgainst() bool {
	against := m.e.input("against")
	switch {
	case against == nil && !m.previous():
		m.refuse(fmt.Sprintf("%s does not say what answers are compared with", m.e),
			fmt.Sprintf("add against: %s.out for its predictions of held-out rows, or previous: true for the window before", m.model.entity), m.sys.Label("", m.e.path()...))
	case against == nil:
		return true
	case m.previous():
		m.refuse(fmt.Sprintf("%s compares answers both with %s and with the window before", m.e, against.out.entity), "remove one of the two: two monitors can compare with both",
			m.at("", "against"), m.at("", "previous"))
	case against.out.entity != m.model.entity:
		m.refuse(fmt.Sprintf("%s compares what %s answers with predictions of %s, which it does not serve", m.e, m.deployment(), against.out.entity),
			fmt.Sprintf("write against: %s.out", m.model.entity), m.at("", "against"), m.sys.Label("serves "+m.model.entity.String(), m.deployment().path()...))
	default:
		return m.checkRecorded(against.out.entity) != nil
	}
	return false
}

// answered are the columns of answers, with what the reference has instead. Classes are compared as texts, since
// their numbers have no distances.
func (m *monitoring) answered() []ir.Compared {
	label := m.model.signature.Output
	prediction := ir.Compared{Logged: ir.Logged{Name: answeredPrediction, Log: requests.Prediction, Type: "float64"}}
	if m.model.signature.Task == measure.Regression {
		return []ir.Compared{prediction}
	}
	if against := m.e.input("against"); against != nil && label.Type != "bool" && label.Type != "string" && !strings.HasPrefix(label.Type, "int") && !strings.HasPrefix(label.Type, "uint") {
		m.refuse(fmt.Sprintf("%s compares predicted classes of type %s, which the log and predictions of held-out rows spell differently", m.e, label.Type),
			"compare with the window before: previous: true", m.at("", "against"), m.sys.Label("the model", m.model.entity.path()...))
		return nil
	}
	prediction.Type = "string"
	probability := ir.Compared{Logged: ir.Logged{Name: answeredProbability, Log: requests.Probability, Type: "float64"}}
	if label.Type == "bool" {
		probability.Log = requests.ProbabilityPrefix + "true"
		if m.e.input("against") != nil {
			probability.Of = ofTrue
		}
	}
	return []ir.Compared{prediction, probability}
}

func loggedColumns(all []ir.Compared) (columns []ir.Logged) {
	for _, c := range all {
		columns = append(columns, c.Logged)
	}
	return columns
}

// segmentsOfAnswers are the columns by whose values figures about answers may be repeated: those that the
// reference has as well.
func (m *monitoring) segmentsOfAnswers() []ir.Logged {
	if m.e.input("against") != nil {
		return m.inputs()
	}
	all := m.requestColumns()
	if !slices.ContainsFunc(all, func(c ir.Logged) bool { return c.Name == requests.Version }) {
		all = append(all, ir.Logged{Name: requests.Version, Log: requests.Version, Type: "int32"})
	}
	return all
}

// predictHeldOut declares the table with the reference: the columns that are compared and those of by.
func (m *monitoring) predictHeldOut(monitor *ir.Monitor) {
	against := m.e.input("against")
	if against == nil {
		return
	}
	label := m.model.signature.Output
	s := ir.Schema{{Name: answeredPrediction, Type: label.Type}}
	if m.model.signature.Task == measure.Regression {
		s[0].Type = "float64" // as it is in the log, and not rounded
	} else if label.Type == "bool" {
		s = append(s, ir.Column{Name: ofTrue, Type: "float64", Nullable: true})
	} else {
		s = append(s, ir.Column{Name: answeredProbability, Type: "float64", Nullable: true})
	}
	table := against.out.entity.input("table").out
	for i, by := range monitor.By {
		at := m.at("", "by", fmt.Sprint(i))
		switch col := table.schema.Column(by.Name); {
		case s.Column(by.Name) != nil:
			m.refuse(fmt.Sprintf("by of %s names %q, which is also a column of answers", m.e, by.Name), "rename the column of the request", at)
		case col == nil || col.Type != by.Type:
			m.checkReference(&by, table)
		default:
			s = append(s, *col)
		}
	}
	m.e.outs[heldOut] = &out{kind: ir.Table, entity: m.e, port: heldOut, schema: s}
}

// excluded returns what is not compared, and refuses limits for it.
func (m *monitoring) excluded(columns []ir.Logged, what string) []string {
	all := stringsOf(m.e.fields.get("exclude"))
	declared := objectOr(m.e.fields.get("columns"))
	for i, name := range all {
		if m.find(columns, name, "exclude", what, m.at("", "exclude", fmt.Sprint(i))) != nil && declared.has(name) {
			m.refuse(fmt.Sprintf("%s excludes %q, and has limits for it", m.e, name), "remove one of the two",
				m.at("", "exclude", fmt.Sprint(i)), m.sys.Label("its limits", m.e.path("columns", name)...))
		}
	}
	return all
}

// checkRecorded returns the input with the table of a model that records which rows it was trained on, or
// reports that it does not.
func (m *monitoring) checkRecorded(model *entity) *port {
	table := model.input("table")
	if table != nil && model.component.stage("split") != nil {
		return table
	}
	m.fail(m.e, diag.Diagnostic{
		Message: fmt.Sprintf("%s compares with %s, which does not record the rows that it was trained on", m.e, model),
		Hint:    "refer to a model of the library, such as a train.#SKLearn", Spans: []diag.Span{m.at("", "against")},
	})
	return nil
}

// comparison is what all comparisons declare.
func (m *monitoring) comparison() *ir.Drift {
	d := &ir.Drift{Alpha: m.float("alpha"), Correction: m.e.string("correction"), MinVolume: whole(m.e.fields.at("volume.min")), MaxVolume: whole(m.e.fields.at("volume.max"))}
	if d.MaxVolume > 0 && d.MinVolume > d.MaxVolume {
		m.refuse(fmt.Sprintf("volume of %s has a min above its max, which no number of rows satisfies", m.e), "", m.at("", "volume", "min"), m.at("", "volume", "max"))
	}
	return d
}

// compared adds the declared limits of a column.
func compared(c ir.Compared, declared object) ir.Compared {
	o, _ := declared.get(c.Name).(object)
	c.Test, c.Max, c.MaxNulls = stringOf(o.get("test")), floatOf(o, "max"), floatOf(o, "max_nulls")
	c.MaxOutside, c.MaxNew = floatOf(o, "max_outside"), floatOf(o, "max_new")
	return c
}
