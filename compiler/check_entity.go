package compiler

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/duration"
	"github.com/tenon-ml/tenon/internal/lazyregexp"
)

// checkEntities runs the checks that concern a single entity.
func (c *checker) checkEntities() {
	var listeners []listener
	for _, id := range c.order {
		e := c.entities[id]
		if c.broken[id] {
			continue
		}
		c.checkPorts(e)
		c.checkAmounts(e)
		c.checkNodes(e)
		c.checkSchema(e)
		c.checkReferences(e)
		c.checkSecrets(e)
		c.checkNetwork(e)
		c.checkFields(e)
		for i := range e.component.stages {
			if f := e.component.stages[i].Endpoint; f != nil {
				listeners = c.checkEndpoint(e, f, listeners)
			}
		}
		if p := e.component.Predicts; p != nil {
			c.checkPredicts(e, p)
		}
		if k := e.component.Edge; k != nil {
			c.checkEdge(e, k)
		}
		switch e.section {
		case "models":
			c.checkModel(e)
		case "slos":
			c.checkObjectives(e)
		case "steps":
			c.checkStep(e)
		}
	}
}

// checkAmounts refuses amounts beyond any machine or any reasonable time, so that none of
// them overflows later.
func (c *checker) checkAmounts(e *entity) {
	at := func(p ...string) diag.Pos { return c.sys.At("", e.path(p...)...).Pos }
	needs, _ := e.fields.get("needs").(object)
	amounts := map[string]object{"needs": needs}
	if e.section == "resources" {
		amounts = map[string]object{"": e.fields}
	}
	for prefix, o := range amounts {
		r := resourcesOf(o)
		for name, n := range map[string]int64{"cpu": r.MilliCPU, "memory": r.Memory, "disk": r.Disk, "gpu": r.GPU, "gpu.memory": r.GPUMemory} {
			if n >= 1<<62 {
				c.tooLarge(e, at(strings.Split(strings.TrimPrefix(prefix+"."+name, "."), ".")...), "a realistic amount for a machine")
			}
		}
	}
	for _, name := range []string{"timeout", "max_age", "window", "freshness", "every", "within"} {
		if duration.Parse(e.string(name)) >= duration.Century {
			c.tooLarge(e, at(name), "less than a hundred years")
		}
	}
	if n, ok := e.fields.get("seed").(json.Number); ok {
		if _, err := n.Int64(); err != nil {
			c.tooLarge(e, at("seed"), "a whole number of at most 64 bits")
		}
	}
}

func (c *checker) checkNodes(e *entity) {
	needs, _ := e.fields.get("needs").(object)
	if n := whole(needs.get("nodes")); n > 1 && !e.component.Distributed {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("%s requests %d nodes, but a %s runs on one", e, n, e.component.name),
			Spans:   []diag.Span{c.sys.At("", e.path("needs", "nodes")...)},
			Hint:    "remove nodes; only train.#Script and the steps can use several nodes",
		})
	}
}

func (c *program) tooLarge(e *entity, at diag.Pos, wanted string) {
	c.fail(e, diag.Diagnostic{
		Message: fmt.Sprintf("a number of %s is too large", e),
		Wanted:  wanted,
		Spans:   []diag.Span{{Pos: at}},
	})
}

// noColumn reports a reference to a column that a table does not have. at is the path of
// the field that names it.
func (c *checker) noColumn(e *entity, what, column string, in *out, schema ir.Schema, at ...string) {
	d := diag.Diagnostic{
		Message: fmt.Sprintf("%s of %s refers to a column %q that %s does not have", what, e, column, owner(in)),
		Spans:   []diag.Span{c.sys.At("", e.path(at...)...)},
		Wanted:  "one of " + strings.Join(columnNames(schema), ", "),
		Found:   column,
	}
	if in != nil && in.entity != e {
		d.Spans = append(d.Spans, c.sys.Label("its columns", in.entity.path("schema")...))
	}
	d.Hint = nearest(column, columnNames(schema))
	c.fail(e, d)
}

func owner(o *out) string {
	if o == nil {
		return "its schema"
	}
	return o.entity.String()
}

func columnNames(s ir.Schema) []string {
	names := make([]string, len(s))
	for i := range s {
		names[i] = s[i].Name
	}
	return names
}

