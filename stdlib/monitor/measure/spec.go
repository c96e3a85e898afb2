package measure

// Tests of [Column.Test].
const (
	TestKS            = "ks"               // two-sample Kolmogorov-Smirnov: statistic and p-value
	TestWasserstein   = "wasserstein"      // distance in the unit of the column
	TestWassersteinSD = "wasserstein_norm" // divided by the standard deviation of the reference
	TestPSI           = "psi"              // population stability index
	TestJensenShannon = "jensenshannon"    // distance, base e, from 0 to sqrt(ln 2)
	TestChiSquare     = "chi_square"       // of homogeneity: statistic and p-value
)

// Corrections of p-values for the number of tests, see [DriftSpec.Correction].
const (
	Holm              = "holm"               // family-wise error rate
	BenjaminiHochberg = "benjamini-hochberg" // false discovery rate
	NoCorrection      = "none"
)

// A Column is one that is compared with the reference.
type Column struct {
	Name string `json:"name"`
	// Type is the type that the column has to have, as in a schema: "float64". Empty: any.
	Type string `json:"type,omitempty"`
	// Test is one of the tests. Empty: [DefaultTest].
	Test string `json:"test,omitempty"`
	// Max is the highest statistic allowed. Without it, a test with a p-value is judged by that, and
	// a distance by [DefaultMax].
	Max *float64 `json:"max,omitempty"`
	// The highest shares allowed, from 0 to 1. Without one, the share is only reported.
	MaxNulls   *float64 `json:"max_nulls,omitempty"`
	MaxOutside *float64 `json:"max_outside,omitempty"`
	MaxNew     *float64 `json:"max_new,omitempty"`
}

// A DriftSpec says what [Drift] compares.
type DriftSpec struct {
	// Columns to compare. Empty: all columns of the reference, except those of By.
	Columns []Column `json:"columns,omitempty"`
	// By are columns by whose values the figures are repeated.
	By []string `json:"by,omitempty"`
	// MinRows is the least number of rows of the window, and of a segment. With fewer, the verdict
	// is Unknown. At least 1.
	MinRows int64 `json:"min_rows,omitempty"`
	// Alpha is the significance level of the tests. 0: 0.05.
	Alpha float64 `json:"alpha,omitempty"`
	// Correction of the p-values of one group of rows. Empty: [Holm].
	Correction string `json:"correction,omitempty"`
	// MinVolume and MaxVolume limit the number of rows of the window. 0: no limit.
	MinVolume int64 `json:"min_volume,omitempty"`
	MaxVolume int64 `json:"max_volume,omitempty"`
	// Fallback is a column of booleans of the window: whether a fallback answered the row. Its share is a figure,
	// which MaxFallbacks limits, from 0 to 1. With a limit and without a column, the share is not known.
	Fallback     string   `json:"fallback,omitempty"`
	MaxFallbacks *float64 `json:"max_fallbacks,omitempty"`
}

// A Gate is the limits of a metric.
type Gate struct {
	Min *float64 `json:"min,omitempty"`
	Max *float64 `json:"max,omitempty"`
}

// Tasks of [QualitySpec].
const (
	Classification = "classification"
	Regression     = "regression"
)

// A QualitySpec says how [Quality] compares predictions with labels.
type QualitySpec struct {
	Task string `json:"task"`
	// Label and Prediction are columns. A row with a NULL in one of them is left out, and counted.
	Label      string `json:"label"`
	Prediction string `json:"prediction"`
	// Probability is the column with the probability of the class Positive. It is needed for roc_auc,
	// log_loss, brier_score_loss and the calibration.
	Probability string `json:"probability,omitempty"`
	// Positive is the positive class of two, as text. Without it there may be any number of classes,
	// and f1, precision and recall are the means of the classes (average="macro").
	Positive string `json:"positive,omitempty"`
	// Gates by metric. A metric without one is only reported.
	Gates map[string]Gate `json:"gates,omitempty"`
	// By are columns by whose values the figures are repeated.
	By []string `json:"by,omitempty"`
	// MinRows is the least number of rows with a label. With fewer, the verdict is Unknown.
	MinRows int64 `json:"min_rows,omitempty"`
	// Bins is the number of bins of the calibration. 0: 10.
	Bins int `json:"bins,omitempty"`
}
