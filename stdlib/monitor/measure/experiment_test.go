package measure

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The figures of experiments are those of scipy, savvi, statsmodels and numpy, see _reference/experiment.py.
func TestExperimentsMatchTheReference(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(references, "experiment.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		Mixture [][6]float64 // alpha, expected units, units, half the width, mean, p-value
		Ratios  [][4]float64 // champion, challenger, share, p-value
		Sizes   [][5]float64 // effect, share, alpha, power, units
		Units   [][2]float64
		Delta   struct{ Value, Variance, Skewness float64 }
	}
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	near := func(what string, got, want float64) {
		t.Helper()
		if !(math.Abs(got-want) <= 1e-8*max(1e-3, math.Abs(want))) {
			t.Errorf("%s is %.12g, want %.12g", what, got, want)
		}
	}
	for _, m := range r.Mixture {
		test := newMixture(m[0], m[1])
		near(fmt.Sprintf("the width %v", m[:3]), test.width(m[2]), m[3])
		near(fmt.Sprintf("the p-value %v", m[:5]), test.p(m[2], m[4]), m[5])
	}
	for _, x := range r.Ratios {
		near(fmt.Sprintf("the p-value of units %v", x[:3]), ratioP(int64(x[0]), int64(x[1]), x[2]), x[3])
	}
	for _, s := range r.Sizes {
		n := s[4]
		effect := detectsOnce(s[2], s[3], n) * math.Sqrt(1/s[1]+1/(1-s[1]))
		if math.Abs(effect/s[0]-1) > 1e-3 { // statsmodels counts rejections on the wrong side as well
			t.Errorf("the effect that %g units find is %g, want %g", n, effect, s[0])
		}
	}
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	// Each unit has two rows, which add up to it, of which one is not known.
	var rows []string
	for i, u := range r.Units {
		rows = append(rows, fmt.Sprintf("(%d, 0, %g, %g), (%[1]d, 0, NULL, 3)", i, u[0], u[1]))
	}
	relation := fmt.Sprintf(`SELECT i AS "%s", 1 AS "%s", a AS "%s", x::DOUBLE AS "%s", y::DOUBLE AS "%s" FROM (VALUES %s) t(i, a, x, y)`, UnitColumn, TimeColumn, ArmColumn, ValueColumn, PerColumn, strings.Join(rows, ", "))
	arms, mixed, err := units(t.Context(), db, relation, Ratio, 0, time.UnixMicro(1))
	if err != nil || mixed != 0 {
		t.Fatal(mixed, err)
	}
	near("the metric", arms[0].value(), r.Delta.Value)
	near("the variance", arms[0].variance, r.Delta.Variance)
	near("the skewness", arms[0].skewness, r.Delta.Skewness)
}

// Of a metric that is the same for all units, sums differ by their rounding, which is not a difference.
func TestExperimentOfAConstant(t *testing.T) {
	db := database(t)
	rows := func(arm string) string {
		return fmt.Sprintf(`SELECT i AS "%s", i::BIGINT AS "%s", (%s)::INTEGER AS "%s", 0.3::DOUBLE AS "%s" FROM range(5000) t(i), range(20) u(j) WHERE j <= hash(i + 1) %% 20`,
			UnitColumn, TimeColumn, arm, ArmColumn, ValueColumn)
	}
	spec := ExperimentSpec{Aggregate: Mean, Share: 0.5, End: time.UnixMicro(5000), Alpha: 0.05, MinEffect: 0.01, MinUnits: 100, Expected: 1000}
	r, err := Experiment(t.Context(), db, rows("hash(i) % 2"), spec)
	if err != nil || r.Verdict != Unknown || !strings.Contains(r.Reason, "all units have the same value") {
		t.Errorf("%+v, %v", r, err)
	}
	// Each version has a value of its own: no chance does that.
	other := strings.Replace(rows("i % 2"), "0.3::DOUBLE", "(1 - i % 2)::DOUBLE", 1)
	if r, err := Experiment(t.Context(), db, other, spec); err != nil || r.Verdict != Alert || !strings.Contains(r.Reason, "worse: mean 0 instead of 1, difference -1 (-1 to -1), p 0") {
		t.Errorf("%+v, %v", r, err)
	}
	plan := PlanSpec{ExperimentSpec: spec, Begin: time.UnixMicro(0), Power: 0.8, Horizon: time.Hour, Shares: []float64{0.5}}
	if p, err := PlanExperiment(t.Context(), db, rows("0"), plan); err == nil {
		t.Errorf("a constant has the plan %+v", p)
	}
}

// A difference that does not matter ends no release, even if it is certain.
func TestASmallDifferenceIsAsGood(t *testing.T) {
	rows := fmt.Sprintf(`SELECT i AS "%s", i::BIGINT AS "%s", (hash(i) %% 2)::INTEGER AS "%s", (hash(i + 7) %% 100)::DOUBLE / 100 - 0.1 * (hash(i) %% 2) AS "%s" FROM range(5000) t(i)`,
		UnitColumn, TimeColumn, ArmColumn, ValueColumn)
	for _, c := range []struct {
		least   float64
		verdict Verdict
		says    string
	}{{0.05, Alert, "the challenger is worse: "}, {0.5, OK, "the challenger is as good: "}} {
		spec := ExperimentSpec{Aggregate: Mean, Share: 0.5, End: time.UnixMicro(5000), Alpha: 0.05, MinEffect: c.least, MinUnits: 100, Expected: 1000}
		r, err := Experiment(t.Context(), database(t), rows, spec)
		if err != nil || r.Verdict != c.verdict || !strings.HasPrefix(r.Reason, c.says) || *figure(t, r, "", FigureDifference).Upper >= 0 {
			t.Errorf("with a least effect of %v: %+v, %v", c.least, r, err)
		}
	}
}
