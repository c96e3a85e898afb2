package compiler

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/duration"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// A history is the rows that the windows of a contract go over: those of the table that a
// request is a row of.
type history struct {
	columns            ir.Schema // of an event
	keys               []string
	late, keep         string
	maxKeys, maxEvents json.Number
	table              *out
}

// historyPort is the port with the rows of the table, on a service.
const historyPort = "history"

// doc returns the parameter of the history.
func (h *history) doc() any {
	return struct {
		Port      string      `json:"port"`
		Columns   ir.Schema   `json:"columns"`
		Keys      []string    `json:"keys,omitempty"`
		Late      string      `json:"late"`
		Keep      string      `json:"keep,omitempty"`
		MaxKeys   json.Number `json:"max_keys"`
		MaxEvents json.Number `json:"max_events"`
	}{historyPort, h.columns.Bare(), h.keys, h.late, h.keep, h.maxKeys, h.maxEvents}
}

// keysOf returns the keys by which a request is found among the events, if a caller has them.
func (h *history) keysOf(excluded []string) []string {
	if h == nil || slices.ContainsFunc(h.keys, func(k string) bool { return slices.Contains(excluded, k) }) {
		return nil
	}
	return h.keys
}

// takes sets the columns of an event: those of a request, and the keys.
func (h *history) takes(k *contract) {
	if h == nil {
		return
	}
	h.columns = slices.Clone(k.columns)
	for _, name := range h.keys {
		if h.columns.Column(name) == nil {
			col := *h.table.schema.Column(name)
			col.Unique = false
			h.columns = append(h.columns, col)
		}
	}
}

// knownRows refuses windows over rows of which training leaves out some by conditions that
// cannot be computed for a request.
func (r *request) knownRows(l link) bool {
	return r.refuse(fmt.Sprintf("%s cannot be computed for one request: its windows go over rows that training leaves out by conditions on columns that a request does not have", l.e),
		"compute the windows before the condition, in the query that reads "+r.name, r.windowSpan(l), r.at())
}

// windowSpan is the place of the first window of a query.
func (r *request) windowSpan(l link) diag.Span {
	at := -1
	for _, s := range l.plan.Steps {
		if s.Window != nil && at < 0 {
			at = s.Window.Values[0].At
		}
	}
	return r.sqlSpan(l.e, l.query(), cmp.Or(only(`\bOVER\b`, l.query()), at))
}

// remembers makes the history of a contract, if its plans have windows. It refuses one that is
// not declared, and one that nothing needs.
func (r *request) remembers(k *contract) bool {
	s := r.serves
	declared, _ := r.e.fields.at(s.History).(object)
	windows := slices.IndexFunc(k.plans, func(p *rowsql.Plan) bool { return p.Windows() > 0 })
	for _, f := range declared {
		if f.name == r.name && windows >= 0 {
			continue
		}
		d := diag.Diagnostic{
			Message: fmt.Sprintf("%s of %s lists %q, over whose rows no window goes that the model needs", s.History, r.e, f.name),
			Spans:   []diag.Span{r.label("", s.History, f.name), r.at()}, Hint: "remove it",
		}
		if windows >= 0 {
			d.Hint = fmt.Sprintf("write %s: %s: {}: windows go over the rows of which a caller sends one", s.History, label(r.name))
		}
		r.fail(r.e, d)
		return false
	}
	if windows < 0 {
		if r.e.fields.has(s.Events) {
			return r.refuse(fmt.Sprintf("%s takes %s, but the features that its model reads have no windows over them", r.e, s.Events), "remove "+s.Events, r.label("", s.Events), r.at())
		}
		return true
	}
	l := r.links[windows]
	if s.History == "" || !declared.has(r.name) {
		return r.refuse(fmt.Sprintf("%s needs earlier rows of %q, which %s of %s does not list", l.e, r.name, cmp.Or(s.History, "history"), r.e),
			fmt.Sprintf("add %s: %s: {}, and %s: {} if there are new ones while it runs", cmp.Or(s.History, "history"), label(r.name), cmp.Or(s.Events, "events")), r.windowSpan(l), r.at())
	}
	for i, p := range k.plans[windows+1:] {
		if p.Windows() > 0 {
			later := r.links[windows+1+i]
			return r.refuse(fmt.Sprintf("%s cannot be computed for one request: it has windows over what %s computes, which has windows itself", later.e, l.e),
				"write all windows in one query", r.windowSpan(later), r.windowSpan(l), r.at())
		}
	}
	return r.keeps(k, declared) && r.shortens(k, windows)
}