// checkSchema checks what an entity declares about its own table.
func (c *checker) checkSchema(e *entity) {
	for _, o := range e.outs {
		if o.kind != ir.Table || e.section == "deployments" {
			continue
		}
		at := []string{"schema"}
		if e.section == "steps" {
			at = []string{"outputs", o.port, "schema"}
		}
		if len(o.schema) == 0 && e.section != "steps" {
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("the table of %s has no columns", e),
				Spans:   []diag.Span{c.sys.Label("", e.path(at...)...)},
				Hint:    "declare them under schema; `tenon infer` prints them for a file or a query",
			})
			continue
		}
		for _, col := range o.schema {
			if ref, _ := c.sys.Reference(e.path(append(slices.Clone(at), col.Name)...)...); len(ref) > 2 {
				continue // checked at its declaration
			}
			c.checkColumn(e, col, append(slices.Clone(at), col.Name))
		}
		for _, k := range o.keys {
			if o.schema.Column(k) == nil {
				c.noColumn(e, "keys", k, nil, o.schema, append(at[:len(at)-1:len(at)-1], "keys")...)
			}
		}
		if t := o.timestamp; t != "" {
			switch col := o.schema.Column(t); {
			case col == nil:
				c.noColumn(e, "timestamp", t, nil, o.schema, append(at[:len(at)-1:len(at)-1], "timestamp")...)
			case !isTime(col.Type):
				c.fail(e, diag.Diagnostic{
					Message: fmt.Sprintf("the timestamp of %s is column %q, which is not a date or a time", e, t),
					Wanted:  "a column of type timestamp, timestamptz or date",
					Found:   col.Type,
					Spans:   []diag.Span{c.sys.At("", e.path(append(at[:len(at)-1:len(at)-1], "timestamp")...)...), c.columnSpan(e, t)},
				})
			}
		}
	}
}

func isTime(t string) bool { return t == "timestamp" || t == "timestamptz" || t == "date" }

func isNumber(t string) bool {
	return strings.HasPrefix(t, "int") || strings.HasPrefix(t, "uint") || strings.HasPrefix(t, "float")
}

func (c *checker) columnSpan(e *entity, column string) diag.Span {
	if sp, ok := c.sys.Column(e.section, e.name, column); ok {
		sp.Label = "declared here"
		return sp
	}
	return c.sys.Label("declared here", e.path("schema", column)...)
}

func number(n json.Number) *big.Rat {
	r, ok := new(big.Rat).SetString(string(n))
	if !ok {
		return new(big.Rat)
	}
	return r
}

func (c *checker) checkModel(e *entity) {
	table, model := e.input("table"), e.outs["model"]
	if table == nil || model == nil {
		return
	}
	schema := table.out.schema
	label := e.string("label")
	evaluation, _ := e.fields.get("evaluation").(object)
	task, _ := evaluation.get("task").(string)
	gates, _ := evaluation.get("gates").(object)
	for _, g := range gates {
		if len(objectOr(g.value).only(rulesOfGates...)) == 0 {
			c.asksNothing(e, "evaluation", "gates", g.name)
		}
		if !slices.Contains(metricsOf[task], g.name) {
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("%s has a gate on %q, which a %s does not report", e, g.name, task),
				Wanted:  "one of " + strings.Join(metricsOf[task], ", "),
				Spans:   []diag.Span{c.sys.Label("", e.path("evaluation", "gates", g.name)...)},
				Hint:    nearest(g.name, metricsOf[task]),
			})
			continue
		}
		c.checkBounds(e, g.name, objectOr(g.value), "evaluation", "gates", g.name)
		c.checkWorst(e, evaluation, g.name, objectOr(g.value))
	}
	c.warnRandom(e, table.out)
	c.checkTuning(e, task)
	col := schema.Column(label)
	if col != nil {
		c.checkLabel(e, *col, task, table.out)
		c.checkClassWeight(e, *col, task)
	}
	if len(model.signature.Input) == 0 {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("%s has no feature columns left", e),
			Found:   fmt.Sprintf("except for the label, the keys and the timestamp, all columns of %s are excluded", table.out.entity),
			Spans:   []diag.Span{c.sys.Label("", e.path("in", "table")...), c.sys.Label("its columns", table.out.entity.path("schema")...)},
		})
	}
}

