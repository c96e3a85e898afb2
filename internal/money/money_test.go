package money

import (
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		text     string
		amount   Amount
		currency string
	}{
		{"2.10 USD", 2_100_000_000, "USD"},
		{"0 EUR", 0, "EUR"},
		{"0.000000001 USD", 1, "USD"},
		{"9000000000 JPY", 9_000_000_000 * One, "JPY"},
	} {
		a, currency, err := Parse(c.text)
		if err != nil || a != c.amount || currency != c.currency {
			t.Errorf("%q: %d %s %v, want %d %s", c.text, a, currency, err, c.amount, c.currency)
		}
	}
	for _, text := range []string{"", "2.10", "USD", "2.10 usd", "2.10USD", "-1 USD", "1e3 USD", "1/3 USD", "0.0000000001 USD", "10000000000 USD", "1 USD/h", "1  USD", "1 USDT", "0x10 USD", "1_000 USD"} {
		if a, _, err := Parse(text); err == nil {
			t.Errorf("%q was read as %d", text, a)
		}
	}
	if a, currency, err := ParseRate("2.5 EUR/h"); err != nil || a != 2_500_000_000 || currency != "EUR" {
		t.Errorf("rate: %d %s %v", a, currency, err)
	}
	if _, _, err := ParseRate("2.5 EUR"); err == nil {
		t.Error("a rate without its time was read")
	}
}

func TestFormat(t *testing.T) {
	for amount, want := range map[Amount]string{
		0: "0.00 USD", One: "1.00 USD", 2_345_000_000: "2.35 USD", One / 10: "0.10 USD",
		12_345_678: "0.012 USD", 1_234: "0.0000012 USD", 1: "0.000000001 USD",
	} {
		if got := amount.Format("USD"); got != want {
			t.Errorf("%d: %s, want %s", amount, got, want)
		}
	}
}

// Costs are never less than the exact product, and less than a billionth more.
func TestTimesRoundsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := Amount(rapid.Int64Range(0, int64(Most)).Draw(t, "amount"))
		took := time.Duration(rapid.Int64Range(0, int64(10*365*24*time.Hour)).Draw(t, "took"))
		exact := new(big.Rat).Mul(big.NewRat(int64(a), int64(time.Hour)), big.NewRat(int64(took), 1))
		got := a.During(took)
		if got == Most {
			if exact.Cmp(new(big.Rat).SetInt64(int64(Most-1))) <= 0 {
				t.Fatalf("%v is not that much", exact)
			}
			return
		}
		over := new(big.Rat).Sub(new(big.Rat).SetInt64(int64(got)), exact)
		if over.Sign() < 0 || over.Cmp(big.NewRat(1, 1)) >= 0 {
			t.Fatalf("%d for %v", got, exact)
		}
	})
	if got := Most.Plus(1); got != Most {
		t.Errorf("the sum wraps around: %d", got)
	}
	if got := Amount(-1).During(-time.Second); got != 0 {
		t.Errorf("a negative time costs %d", got)
	}
}
