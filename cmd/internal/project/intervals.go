package project

import (
	"fmt"
	"slices"
	"strings"
)

// Intervals are those of the metrics of an evaluation; stdlib/lib/evaluate/tenon_intervals.py
// describes them.
type Intervals struct {
	Level     float64               `json:"level"` // the share of the resamples within them
	Resamples int                   `json:"resamples"`
	Column    string                `json:"column,omitempty"` // whose groups were drawn, not single rows
	Groups    int                   `json:"groups,omitempty"`
	Metrics   map[string][2]float64 `json:"metrics,omitempty"` // the lower and the upper end
	// Differences are the metrics less those of the "baseline", of the model in service,
	// "serving", or of the model before it was quantized, "unquantized".
	Differences map[string]map[string][2]float64 `json:"differences,omitempty"`
}

// Title says what the intervals are: "95 % interval".
func (i *Intervals) Title() string { return fmt.Sprintf("%.6g %% interval", 100*i.Level) }

// A run has the ends of an interval among its metrics, as roc_auc [lower] and roc_auc [upper].
const lowerEnd, upperEnd = " [lower]", " [upper]"

// Estimates returns the names of metrics, sorted, without the ends of their intervals.
func Estimates(metrics map[string]float64) []string {
	var names []string
	for name := range metrics {
		of, isEnd := strings.CutSuffix(name, lowerEnd)
		if !isEnd {
			of, isEnd = strings.CutSuffix(name, upperEnd)
		}
		if _, known := metrics[of]; !isEnd || !known {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// IntervalText returns the interval of a metric as text after its value, " (0.68 to 0.74)", or
// "" if it has none.
func IntervalText(metrics map[string]float64, name string, number func(float64) string) string {
	low, ok := metrics[name+lowerEnd]
	high, okHigh := metrics[name+upperEnd]
	if !ok || !okHigh {
		return ""
	}
	return fmt.Sprintf(" (%s to %s)", number(low), number(high))
}