// shortens refuses to drop events that windows need.
func (r *request) shortens(k *contract, windows int) bool {
	h, l := k.history, r.links[windows]
	if h.keep == "" {
		return true
	}
	at := []diag.Span{r.label("", r.serves.History, r.name, "keep"), r.windowSpan(l), r.at()}
	cannot := fmt.Sprintf("%s cannot keep events of %q for %s: ", r.e, r.name, h.keep)
	if !r.e.fields.has(r.serves.Events) {
		return r.refuse(cannot+"it takes none", "remove keep, or add "+cmp.Or(r.serves.Events, "events"), at[0], at[2])
	}
	reach := k.plans[windows].Reach()
	needs := time.Duration(reach.Micros)*time.Microsecond + duration.Parse(h.late)
	switch {
	case reach.Every:
		return r.refuse(cannot+"its windows have rows however old they are", "remove keep, or bound all windows by RANGE BETWEEN INTERVAL ... PRECEDING", at...)
	case reach.Time == "" || windows > 0:
		return r.refuse(cannot+"its windows are not all ordered by the same column of it, which says how old an event is", "remove keep, or order all windows by one column of "+r.name, at...)
	case duration.Parse(h.keep) < needs:
		return r.refuse(fmt.Sprintf("%sits windows look back %s, and events may be %s late", cannot, days(time.Duration(reach.Micros)*time.Microsecond), h.late), "keep them for at least "+days(needs), at...)
	}
	return true
}

// days writes a length of time as the language does, rounded up to hours from an hour on, and
// otherwise to seconds.
func days(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= day && d%day == 0:
		return fmt.Sprintf("%dd", d/day)
	case d >= time.Hour:
		return fmt.Sprintf("%dh", (d+time.Hour-1)/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return fmt.Sprintf("%ds", (d+time.Second-1)/time.Second)
}

// keeps reads what a deployment declares about its history.
func (r *request) keeps(k *contract, declared object) bool {
	s := r.serves
	settings, _ := declared.get(r.name).(object)
	h := &history{keys: k.row.out.keys, late: stringOf(settings.get("late")), keep: stringOf(settings.get("keep")), table: k.row.out}
	h.maxKeys, _ = settings.get("max_keys").(json.Number)
	h.maxEvents, _ = settings.get("max_events").(json.Number)
	at := r.label("", s.History, r.name)
	switch d := duration.Parse(h.late); {
	case d >= duration.Century:
		r.tooLarge(r.e, at.Pos, "less than a hundred years")
		return false
	case d <= 0:
		return r.refuse(fmt.Sprintf("late of %q in %s is no length of time", r.name, r.e), "write how late an event may come, such as 1h", at)
	}
	if len(h.keys) == 0 && r.e.fields.has(s.Events) {
		return r.refuse(fmt.Sprintf("%s takes %s of %q, whose rows have no keys: one that is sent again would count twice", r.e, s.Events, r.name),
			fmt.Sprintf("declare the keys of %s, or remove %s", k.row.out.entity, s.Events), r.label("", s.Events), r.sys.Label("it declares no keys", k.row.out.entity.path()...), r.at())
	}
	k.history = h
	return true
}

// keeps returns the field with which a service keeps files, or "".
func (s *stage) keeps(e *entity) string {
	for _, field := range s.Keeps {
		if at := placeOf(e.fields, field); at != "" {
			return at
		}
	}
	return ""
}

// shipments are what a service keeps, if all of that can be stored elsewhere. Fields whose files
// cannot come first in Keeps, so one of them is field if there is any.
func (s *stage) shipments(e *entity, field string) (all ir.Shipments) {
	if _, ok := s.Ships[field]; !ok {
		return nil
	}
	for _, name := range s.Keeps {
		if x, ok := s.Ships[name]; ok && e.fields.at(name) != nil {
			all = append(all, ir.Shipment{Folder: x.Folder, Most: ir.ParseSize(stringOf(e.fields.at(x.Most)))})
		}
	}
	return all
}
