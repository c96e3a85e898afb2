package features

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/duration"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/stores"
)

// A Spec is the parameter "request".
type Spec struct {
	// Plans run one after another. A plan may read columns that the caller does not have:
	// what needs them is left out.
	Plans []*rowsql.Plan `json:"plans"`
	// Results are the columns of each plan as they are declared. Without them there is one
	// plan, whose result is what the model reads.
	Results []ir.Schema       `json:"results,omitempty"`
	Lookups map[string]Lookup `json:"lookups,omitempty"` // by the names that plans have for them
	Returns []string          `json:"returns,omitempty"`
	Columns ir.Schema         `json:"columns"` // of a request
	// Drops says that training left out rows by conditions that the plans lack, because they
	// need columns that the caller does not have.
	Drops bool `json:"drops,omitempty"`
	// Keys compute the keys of the features, for a comparison with training.
	Keys *Spec `json:"keys,omitempty"`
	// History says which rows the windows of a plan go over, if there is one with windows.
	History *HistorySpec `json:"history,omitempty"`
	// Calls are the functions in Python that compute plans, in the order of the plans.
	Calls []Call `json:"calls,omitempty"`
}

// A Lookup is a table that plans look up.
type Lookup struct {
	Port string `json:"port"` // of the step
	// MaxAge is how much older than the request the row of an ASOF join may be: "90m".
	MaxAge string `json:"max_age,omitempty"`
	// Store has the rows, which [Publish] has written there.
	Store *stores.Spec `json:"store,omitempty"`
}

// A link is one of the plans that run one after another.
type link struct {
	*rowsql.Program
	plan     *rowsql.Plan
	read     []int // the columns of the request, or of the result before, that it reads
	results  ir.Schema
	maxAge   []int64    // of each lookup in the unit of its time, or noLimit
	optional []optional // lookups without whose row the plan goes on
	call     *call      // of a function in Python, which computes it instead of the program; or nil
}

// An optional lookup is one of a LEFT JOIN.
type optional struct {
	lookup int
	says   string // that it had no row
}

// plans prepares the plans of a spec.
func (f *Features) plans(spec Spec, result ir.Schema) error {
	if len(spec.Plans) == 0 {
		return errors.New("there is no plan")
	}
	if spec.Results == nil && len(spec.Plans) > 1 {
		return fmt.Errorf("%d plans run one after another, but it is not known what columns each has", len(spec.Plans))
	}
	if spec.Results != nil && len(spec.Results) != len(spec.Plans) {
		return fmt.Errorf("there are %d plans with the columns of %d", len(spec.Plans), len(spec.Results))
	}
	f.Drops = spec.Drops
	have := spec.Columns
	for i, plan := range spec.Plans {
		declared := result
		if spec.Results != nil {
			declared = spec.Results[i]
		}
		l, err := f.link(spec, i, plan, have, declared)
		if err != nil {
			return fmt.Errorf("plan %d: %w", i+1, err)
		}
		f.links = append(f.links, l)
		have = l.results
	}
	return nil
}

func (f *Features) link(spec Spec, index int, plan *rowsql.Plan, have, declared ir.Schema) (*link, error) {
	var excluded []string
	for _, c := range plan.Request.Columns {
		if place(have, c.Name) < 0 {
			excluded = append(excluded, c.Name)
		}
	}
	if len(excluded) > 0 {
		f.Drops = f.Drops || slices.ContainsFunc(plan.Analyse(excluded).Filters, func(u rowsql.Use) bool { return u.Training })
		var err error
		if plan, err = plan.Serve(excluded, nil); err != nil {
			return nil, err
		}
	}
	l := &link{Program: new(rowsql.Program), plan: plan}
	for _, s := range plan.Steps {
		if j := s.Join; j != nil && !j.Inner {
			l.optional = append(l.optional, optional{j.Lookup, "lookup " + plan.Lookups[j.Lookup].Input.Name})
		}
	}
	var err error
	if plan.NeedsPython() {
		l.call, err = newCall(spec, index, plan)
	} else {
		l.Program, err = rowsql.Load(plan)
	}
	if err != nil {
		return nil, err
	}
	for _, c := range plan.Request.Columns {
		i := place(have, c.Name)
		if t := ir.Types[have[i].Type]; t != c.Type {
			return nil, fmt.Errorf("it reads column %s as %s, which is %s", c.Name, c.Type, t)
		}
		l.read = append(l.read, i)
	}
	for _, o := range plan.Outputs {
		c := ir.Column{Name: o.Name, Nullable: true, NaN: true} // nobody reads it
		if i := place(declared, o.Name); i >= 0 {
			c = declared[i]
		} else if c.Type = typeOf(o.Type); c.Type == "" {
			return nil, fmt.Errorf("column %s is %s, which no table has", o.Name, o.Type)
		}
		if t := ir.Types[c.Type]; t != o.Type {
			return nil, fmt.Errorf("it computes column %s as %s, which is %s", o.Name, o.Type, t)
		}
		l.results = append(l.results, c)
	}
	for n, look := range plan.Lookups {
		if _, ok := spec.Lookups[look.Input.Name]; !ok {
			return nil, fmt.Errorf("it looks up %q, which is not there", look.Input.Name)
		}
		age, err := maxAge(plan, n, spec.Lookups[look.Input.Name].MaxAge)
		if err != nil {
			return nil, fmt.Errorf("max_age of %q: %w", look.Input.Name, err)
		}
		l.maxAge = append(l.maxAge, age)
	}
	return l, nil
}

// noLimit is the limit of a lookup without max_age.
const noLimit = -1

// maxAge returns the limit of a lookup of a plan in the unit of the time that its ASOF join
// compares.
func maxAge(plan *rowsql.Plan, lookup int, text string) (int64, error) {
	if text == "" {
		return noLimit, nil
	}
	d := duration.Parse(text)
	if d <= 0 {
		return 0, fmt.Errorf("%q is no length of time", text)
	}
	latest := slices.ContainsFunc(plan.Steps, func(s rowsql.Step) bool {
		return s.Join != nil && s.Join.Lookup == lookup && strings.HasPrefix(s.Join.Asof, ">")
	})
	after := plan.Lookups[lookup].After
	if after == nil || !latest {
		return 0, errors.New("only an ASOF join that takes the latest row before the request has one")
	}
	switch after.Type {
	case "TIMESTAMP", "TIMESTAMP WITH TIME ZONE":
		return d.Microseconds(), nil
	case "DATE":
		return int64(d / (24 * time.Hour)), nil
	}
	return 0, fmt.Errorf("the join compares values of the type %s, which are no times", after.Type)
}

func place(s ir.Schema, name string) int {
	return slices.IndexFunc(s, func(c ir.Column) bool { return c.Name == name })
}

// typeOf is the type of a column of one of DuckDB's.
func typeOf(duck string) string {
	for name, d := range ir.Types {
		if d == duck {
			return name
		}
	}
	return ""
}
