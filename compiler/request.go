package compiler

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// A boundQuery is the plan to which DuckDB binds a query. It is computed in parallel to the
// rest of the compilation, see bindQueries.
type boundQuery struct {
	done chan struct{}
	plan []byte
	err  error
}

// bindQueries begins to bind the queries that deployments compute for a request. Those that
// cannot be typed have no plan.
func (c *checker) bindQueries(ctx context.Context, wg *sync.WaitGroup) {
	for _, id := range c.order {
		e := c.entities[id]
		if s := e.component.Serves; s != nil && e.fields.has(s.Request) {
			if in := e.input(s.Table); in != nil && in.out != nil {
				c.bindQuery(ctx, wg, in.out.entity)
			}
		}
	}
}

// bindQuery binds the query of an entity, and those of the entities that it may follow from.
func (c *checker) bindQuery(ctx context.Context, wg *sync.WaitGroup, e *entity) {
	if e.byRow() && e.bound == nil && len(e.ports) == 1 && e.ports[0].out != nil {
		e.bound = &boundQuery{} // ends a cycle, which is a fault of its own
		c.bindQuery(ctx, wg, e.ports[0].out.entity)
		return
	}
	if e.typing == nil || e.bound != nil {
		return
	}
	b, tables, query := &boundQuery{done: make(chan struct{})}, e.inputTables(), e.string(e.component.SQL)
	e.bound = b
	wg.Go(func() {
		defer close(b.done)
		<-e.typing.done
		switch {
		case e.typing.err != nil: // reported by checkSQL
		case c.options.Bind == nil:
			b.err = errors.New("this build cannot bind queries")
		default:
			b.plan, b.err = c.options.Bind(ctx, tables, query)
		}
	})
	for _, p := range e.ports {
		c.bindQuery(ctx, wg, p.out.entity)
	}
}

// A contract is how a deployment makes the row that its model reads of the row that a caller
// sends.
type contract struct {
	row     port            // the table of which a caller sends a row
	columns ir.Schema       // that a caller sends
	plans   []*rowsql.Plan  // each computes a row from that of the one before
	results []ir.Schema     // of each plan, as its feature declares them
	lookups []lookup        // in the order of their names
	returns []string        // columns of the last result
	history *history        // if a plan has windows
	drops   bool            // training leaves out rows by conditions that the plans lack
	queries []trainingQuery // by which training makes the rows
	keys    *contract       // computes the keys of the features, if the service does not
	calls   []rowCall       // of functions in Python, in the order of the plans
}

// needsDuckDB reports whether the program of the deployment has to link DuckDB.
func (k *contract) needsDuckDB() bool {
	return slices.ContainsFunc(k.plans, (*rowsql.Plan).NeedsDuckDB)
}

// optional reports whether a row of a table may be missing when features are computed: they are then computed
// without it. A deployment without features has no contract.
func (k *contract) optional() bool {
	if k == nil {
		return false
	}
	return slices.ContainsFunc(k.plans, func(p *rowsql.Plan) bool {
		return slices.ContainsFunc(p.Steps, func(s rowsql.Step) bool { return s.Join != nil && !s.Join.Inner })
	})
}

// A lookup is a table that a deployment has.
type lookup struct {
	port
	maxAge string
	store  object // nil is the memory of the service
}

// param returns the parameter with the contract, for a unit that takes the tables on ports
// that begin with a prefix. keys says that it needs the keys of the features, passwords are the
// secrets of stores by lookup, and calls the functions in Python.
func (k *contract) param(prefix string, keys bool, passwords map[string]ir.Secret, calls []callDoc) (any, error) {
	type table struct {
		Port   string         `json:"port"`
		MaxAge string         `json:"max_age,omitempty"`
		Store  map[string]any `json:"store,omitempty"`
	}
	doc := struct {
		Columns ir.Schema        `json:"columns"`
		Plans   []*rowsql.Plan   `json:"plans"`
		Results []ir.Schema      `json:"results"`
		Lookups map[string]table `json:"lookups"`
		Returns []string         `json:"returns,omitempty"`
		Drops   bool             `json:"drops,omitempty"`
		Keys    any              `json:"keys,omitempty"`
		History any              `json:"history,omitempty"`
		Calls   []callDoc        `json:"calls,omitempty"`
	}{Columns: k.columns.Bare(), Plans: k.plans, Lookups: map[string]table{}, Returns: k.returns, Drops: k.drops, Calls: calls}
	for _, r := range k.results {
		doc.Results = append(doc.Results, r.Bare())
	}
	for _, l := range k.lookups {
		doc.Lookups[l.name] = table{lookupPort(prefix, l), l.maxAge, storeParam(l.store, passwords[l.name])}
	}
	if keys && k.keys != nil {
		var err error
		if doc.Keys, err = k.keys.param(prefix, false, passwords, nil); err != nil {
			return nil, err
		}
	}
	if k.history != nil {
		doc.History = k.history.doc()
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	// The parameters of units have sorted keys.
	var sorted any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	err = d.Decode(&sorted)
	return sorted, err
}

func lookupPort(prefix string, l lookup) string { return prefix + "_" + l.name }

// inputs binds the tables that an input of a stage stands for: the table of the request, or
// those that are looked up, in memory or in stores.
func (k *contract) inputs(which string, as stageInput) []ir.Input {
	if which == "history" && k.history == nil {
		return nil
	}
	if which == "row" || which == "history" {
		in := bound(k.row, as.port)
		in.Advisory = as.Advisory
		return []ir.Input{in}
	}
	var all []ir.Input
	for _, l := range k.lookups {
		if (which == "stored") != (l.store != nil) {
			continue
		}
		in := bound(l.port, lookupPort(as.port, l))
		in.Advisory = as.Advisory
		all = append(all, in)
	}
	return all
}

// lookupsPort returns the port on which a stage takes the tables that are looked up.
func (s *stage) lookupsPort() string {
	for _, in := range s.inputs {
		if in.From == "request.lookups" || in.From == "request.stored" {
			return in.port
		}
	}
	return ""
}

// takesRow reports whether a stage reads the table of which a caller sends a row.
func (s *stage) takesRow() bool {
	return slices.ContainsFunc(s.inputs, func(in stageInput) bool { return in.From == "request.row" })
}