// checkFields checks the fields whose meaning the component defines, and those of its
// parts.
func (c *checker) checkFields(e *entity) {
	c.checkFieldsOf(e, e.component, "")
	for i := range e.component.stages {
		if s := &e.component.stages[i]; s.Part != "" && !s.missing(e) {
			if k, err := c.component(stringOf(e.fields.at(s.Part + ".component"))); err == nil {
				c.checkFieldsOf(e, k, s.Part)
			}
		}
	}
}

func (c *checker) checkFieldsOf(e *entity, k *component, part string) {
	fields, path, dotted := e.fields, []string{}, ""
	if part != "" {
		fields, _ = e.fields.at(part).(object)
		path, dotted = strings.Split(part, "."), part+"."
	}
	for _, name := range slices.Sorted(maps.Keys(k.Columns)) {
		in := e.input(k.Columns[name].Of)
		if in == nil {
			continue
		}
		at := append(slices.Clone(path), name)
		for _, column := range append(stringsOf(fields.get(name)), stringOf(fields.get(name))) {
			if column == "" {
				continue
			}
			col := in.out.schema.Column(column)
			if col == nil {
				what := dotted + name
				if name == "label" {
					what = "the label"
				}
				c.noColumn(e, what, column, in.out, in.out.schema, at...)
			} else if k.Columns[name].Type == "time" && !isTime(col.Type) {
				c.fail(e, diag.Diagnostic{
					Message: fmt.Sprintf("%s%s of %s is column %q, which is not a date or a time", dotted, name, e, column),
					Wanted:  "a column of type timestamp, timestamptz or date",
					Found:   col.Type,
					Spans:   []diag.Span{c.sys.At("", e.path(at...)...), c.columnSpan(in.out.entity, column)},
				})
			} else if k.Columns[name].Type == "groups" && col.Type == "bytes" {
				c.fail(e, diag.Diagnostic{
					Message: fmt.Sprintf("%s%s of %s refers to column %q, which has bytes: they make no groups", dotted, name, e, column),
					Spans:   []diag.Span{c.sys.At("", e.path(at...)...), c.columnSpan(in.out.entity, column)},
					Hint:    "remove it, or compute a column of another type from it",
				})
			}
		}
	}
	for _, name := range k.Times {
		if s := stringOf(fields.get(name)); s != "" && !parsesAsTime(s) {
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("%s%s of %s is not a date or a time", dotted, name, e),
				Wanted:  `a date such as "2024-07-01" or a time such as "2024-07-01 12:00:00"`,
				Found:   fmt.Sprintf("%q", s),
				Spans:   []diag.Span{c.sys.At("", e.path(append(path, name)...)...)},
			})
		}
	}
	for _, name := range k.ImportPaths {
		if s := stringOf(fields.get(name)); s != "" && !importPath.MatchString(s) {
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("the %s of %s is not an import path", name, e),
				Wanted:  `a dotted path such as "sklearn.linear_model.LogisticRegression"`,
				Found:   fmt.Sprintf("%q", s),
				Spans:   []diag.Span{c.sys.At("", e.path(append(path, name)...)...)},
			})
		}
	}
}

var importPath = lazyregexp.New(`^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$`)

func parsesAsTime(s string) bool {
	_, _, ok := ir.ParseTime(s)
	return ok
}

func (c *checker) checkLabel(e *entity, col ir.Column, task string, from *out) {
	spans := []diag.Span{c.sys.At("", e.path("label")...), c.columnSpan(from.entity, col.Name)}
	if col.Nullable {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("the label of %s may be null", e),
			Wanted:  "a label that is never null",
			Found:   fmt.Sprintf("column %q is nullable in %s", col.Name, from.entity),
			Spans:   spans,
			Hint:    fmt.Sprintf("drop the rows without a label in %s and declare the column without nullable", from.entity),
		})
	}
	if col.NaN {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("the label of %s may be NaN", e),
			Wanted:  "a label that is always known",
			Found:   fmt.Sprintf("column %q declares nan: true in %s", col.Name, from.entity),
			Spans:   spans,
			Hint:    fmt.Sprintf("drop the rows without a label in %s and declare the column without nan", from.entity),
		})
	}
	if task == "regression" && !isNumber(col.Type) {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("%s is evaluated as a regression, but its label is a %s", e, col.Type),
			Wanted:  "a label that is a number",
			Spans:   append(spans, c.sys.At("", e.path("evaluation")...)),
			Hint:    "use evaluate.#Classification",
		})
	}
	if task == "classification" && strings.HasPrefix(col.Type, "float") {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("%s is evaluated as a classification, but its label is a %s", e, col.Type),
			Wanted:  "a label of type bool, string or a whole number",
			Spans:   append(spans, c.sys.At("", e.path("evaluation")...)),
			Hint:    "use evaluate.#Regression, or cast the label",
		})
	}
}

