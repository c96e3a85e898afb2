package report

import (
	"math"
	"slices"
	"testing"
)

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		from, to float64
		want     []string
	}{
		{0, 1, []string{"0.0", "0.2", "0.4", "0.6", "0.8", "1.0"}},
		{0, 237, []string{"0", "50", "100", "150", "200"}},
		{-57.2, 99.3, []string{"-50", "0", "50"}},
		{-0.03, 0.02, []string{"-0.03", "-0.02", "-0.01", "0.00", "0.01", "0.02"}},
		{0, 3, []string{"0", "1", "2", "3"}},
		{1e7, 3e7, []string{"1e+07", "1.5e+07", "2e+07", "2.5e+07", "3e+07"}},
	} {
		all := ticks(c.from, c.to, 5)
		var got []string
		for _, v := range all {
			got = append(got, tick(v, all))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("ticks from %g to %g are %q, not %q", c.from, c.to, got, c.want)
		}
	}
}

// Any interval has few ticks, inside it.
func TestTicksOfOddIntervals(t *testing.T) {
	for _, c := range [][2]float64{{0, 1e-300}, {-1e308, 1e308}, {5, 5.0000001}, {-3, 1e9}, {0, 7}} {
		all := ticks(c[0], wider(c[0], c[1]), 5)
		if len(all) == 0 || len(all) > 10 || slices.ContainsFunc(all, func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) }) {
			t.Errorf("ticks from %g to %g are %v", c[0], c[1], all)
		}
	}
}

func TestNumbersHaveFourDigits(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 1: "1", -2: "-2", 0.83071: "0.8307", 1234.56: "1235", 120000: "120000", 0.00001234: "1.234e-05"} {
		if got := number(v); got != want {
			t.Errorf("%g is %q, not %q", v, got, want)
		}
	}
	if got := number(math.Copysign(0, -1)); got != "0" {
		t.Errorf("a negative zero is %q", got)
	}
}
