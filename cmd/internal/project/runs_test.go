package project

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/internal/curve"
	"github.com/tenon-ml/tenon/planner/state"
)

// trainings are runs of one unit, of which the third failed and the last lacks what others have.
func trainings(t *testing.T) []TrackedRun {
	t.Helper()
	all := []TrackedRun{
		{ID: 9, Outcome: state.Done, Metrics: map[string]float64{"roc_auc": 0.8, "accuracy [origin=JFK]": 0.9}, Took: 3 * time.Second, nested: json.RawMessage(`{"estimator":"trees","params":{"depth":6}}`)},
		{ID: 7, Outcome: state.Done, Metrics: map[string]float64{"roc_auc": 0.7}, Took: time.Second, nested: json.RawMessage(`{"estimator":"linear","params":{"alpha":0.5}}`)},
		{ID: 5, Outcome: state.Failure, Metrics: map[string]float64{}, nested: json.RawMessage(`{"estimator":"trees","params":{"depth":12},"split":{"by":"day"}}`)},
		{ID: 3, Outcome: state.Done, Metrics: map[string]float64{"roc_auc": 0.75}, Started: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)},
	}
	for i := range all {
		params, err := flat(all[i].nested)
		if err != nil {
			t.Fatal(err)
		}
		all[i].Params = params
	}
	return all
}

func TestRunsAreSelectedByACondition(t *testing.T) {
	for where, want := range map[string][]int64{
		"roc_auc > 0.7":                           {9, 3},
		"roc_auc > 0.7 && params.depth < 10":      {9},
		`outcome != "done"`:                       {5},
		`params.estimator == "trees"`:             {9, 5},
		`params.split.by =~ "^d"`:                 {5},
		`metrics["accuracy [origin=JFK]"] >= 0.9`: {9},
		"run < 4 || seconds == 3":                 {9, 3},
		`started < "2026-02"`:                     {9, 7, 5, 3},
		"roc_auc > 0.9":                           nil,
		"params.depth > 1 && params.alpha > 0":    nil,
	} {
		got, err := selectRuns(trainings(t), where)
		if err != nil {
			t.Errorf("%s: %v", where, err)
			continue
		}
		if d := cmp.Diff(want, numbers(got)); d != "" {
			t.Errorf("%s (-want +got):\n%s", where, d)
		}
	}
	for where, want := range map[string]string{
		"rocauc > 0.7":        `no run has rocauc: did you mean "roc_auc"?`,
		"params.dept > 1":     `no run has params.dept: did you mean "params.depth"?`,
		"params.split.on > 1": "no run has params.split.on",
		"roc_auc":             "roc_auc is of type float, not true or false",
		"roc_auc >":           "it is an expression in CUE",
		`roc_auc > "high"`:    "type float and string",
		`metrics["f1"] > 0.5`: "undefined field: f1",
	} {
		if got, err := selectRuns(trainings(t), where); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v and error %v, want one with %q", where, numbers(got), err, want)
		}
	}
}

func TestRunsAreSorted(t *testing.T) {
	for by, want := range map[string][]int64{
		"roc_auc":           {7, 3, 9, 5},
		"-roc_auc":          {9, 3, 7, 5},
		"params.depth":      {9, 5, 7, 3},
		"-params.depth":     {5, 9, 7, 3},
		"-params.estimator": {9, 5, 7, 3},
		"-seconds":          {9, 7, 5, 3},
		"seconds":           {7, 9, 5, 3}, // two have not ended
	} {
		all := trainings(t)
		if err := sortRuns(all, by); err != nil {
			t.Errorf("%s: %v", by, err)
		} else if d := cmp.Diff(want, numbers(all)); d != "" {
			t.Errorf("%s (-want +got):\n%s", by, d)
		}
	}
	if err := sortRuns(trainings(t), "-roc_au"); err == nil || !strings.Contains(err.Error(), `did you mean "roc_auc"?`) {
		t.Errorf("an unknown metric: %v", err)
	}
}

// A parameter may be a number in some runs and a text in others: the order is the same however they were listed before.
func TestRunsAreSortedByMixedValues(t *testing.T) {
	values := []any{10.0, "1x", 2.0}
	for range values {
		values = append(values[1:], values[0])
		var all []TrackedRun
		for _, v := range values {
			all = append(all, TrackedRun{Params: map[string]any{"depth": v}})
		}
		if err := sortRuns(all, "params.depth"); err != nil {
			t.Fatal(err)
		}
		var got []any
		for _, r := range all {
			got = append(got, r.Params["depth"])
		}
		if d := cmp.Diff([]any{2.0, 10.0, "1x"}, got); d != "" {
			t.Errorf("from %v (-want +got):\n%s", values, d)
		}
	}
}

func numbers(runs []TrackedRun) (ids []int64) {
	for _, r := range runs {
		ids = append(ids, r.ID)
	}
	return ids
}

// A name that nothing has logged is an error at the end, and is known while a run goes on.
func TestMetricsThatNoRunHasLogged(t *testing.T) {
	logged := func(outcome state.Outcome) []RunCurves {
		return []RunCurves{
			{TrackedRun: TrackedRun{ID: 1, Outcome: state.Done}, Curves: curve.Curves{Curves: map[string]*curve.Curve{"loss": {Every: 1}, "auc": {Every: 1}}}},
			{TrackedRun: TrackedRun{ID: 2, Outcome: outcome}},
		}
	}
	want := `no run has logged los over time: did you mean "loss"?`
	if got := NotLogged(logged(state.Started), []string{"auc", "los"}); len(got) != 1 || got[0] != want {
		t.Errorf("while a run goes on: %q, want %q", got, want)
	}
	if got := NotLogged(logged(state.Started)[1:], []string{"los"}); len(got) > 0 {
		t.Errorf("before the first value: %q", got)
	}
	if err := OnlyCurves(logged(state.Started), []string{"auc", "los"}); err != nil {
		t.Errorf("while a run goes on: %v", err)
	}
	if err := OnlyCurves(logged(state.Done), []string{"auc", "los"}); err == nil || err.Error() != want {
		t.Errorf("at the end: %v, want %s", err, want)
	}
	runs := logged(state.Done)
	if err := OnlyCurves(runs, []string{"auc"}); err != nil || len(runs[0].Curves.Curves) != 1 {
		t.Errorf("%v, %v", runs[0].Names(), err)
	}
}
