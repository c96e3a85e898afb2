package compiler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/duration"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
)

// quality resolves which labels predictions are compared with.
func (m *monitoring) quality() *ir.Quality {
	labels := m.e.input("labels").out
	signature := m.model.signature
	q := &ir.Quality{Task: signature.Task, Joined: m.joined("label", labels), Binary: signature.Output.Type == "bool"}
	m.label(q, labels)
	m.gates(q)
	return q
}

// joined resolves which row of a table of labels, or of outcomes, belongs to which request. noun is what a row
// is called.
func (m *monitoring) joined(noun string, labels *out) (j ir.Joined) {
	if j.Within = duration.Parse(m.e.string("within")); j.Within <= 0 {
		m.refuse(fmt.Sprintf("no %s of %s can become known within %s", noun, m.e, m.e.string("within")), "write a length of time, such as 12h", m.at("", "within"))
	}
	m.timestamp(&j, noun, labels)
	m.join(&j, noun, labels)
	return j
}

// timestamp finds when a label became known.
func (m *monitoring) timestamp(j *ir.Joined, noun string, labels *out) {
	of := labels.entity
	col := labels.schema.Column(labels.timestamp)
	switch {
	case col == nil:
		m.refuse(fmt.Sprintf("%s has %ss from %s, which does not say when they became known", m.e, noun, of),
			fmt.Sprintf("declare the column with that time in %s: timestamp: \"known_at\"", of), m.at("", noun+"s"), m.sys.Label("has no timestamp", of.path()...))
	case col.Type == "date":
		m.refuse(fmt.Sprintf("%s has %ss from %s, of which only the day is known: it could be before the request", m.e, noun, of),
			"declare a timestamp of type timestamp or timestamptz", m.at("", noun+"s"), m.columnSpan(of, col.Name))
	default:
		j.Timestamp = bareColumn(col)
	}
}

// bareColumn is what a monitor needs to know about a column.
func bareColumn(c *ir.Column) ir.Column { return ir.Column{Name: c.Name, Type: c.Type} }

// label finds the column with the truth.
func (m *monitoring) label(q *ir.Quality, labels *out) {
	name, field := m.e.string("label"), "label"
	if name == "" {
		name, field = m.model.signature.Output.Name, "labels"
	}
	col := labels.schema.Column(name)
	want := m.model.signature.Output
	switch {
	case col == nil:
		m.noColumn(m.e, field, name, labels, labels.schema, field)
	case col.Type != want.Type && !(isNumber(col.Type) && isNumber(want.Type)):
		m.fail(m.e, diag.Diagnostic{
			Message: fmt.Sprintf("%s compares predictions with %q, which has another type than what %s predicts", m.e, name, m.model.entity),
			Wanted:  want.Type, Found: col.Type,
			Spans: []diag.Span{m.at("", field), m.columnSpan(labels.entity, name), m.sys.Label("the model", m.model.entity.path()...)},
		})
	default:
		q.Label = bareColumn(col)
	}
}

// requestID is the name under which join has the id of a request.
const requestID = requests.RequestID

