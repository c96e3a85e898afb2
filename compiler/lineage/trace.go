package lineage

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
)

// A Trace is where columns come from, or what depends on them.
type Trace struct {
	Of   string `json:"of"` // "features.orders.share", or a whole table
	Down bool   `json:"down,omitempty"`
	// Steps are the columns that were asked for, each with what it leads to.
	Steps []*Step `json:"steps"`
	// Rows lists the tables on the way whose rows are selected, with the columns that decide.
	Rows []Selection `json:"rows,omitempty"`
}

// A Step is a column on the way, or a whole table.
type Step struct {
	Name string      `json:"name"`           // "sources.orders.refund"
	Kind ir.PortKind `json:"kind,omitempty"` // of its table
	Role string      `json:"role,omitempty"`
	// Columns are those of a whole table, of which each may matter.
	Columns []string `json:"columns,omitempty"`
	At      string   `json:"at,omitempty"`
	// How it is related to the step before: the upper column comes from the lower one.
	Use    string `json:"use,omitempty"`
	Whole  bool   `json:"whole,omitempty"`
	Later  string `json:"later,omitempty"`
	Future bool   `json:"future,omitempty"`
	// Made names the component that makes the table if nothing is known about how its
	// columns come from what it reads.
	Made string `json:"made,omitempty"`
	// Repeated means that an earlier step of that name has what follows.
	Repeated bool    `json:"repeated,omitempty"`
	Next     []*Step `json:"next,omitempty"`
}

// A Selection is what decides which rows a table has.
type Selection struct {
	Table   string   `json:"table"`
	By      []string `json:"by,omitempty"`
	Partial bool     `json:"partial,omitempty"` // other columns may decide as well
}

// Uses of a step besides those of an origin.
const (
	Perhaps = "perhaps"  // it may come from any column of the table
	Selects = "selected" // the column decides which rows the table has
)

// Find returns the table and the column that a name stands for; without a column, the
// name is that of tables. The entity may be written as "features.orders" or
// "features/orders".
func (l *Lineage) Find(name string) (tables []*Table, column string, err error) {
	dots := strings.Replace(name, "/", ".", 1)
	longest := ""
	for _, t := range l.Tables {
		entity := dotted(t.Entity)
		if t.Name == dots || entity == dots {
			tables = append(tables, t)
		}
		if strings.HasPrefix(dots, t.Name+".") && len(t.Name) > len(longest) {
			longest = t.Name
		}
	}
	if len(tables) > 0 {
		return tables, "", nil
	}
	if t := l.byName[longest]; t != nil {
		column := dots[len(longest)+1:]
		if t.column(column) != nil {
			return []*Table{t}, column, nil
		}
		return nil, "", l.unknown(fmt.Sprintf("%s has no column %q", t.Name, column), column, t.columns())
	}
	var names []string
	for _, t := range l.Tables {
		names = append(names, t.Name)
		for _, c := range t.Columns {
			names = append(names, t.Name+"."+c.Name)
		}
	}
	return nil, "", l.unknown(fmt.Sprintf("there is no unit or column %q", name), dots, names)
}

func (l *Lineage) unknown(message, name string, candidates []string) error {
	if hint := diag.DidYouMean(name, candidates); hint != "" {
		message += ": " + hint
	}
	return &UnknownError{message}
}

// An UnknownError is about a name that nothing has.
type UnknownError struct{ message string }

func (e *UnknownError) Error() string { return e.message }

func (t *Table) columns() (names []string) {
	for _, c := range t.Columns {
		names = append(names, c.Name)
	}
	return names
}

// Trace follows a column, or all columns of a table, to what they come from; if down is
// set, to what depends on them.
func (l *Lineage) Trace(name string, down bool) (*Trace, error) {
	tables, column, err := l.Find(name)
	if err != nil {
		return nil, err
	}
	w := &tracer{Lineage: l, seen: map[string]bool{}, tables: map[string]bool{}}
	follow := w.up
	if down {
		follow = w.down
		w.readers = l.readers()
	}
	tr := &Trace{Of: strings.Replace(name, "/", ".", 1), Down: down, Steps: []*Step{}}
	for _, t := range tables {
		switch {
		case column != "":
			tr.Steps = append(tr.Steps, follow(t, column, Origin{}))
		case len(t.Columns) == 0 || down && t.Kind != ir.Table:
			tr.Steps = append(tr.Steps, follow(t, "", Origin{}))
		default:
			for _, c := range t.Columns {
				tr.Steps = append(tr.Steps, follow(t, c.Name, Origin{}))
			}
		}
	}
	if !down {
		tr.Rows = w.selections()
	}
	return tr, nil
}

// A tracer follows columns, each once.
type tracer struct {
	*Lineage
	seen    map[string]bool // steps, by name
	tables  map[string]bool // those that were passed
	readers map[string][]reader
}