// input returns the port of that name if it is bound.
func (e *entity) input(name string) *port {
	for i := range e.ports {
		if e.ports[i].name == name {
			return &e.ports[i]
		}
	}
	return nil
}

// checkEndpoint checks where a service listens, and returns the listeners with it.
func (c *checker) checkEndpoint(e *entity, f *endpointFields, listeners []listener) []listener {
	all := []listener{{e, f.Port, ir.Endpoint{Host: stringOf(e.fields.at(f.Host)), Port: int(whole(e.fields.at(f.Port)))}}}
	if m := f.Management; m != "" && present(e.fields, m) {
		at := endpointOf(e.fields, f).Management
		all = append(all, listener{e, m + ".port", ir.Endpoint{Host: at.Host, Port: at.Port}})
		if at.Port == all[0].endpoint.Port {
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("%s has two uses for port %d", e, at.Port),
				Spans:   []diag.Span{c.sys.At("", e.pathOf(all[1].field)...), c.sys.At("its clients ask here", e.path(f.Port)...)},
				Hint:    "choose another port for " + m,
			})
			all = all[:1]
		}
	}
	for _, at := range all {
		i := slices.IndexFunc(listeners, func(l listener) bool { return l.endpoint.Overlaps(&at.endpoint) })
		if i < 0 {
			continue
		}
		other := listeners[i]
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("%s and %s both listen on port %d", other.entity, e, at.endpoint.Port),
			Spans:   []diag.Span{c.sys.At("", e.pathOf(at.field)...), c.sys.At("taken here", other.entity.pathOf(other.field)...)},
			Hint:    "change the port of one of them",
		})
		break
	}
	c.checkReplicas(e, f)
	return append(listeners, all...)
}

// A listener is an entity that listens somewhere.
type listener struct {
	entity   *entity
	field    string // of its port
	endpoint ir.Endpoint
}

// checkPredicts checks that a table has the columns that a model reads.
func (c *checker) checkPredicts(e *entity, p *predicts) {
	model, table := e.input(p.Model), e.input(p.Table)
	if model == nil || table == nil || model.out.signature == nil {
		return
	}
	for _, name := range p.Adds {
		if slices.ContainsFunc(table.out.keys, func(k string) bool { return folded(k) == folded(name) }) || folded(table.out.timestamp) == folded(name) {
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("%s writes a column %q, which is also a key of %s", e, name, table.out.entity),
				Spans:   []diag.Span{c.sys.At("", e.path("in", p.Table)...), c.columnSpan(table.out.entity, name)},
				Hint:    "give the key another name",
			})
		}
	}
	for _, want := range model.out.signature.Input {
		got := table.out.schema.Column(want.Name)
		spans := []diag.Span{c.sys.At("read here", e.path("in", p.Table)...)}
		switch {
		case got == nil:
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("%s predicts on %s, which lacks the column %q that %s reads", e, table.out.entity, want.Name, model.out.entity),
				Spans:   append(spans, c.sys.Label("its columns", table.out.entity.path("schema")...), c.sys.Label("the model", model.out.entity.path()...)),
				Wanted:  fmt.Sprintf("%s: %s", want.Name, want.Type),
				Found:   "the columns " + strings.Join(columnNames(table.out.schema), ", "),
			})
		case got.Type != want.Type:
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("%s predicts on %s, where column %q has a different type than %s reads", e, table.out.entity, want.Name, model.out.entity),
				Spans:   append(spans, c.columnSpan(table.out.entity, want.Name), c.sys.Label("the model", model.out.entity.path()...)),
				Wanted:  want.Type,
				Found:   got.Type,
			})
		case got.Nullable && !want.Nullable:
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("%s predicts on %s, where column %q may be null, but %s was trained without nulls", e, table.out.entity, want.Name, model.out.entity),
				Spans:   append(spans, c.columnSpan(table.out.entity, want.Name), c.sys.Label("the model", model.out.entity.path()...)),
				Hint:    "drop these rows or fill the nulls in a feature before the prediction",
			})
		}
	}
}

