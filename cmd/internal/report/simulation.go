package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/planner/state"
)

// SimulationPage draws what loops would have done.
func SimulationPage(s *project.Simulation) ([]byte, error) {
	var names []string
	for _, l := range s.Loops {
		names = append(names, l.Loop)
	}
	facts := &table{}
	facts.fact("from", moment(s.From))
	facts.fact("to", moment(s.To))
	facts.fact("requests", s.Requests)
	trained := "recorded versions of the model"
	if s.Trained {
		trained = "trained on what was known at each moment"
	}
	facts.fact("trainings", trained)
	p := &page{Title: "Simulation of " + strings.Join(names, " and "), Heads: []head{{0, "", facts}}, About: "Quality over time"}
	rows := project.CompareSimulated(s)
	p.Metrics = &table{Title: "With and without", Class: "numbers", Head: texts(rows[0]...)}
	for _, row := range rows[1:] {
		p.Metrics.add(row...)
	}
	for i := range s.Loops {
		l := &s.Loops[i]
		for _, n := range l.Notes {
			p.Notes = append(p.Notes, note{i, l.Loop, n})
		}
		if l.Metric != "" {
			p.Figures = append(p.Figures, simulatedQuality(s, l))
		}
		p.Tables = append(p.Tables, simulatedActs(l), simulatedAlerts(l), simulatedPeriods(l))
	}
	return p.html()
}

// simulatedQuality draws the quality with and without a loop, and when it trained and rolled back.
func simulatedQuality(s *project.Simulation, l *project.SimulatedLoop) figure {
	out := figure{Title: l.Metric, Of: l.Loop}
	days := func(t time.Time) float64 { return t.Sub(s.From).Hours() / 24 }
	var xs, with, without []float64
	for _, q := range l.Quality {
		a, ok := q.With[l.Metric]
		b, also := q.Without[l.Metric]
		if ok && also {
			xs, with, without = append(xs, days(q.Begin.Add(q.End.Sub(q.Begin)/2))), append(with, a), append(without, b)
		}
	}
	if len(xs) == 0 {
		out.Reasons = []note{{Text: "no period has labels"}}
		return out
	}
	low, high := with[0], with[0]
	for i := range xs {
		low, high = min(low, with[i], without[i]), max(high, with[i], without[i])
	}
	margin := max((high-low)*0.1, 1e-6)
	low, high = low-margin, high+margin
	c := newChart("quality with and without the loop", "days since the beginning", "value", 0, days(s.To), low, high)
	for _, a := range l.Acts {
		if a.Act == state.LoopRetrain || a.Act == state.LoopRollback {
			c.segment("guess", days(a.At), low, days(a.At), high)
		}
	}
	c.curve("line s1", xs, without)
	c.curve("line s0", xs, with)
	for i := range xs {
		c.dot("mark s1", xs[i], without[i], 2.5, "without: "+number(without[i]))
		c.dot("mark s0", xs[i], with[i], 2.5, "with: "+number(with[i]))
	}
	out.SVG = c.svg()
	out.Notes = []note{{0, "with the loop", l.Judge}, {1, "without it", "version 1 answers everything; vertical lines are trainings and rollbacks"}}
	return out
}

func simulatedActs(l *project.SimulatedLoop) *table {
	t := &table{Title: "What it would have done", Of: l.Loop, Head: texts("at", "act", "version", "reason", "outcome")}
	for _, a := range l.Acts {
		version := ""
		if a.Version > 0 {
			version = fmt.Sprint(a.Version)
		}
		t.add(moment(a.At), string(a.Act), version, a.Reason, a.Outcome)
	}
	return t
}

func simulatedAlerts(l *project.SimulatedLoop) *table {
	t := &table{Title: "Alerts", Of: l.Loop, Head: texts("at", "monitor", "times", "reason", "was", "why")}
	for _, a := range l.Alerts {
		t.add(moment(a.At), a.Monitor, fmt.Sprint(a.Count), a.Reason, a.Was, a.Why)
	}
	return t
}

func simulatedPeriods(l *project.SimulatedLoop) *table {
	t := &table{Title: "Quality", Of: l.Loop, Class: "numbers", Head: texts("from", "to", "requests", "with", "without")}
	for _, q := range l.Quality {
		t.add(moment(q.Begin), moment(q.End), fmt.Sprint(q.Rows), project.Figure(q.With, l.Metric), project.Figure(q.Without, l.Metric))
	}
	return t
}