// join finds the columns that say which label belongs to which request.
func (m *monitoring) join(j *ir.Joined, noun string, labels *out) {
	pairs, _ := m.e.fields.get("join").(object)
	if len(pairs) == 0 {
		m.refuse(fmt.Sprintf("join of %s names no columns", m.e), fmt.Sprintf(`pair a column of a request with one of %ss: join: id: "id"`, noun), m.sys.Label("", m.e.path("join")...))
	}
	logged := m.requestColumns()
	for _, f := range pairs {
		at := m.sys.Label("", m.e.path("join", f.name)...)
		if !slices.ContainsFunc(logged, func(c ir.Logged) bool { return c.Name == f.name }) && f.name == requestID {
			logged = append(logged, ir.Logged{Name: f.name, Log: requestID, Type: "string"})
		}
		left := m.key(logged, f.name, noun, at)
		name := stringOf(f.value)
		right := labels.schema.Column(name)
		switch {
		case right == nil:
			m.noColumn(m.e, "join", name, labels, labels.schema, "join", f.name)
		case left == nil:
		case left.Type != right.Type:
			m.fail(m.e, diag.Diagnostic{
				Message: fmt.Sprintf("join of %s compares columns of two types: %s is %s, %s of %s is %s", m.e, f.name, left.Type, name, labels.entity, right.Type),
				Wanted:  "the same type on both sides", Spans: []diag.Span{at, m.columnSpan(labels.entity, name)},
			})
		case strings.HasPrefix(left.Type, "float") || left.Type == "bytes":
			m.refuse(fmt.Sprintf("join of %s compares values of type %s, which identify nothing", m.e, left.Type), "use a column of strings, whole numbers or times", at)
		default:
			j.Join, j.Labels = append(j.Join, *left), append(j.Labels, bareColumn(right))
		}
	}
}

// key returns the column of a request that identifies it, or reports that there is none.
func (m *monitoring) key(logged []ir.Logged, name, noun string, at diag.Span) *ir.Logged {
	if i := slices.IndexFunc(logged, func(c ir.Logged) bool { return c.Name == name }); i >= 0 {
		return &logged[i]
	}
	d := m.deployment()
	if slices.Contains(d.private, name) {
		return m.find(logged, name, "join", "", at)
	}
	names := []string{requestID}
	for _, c := range logged {
		names = append(names, c.Name)
	}
	hint := nearest(name, names)
	if hint == "" {
		hint = fmt.Sprintf("let callers send the key as the id of the request, in the header X-Request-Id, and write join: %s: ...", requestID)
	}
	m.fail(m.e, diag.Diagnostic{
		Message: fmt.Sprintf("join of %s needs %q, which is no column of a request to %s: its log cannot say which %s belongs to which prediction", m.e, name, d, noun),
		Wanted:  "one of " + strings.Join(names, ", "), Hint: hint,
		Spans: []diag.Span{at, m.sys.Label("the deployment", d.path()...)},
	})
	return nil
}

// ofProbabilities lists the metrics that a monitor computes from the probability of a positive class.
var ofProbabilities = []string{"roc_auc", "average_precision", "log_loss", "brier_score_loss"}

// gates checks the limits of metrics.
func (m *monitoring) gates(q *ir.Quality) {
	gates, _ := m.e.fields.get("gates").(object)
	known := metricsOf[q.Task]
	for _, g := range gates {
		limits := objectOr(g.value)
		switch {
		case !slices.Contains(known, g.name):
			m.fail(m.e, diag.Diagnostic{
				Message: fmt.Sprintf("%s has a gate on %q, which is not measured of a %s", m.e, g.name, q.Task),
				Wanted:  "one of " + strings.Join(known, ", "), Hint: nearest(g.name, known),
				Spans: []diag.Span{m.sys.Label("", m.e.path("gates", g.name)...), m.sys.Label("the model", m.model.entity.path()...)},
			})
			continue
		case !q.Binary && slices.Contains(ofProbabilities, g.name):
			m.refuse(fmt.Sprintf("%s has a gate on %q, which needs the probability of a positive class, and the label is not a bool", m.e, g.name),
				"limit another metric, such as f1, or predict a bool", m.sys.Label("", m.e.path("gates", g.name)...), m.sys.Label("the model", m.model.entity.path()...))
			continue
		case len(limits) == 0:
			m.asksNothing(m.e, "gates", g.name)
			continue
		}
		m.checkBounds(m.e, g.name, limits, "gates", g.name)
		if q.Gates == nil {
			q.Gates = map[string]ir.Gate{}
		}
		q.Gates[g.name] = ir.Gate{Min: floatOf(limits, "min"), Max: floatOf(limits, "max")}
	}
}
