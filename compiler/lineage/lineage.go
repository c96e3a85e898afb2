package lineage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/tenon-ml/tenon/compiler/facts"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// A Lineage is the lineage of all columns of a system.
type Lineage struct {
	Tables []*Table `json:"tables"` // sorted by name
	byName map[string]*Table
}

// A Table is an output of an entity: a table, a model with its inputs and its label, an
// endpoint with the columns of its response, or something without columns.
type Table struct {
	Name      string      `json:"name"`   // "features.orders"; "steps.split.train" if the entity has several outputs
	Entity    string      `json:"entity"` // "features/orders"
	Kind      ir.PortKind `json:"kind,omitempty"`
	Component string      `json:"component"`
	At        string      `json:"at,omitempty"` // where the entity is declared
	Columns   []Column    `json:"columns,omitempty"`
	// Reads are the tables that it is made of.
	Reads []string `json:"reads,omitempty"`
	// Rows are the columns that decide which rows it has.
	Rows []Origin `json:"rows,omitempty"`
	// RowsPartial means that other columns of Reads may decide as well.
	RowsPartial bool `json:"rows_partial,omitempty"`

	query    string
	tree     []byte
	declared []string // the columns of the query, in order
}

// column returns the column of that name, or nil.
func (t *Table) column(name string) *Column {
	for i := range t.Columns {
		if t.Columns[i].Name == name {
			return &t.Columns[i]
		}
	}
	return nil
}

// A Column is one column of a table.
type Column struct {
	Name string `json:"name"`
	Role string `json:"role,omitempty"` // of a model: "input" or "label"
	Type string `json:"type"`
	At   string `json:"at,omitempty"` // the expression in the query, or where it is declared
	// From are the columns that it comes from.
	From []Origin `json:"from,omitempty"`
	// Unknown means that it may come from every column that the table reads.
	Unknown bool `json:"unknown,omitempty"`
}

// Uses of an origin besides those of package facts.
const (
	Decides = "decided" // it only decides about the value
	Passed  = "passed"  // to a model, as an input or as the label
)

// An Origin is a column that a column comes from.
type Origin struct {
	Table  string `json:"table"`
	Column string `json:"column"`
	Use    string `json:"use"` // "copied", "computed", "windowed", "aggregated", "decided" or "passed"
	// Whole means that the aggregate is over all rows.
	Whole bool `json:"whole,omitempty"`
	// Later is the column that orders a window which includes later rows.
	Later string `json:"later,omitempty"`
	// Future means that Later is the timestamp of the table, so that the value was not
	// known at that time.
	Future bool `json:"future,omitempty"`
}

var uses = map[facts.Use]string{facts.Copied: "copied", facts.Computed: "computed", facts.Windowed: "windowed", facts.Aggregated: "aggregated"}

// Options say how to type queries, and where the sources are.
type Options struct {
	// Describe types a query over tables of the given schemas, see [duck.Engine].
	Describe func(ctx context.Context, tables map[string]ir.Schema, query string) (duck.Description, error)
	// Source returns the content of a file of the system, or nil. It makes positions in
	// queries exact.
	Source func(file string) []byte
}

// Of returns the lineage of a system.
func Of(ctx context.Context, sys *ir.System, o Options) (*Lineage, error) {
	l := &Lineage{byName: map[string]*Table{}}
	outputs := map[string][]*Table{} // by entity
	given := map[*Table]*ir.Output{}
	for i := range sys.Entities {
		e := &sys.Entities[i]
		for _, port := range e.Outputs {
			out := output(sys, port)
			if out == nil {
				continue
			}
			t := &Table{Name: dotted(e.ID), Entity: e.ID, Kind: out.Kind, Component: e.Component, At: e.Place("")}
			if len(e.Outputs) > 1 {
				t.Name += "." + port.Port
			}
			t.declare(e, port, out)
			given[t] = out
			outputs[e.ID] = append(outputs[e.ID], t)
		}
		if len(e.Outputs) == 0 && len(e.Inputs) > 0 {
			outputs[e.ID] = []*Table{{Name: dotted(e.ID), Entity: e.ID, Component: e.Component, At: e.Place("")}}
		}
		for _, t := range outputs[e.ID] {
			l.Tables = append(l.Tables, t)
			l.byName[t.Name] = t
		}
	}
	slices.SortFunc(l.Tables, func(a, b *Table) int { return strings.Compare(a.Name, b.Name) })

	var wg sync.WaitGroup
	errs := make([]error, len(sys.Entities))
	slots := make(chan struct{}, 2*runtime.GOMAXPROCS(0))
	for i := range sys.Entities {
		e := &sys.Entities[i]
		inputs := inputsOf(e, outputs)
		for _, t := range outputs[e.ID] {
			for _, in := range inputs {
				if !slices.Contains(t.Reads, in.table.Name) {
					t.Reads = append(t.Reads, in.table.Name)
				}
			}
		}
		if query := textOf(e, e.Query); query != "" && len(outputs[e.ID]) == 1 {
			t := outputs[e.ID][0]
			t.query = query
			wg.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				errs[i] = t.analyse(ctx, e, inputs, given, o)
			})
			continue
		}
		for _, t := range outputs[e.ID] {
			t.combine(inputs)
		}
	}
	wg.Wait()
	return l, errors.Join(errs...)
}

