package measure

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	_ "github.com/duckdb/duckdb-go/v2"
)

// _reference/run.sh writes the frames and what scipy, scikit-learn, Evidently and NannyML
// say about them.
const references = "_reference"

// A reference is reference.json.
type reference struct {
	Versions      map[string]string
	Distributions struct {
		KS        [][4]float64 // m, n, statistic, p-value
		ChiSquare [][3]float64 `json:"chi_square"` // x, degrees of freedom, p-value
		P         []float64
		Adjusted  map[string][]float64
	}
	Drift map[string]struct {
		Evidently map[string]map[string]float64
		Chosen    map[string]struct {
			Method string
			Score  float64
		}
		Scipy map[string]map[string]float64
	}
	Odd      []oddColumn
	Many     map[string][]float64 `json:"many_categories"`
	Quality  map[string]map[string]float64
	Estimate map[string]struct {
		Calibrated bool
		Metrics    map[string]struct {
			Value float64
			Error float64 `json:"sampling_error"`
			Lower float64 `json:"lower_confidence_boundary"`
			Upper float64 `json:"upper_confidence_boundary"`
		}
	}
}

func readReference(t *testing.T) (r reference) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(references, "reference.json"))
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// database is DuckDB, as package duck/engine sets it up.
func database(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	execute(t, db, "SET GLOBAL TimeZone = 'UTC'; SET threads = 2")
	return db
}

func execute(t testing.TB, db *sql.DB, query string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query); err != nil {
		t.Fatal(err)
	}
}

func frame(name string) string {
	return "SELECT * FROM read_parquet('" + filepath.Join(references, name+".parquet") + "')"
}

// near reports whether two numbers are equal to within a relative tolerance.
func near(got, want, tolerance float64) bool {
	return got == want || math.Abs(got-want) <= tolerance*math.Abs(want)
}

func TestDistributionsEqualScipy(t *testing.T) {
	r := readReference(t).Distributions
	for _, x := range r.KS {
		if got := ksPValue(int64(x[0]), int64(x[1]), x[2]); !near(got, x[3], 1e-9) && math.Abs(got-x[3]) > 1e-300 {
			t.Errorf("ks of %g and %g rows, statistic %v: p %v, want %v", x[0], x[1], x[2], got, x[3])
		}
	}
	for _, x := range r.ChiSquare {
		if got := chiSquareSF(x[0], int(x[1])); !near(got, x[2], 1e-9) && math.Abs(got-x[2]) > 1e-300 {
			t.Errorf("chi-square %v, %g degrees: p %v, want %v", x[0], x[1], got, x[2])
		}
	}
	for correction, want := range r.Adjusted {
		got := adjust(r.P, correction)
		for i := range want {
			if !near(got[i], want[i], 1e-12) {
				t.Errorf("%s: p %v becomes %v, want %v", correction, r.P[i], got[i], want[i])
			}
		}
	}
}

// drifted returns the figure of a test of a column.
func drifted(t *testing.T, r *Report, column string) Figure {
	t.Helper()
	return figure(t, r, column, FigureDrift)
}

func figure(t *testing.T, r *Report, column, name string) Figure {
	t.Helper()
	for _, f := range r.Figures {
		if f.Column == column && f.Name == name && f.Segment == nil {
			return f
		}
	}
	t.Fatalf("no figure %s of column %q in %+v", name, column, r.Figures)
	return Figure{}
}

