package compiler

import (
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
)

// study returns the stage of an entity that is a study, or nil.
func (e *entity) study() *stage {
	i := slices.IndexFunc(e.component.stages, func(s stage) bool { return s.Expands != nil && !s.missing(e) })
	if i < 0 {
		return nil
	}
	return &e.component.stages[i]
}

// checkTuning checks the study of a model: that there is something to search, in parameters
// that the trainer has, by a metric that the evaluation reports.
func (c *checker) checkTuning(e *entity, task string) {
	s := e.study()
	if s == nil {
		return
	}
	fields, _ := e.fields.at(s.Part).(object)
	space, _ := fields.get("space").(object)
	fault := func(message, wanted, hint string, at ...string) {
		c.fail(e, diag.Diagnostic{
			Message: message, Wanted: wanted, Hint: hint,
			Spans: []diag.Span{c.sys.At("", e.path(append([]string{s.Part}, at...)...)...)},
		})
	}
	if len(space) == 0 {
		fault(fmt.Sprintf("the study of %s has an empty search space", e), "",
			`add a parameter: space: "params.NAME": tune.#Float & {low: 0.01, high: 0.3}`, "space")
	}
	if metric := stringOf(fields.get("metric")); !slices.Contains(metricsOf[task], metric) {
		fault(fmt.Sprintf("the study of %s maximizes or minimizes %q, which a %s does not report", e, metric, task),
			"one of "+strings.Join(metricsOf[task], ", "), nearest(metric, metricsOf[task]), "metric")
	}
	trains := e.component.stage(s.Expands.Stage)
	if trains == nil || trains.Runtime != string(ir.Python) {
		fault(fmt.Sprintf("%s cannot be tuned: a %s is not trained by a program in Python", e, e.component.name), "", "remove it")
		return
	}
	var names []string
	for _, p := range trains.Params {
		if !strings.Contains(p, ".") { // a program gets others under their last name, which is no path
			names = append(names, p)
		}
	}
	for _, f := range space {
		first, _, _ := strings.Cut(f.name, ".")
		if slices.Contains(strings.Split(f.name, "."), "") {
			fault(fmt.Sprintf("the study of %s searches %q, which is not a path", e, f.name), "names separated by single dots", "", "space", f.name)
			continue
		}
		if !slices.Contains(names, first) {
			fault(fmt.Sprintf("the study of %s searches %q, but a %s has no parameter %s", e, f.name, e.component.name, first),
				"a path that begins with one of "+strings.Join(names, ", "), nearest(first, names), "space", f.name)
			continue
		}
		if message, hint := wrongRange(objectOr(f.value), stringOf(fields.get("sampler"))); message != "" {
			fault(fmt.Sprintf("%s of the study of %s %s", f.name, e, message), "", hint, "space", f.name)
		}
		for _, g := range space {
			if strings.HasPrefix(g.name, f.name+".") {
				fault(fmt.Sprintf("the study of %s searches %s, and also %s, which is part of it", e, f.name, g.name), "", "remove one of them", "space", g.name)
			}
		}
	}
	if sampler := stringOf(fields.get("sampler")); sampler == "cmaes" && !slices.ContainsFunc(space, func(f field) bool { return objectOr(f.value).get("type") != "categorical" }) {
		fault(fmt.Sprintf("the study of %s has no number, which is what cmaes searches", e), "", `use sampler: "tpe" or "grid"`, "sampler")
	}
}

// wrongRange returns what is wrong with one parameter of a search space, or "".
func wrongRange(p object, sampler string) (message, hint string) {
	if p.get("type") == "categorical" {
		choices, _ := p.get("choices").([]any)
		if len(choices) == 0 {
			return "has no choices", "list them: choices: [1, 2]"
		}
		seen := map[string]bool{}
		for _, x := range choices {
			b, _ := json.Marshal(plain(x)) // it was decoded
			if seen[string(b)] {
				return fmt.Sprintf("has the choice %s twice", b), "remove one of them"
			}
			seen[string(b)] = true
		}
		return "", ""
	}
	low, _ := p.get("low").(json.Number)
	high, _ := p.get("high").(json.Number)
	step, stepped := p.get("step").(json.Number)
	switch {
	case number(low).Cmp(number(high)) > 0:
		return fmt.Sprintf("has a low above its high: %s, %s", low, high), "exchange them"
	case p.get("type") == "int" && sampler != "grid" && (!exact(low) || !exact(high)):
		return "has values beyond 2^53, which the sampler cannot distinguish", "narrow the range, or use tune.#Categorical"
	case p.get("log") == true && number(low).Sign() <= 0:
		return fmt.Sprintf("is searched by its logarithm, but its low is %s", low), "set low above 0, or remove log"
	case p.get("log") == true && stepped && number(step).Cmp(big.NewRat(1, 1)) != 0,
		p.get("log") == true && stepped && p.get("type") == "float":
		return "has both log and step", "remove one of them"
	case sampler == "grid" && !stepped:
		return "has no step, but a grid has finitely many values", "set step, or use tune.#Categorical"
	}
	return "", ""
}

// exact reports whether all whole numbers up to n are distinct as floating-point numbers, with which samplers compute.
func exact(n json.Number) bool {
	return new(big.Rat).Abs(number(n)).Cmp(big.NewRat(1<<53, 1)) <= 0
}

// checkSearched checks the objects that trials make, with the lowest and the highest value of each
// parameter, and with each choice.
func (c *lowerer) checkSearched(e *entity, s *stage, study object, lock []byte) {
	trains := e.component.stage(s.Expands.Stage)
	w, err := c.work(e, trains)
	if err != nil {
		c.componentFault(e, err)
		return
	}
	space, _ := study.get("space").(object)
	at := []string{s.Part, "space"}
	for i, more := 0, true; more; i++ {
		some := w
		more = false
		for _, f := range space {
			p := objectOr(f.value)
			ends, _ := p.get("choices").([]any)
			if ends == nil {
				ends = []any{p.get("low"), p.get("high")}
			}
			some.fields = some.fields.placed(strings.Split(f.name, "."), ends[min(i, len(ends)-1)])
			more = more || i+1 < len(ends)
		}
		c.checkMadeWith(e, trains, some, lock, space, at)
	}
}

// placed returns the object with a value at a path.
func (o object) placed(path []string, value any) object {
	if len(path) > 1 {
		sub, _ := o.get(path[0]).(object)
		value = sub.placed(path[1:], value)
	}
	return o.without(path[0]).with(path[0], value)
}

// combinations returns how many points a grid has, or most if there are more. The ranges are
// sound.
func combinations(space object, most int) int {
	n := big.NewInt(1)
	for _, f := range space {
		p := objectOr(f.value)
		choices, _ := p.get("choices").([]any)
		values := big.NewInt(int64(len(choices)))
		if p.get("type") != "categorical" {
			low, _ := p.get("low").(json.Number)
			high, _ := p.get("high").(json.Number)
			step, _ := p.get("step").(json.Number)
			steps := new(big.Rat).Quo(new(big.Rat).Sub(number(high), number(low)), number(step))
			values = new(big.Int).Add(new(big.Int).Quo(steps.Num(), steps.Denom()), big.NewInt(1))
		}
		n.Mul(n, values)
	}
	if !n.IsInt64() || n.Int64() > int64(most) {
		return most
	}
	return int(n.Int64())
}