func dotted(entity string) string { return strings.Replace(entity, "/", ".", 1) }

func output(sys *ir.System, o ir.EntityOutput) *ir.Output {
	u := sys.Unit(o.Unit)
	if u == nil {
		return nil
	}
	for i := range u.Outputs {
		if u.Outputs[i].Port == o.Port {
			return &u.Outputs[i]
		}
	}
	return nil
}

// textOf returns the text in a field of an entity.
func textOf(e *ir.Entity, field string) string {
	if field == "" {
		return ""
	}
	var fields map[string]json.RawMessage
	var text string
	if json.Unmarshal(e.Fields, &fields) != nil || json.Unmarshal(fields[field], &text) != nil {
		return ""
	}
	return text
}

// declare fills in the columns that an output declares.
func (t *Table) declare(e *ir.Entity, port ir.EntityOutput, out *ir.Output) {
	add := func(s ir.Schema, role string) {
		for _, c := range s {
			at := ""
			switch {
			case port.Schema != "":
				at = e.Place(ir.JoinPath(port.Schema, c.Name))
			case role == "label":
				at = e.Place(role)
			default:
				at = e.Place("")
			}
			t.Columns = append(t.Columns, Column{Name: c.Name, Role: role, Type: c.Type, At: at})
		}
	}
	add(out.Schema, "")
	if out.Signature != nil {
		add(out.Signature.Input, "input")
		add(ir.Schema{out.Signature.Output}, "label")
	}
	add(out.Response, "")
}

// An input is a table that an entity reads, by its name there.
type input struct {
	name  string
	table *Table
}

func inputsOf(e *ir.Entity, outputs map[string][]*Table) (all []input) {
	for _, in := range e.Inputs {
		name, ok := strings.CutPrefix(in.Field, "in.")
		if !ok && in.Field != "on" {
			continue // a reference, which is only checked
		}
		if !ok {
			name = in.Field
		}
		if plain, err := strconv.Unquote(name); err == nil {
			name = plain
		}
		from := outputs[in.Entity]
		for _, t := range from {
			port := strings.TrimPrefix(strings.TrimPrefix(t.Name, dotted(in.Entity)), ".")
			if len(from) == 1 || in.Out == ir.JoinPath("out", port) {
				all = append(all, input{name, t})
			}
		}
	}
	return all
}

// combine fills in the origins of what no query makes: the columns of a model are those of
// its table, and any other may come from everything that is read.
func (t *Table) combine(inputs []input) {
	for i := range t.Columns {
		c := &t.Columns[i]
		if t.Kind == ir.Model {
			for _, in := range inputs {
				if in.table.Kind == ir.Table && in.table.column(c.Name) != nil {
					c.From = append(c.From, Origin{Table: in.table.Name, Column: c.Name, Use: Passed})
				}
			}
		}
		c.Unknown = len(c.From) == 0 && len(t.Reads) > 0
	}
}