func TestDriftEqualsScipyAndEvidently(t *testing.T) {
	db, all := database(t), readReference(t)
	// measured compares a statistic or a p-value.
	check := func(frame, column, test string, got *float64, want float64) {
		t.Helper()
		if got == nil || !near(*got, want, 1e-9) {
			t.Errorf("%s, %s: %s is %s, want %v", frame, column, test, show(got), want)
		}
	}
	for name, want := range all.Drift {
		for _, test := range []string{TestKS, TestWasserstein, TestWassersteinSD, TestPSI, TestJensenShannon, TestChiSquare} {
			var spec DriftSpec
			for column := range want.Evidently {
				_, isScipy := want.Scipy[column][test]
				_, isEvidently := want.Evidently[column][test]
				if isScipy || isEvidently {
					spec.Columns = append(spec.Columns, Column{Name: column, Test: test})
				}
			}
			if len(spec.Columns) == 0 {
				t.Fatalf("%s has nothing to compare %s with", name, test)
			}
			report, err := Drift(t.Context(), db, frame(name+"_reference"), frame(name+"_current"), spec)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range spec.Columns {
				f := drifted(t, report, c.Name)
				scipy, evidently := want.Scipy[c.Name], want.Evidently[c.Name]
				if x, ok := scipy[test]; ok && (test != TestJensenShannon || c.Name != "constant") {
					check(name, c.Name, test, f.Value, x)
				}
				if x, ok := scipy[test+"_p"]; ok {
					check(name, c.Name, test+" p", f.P, x)
				}
				switch x, ok := evidently[test]; {
				case ok && test == TestKS: // Evidently's score is the p-value
					check(name, c.Name, test+" p of Evidently", f.P, x)
				case ok:
					check(name, c.Name, test+" of Evidently", f.Value, x)
				}
				if x, ok := evidently["z"]; ok && test == TestChiSquare && math.Abs(*f.P-x) > 1e-12 {
					t.Errorf("%s, %s: p is %v, and of Evidently's z-test %v", name, c.Name, *f.P, x)
				}
			}
		}
	}
}

func show(x *float64) string {
	if x == nil {
		return "not known"
	}
	return fmt.Sprint(*x)
}

// The tests that are chosen are those that Evidently chooses.
func TestDefaultTestsAreThoseOfEvidently(t *testing.T) {
	db := database(t)
	names := map[string]string{
		TestKS: "K-S p_value", TestWassersteinSD: "Wasserstein distance (normed)", TestJensenShannon: "Jensen-Shannon distance", TestChiSquare: "chi-square p_value",
	}
	for name, want := range readReference(t).Drift {
		report, err := Drift(t.Context(), db, frame(name+"_reference"), frame(name+"_current"), DriftSpec{})
		if err != nil {
			t.Fatal(err)
		}
		if len(want.Chosen) < 8 {
			t.Errorf("%s: Evidently has chosen %v", name, want.Chosen)
		}
		for column, chosen := range want.Chosen {
			f := drifted(t, report, column)
			switch {
			case chosen.Method == "Z-test p_value" && f.Test == TestChiSquare:
				if math.Abs(*f.P-chosen.Score) > 1e-12 {
					t.Errorf("%s, %s: p %v, and of Evidently %v", name, column, *f.P, chosen.Score)
				}
			case names[f.Test] != chosen.Method:
				t.Errorf("%s, %s: %s, and Evidently takes %s", name, column, f.Test, chosen.Method)
			case f.P == nil && !near(*f.Value, chosen.Score, 1e-9):
				t.Errorf("%s, %s: %s %v, and Evidently %v", name, column, f.Test, *f.Value, chosen.Score)
			}
		}
	}
}

func TestQualityEqualsScikitLearn(t *testing.T) {
	db := database(t)
	specs := map[string]QualitySpec{
		"binary":     {Task: Classification, Label: "y", Prediction: "predicted", Probability: "p", Positive: "late"},
		"multiclass": {Task: Classification, Label: "y3", Prediction: "predicted3"},
		"regression": {Task: Regression, Label: "delay", Prediction: "forecast"},
	}
	for name, want := range readReference(t).Quality {
		report, err := Quality(t.Context(), db, frame("labels"), specs[name])
		if err != nil {
			t.Fatal(err)
		}
		for metric, x := range want {
			if f := figure(t, report, "", metric); f.Value == nil || !near(*f.Value, x, 1e-12) {
				t.Errorf("%s: %s is %s, want %v", name, metric, show(f.Value), x)
			}
		}
	}
}

// Radix sort gives the order of comparisons.
func TestSortFloats(t *testing.T) {
	x := []float64{3, -1, 0, math.Copysign(0, -1), 1e300, -1e300, 5e-324, -5e-324, 2.5, 2.5}
	want := slices.Clone(x)
	sortFloats(x)
	slices.Sort(want)
	if !slices.Equal(x, want) {
		t.Errorf("sorted %v, want %v", x, want)
	}
	runtime.KeepAlive(x)
}

