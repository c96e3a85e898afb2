// Package duration reads lengths of time as the language writes them.
package duration

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Century bounds every duration. The compiler refuses what is longer.
const Century = 100 * 365 * 24 * time.Hour

// Parse reads what tenon.#Duration allows, such as "250ms" or "7d". "" is 0, and
// what is longer than a century is a century.
func Parse(s string) time.Duration {
	if s == "" {
		return 0
	}
	unit, hours := s, 1.0
	if days, ok := strings.CutSuffix(s, "d"); ok {
		unit, hours = days+"h", 24
	}
	number := strings.TrimRight(unit, "smh")
	f, err := strconv.ParseFloat(number, 64)
	seconds := f * hours * map[string]float64{"ms": 1e-3, "s": 1, "m": 60, "h": 3600}[unit[len(number):]]
	if err != nil || seconds > Century.Seconds() {
		return Century
	}
	return time.Duration(math.Round(seconds * float64(time.Second)))
}

// Text writes a duration without parts that are zero: "10m", "1h30m", and whole days as "7d".
func Text(d time.Duration) string {
	if day := 24 * time.Hour; d >= day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.Round(time.Millisecond).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
