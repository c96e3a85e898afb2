package measure

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// rows is a SELECT of one column, v, with values in SQL.
func rows(values ...string) string {
	if len(values) == 0 {
		return "SELECT 1.0::DOUBLE AS v WHERE false"
	}
	return "SELECT unnest([" + strings.Join(values, ", ") + "]) AS v"
}

// Each odd input has a defined result, or a reason why it has none.
func TestOddInputs(t *testing.T) {
	db := database(t)
	numbers := rows("1.0::DOUBLE", "2", "3")
	huge := "SELECT 1.1e307::DOUBLE * (i - 15) AS v FROM range(31) AS t(i)"
	many := "SELECT CAST(i AS VARCHAR) AS v FROM range(100001) AS t(i)"
	for name, x := range map[string]struct {
		reference, current string
		spec               DriftSpec
		verdict            Verdict // of the report
		reason             string  // of the report
		value              string  // of the drift, "none" if there is no figure
		why                string  // of the drift
	}{
		"empty window":                {numbers, rows(), DriftSpec{}, Unknown, "the window has no rows", "none", ""},
		"empty window, wanted volume": {numbers, rows(), DriftSpec{MinVolume: 1}, Alert, "rows 0 < 1", "none", ""},
		"empty reference":             {rows(), numbers, DriftSpec{}, Unknown, "the reference has no rows", "none", ""},
		"too few rows":                {numbers, numbers, DriftSpec{MinRows: 4}, Unknown, "3 rows, wanted at least 4", "none", ""},
		"one row":                     {rows("1.0::DOUBLE", "2"), rows("1.0::DOUBLE"), DriftSpec{Columns: []Column{{Name: "v", Test: TestKS}}}, OK, "", "0.5", ""},
		"all NULL":                    {numbers, rows("NULL::DOUBLE"), DriftSpec{}, Unknown, "v: chi_square is not known: the window has no values", "not known", "the window has no values"},
		"all NaN":                     {numbers, rows("'nan'::DOUBLE", "'inf'::DOUBLE"), DriftSpec{}, Unknown, "v: chi_square is not known: the window has no values", "not known", "the window has no values"},
		"NULL in the reference":       {rows("NULL::DOUBLE"), numbers, DriftSpec{}, Unknown, "v: chi_square is not known: the reference has no values", "not known", "the reference has no values"},
		"non-finite values are left out": {rows("1.0::DOUBLE", "'inf'::DOUBLE"), rows("1.0::DOUBLE", "'nan'::DOUBLE", "NULL"),
			DriftSpec{Columns: []Column{{Name: "v", Test: TestWasserstein}}}, OK, "", "0", ""},
		"the same constant":          {rows("5"), rows("5", "5"), DriftSpec{Columns: []Column{{Name: "v", Test: TestWassersteinSD}}}, OK, "", "0", ""},
		"another constant":           {rows("5"), rows("6"), DriftSpec{Columns: []Column{{Name: "v", Test: TestWassersteinSD}}}, Alert, "v: wasserstein_norm is not known: all values of the reference are 5, and the window has others", "not known", "all values of the reference are 5, and the window has others"},
		"one category":               {rows("'a'"), rows("'a'"), DriftSpec{}, OK, "", "0", ""},
		"all categories are new":     {rows("'a'"), rows("'b'"), DriftSpec{Columns: []Column{{Name: "v", Test: TestJensenShannon}}}, Alert, "v: jensenshannon 0.8326 > 0.1", fmt.Sprint(math.Sqrt(math.Ln2)), ""},
		"very many categories":       {many, many, DriftSpec{}, Unknown, "v: jensenshannon is not known: " + tooMany, "not known", tooMany},
		"new values only":            {rows("NULL::VARCHAR"), rows("'a'"), DriftSpec{Columns: []Column{{Name: "v", MaxNew: ptr(0.5)}}}, Alert, "v: new_categories 1 > 0.5", "not known", "the reference has no values"},
		"no range to be outside of":  {rows("NULL::DOUBLE"), numbers, DriftSpec{Columns: []Column{{Name: "v", MaxOutside: ptr(0.5)}}}, Unknown, "v: outside is not known: the reference has no values, and 1 more", "not known", "the reference has no values"},
		"bytes":                      {rows("'a'::BLOB"), rows("'a'::BLOB"), DriftSpec{}, Unknown, "v: drift is not known: values of type BLOB are not compared", "not known", "values of type BLOB are not compared"},
		"a column is missing":        {numbers, "SELECT 1 AS w", DriftSpec{}, Alert, "v: schema 1 > 0", "none", ""},
		"another type":               {numbers, rows("'a'"), DriftSpec{}, Alert, "v: schema 1 > 0", "none", ""},
		"another type than declared": {numbers, numbers, DriftSpec{Columns: []Column{{Name: "v", Type: "int64"}}}, Alert, "v: schema 1 > 0", "none", ""},
		"huge numbers":               {rows("-1.7e308::DOUBLE", "1.7e308"), rows("1.7e308::DOUBLE"), DriftSpec{Columns: []Column{{Name: "v", Test: TestWasserstein}}}, Unknown, "v: wasserstein is not known: the values are too large to compare", "not known", "the values are too large to compare"},
		"a range that overflows":     {huge, huge, DriftSpec{Columns: []Column{{Name: "v", Test: TestPSI}}}, Unknown, "v: psi is not known: the values are too large to compare", "not known", "the values are too large to compare"},
		"times":                      {rows("TIMESTAMP '2020-01-01'", "'infinity'"), rows("TIMESTAMP '2020-01-02'"), DriftSpec{Columns: []Column{{Name: "v", Test: TestWasserstein}}}, OK, "", "86400", ""},
		"decimals":                   {rows("1.25::DECIMAL(9,2)"), rows("1.75::DECIMAL(9,2)"), DriftSpec{Columns: []Column{{Name: "v", Test: TestWasserstein}}}, OK, "", "0.5", ""},
		"booleans":                   {rows("true", "false"), rows("true", "false", "false", "true"), DriftSpec{}, OK, "", "0", ""},
		"zeros are equal":            {rows("0.0::DOUBLE"), rows("-0.0::DOUBLE"), DriftSpec{Columns: []Column{{Name: "v", Test: TestJensenShannon}}}, OK, "", "0", ""},
	} {
		r, err := Drift(t.Context(), db, x.reference, x.current, x.spec)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if r.Verdict != x.verdict || r.Reason != x.reason {
			t.Errorf("%s: %s, %q, want %s, %q", name, r.Verdict, r.Reason, x.verdict, x.reason)
		}
		value, why := "none", ""
		for _, f := range r.Figures {
			if f.Name == FigureDrift {
				value, why = show(f.Value), f.Reason
			}
		}
		if value != x.value || why != x.why {
			t.Errorf("%s: drift %s, %q, want %s, %q", name, value, why, x.value, x.why)
		}
	}
}

