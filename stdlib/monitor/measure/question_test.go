package measure_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/stdlib/duck/engine"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
)

// TestMain makes the test binary a program that answers questions, as tenon-duck does.
func TestMain(m *testing.M) {
	if len(os.Args) != 2 || os.Args[1] != "measure" {
		os.Exit(m.Run())
	}
	err := measure.Serve(context.Background(), os.Stdin, os.Stdout, func(ctx context.Context, tables map[string][]string) (measure.Database, func(), error) {
		db, done, err := engine.Tables(ctx, tables, engine.Limits{})
		return measure.Database{DB: db, Check: engine.SelectOnly}, done, err
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "tenon:", err)
		os.Exit(1)
	}
}

func ask(t *testing.T, q measure.Question) (*measure.Report, error) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return measure.Ask(t.Context(), program, q)
}

// tables are frames of the references; "rows" is two files with other columns.
var tables = map[string][]string{
	"reference": {"_reference/small_reference.parquet"},
	"current":   {"_reference/small_current.parquet"},
	"labels":    {"_reference/labels.parquet"},
	"scores":    {"_reference/calibrated_reference.parquet"},
	"rows":      {"_reference/small_current.parquet", "_reference/labels.parquet"},
}

func TestAnotherProcessAnswers(t *testing.T) {
	limit := 0.2
	for name, x := range map[string]struct {
		q    measure.Question
		rows int64
		says string // the reason
	}{
		"drift of a table": {measure.Question{Drift: &measure.DriftQuestion{Reference: "reference", Current: "current",
			Spec: measure.DriftSpec{Columns: []measure.Column{{Name: "normal", Test: measure.TestKS, Max: &limit}}}}}, 450, ""},
		"drift of a query": {measure.Question{Drift: &measure.DriftQuestion{Reference: "SELECT normal FROM reference", Current: "SELECT normal + 1 AS normal FROM current WHERE flag;",
			Spec: measure.DriftSpec{Columns: []measure.Column{{Name: "normal", Test: measure.TestKS, Max: &limit}}}}}, 140, "normal: ks 0.4714"},
		"several files": {measure.Question{Drift: &measure.DriftQuestion{Reference: "reference", Current: "rows",
			Spec: measure.DriftSpec{Columns: []measure.Column{{Name: "normal", Test: measure.TestKS, Max: &limit}}}}}, 1950, ""},
		"quality": {measure.Question{Quality: &measure.QualityQuestion{Rows: "labels", Spec: measure.QualitySpec{Task: measure.Classification, Label: "y", Prediction: "predicted",
			Gates: map[string]measure.Gate{"f1": {Min: &limit}}, By: []string{"group"}, Fallback: "fallback"}}}, 1500, ""},
		"estimate": {measure.Question{Estimate: &measure.EstimateQuestion{Reference: "scores", Current: "SELECT p FROM scores LIMIT 100",
			Spec: measure.EstimateSpec{Label: "y", Probability: "p", Positive: "1", Gates: map[string]measure.Gate{"roc_auc": {Max: &limit}}}}}, 100, "roc_auc 0."},
	} {
		x.q.Tables = tables
		r, err := ask(t, x.q)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if r.Rows != x.rows || !strings.HasPrefix(r.Reason, x.says) || (r.Verdict == measure.OK) != (x.says == "") || r.Verdict == measure.Unknown {
			t.Errorf("%s: %d rows, %s, %q, want %d, %q", name, r.Rows, r.Verdict, r.Reason, x.rows, x.says)
		}
	}
}

// A query reads the tables and nothing else, and it changes nothing.
func TestRefusedQuestions(t *testing.T) {
	drift := func(current string) measure.Question {
		return measure.Question{Drift: &measure.DriftQuestion{Reference: "reference", Current: current}}
	}
	missing := drift("current")
	missing.Tables = map[string][]string{"current": {"_reference/none.parquet"}}
	for want, q := range map[string]measure.Question{
		"a question asks for one of drift, quality and estimate": {},
		"a query must be one statement":                          drift("SELECT 1; DROP VIEW reference"),
		"_reference/reference.py":                                drift("SELECT * FROM read_text('_reference/reference.py')"),
		"nothing":                                                drift("nothing"),
		"none.parquet":                                           missing,
	} {
		if q.Tables == nil {
			q.Tables = tables
		}
		if r, err := ask(t, q); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v, %v, want an error with %q", r, err, want)
		}
	}
}
