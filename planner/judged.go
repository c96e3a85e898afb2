package planner

import (
	"fmt"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// testPort is the input with the test rows of a unit that evaluates a model, see
// train.#Component.
const testPort = "test"

// manyCandidates is how many models the same test rows may judge before the best of them is
// likely to be one that suits these rows by chance.
const manyCandidates = 20

func input(u *ir.Unit, port string) *ir.Input {
	i := slices.IndexFunc(u.Inputs, func(in ir.Input) bool { return in.Port == port })
	if i < 0 {
		return nil
	}
	return &u.Inputs[i]
}

// warnJudged warns of models that will be evaluated on rows that have judged many others.
func (m *maker) warnJudged(p *Plan) error {
	var judges []string // all evaluations
	units := map[string]*ir.Unit{}
	for i := range p.System.Units {
		u := &p.System.Units[i]
		reports := slices.ContainsFunc(u.Outputs, func(o ir.Output) bool { return o.Kind == ir.Report })
		if reports && input(u, testPort) != nil {
			judges, units[u.ID] = append(judges, m.former(u.ID)), u
		}
	}
	var coming []*ir.Unit
	for _, it := range p.Items {
		if u := units[it.Unit]; u != nil && it.Action == Run {
			coming = append(coming, u)
		}
	}
	if len(coming) == 0 {
		return nil
	}
	runs, err := m.in.State.DoneInputs(m.ctx, judges)
	if err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	judged := map[string]map[string]bool{} // the models that test rows have judged
	for _, in := range runs {
		if judged[in[testPort]] == nil {
			judged[in[testPort]] = map[string]bool{}
		}
		judged[in[testPort]][in[candidatePort]] = true
	}
	warned := map[string]bool{}
	for _, u := range coming {
		in := input(u, testPort)
		test := m.outputs[in.Unit][in.From].Digest
		n := len(judged[test])
		if test == "" || n <= manyCandidates || warned[test] {
			continue
		}
		warned[test] = true
		w := ir.Warning{
			Message: fmt.Sprintf("the test rows of %s have judged %d models: the best of them may suit these rows by chance", u.Entity, n),
			Hint:    "hold out rows that no model was judged by, such as later ones, and judge the last candidates by those",
		}
		if e := m.entities[u.Entity]; e != nil {
			w.At = e.Place("test")
		}
		p.Warnings = append(p.Warnings, w)
	}
	return nil
}
