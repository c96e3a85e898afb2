package ir

import (
	"fmt"
	"math"
	"math/big"
	"strings"
)

// sizes lists the units of tenon.#Size, the largest first.
var sizes = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"TB", 1e12}, {"GiB", 1 << 30}, {"GB", 1e9}, {"MiB", 1 << 20}, {"MB", 1e6}, {"KiB", 1 << 10}, {"KB", 1e3}, {"B", 1}}

// ParseSize converts a tenon.#Size to bytes. It is exact: fractions of a byte are rounded
// up. A size beyond int64 gives the largest int64; an invalid size gives 0.
func ParseSize(s string) int64 {
	for _, u := range sizes {
		number, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		r, ok := new(big.Rat).SetString(number)
		if !ok || r.Sign() < 0 {
			return 0
		}
		return ceil(r, u.bytes)
	}
	return 0
}

// FormatSize formats bytes as in the language: 1.5GiB, if two decimals are exact.
func FormatSize(n int64) string {
	for _, u := range sizes {
		if r := big.NewRat(n, u.bytes); n >= u.bytes && 100%r.Denom().Int64() == 0 {
			return strings.TrimSuffix(strings.TrimRight(r.FloatString(2), "0"), ".") + u.name
		}
	}
	return fmt.Sprintf("%dB", n)
}

// FormatCores formats thousandths of a core as in the language: 0.5.
func FormatCores(milli int64) string {
	return strings.TrimSuffix(strings.TrimRight(big.NewRat(milli, 1000).FloatString(3), "0"), ".")
}

// ParseCores converts a number of cores to thousandths. It is exact: fractions of a thousandth
// are rounded up. A number beyond int64 gives the largest int64; an invalid one gives 0.
func ParseCores(number string) int64 {
	r, ok := new(big.Rat).SetString(number)
	if !ok || r.Sign() < 0 {
		return 0
	}
	return ceil(r, 1000)
}

// ceil returns a number times a factor, rounded up, or the largest int64.
func ceil(r *big.Rat, factor int64) int64 {
	n := new(big.Int).Mul(r.Num(), big.NewInt(factor))
	n.Add(n, r.Denom()).Sub(n, big.NewInt(1)).Div(n, r.Denom())
	if !n.IsInt64() {
		return math.MaxInt64
	}
	return n.Int64()
}