// step begins a step to a column, or to a whole table, and reports whether it is the first
// one there.
func (w *tracer) step(t *Table, column string, o Origin) (*Step, bool) {
	s := &Step{Name: t.Name, Kind: t.Kind, At: t.At, Use: o.Use, Whole: o.Whole, Later: o.Later, Future: o.Future}
	if c := t.column(column); c != nil {
		s.Name, s.Role, s.At = t.Name+"."+column, c.Role, c.At
	}
	first := !w.seen[s.Name]
	w.seen[s.Name], w.tables[t.Name] = true, true
	return s, first
}

// up follows a column to what it comes from. Without a column it follows the table.
func (w *tracer) up(t *Table, column string, o Origin) *Step {
	s, first := w.step(t, column, o)
	c := t.column(column)
	if c == nil {
		s.Columns = t.columns()
	}
	unknown := c == nil || c.Unknown
	if unknown && len(t.Reads) > 0 && (c != nil || t.query == "") {
		s.Made = t.Component
	}
	if !first {
		s.Repeated = c == nil && len(t.Reads) > 0 || c != nil && (len(c.From) > 0 || c.Unknown)
		return s
	}
	if c != nil {
		for _, o := range c.From {
			if from := w.byName[o.Table]; from != nil {
				s.Next = append(s.Next, w.up(from, o.Column, o))
			}
		}
	}
	if unknown {
		for _, name := range t.Reads {
			if from := w.byName[name]; from != nil {
				s.Next = append(s.Next, w.up(from, "", Origin{Use: Perhaps}))
			}
		}
	}
	return s
}

// selections returns what selects the rows of the tables that were passed.
func (w *tracer) selections() (all []Selection) {
	for _, t := range w.Tables {
		if !w.tables[t.Name] || len(t.Rows) == 0 && !t.RowsPartial {
			continue
		}
		s := Selection{Table: t.Name, Partial: t.RowsPartial}
		for _, o := range t.Rows {
			s.By = append(s.By, o.Table+"."+o.Column)
		}
		all = append(all, s)
	}
	return all
}

// A reader is a column that comes from another, or a table as a whole.
type reader struct {
	table  *Table
	column string
	Origin
}

// readers lists what comes from each column, and from each table as a whole, by name.
func (l *Lineage) readers() map[string][]reader {
	all := map[string][]reader{}
	for _, t := range l.Tables {
		opaque := len(t.Columns) == 0
		for _, c := range t.Columns {
			opaque = opaque || c.Unknown
			for _, o := range c.From {
				at := o.Table + "." + o.Column
				all[at] = append(all[at], reader{t, c.Name, o})
			}
		}
		for _, o := range t.Rows {
			at := o.Table + "." + o.Column
			all[at] = append(all[at], reader{t, "", Origin{Use: Selects}})
		}
		if opaque || t.RowsPartial {
			for _, name := range t.Reads {
				all[name] = append(all[name], reader{t, "", Origin{Use: Perhaps}})
			}
		}
	}
	return all
}

// down follows a column to what depends on it. Without a column it follows the table.
func (w *tracer) down(t *Table, column string, o Origin) *Step {
	s, first := w.step(t, column, o)
	if o.Use == Perhaps {
		s.Made = t.Component
	}
	all := w.dependents(t, column)
	if !first {
		s.Repeated = len(all) > 0
		return s
	}
	for _, r := range all {
		s.Next = append(s.Next, w.down(r.table, r.column, r.Origin))
	}
	return s
}

// dependents returns what depends on a column. On a table, everything that reads one of its
// columns depends, and on a column of a model everything that depends on the model.
func (w *tracer) dependents(t *Table, column string) (all []reader) {
	add := func(found []reader) {
		for _, r := range found {
			if !slices.ContainsFunc(all, func(x reader) bool { return x.table == r.table && x.column == r.column }) {
				all = append(all, r)
			}
		}
	}
	if t.Kind != ir.Table {
		column = ""
	}
	if column != "" {
		add(w.readers[t.Name+"."+column])
	} else {
		for _, c := range t.Columns {
			add(w.readers[t.Name+"."+c.Name])
		}
	}
	add(w.readers[t.Name])
	return all
}

// dependents returns the models and deployments that depend on columns of a table, sorted.
// Without columns it returns those that depend on the table.
func (l *Lineage) dependents(table string, columns []string) []string {
	t := l.byName[table]
	if t == nil {
		return nil
	}
	w := &tracer{Lineage: l, seen: map[string]bool{}, tables: map[string]bool{}, readers: l.readers()}
	if len(columns) == 0 {
		columns = []string{""}
	}
	for _, c := range columns {
		w.down(t, c, Origin{})
	}
	var all []string
	for _, x := range l.Tables {
		if section, _, _ := strings.Cut(x.Entity, "/"); w.tables[x.Name] && x != t && (section == "models" || section == "deployments") {
			all = append(all, x.Entity)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
