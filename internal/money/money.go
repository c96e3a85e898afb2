// Package money holds prices and costs exactly, in whole billionths of a currency.
package money

import (
	"fmt"
	"math"
	"math/big"
	"strings"
	"time"
)

// An Amount is a number of billionths of a currency, whose name is kept elsewhere: a system
// has one currency.
type Amount int64

// One is one unit of the currency.
const One Amount = 1e9

// Most is the highest amount. Whatever would be more is Most.
const Most Amount = math.MaxInt64

// Parse reads an amount such as "2.10 USD" and its currency. It refuses what has more than
// nine decimals, is negative or exceeds [Most].
func Parse(s string) (a Amount, currency string, err error) {
	number, currency, ok := strings.Cut(s, " ")
	if !ok || len(currency) != 3 || strings.Trim(currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return 0, "", fmt.Errorf("%q is not an amount such as \"2.10 USD\"", s)
	}
	r, ok := new(big.Rat).SetString(number)
	if !ok || strings.Trim(number, "0123456789.") != "" {
		return 0, "", fmt.Errorf("%q is not an amount such as \"2.10 USD\"", s)
	}
	r.Mul(r, new(big.Rat).SetInt64(int64(One)))
	if !r.IsInt() || !r.Num().IsInt64() {
		return 0, "", fmt.Errorf("%q has more than nine decimals, or exceeds %s", s, Most.Format(currency))
	}
	return Amount(r.Num().Int64()), currency, nil
}

// ParseRate reads a price per hour, such as "2.10 USD/h".
func ParseRate(s string) (perHour Amount, currency string, err error) {
	amount, ok := strings.CutSuffix(s, "/h")
	if !ok {
		return 0, "", fmt.Errorf("%q is not a price such as \"2.10 USD/h\"", s)
	}
	return Parse(amount)
}

// Times returns a times n/d, rounded up. Neither n nor d is negative, and d is not zero.
func (a Amount) Times(n, d int64) Amount {
	r := new(big.Int).Mul(big.NewInt(int64(a)), big.NewInt(n))
	r.Add(r, big.NewInt(d-1)).Div(r, big.NewInt(d))
	if !r.IsInt64() {
		return Most
	}
	return Amount(r.Int64())
}

// During returns what an amount per hour is for a length of time, rounded up.
func (a Amount) During(t time.Duration) Amount { return a.Times(max(int64(t), 0), int64(time.Hour)) }

// Plus returns the sum, at most [Most].
func (a Amount) Plus(b Amount) Amount {
	if a > Most-b {
		return Most
	}
	return a + b
}

// Format returns the amount with the currency and two decimals: "3.20 USD". What is less than
// a tenth has two significant digits instead, since many runs cost less than a cent.
func (a Amount) Format(currency string) string {
	r := big.NewRat(int64(a), int64(One))
	decimals := 2
	for limit := One / 10; a > 0 && a < limit && decimals < 9; limit /= 10 {
		decimals++
	}
	return r.FloatString(decimals) + " " + currency
}