// What does not fit is refused before anything is measured.
func TestRefusedSpecs(t *testing.T) {
	db := database(t)
	text := rows("'a'")
	for want, spec := range map[string]DriftSpec{
		`column "v": ks compares numbers and times; use chi_square, jensenshannon or psi`: {Columns: []Column{{Name: "v", Test: TestKS}}},
		`there is no test "k"`:                       {Columns: []Column{{Name: "v", Test: "k"}}},
		`there is no correction "x"`:                 {Correction: "x"},
		"alpha has to be above 0 and below 1, not 2": {Alpha: 2},
		`the rows have no column "w" to divide by`:   {By: []string{"w"}},
	} {
		if _, err := Drift(t.Context(), db, text, text, spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for want, spec := range map[string]QualitySpec{
		`there is no task ""`:                       {},
		`the rows have no column "w"; they have v`:  {Task: Regression, Label: "v", Prediction: "w"},
		`the metric "r3" of a gate is not measured`: {Task: Regression, Label: "v", Prediction: "v", Gates: map[string]Gate{"r3": {}}},
		"name the positive class":                   {Task: Classification, Label: "v", Prediction: "v", Probability: "v"},
	} {
		if _, err := Quality(t.Context(), db, text, spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// An error whose square overflows leaves the other metrics of a regression with a value.
func TestHugeErrors(t *testing.T) {
	for _, huge := range []string{"1e200", "1.7e308"} {
		r, err := Quality(t.Context(), database(t), "SELECT unnest([1.0::DOUBLE, 2, -"+huge+"]) AS y, unnest([2.0::DOUBLE, 2, "+huge+"]) AS p", QualitySpec{Task: Regression, Label: "y", Prediction: "p"})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range r.Figures {
			switch f.Name {
			case "median_absolute_error":
				if show(f.Value) != "1" {
					t.Errorf("%s: %s is %s, want 1", huge, f.Name, show(f.Value))
				}
			case "mean_squared_error", "root_mean_squared_error", "r2", "explained_variance":
				if f.Value != nil || f.Reason != tooLarge {
					t.Errorf("%s: %s is %s, %q, want %q", huge, f.Name, show(f.Value), f.Reason, tooLarge)
				}
			}
		}
	}
}

// A regression that is declared as a classification is refused, and not cut off.
func TestTooManyClasses(t *testing.T) {
	_, err := Quality(t.Context(), database(t), "SELECT i AS y, i AS p FROM range(100001) AS t(i)", QualitySpec{Task: Classification, Label: "y", Prediction: "p"})
	if want := "form more than 100000 pairs; for numbers, set the task to regression"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

// The shares of NULL, of what is outside the range and of new categories are counted, and limited.
func TestShares(t *testing.T) {
	db := database(t)
	reference := "SELECT i::DOUBLE AS x, 'a' AS s FROM range(100) AS t(i)"
	current := "SELECT CASE WHEN i < 10 THEN NULL WHEN i < 15 THEN 'nan'::DOUBLE ELSE i::DOUBLE + 10 END AS x, CASE WHEN i < 25 THEN 'new' ELSE 'a' END AS s FROM range(100) AS t(i)"
	r, err := Drift(t.Context(), db, reference, current, DriftSpec{Columns: []Column{
		{Name: "x", Test: TestKS, Max: ptr(1), MaxNulls: ptr(0.05), MaxOutside: ptr(0.5)},
		{Name: "s", Test: TestPSI, Max: ptr(10), MaxNew: ptr(0.25)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		column, name string
		value        float64
		verdict      Verdict
	}{
		{"x", FigureNulls, 0.1, Alert}, {"x", FigureNonFinite, 0.05, OK}, {"x", FigureMin, 25, OK}, {"x", FigureMax, 109, OK},
		{"x", FigureOutside, 10.0 / 85, OK}, {"s", FigureNewCategories, 0.25, OK}, {"", FigureRows, 100, OK},
	} {
		if f := figure(t, r, want.column, want.name); f.Value == nil || *f.Value != want.value || f.Verdict != want.verdict {
			t.Errorf("%s %s: %s, %s, want %v, %s", want.column, want.name, show(f.Value), f.Verdict, want.value, want.verdict)
		}
	}
	if want := "x: nulls 0.1 > 0.05"; r.Verdict != Alert || r.Reason != want {
		t.Errorf("%s, %q, want an alert, %q", r.Verdict, r.Reason, want)
	}
}

// A drift of one segment is an alert of the report, which names the segment.
func TestSegments(t *testing.T) {
	db := database(t)
	side := func(shift int) string {
		return fmt.Sprintf("SELECT CASE WHEN i %% 2 = 0 THEN 'JFK' END AS origin, i %% 50 + CASE WHEN i %% 2 = 0 THEN %d ELSE 0 END AS x FROM range(400) AS t(i)", shift)
	}
	r, err := Drift(t.Context(), db, side(0), side(20), DriftSpec{Columns: []Column{{Name: "x", Max: ptr(0.3)}}, By: []string{"origin"}})
	if err != nil {
		t.Fatal(err)
	}
	if want := "origin=JFK: x: ks 0.4 > 0.3"; r.Verdict != Alert || r.Reason != want {
		t.Errorf("%s, %q, want an alert, %q", r.Verdict, r.Reason, want)
	}
	var got []string
	for _, s := range r.Segments {
		got = append(got, fmt.Sprintf("%s %d %s", s.name(), s.Rows, s.Verdict))
	}
	if want := []string{"origin=JFK 200 alert", "origin=NULL 200 ok"}; !slices.Equal(got, want) {
		t.Errorf("segments %q, want %q", got, want)
	}
}

// A p-value that is significant alone, but not among many, is a warning.
func TestCorrection(t *testing.T) {
	db := database(t)
	// Column a has p = 0.018, and b to f are equal.
	side := func(n int) string {
		return fmt.Sprintf("SELECT i < %d AS a, true AS b, true AS c, true AS d, true AS e, true AS f FROM range(100) AS t(i)", n)
	}
	for correction, want := range map[string]Verdict{"": Warn, BenjaminiHochberg: Warn, NoCorrection: Alert} {
		r, err := Drift(t.Context(), db, side(30), side(46), DriftSpec{Correction: correction})
		if err != nil {
			t.Fatal(err)
		}
		if r.Verdict != want {
			t.Errorf("correction %q: %s, %q, want %s", correction, r.Verdict, r.Reason, want)
		}
	}
}

// The distances keep their laws for any samples.
func TestLawsOfDistances(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.Map(rapid.IntRange(-20, 20), func(i int) float64 { return float64(i) / 4 })
		a, b := rapid.SliceOfN(value, 1, 30).Draw(t, "a"), rapid.SliceOfN(value, 1, 30).Draw(t, "b")
		sortFloats(a)
		sortFloats(b)
		if !slices.IsSorted(a) || !slices.IsSorted(b) {
			t.Fatal("not sorted")
		}
		share := func(x []float64, at float64) float64 {
			n := 0
			for _, v := range x {
				if v <= at {
					n++
				}
			}
			return float64(n) / float64(len(x))
		}
		area, most := 0.0, 0.0
		for at := -5.0; at <= 5; at += 0.25 {
			d := math.Abs(share(a, at) - share(b, at))
			area, most = area+d*0.25, max(most, d)
		}
		if d := ksStatistic(a, b); math.Abs(d-most) > 1e-12 {
			t.Fatalf("ks %v, want %v", d, most)
		}
		if w := wasserstein(a, b); math.Abs(w-area) > 1e-9 {
			t.Fatalf("wasserstein %v, want %v", w, area)
		}
		if d := ksStatistic(a, a); d != 0 {
			t.Fatalf("a sample is %v from itself", d)
		}
		if p := ksPValue(int64(len(a)), int64(len(b)), most); p < 0 || p > 1 || math.IsNaN(p) {
			t.Fatalf("p %v", p)
		}
	})
}
