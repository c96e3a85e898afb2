package main

import (
	"math"
	"testing"

	"github.com/tenon-ml/tenon/internal/curve"
	"github.com/tenon-ml/tenon/stdlib/step"
)

func TestSparklineOfExtremeValues(t *testing.T) {
	for name, test := range map[string]struct {
		points []curve.Point
		want   string
	}{
		"both ends of float64": {[]curve.Point{{Step: 1, Value: -math.MaxFloat64}, {Step: 2, Value: math.MaxFloat64}}, "▁█"},
		"a sum beyond float64": {[]curve.Point{{Step: 1, Value: math.MaxFloat64}, {Step: 2, Value: math.MaxFloat64}, {Step: 1000, Value: 0}}, "█ ▁"},
		"both ends of int64":   {[]curve.Point{{Step: math.MinInt64, Value: 0}, {Step: 0, Value: 1}, {Step: math.MaxInt64, Value: 2}}, "▁▅█"},
		"infinity":             {[]curve.Point{{Step: 1, Value: 1}, {Step: 2, Value: step.Value(math.Inf(1))}}, "▅x"},
	} {
		c := &curve.Curve{Points: test.points, Every: 1, Last: test.points[len(test.points)-1]}
		if got := sparkline(c, 32); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