// analyse fills in the origins of what a query makes.
func (t *Table) analyse(ctx context.Context, e *ir.Entity, inputs []input, given map[*Table]*ir.Output, o Options) error {
	schemas, tables, keys := map[string]ir.Schema{}, map[string]facts.Table{}, map[string][][]string{}
	for _, in := range inputs {
		out := given[in.table]
		schemas[in.name] = out.Schema
		if len(out.Keys) > 0 {
			keys[in.table.Name] = append(keys[in.table.Name], out.Keys)
		}
		var table facts.Table
		for _, c := range out.Schema {
			if c.Unique {
				keys[in.table.Name] = append(keys[in.table.Name], []string{c.Name})
			}
			table.Columns = append(table.Columns, facts.Column{Name: c.Name, Offset: -1, Origins: []facts.Origin{{Root: facts.Root{Table: in.table.Name, Column: c.Name}, Row: "row"}}})
		}
		tables[in.name] = table
	}
	d, err := o.Describe(ctx, schemas, t.query)
	if fault := (*duck.SQLError)(nil); errors.As(err, &fault) {
		err = nil // of a system that another version compiled
	}
	if err != nil {
		return fmt.Errorf("type the SQL of %s: %w", t.Name, err)
	}
	if d.Tree == nil {
		t.combine(inputs)
		t.RowsPartial = true
		return nil
	}
	t.tree = d.Tree
	for _, c := range d.Columns {
		t.declared = append(t.declared, c.Name)
	}
	found, err := facts.Query(d.Tree, tables, keys, t.declared)
	if err != nil {
		return fmt.Errorf("analyse the SQL of %s: %w", t.Name, err)
	}
	timestamp := map[facts.Root]bool{}
	if ts := found.Column(given[t].Timestamp); ts != nil {
		for _, o := range ts.Origins {
			timestamp[o.Root] = o.OfRow()
		}
	}
	t.Rows, t.RowsPartial = origins(found.Rows, timestamp), found.RowsPartial
	for i := range t.Columns {
		c := &t.Columns[i]
		f := found.Column(c.Name)
		if f == nil {
			c.Unknown = true
			continue
		}
		c.From, c.Unknown = origins(f.Origins, timestamp), f.Partial
		if at := place(e, t.query, f.Offset, o.Source); at != "" {
			c.At = at
		}
	}
	return nil
}

// origins merges what facts says about each column that a value comes from.
func origins(all []facts.Origin, timestamp map[facts.Root]bool) (out []Origin) {
	for _, o := range all {
		n := Origin{Table: o.Table, Column: o.Column, Use: uses[o.Use], Whole: o.Whole, Later: o.Ahead.Column, Future: timestamp[o.Ahead]}
		if o.Decides {
			n = Origin{Table: o.Table, Column: o.Column, Use: Decides}
		}
		i := slices.IndexFunc(out, func(x Origin) bool { return x.Table == n.Table && x.Column == n.Column })
		if i < 0 {
			out = append(out, n)
			continue
		}
		x := &out[i]
		x.Whole, x.Future = x.Whole || n.Whole, x.Future || n.Future
		if x.Later == "" {
			x.Later = n.Later
		}
		if strength(n.Use) > strength(x.Use) {
			x.Use = n.Use
		}
	}
	return out
}

// strength orders uses: of several, the one that covers the others is shown. What only
// decides is shown if there is no other.
func strength(use string) int {
	return slices.Index([]string{Decides, "copied", "computed", "windowed", "aggregated"}, use)
}

// place returns where a byte of a query is written, as FILE:LINE:COL: exactly if the source
// has the query's lines below its field, and the field otherwise.
func place(e *ir.Entity, query string, offset int, source func(string) []byte) string {
	if offset < 0 || source == nil {
		return ""
	}
	at, ok := e.Places.All()[e.Query]
	if !ok {
		return ""
	}
	parts := strings.Split(at, ":")
	if len(parts) < 3 {
		return at
	}
	file := strings.Join(parts[:len(parts)-2], ":")
	first, err := strconv.Atoi(parts[len(parts)-2])
	if err != nil || strings.HasPrefix(file, "tenon.dev/") {
		return at
	}
	lines := strings.Split(string(source(file)), "\n")
	before := query[:min(offset, len(query))]
	n, col := strings.Count(before, "\n"), len(before)-(strings.LastIndex(before, "\n")+1)
	text := strings.Split(query, "\n")
	if len(text) == 1 { // on the line of the field
		if first <= len(lines) {
			if i := strings.Index(lines[first-1], text[0]); i >= 0 {
				return fmt.Sprintf("%s:%d:%d", file, first, i+col+1)
			}
		}
	}
	for i := range n + 1 {
		if first+i >= len(lines) || !strings.HasSuffix(lines[first+i], text[i]) {
			return at
		}
	}
	line := lines[first+n]
	return fmt.Sprintf("%s:%d:%d", file, first+n+1, len(line)-len(text[n])+col+1)
}
