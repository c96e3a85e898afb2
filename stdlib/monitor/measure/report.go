package measure

// A Verdict is what a measurement comes to.
type Verdict string

// The verdicts. A report has the worst one of its figures: an alert is worse than a warning, and
// that is worse than OK. It is Unknown only if no figure with a limit could be computed, or if
// there are too few rows.
const (
	OK      Verdict = "ok"
	Warn    Verdict = "warn"    // significant alone, but not among so many columns
	Alert   Verdict = "alert"   // beyond a limit
	Unknown Verdict = "unknown" // too few rows, or nothing to compare
)

// Names of the figures of [Drift], see [Figure.Name].
const (
	FigureRows          = "rows"           // of the window; the reference's are in Reference
	FigureSchema        = "schema"         // 1 if the column is missing or has another kind of type, else 0
	FigureNulls         = "nulls"          // share of rows that are NULL, from 0 to 1
	FigureNonFinite     = "non_finite"     // share of rows that are NaN or infinite, from 0 to 1
	FigureMin           = "min"            // of numbers and times (seconds since 1970)
	FigureMax           = "max"            // of numbers and times (seconds since 1970)
	FigureOutside       = "outside"        // share of values below the reference's minimum or above its maximum
	FigureNewCategories = "new_categories" // share of values that the reference does not have
	FigureDrift         = "drift"          // the statistic of [Figure.Test]
	FigureFallbacks     = "fallbacks"      // share of rows that a fallback answered, from 0 to 1
)

// A Report is the result of a measurement. Its JSON has no NaN: what is not known is null.
type Report struct {
	Rows          int64     `json:"rows"`           // of the window
	ReferenceRows int64     `json:"reference_rows"` // 0 if there is no reference
	Figures       []Figure  `json:"figures"`        // of all rows first, then of the segments in order
	Segments      []Segment `json:"segments,omitempty"`
	Bins          []Bin     `json:"bins,omitempty"` // of the calibration
	Verdict       Verdict   `json:"verdict"`
	// Reason says in one line what the verdict is based on: "temp: ks 0.31 > 0.1".
	Reason string `json:"reason,omitempty"`
}

// A Figure is one number of a report.
type Figure struct {
	Column string `json:"column,omitempty"` // "" if it is about all columns
	// Name is what was measured: for [Drift] one of the constants, for [Quality] and [Estimate] a
	// metric as scikit-learn calls it.
	Name  string   `json:"name"`
	Test  string   `json:"test,omitempty"`  // of FigureDrift, see [Tests]
	Value *float64 `json:"value"`           // nil: not known, see Reason
	P     *float64 `json:"p,omitempty"`     // p-value of the test
	PAdj  *float64 `json:"p_adj,omitempty"` // corrected for the number of tests, see [DriftSpec.Correction]
	// Reference is the same number of the reference rows.
	Reference *float64 `json:"reference,omitempty"`
	// Lower and Upper are the interval of an estimate.
	Lower *float64 `json:"lower,omitempty"`
	Upper *float64 `json:"upper,omitempty"`
	// Min and Max are the limits that the value had to keep. Without one, a test is judged by its
	// p-value, and other figures are only reported.
	Min     *float64          `json:"min,omitempty"`
	Max     *float64          `json:"max,omitempty"`
	Verdict Verdict           `json:"verdict"`
	Reason  string            `json:"reason,omitempty"` // why the value is not known, or what is remarkable
	Segment map[string]string `json:"segment,omitempty"`
}

// A Segment is the rows with the same values of the columns of `by`.
type Segment struct {
	Values        map[string]string `json:"values"` // as text; NULL is "NULL"
	Rows          int64             `json:"rows"`
	ReferenceRows int64             `json:"reference_rows"`
	Verdict       Verdict           `json:"verdict"`
	Reason        string            `json:"reason,omitempty"`
}

// A Bin is one of the equally wide intervals of the probability that a calibration compares.
type Bin struct {
	Low     float64           `json:"low"`  // above which it begins; the first one contains it
	High    float64           `json:"high"` // which it contains
	Rows    int64             `json:"rows"`
	Mean    float64           `json:"mean"`     // probability
	Rate    float64           `json:"positive"` // share of rows of the positive class
	Segment map[string]string `json:"segment,omitempty"`
}