// metricsOf lists the metrics of an evaluation, by task.
var metricsOf = map[string][]string{
	"classification": {"accuracy", "balanced_accuracy", "precision", "recall", "f1", "roc_auc", "average_precision", "log_loss", "brier_score_loss", "matthews_corrcoef"},
	"regression":     {"r2", "mean_absolute_error", "mean_squared_error", "root_mean_squared_error", "median_absolute_error", "mean_absolute_percentage_error", "max_error", "explained_variance"},
}

func (c *checker) checkObjectives(e *entity) {
	asks := 0
	for _, f := range []string{"availability", "latency", "freshness", "quality", "parity"} {
		if v := e.fields.get(f); v != nil && len(objectOr(v)) != 0 {
			asks++
		}
	}
	if asks == 0 {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("%s has no objective", e),
			Wanted:  "one of availability, latency, freshness, quality, parity",
			Spans:   []diag.Span{c.sys.Label("", e.path()...)},
		})
	}
	if w := duration.Parse(e.string("window")); w < minWindow {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("the window of %s is too short for alerts over up to three days", e),
			Wanted:  "7d or more",
			Found:   e.string("window"),
			Spans:   []diag.Span{c.sys.At("", e.path("window")...)},
		})
	}
	c.checkLatency(e)
	on := e.input("on")
	if on == nil {
		return
	}
	c.checkParity(e, on.out.entity)
	model := on.out.entity.input("model")
	if model == nil || model.out.signature == nil {
		return
	}
	c.checkFreshness(e, model.out.entity)
	task := model.out.signature.Task
	quality, _ := e.fields.get("quality").(object)
	for _, f := range quality {
		if len(objectOr(f.value)) == 0 {
			c.asksNothing(e, "quality", f.name)
		}
		if !slices.Contains(metricsOf[task], f.name) {
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("%s has an objective for the metric %q, which the evaluation of %s does not report", e, f.name, model.out.entity),
				Spans:   []diag.Span{c.sys.Label("", e.path("quality", f.name)...), c.sys.At("evaluated here", model.out.entity.path("evaluation")...)},
				Wanted:  "one of " + strings.Join(metricsOf[task], ", "),
				Hint:    nearest(f.name, metricsOf[task]),
			})
			continue
		}
		c.checkBounds(e, f.name, objectOr(f.value), "quality", f.name)
	}
}

// minWindow is the shortest window over which burn rates make sense.
const minWindow = 7 * 24 * time.Hour

// objectOr returns a value as a struct; of any other value it only shows that it exists.
func objectOr(v any) object {
	if o, ok := v.(object); ok {
		return o
	}
	return object{{"", v}}
}

// asksNothing reports an objective that is empty.
func (c *checker) asksNothing(e *entity, at ...string) {
	c.fail(e, diag.Diagnostic{
		Message: fmt.Sprintf("%s of %s has no bound", strings.Join(at, "."), e),
		Spans:   []diag.Span{c.sys.Label("", e.path(at...)...)},
		Hint:    "add a bound, such as `min: 0.7`, or remove it",
	})
}

// nearest returns the hint for a misspelt name whose candidates are already listed.
func nearest(name string, candidates []string) string {
	if near := diag.Nearest(name, candidates); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return ""
}

func (c *checker) checkStep(e *entity) {
	outputs, _ := e.fields.get("outputs").(object)
	ends := slices.ContainsFunc(e.component.stages, func(s stage) bool { return s.Kind == string(ir.Job) })
	if len(outputs) == 0 && ends {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("%s has no outputs", e),
			Spans:   []diag.Span{c.sys.Label("", e.path("outputs")...)},
			Hint:    "add an output: `outputs: report: kind: \"file\"`",
		})
	}
	for _, f := range outputs {
		o, _ := f.value.(object)
		if o.get("kind") == "table" && !o.has("schema") {
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("output %q of %s is a table without a schema", f.name, e),
				Spans:   []diag.Span{c.sys.Label("", e.path("outputs", f.name)...)},
				Hint:    "declare its columns under schema, or write `kind: \"file\"`",
			})
		}
		if !goodName(f.name) {
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("%q is not a valid name of an output", f.name),
				Spans:   []diag.Span{c.sys.Label("", e.path("outputs", f.name)...)},
				Wanted:  `letters, digits, "-", "_" and "."`,
			})
		}
	}
}
