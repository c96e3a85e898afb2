package project

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
	"github.com/tenon-ml/tenon/stdlib/monitor/window"
)

// mostPeriods is in how many periods quality is reported at most.
const mostPeriods = 100

// report measures what came of it: with all labels, also those that became known later.
func (s *simulation) report(ctx context.Context) error {
	s.out.Trainings.Currency = s.system.Currency()
	if p := s.policy(); p != nil {
		s.out.Notes = append(s.out.Notes, "in steps of releases, no request failed, was slow or was answered differently: nothing recorded says whether it would have been")
	}
	if s.judge == nil {
		s.out.Notes = append(s.out.Notes, "no monitor.#Quality watches the model, so its quality is not known, and neither is which alerts were false")
		for i := range s.out.Alerts {
			s.out.Alerts[i].Was, s.out.Alerts[i].Why = AlertUnknown, "there is no monitor.#Quality"
		}
		return nil
	}
	if err := s.qualities(ctx); err != nil {
		return err
	}
	for i := range s.out.Alerts {
		if err := s.turnedOut(ctx, &s.out.Alerts[i]); err != nil {
			return err
		}
	}
	return nil
}

// versionOf returns a version by its number.
func (s *simulation) versionOf(number int) *version {
	for _, r := range s.revisions {
		if r.version != nil && r.version.number == number {
			return r.version
		}
	}
	return nil
}

// judged measures the quality of the requests between two times in a folder of a log.
func (s *simulation) judged(ctx context.Context, log string, begin, end time.Time) (*window.Answer, error) {
	m := *s.judge.Monitor
	m.By = nil
	q := window.Question{Monitor: m, Log: log, Begin: begin, End: end, Now: end.Add(m.Delay())}
	if err := s.measuredFor(ctx, s.judge, nil, &q); err != nil {
		return nil, err
	}
	a, err := s.duck.measure(&q)
	if err != nil {
		return nil, fmt.Errorf("measure %s: %w", s.judge.ID, err)
	}
	return a, nil
}

// qualities measures one period after the other, each of which is as long as the window of the monitor.
func (s *simulation) qualities(ctx context.Context) error {
	first, err := s.alone(s.revisions[0].version)
	if err != nil {
		return err
	}
	length := s.judge.Monitor.Window
	for s.o.To.Sub(s.o.From) > mostPeriods*length {
		length *= 2
	}
	for begin := s.o.From; begin.Before(s.o.To); begin = begin.Add(length) {
		end := begin.Add(length)
		if end.After(s.o.To) {
			break // a shorter period is not like the others
		}
		q, err := s.compared(ctx, first, begin, end)
		if err != nil {
			return err
		}
		s.out.Quality = append(s.out.Quality, *q)
	}
	if s.out.Overall, err = s.compared(ctx, first, s.o.From, s.o.To); err != nil {
		return err
	}
	if len(s.out.Quality) == 0 { // the time is shorter than a window
		s.out.Quality = append(s.out.Quality, *s.out.Overall)
	}
	s.out.Metric = mainMetric(s.judge.Monitor, s.out.Overall)
	return nil
}

// compared measures a period with and without the loop.
func (s *simulation) compared(ctx context.Context, first string, begin, end time.Time) (*SimulatedQuality, error) {
	without, err := s.judged(ctx, first, begin, end)
	if err != nil {
		return nil, err
	}
	with := without
	if len(s.out.Versions) > 1 && end.After(s.out.Versions[1].Since) { // before that, the first one answered everything
		if with, err = s.judged(ctx, s.log(), begin, end); err != nil {
			return nil, err
		}
	}
	return &SimulatedQuality{Begin: begin.UTC(), End: end.UTC(), Rows: without.Rows, With: metrics(with.Report), Without: metrics(without.Report)}, nil
}

// metrics returns the figures of all rows.
func metrics(r *measure.Report) map[string]float64 {
	all := map[string]float64{}
	for _, f := range r.Figures {
		if f.Value != nil && len(f.Segment) == 0 {
			all[f.Name] = *f.Value
		}
	}
	return all
}

// mainMetric is the one that a report shows: that of a gate, or the usual one.
func mainMetric(m *ir.Monitor, overall *SimulatedQuality) string {
	for _, name := range append(slices.Sorted(maps.Keys(m.Quality.Gates)), "roc_auc", "accuracy", "r2", "mean_absolute_error") {
		if _, ok := overall.With[name]; ok {
			return name
		}
	}
	return ""
}

