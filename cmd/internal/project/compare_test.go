package project

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

func evaluated(task string, higher map[string]bool, metrics map[string]*float64) *Report {
	return &Report{Name: "models/late", Revision: 3, Units: []*UnitReport{
		{Unit: "models/late/train", Kind: ir.Job, Metrics: map[string]float64{"rows": 4}},
		{Unit: "models/late/evaluate", Kind: ir.Job, Evaluation: &Evaluation{Metrics: metrics, HigherIsBetter: higher, Details: &Details{Task: task}}},
		{Unit: "models/late/register", Kind: ir.Record, Metrics: map[string]float64{"f1": 1}},
	}}
}

func figure(v float64) *float64 { return &v }

// The report of another component is shown as far as it has the form of one.
func TestReportsOfOtherShapes(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "report.json"), []byte(`{"metrics": {"f1": 0.5}, "notes": "fine", "rows": 3}`), 0o644); err != nil {
		t.Fatal(err)
	}
	e, err := readEvaluation(folder)
	if err != nil {
		t.Fatal(err)
	}
	if v := e.Metrics["f1"]; v == nil || *v != 0.5 || e.Rows != 3 {
		t.Errorf("metrics %v, %d rows", e.Metrics, e.Rows)
	}
	if notes := strings.Join(e.Notes, "\n"); !strings.Contains(notes, "a part of report.json is left out") {
		t.Errorf("notes %q", notes)
	}
}

// What is better follows from the metric, not from the sign of its change.
func TestMetricsAreJudgedByTheirDirection(t *testing.T) {
	higher := map[string]bool{"f1": true, "log_loss": false}
	before := evaluated("classification", higher, map[string]*float64{"f1": figure(0.5), "log_loss": figure(0.5), "odd": figure(1), "gone": figure(1)})
	after := evaluated("classification", higher, map[string]*float64{"f1": figure(0.75), "log_loss": figure(0.75), "odd": figure(2), "none": nil})
	want := []struct {
		name    string
		change  float64
		verdict Verdict
	}{{"f1", 0.25, Better}, {"gone", 0, ""}, {"log_loss", 0.25, Worse}, {"none", 0, ""}, {"odd", 1, ""}, {"rows", 0, Equal}}
	got := metricChanges(before, after)
	if len(got) != len(want) {
		t.Fatalf("%d metrics, not %d: %+v", len(got), len(want), got)
	}
	for i, w := range want {
		known := got[i].Change != nil
		if got[i].Name != w.name || got[i].Verdict != w.verdict || known && *got[i].Change != w.change || known == (w.name == "gone" || w.name == "none") {
			t.Errorf("%+v, not %+v", got[i], w)
		}
	}
	if back := metricChanges(after, before); back[0].Verdict != Worse {
		t.Errorf("the other way round, f1 is %q", back[0].Verdict)
	}
}

func TestKindsThatCannotBeCompared(t *testing.T) {
	one := func(kind ir.Kind) *Report {
		return &Report{Name: "steps/a", Revision: 3, Units: []*UnitReport{{Unit: "steps/a", Kind: kind}}}
	}
	for _, c := range []struct {
		before, after *Report
		want          string
	}{
		{one(ir.Job), one(ir.Job), ""},
		{one(ir.Job), one(ir.Service), "steps/a is a job in @3, but a service in @3"},
		{evaluated("regression", nil, nil), evaluated("regression", nil, nil), ""},
		{evaluated("regression", nil, nil), evaluated("classification", nil, nil), "models/late is a regression in @3, but a classification in @3"},
		{evaluated("", nil, nil), evaluated("classification", nil, nil), ""},
	} {
		err := sameKind(c.before, c.after)
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%v, not %q", err, c.want)
		}
	}
}

func TestOnlyOneModelNeedsNoName(t *testing.T) {
	with := func(entities ...string) *snapshot {
		s := &snapshot{revision: &state.Revision{Number: 7}, units: map[string]*ir.Unit{}}
		for _, e := range entities {
			s.units[e+"/train"] = &ir.Unit{Entity: e}
			s.units[e+"/split"] = &ir.Unit{Entity: e}
		}
		return s
	}
	if name, err := onlyModel(with("models/late", "steps/a")); name != "models/late" || err != nil {
		t.Errorf("%q, %v", name, err)
	}
	if _, err := onlyModel(with("models/b", "models/a")); err == nil || !strings.Contains(err.Error(), "several models: name one of models/a, models/b") {
		t.Errorf("several models: %v", err)
	}
	if _, err := onlyModel(with("steps/a")); err == nil || !strings.Contains(err.Error(), "revision @7 has no model") {
		t.Errorf("no model: %v", err)
	}
}

func TestRenamedUnitsAndEntities(t *testing.T) {
	for _, now := range []map[string]string{{"models/a": "models/b"}, {"models/a/train": "models/b/train", "models/a/split": "models/b/split"}} {
		for name, want := range map[string]string{"models/a": "models/b", "models/a/train": "models/b/train", "models/other": "models/other", "models/ab": "models/ab"} {
			if got := renamed(now, name); got != want {
				t.Errorf("%v: %s is now %s, not %s", now, name, got, want)
			}
		}
	}
}

// A report is shown as far as its format is known, and never misread.
func TestReportsOfOtherVersions(t *testing.T) {
	for _, c := range []struct {
		what, report, details string
		note, err             string
	}{
		{"of this version", `{"metrics": {"f1": 1}}`, `{"details": 1, "task": "regression"}`, "", ""},
		{"without details", `{"metrics": {"f1": 1}}`, "", "it has no details.json", ""},
		{"of a later version", `{"metrics": {"f1": 1}}`, `{"details": 2, "task": "regression"}`, "has the format 2", ""},
		{"damaged", `{"metrics": {"f1": 1}}`, `{"details": 1`, "", "read details.json"},
		{"that is no JSON", `{"metrics"`, "", "", "read report.json"},
	} {
		folder := t.TempDir()
		for name, content := range map[string]string{"report.json": c.report, "details.json": c.details} {
			if content != "" {
				if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		e, err := readEvaluation(folder)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v", c.what, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		if notes := strings.Join(e.Notes, "\n"); (c.note == "") != (notes == "") || !strings.Contains(notes, c.note) || (e.Details != nil) != (c.note == "") {
			t.Errorf("%s: notes %q, details %v", c.what, notes, e.Details)
		}
	}
}
