package compiler

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
)

// A trainingQuery is one of the queries by which training makes the row of a model, one after
// another.
type trainingQuery struct {
	e   *entity
	row string // its input with the rows of the request, or of the query before
}

// trainingQueries are those of a contract.
func (r *request) trainingQueries() (all []trainingQuery) {
	for _, l := range r.links {
		all = append(all, trainingQuery{l.e, l.in.name})
	}
	return all
}

// checkable refuses a deployment that checks requests while it runs, if training cannot compute
// them again.
func (r *request) checkable(k *contract) bool {
	field := r.serves.Parity
	if field == "" || !r.e.fields.has(field) {
		return true
	}
	cannot := fmt.Sprintf("%s of %s cannot be checked while it runs: ", field, r.e)
	at := []diag.Span{r.label("", field), r.at()}
	if k.history != nil {
		return r.refuse(cannot+"its features have a history, and training cannot tell which earlier rows a request knew",
			"remove "+field+": the rows of the table are compared before each release", append(at, r.label("the history", r.serves.History))...)
	}
	for _, l := range r.links {
		if s := l.e.component.stage(""); s == nil || ir.Runtime(s.Runtime) != ir.Builtin {
			return r.refuse(cannot+l.e.String()+" does not run in DuckDB", "remove "+field, append(at, r.sys.Label("", l.e.path()...))...)
		}
	}
	return true
}

// replays reports whether what runs computes requests again as training does.
func (c *lowerer) replays(e *entity, w work) bool {
	return w.run.Queries != "" && e.fields.has(w.run.Queries)
}

func queryPort(prefix string, query int, input string) string {
	return prefix + "_" + strconv.Itoa(query) + "_" + input
}

// queryInputs binds what the queries of a contract read, on ports that begin with a prefix.
func (c *lowerer) queryInputs(e *entity, prefix string) (all []ir.Input) {
	for i, q := range e.contract.queries {
		for _, in := range c.stageInputs(q.e, q.e.component.stage("")) {
			in.Port = queryPort(prefix, i, in.Port)
			all = append(all, in)
		}
	}
	return all
}

// queriesParam returns the parameter with the queries of a contract, as steps whose inputs are on
// ports of the unit.
func (c *lowerer) queriesParam(e *entity, prefix string) (any, error) {
	type output struct {
		Kind      ir.PortKind `json:"kind"`
		Format    string      `json:"format"`
		Schema    ir.Schema   `json:"schema"`
		Keys      []string    `json:"keys,omitempty"`
		Timestamp string      `json:"timestamp,omitempty"`
	}
	type work struct {
		Unit      string            `json:"unit"`
		Component string            `json:"component"`
		Params    json.RawMessage   `json:"params"`
		Seed      int64             `json:"seed"`
		Outputs   map[string]output `json:"outputs"`
	}
	type query struct {
		Row    string            `json:"row"`
		Inputs map[string]string `json:"inputs"`
		Step   work              `json:"step"`
	}
	all := []query{}
	for i, q := range e.contract.queries {
		s := q.e.component.stage("")
		w, err := c.work(q.e, s)
		if err != nil {
			return nil, err
		}
		x := query{Row: q.row, Inputs: map[string]string{}, Step: work{Unit: q.e.id(), Component: w.component, Params: c.params(q.e, w, ""), Outputs: map[string]output{}}}
		if s.Seed != "" {
			x.Step.Seed = whole(q.e.fields.at(s.Seed))
		}
		for _, in := range c.stageInputs(q.e, s) {
			x.Inputs[in.Port] = queryPort(prefix, i, in.Port)
		}
		for _, out := range stageOutputs(q.e, s) {
			x.Step.Outputs[out.Port] = output{out.Kind, "parquet", out.Schema.Bare(), out.Keys, out.Timestamp}
		}
		all = append(all, x)
	}
	b, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	var sorted any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	err = d.Decode(&sorted)
	return sorted, err
}

// queriesPort returns the port prefix on which a stage takes the inputs of queries.
func (s *stage) queriesPort() string {
	for _, in := range s.inputs {
		if in.From == "request.queries" {
			return in.port
		}
	}
	return ""
}