// turnedOut says what an alert was. It was a loss if the version of then, had it stayed, would have broken a gate
// on the requests from the beginning of the alert's window until a window of the quality after the alert.
func (s *simulation) turnedOut(ctx context.Context, a *SimulatedAlert) error {
	m := s.judge.Monitor
	if s.monitors[a.Monitor].Monitor.Quality != nil {
		a.Was, a.Why = AlertLoss, "it measures the quality itself"
		return nil
	}
	if len(m.Quality.Gates) == 0 {
		a.Was, a.Why = AlertUnknown, fmt.Sprintf("%s has no gates", s.judge.ID)
		return nil
	}
	log, err := s.alone(s.versionOf(a.Version))
	if err != nil {
		return err
	}
	end := a.At.Add(m.Window)
	found, err := s.judged(ctx, log, a.begin, end)
	if err != nil {
		return err
	}
	about := fmt.Sprintf("version %d on the requests from %s to %s: ", a.Version, date(a.begin), date(end))
	switch found.Verdict {
	case measure.Alert:
		a.Was, a.Why = AlertLoss, about+found.Reason
	case measure.Unknown:
		a.Was, a.Why = AlertUnknown, about+found.Reason
	default:
		a.Was, a.Why = AlertFalse, about+gatesKept(m, found.Report)
	}
	return nil
}

// gatesKept lists the figures that have limits.
func gatesKept(m *ir.Monitor, r *measure.Report) string {
	text := ""
	values := metrics(r)
	for _, name := range slices.Sorted(maps.Keys(m.Quality.Gates)) {
		v, ok := values[name]
		if !ok {
			continue
		}
		if text != "" {
			text += ", "
		}
		text += fmt.Sprintf("%s %.4g", name, v)
		g := m.Quality.Gates[name]
		if g.Min != nil {
			text += fmt.Sprintf(" >= %g", *g.Min)
		}
		if g.Max != nil {
			text += fmt.Sprintf(" <= %g", *g.Max)
		}
	}
	return text
}

// Figure writes a metric, or "-" if it has no value.
func Figure(of map[string]float64, name string) string {
	v, ok := of[name]
	if !ok {
		return "-"
	}
	return fmt.Sprintf("%.4f", v)
}

// CompareSimulated returns a table of texts: its first row is the heads, its first columns are names and
// figures without a loop, and each loop has one more.
func CompareSimulated(s *Simulation) [][]string {
	rows := [][]string{{"", "without"}, {"quality", ""}, {"trainings", "0"}, {"of them failed", "0"}, {"training took", "0s"}, {"training cost", "-"}, {"rollbacks", "0"}, {"alerts", "-"}, {"false alarms", "-"}}
	for i := range s.Loops {
		l := &s.Loops[i]
		quality, rollbacks, wrong, open := "-", 0, 0, 0
		if l.Overall != nil && l.Metric != "" {
			without := Figure(l.Overall.Without, l.Metric)
			quality = Figure(l.Overall.With, l.Metric)
			switch {
			case rows[1][1] == "":
				rows[1][0], rows[1][1] = l.Metric, without
			case rows[1][0] != l.Metric || rows[1][1] != without: // another metric, or another first version
				quality = fmt.Sprintf("%s %s, without %s", l.Metric, quality, without)
			}
		}
		for _, a := range l.Acts {
			if a.Act == state.LoopRollback {
				rollbacks++
			}
		}
		for _, a := range l.Alerts {
			switch a.Was {
			case AlertFalse:
				wrong++
			case AlertUnknown:
				open++
			}
		}
		t := l.Trainings
		trainings := strconv.Itoa(t.Done + t.Failed)
		if t.Missing > 0 {
			trainings += fmt.Sprintf(", %d of them without a recorded version", t.Missing)
		}
		cost := "unknown: no pool has a price"
		if t.Currency != "" {
			cost, rows[5][1] = t.Cost.Format(t.Currency), money.Amount(0).Format(t.Currency)
		}
		alarms := strconv.Itoa(wrong)
		if open > 0 {
			alarms += fmt.Sprintf(", %d unknown", open)
		}
		for row, text := range []string{"with " + l.Loop, quality, trainings, strconv.Itoa(t.Failed), t.Took.Round(time.Second).String(), cost, strconv.Itoa(rollbacks), strconv.Itoa(len(l.Alerts)), alarms} {
			rows[row] = append(rows[row], text)
		}
	}
	return rows
}
