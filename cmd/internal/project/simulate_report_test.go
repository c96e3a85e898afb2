package project

import "testing"

// One row has the quality of all loops. A loop with another metric, or another first version, says so.
func TestCompareSimulated(t *testing.T) {
	loop := func(metric string, with, without float64) SimulatedLoop {
		return SimulatedLoop{Loop: "late", Metric: metric, Overall: &SimulatedQuality{With: map[string]float64{metric: with}, Without: map[string]float64{metric: without}}}
	}
	for _, tt := range []struct {
		name, want string
		second     SimulatedLoop
	}{
		{"the same", "0.8000", loop("roc_auc", 0.8, 0.6)},
		{"another first version", "roc_auc 0.8000, without 0.5000", loop("roc_auc", 0.8, 0.5)},
		{"another metric", "accuracy 0.8000, without 0.6000", loop("accuracy", 0.8, 0.6)},
		{"no labels", "-", SimulatedLoop{Loop: "late"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			row := CompareSimulated(&Simulation{Loops: []SimulatedLoop{loop("roc_auc", 0.7, 0.6), tt.second}})[1]
			if row[0] != "roc_auc" || row[1] != "0.6000" || row[2] != "0.7000" || row[3] != tt.want {
				t.Errorf("%q, want the last to be %q", row, tt.want)
			}
		})
	}
}
