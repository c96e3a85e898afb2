package measure

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// An oddColumn is a column with odd values, and what scipy and Evidently say about it.
type oddColumn struct {
	Name, Type         string
	Reference, Current []*string // as text
	Nulls              float64
	NonFinite          *float64 `json:"non_finite"`
	Outside            *float64
	New                *float64             `json:"new_categories"`
	Tests              map[string][]float64 // statistic and p-value
}

// side is a SELECT of values as v.
func (o *oddColumn) side(values []*string) string {
	list := make([]string, len(values))
	for i, v := range values {
		if list[i] = "NULL"; v != nil {
			list[i] = quote(*v)
		}
	}
	return fmt.Sprintf("SELECT CAST(unnest([%s]) AS %s) AS v", strings.Join(list, ", "), o.Type)
}

func TestOddColumnsEqualScipyAndEvidently(t *testing.T) {
	db := database(t)
	odd := readReference(t).Odd
	if len(odd) < 30 {
		t.Fatalf("there are only %d columns", len(odd))
	}
	for _, o := range odd {
		for _, test := range []string{TestKS, TestWasserstein, TestWassersteinSD, TestPSI, TestJensenShannon, TestChiSquare} {
			r, err := Drift(t.Context(), db, o.side(o.Reference), o.side(o.Current), DriftSpec{Columns: []Column{{Name: "v", Test: test}}})
			if o.New != nil && strings.Contains(" ks wasserstein wasserstein_norm ", test) {
				if err == nil {
					t.Errorf("%s: %s of categories is %+v", o.Name, test, r)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %s: %v", o.Name, test, err)
				continue
			}
			f := drifted(t, r, "v")
			compareOdd(t, o.Name+": "+test, &f, o.Tests[test])
			for name, want := range map[string]*float64{FigureNulls: &o.Nulls, FigureNonFinite: o.NonFinite, FigureOutside: o.Outside, FigureNewCategories: o.New} {
				if want == nil {
					continue
				}
				if f := figure(t, r, "v", name); f.Value == nil || *f.Value != *want {
					t.Errorf("%s: %s is %s, want %v", o.Name, name, show(f.Value), *want)
				}
			}
		}
	}
}

// compareOdd compares a statistic and its p-value with those wanted; there are none if it is not known.
func compareOdd(t *testing.T, what string, f *Figure, want []float64) {
	t.Helper()
	switch {
	case len(want) == 0:
		if f.Value != nil || f.Reason == "" {
			t.Errorf("%s is %s, %q, want a reason", what, show(f.Value), f.Reason)
		}
	case f.Value == nil || !near(*f.Value, want[0], 1e-9) && math.Abs(*f.Value-want[0]) > 1e-15:
		t.Errorf("%s is %s, %q, want %v", what, show(f.Value), f.Reason, want[0])
	case len(want) == 2 && (f.P == nil || !near(*f.P, want[1], 1e-9)):
		t.Errorf("%s: p is %s, want %v", what, show(f.P), want[1])
	}
}

// A window may have any number of values that the reference lacks.
func TestManyNewCategories(t *testing.T) {
	db := database(t)
	reference := "SELECT 'c' || i % 3 AS v FROM range(3000) AS t(i)"
	window := "SELECT 'c' || i % 120000 AS v FROM range(240000) AS t(i)"
	want := readReference(t).Many
	for test, figures := range want {
		r, err := Drift(t.Context(), db, reference, window, DriftSpec{Columns: []Column{{Name: "v", Test: test, MaxNew: ptr(0.5)}}})
		if err != nil {
			t.Fatal(err)
		}
		f := drifted(t, r, "v")
		compareOdd(t, test, &f, figures)
		if f := figure(t, r, "v", FigureNewCategories); f.Value == nil || *f.Value != 119997.0/120000 || f.Verdict != Alert {
			t.Errorf("the share of new categories is %s, %s", show(f.Value), f.Verdict)
		}
	}
	if len(want) != 3 {
		t.Errorf("there are %d tests", len(want))
	}
}

// Times are far from zero and near each other: their deviation is exact nevertheless.
func TestDeviationFarFromZero(t *testing.T) {
	x := make([]float64, 1_000_000)
	for i := range x {
		if x[i] = 1.7e9; i >= len(x)/2 {
			x[i] += 10
		}
	}
	if got := deviation(x); !near(got, 5, 1e-9) {
		t.Errorf("the deviation is %v, want 5", got)
	}
}
