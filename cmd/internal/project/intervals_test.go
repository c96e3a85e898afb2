package project

import (
	"fmt"
	"slices"
	"testing"
)

func TestAnIntervalIsPartOfItsMetric(t *testing.T) {
	metrics := map[string]float64{"roc_auc": 0.7, "roc_auc [lower]": 0.6, "roc_auc [upper]": 0.75, "rows": 3, "loss [lower]": 1, "roc_auc [origin=JFK]": 0.65}
	if got, want := Estimates(metrics), []string{"loss [lower]", "roc_auc", "roc_auc [origin=JFK]", "rows"}; !slices.Equal(got, want) {
		t.Errorf("estimates %q, want %q", got, want)
	}
	for name, want := range map[string]string{"roc_auc": " (0.6 to 0.75)", "rows": "", "loss": "", "other": ""} {
		if got := IntervalText(metrics, name, func(x float64) string { return fmt.Sprint(x) }); got != want {
			t.Errorf("the interval of %s is %q, want %q", name, got, want)
		}
	}
}