// The expansion in 1/sqrt(n) is near the exact distribution, and the nearer the more values there are.
func TestPelzGoodIsNearTheExactDistribution(t *testing.T) {
	for _, n := range []float64{200, 1000, 3000} {
		for _, z := range []float64{0.5, 0.8, 1, 1.2} {
			x := z / math.Sqrt(n)
			if exact, got := durbin(n, x), pelzGood(n, x); math.Abs(exact-got) > 0.06/n/n {
				t.Errorf("n %g, x %v: %v, exactly %v", n, x, got, exact)
			}
		}
	}
}

func TestEstimatesEqualNannyML(t *testing.T) {
	db := database(t)
	spec := EstimateSpec{Label: "y", Prediction: "predicted", Probability: "p", Positive: "1"}
	for name, want := range readReference(t).Estimate {
		report, err := Estimate(t.Context(), db, frame(name+"_reference"), frame(name+"_current"), spec)
		if err != nil {
			t.Fatal(err)
		}
		if len(want.Metrics) != len(estimates) {
			t.Errorf("%s: NannyML has %d metrics, want %d", name, len(want.Metrics), len(estimates))
		}
		for metric, x := range want.Metrics {
			// NannyML rounds the points of the ROC curve to five digits.
			f := figure(t, report, "", metric)
			if f.Value == nil || !near(*f.Value, x.Value, 1e-7) || !near(*f.Lower, x.Lower, 1e-6) || !near(*f.Upper, x.Upper, 1e-6) {
				t.Errorf("%s: %s is %s from %s to %s, want %v from %v to %v", name, metric, show(f.Value), show(f.Lower), show(f.Upper), x.Value, x.Lower, x.Upper)
			}
		}
	}
}

// everyTest are limits with every test. figures.json has them with the figures of a drift, which the test of
// monitor.evidently compares with a report of Evidently. TENON_UPDATE=1 writes it.
var everyTest = []Column{
	{Name: "normal", Test: TestKS, Max: ptr(0.1)}, {Name: "heavy", Test: TestWasserstein, Max: ptr(2)}, {Name: "same", Test: TestWassersteinSD},
	{Name: "whole", Test: TestPSI, Max: ptr(0.2)}, {Name: "few", Test: TestChiSquare, Max: ptr(9)}, {Name: "some", Test: TestJensenShannon},
	{Name: "flag", Test: TestPSI}, {Name: "city", Test: TestChiSquare}, {Name: "new", Test: TestJensenShannon, Max: ptr(0.5)},
	{Name: "at", Test: TestKS}, {Name: "holes", Test: TestPSI}, {Name: "constant", Test: TestChiSquare},
}

func TestFiguresForEvidently(t *testing.T) {
	type limits struct {
		Test string   `json:"test,omitempty"`
		Max  *float64 `json:"max,omitempty"`
	}
	type result struct {
		Columns map[string]limits `json:"columns"`
		Figures []Figure          `json:"figures"`
	}
	db := database(t)
	all := map[string]map[string]result{}
	for _, name := range []string{"small", "large"} {
		all[name] = map[string]result{}
		for kind, columns := range map[string][]Column{"default": nil, "limited": everyTest} {
			report, err := Drift(t.Context(), db, frame(name+"_reference"), frame(name+"_current"), DriftSpec{Columns: columns})
			if err != nil {
				t.Fatal(err)
			}
			made := result{Columns: map[string]limits{}}
			for _, c := range columns {
				made.Columns[c.Name] = limits{c.Test, c.Max}
			}
			for _, f := range report.Figures {
				if f.Name == FigureDrift {
					made.Figures = append(made.Figures, f)
				}
			}
			all[name][kind] = made
		}
	}
	b, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(references, "figures.json")
	if os.Getenv("TENON_UPDATE") != "" {
		if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]map[string]result
	if err := json.Unmarshal(golden, &want); err != nil {
		t.Fatal(err)
	}
	for name, kinds := range all {
		for kind, got := range kinds {
			if len(want[name][kind].Figures) != len(got.Figures) {
				t.Fatalf("%s, %s: other figures than in %s: write it with TENON_UPDATE=1", name, kind, path)
			}
			for i, f := range got.Figures {
				if w := want[name][kind].Figures[i]; f.Column != w.Column || f.Test != w.Test || !near(*f.Value, *w.Value, 1e-12) {
					t.Errorf("%s, %s: %s %s is %v, and in %s %s %s %v", name, kind, f.Column, f.Test, *f.Value, path, w.Column, w.Test, *w.Value)
				}
			}
		}
	}
}
