package prices

import (
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/internal/lazyregexp"
	"github.com/tenon-ml/tenon/internal/money"
)

// decimal is a number as tables write it: some write small ones with an exponent.
var decimal = lazyregexp.New(`^[0-9]{1,18}(\.[0-9]{0,40})?([eE][+-]?[0-9]{1,2})?$`)

// parse reads a decimal that is not negative.
func parse(s string) (*big.Rat, error) {
	if !decimal.MatchString(s) {
		return nil, fmt.Errorf("%q is not a number such as 1.006", s)
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		return nil, fmt.Errorf("%q is not a number such as 1.006", s)
	}
	return r, nil
}

// errFine is why a price is refused that an amount of money cannot hold.
var errFine = errors.New("more than nine decimals")

// amount returns a price in whole billionths. Only if it may be rounded, one with more decimals
// is: up, as all costs are.
func amount(s string, round bool) (money.Amount, error) {
	r, err := parse(s)
	if err != nil {
		return 0, err
	}
	r.Mul(r, new(big.Rat).SetInt64(int64(money.One)))
	n := new(big.Int).Set(r.Num())
	if !r.IsInt() {
		if !round {
			return 0, fmt.Errorf("%s has %w", s, errFine)
		}
		n.Div(r.Num(), r.Denom()).Add(n, big.NewInt(1))
	}
	if !n.IsInt64() {
		return 0, fmt.Errorf("%s is too large for a price", s)
	}
	return money.Amount(n.Int64()), nil
}

// whole returns factor times a decimal, rounded down, if that is below 2^62.
func whole(s string, factor int64) (int64, error) {
	if s == "" {
		return 0, nil
	}
	r, err := parse(s)
	if err != nil {
		return 0, err
	}
	r.Mul(r, new(big.Rat).SetInt64(factor))
	n := new(big.Int).Div(r.Num(), r.Denom())
	if n.BitLen() > 62 {
		return 0, fmt.Errorf("%s is too large", s)
	}
	return n.Int64(), nil
}

// check returns the column that makes a row unusable, by SkyPilot's name, and why.
func (r *Row) check() (column string, err error) {
	for _, c := range []struct {
		column, value string
		needed        bool
	}{{"InstanceType", r.Type, true}, {"Region", r.Region, true}, {"AvailabilityZone", r.Zone, false}, {"AcceleratorName", r.GPU, false}} {
		if c.needed && c.value == "" {
			return c.column, errors.New("it is empty")
		}
		if strings.TrimSpace(c.value) != c.value || strings.ContainsFunc(c.value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return c.column, fmt.Errorf("%q has spaces around it or characters that cannot be printed", c.value)
		}
	}
	for _, c := range []struct {
		column, value string
		factor        int64
	}{{"vCPUs", r.CPUs, 1000}, {"MemoryGiB", r.Memory, 1 << 30}, {"AcceleratorCount", r.GPUs, 1}} {
		if _, err := whole(c.value, c.factor); err != nil {
			return c.column, err
		}
	}
	for _, c := range []struct{ column, value string }{{"Price", r.Price}, {"SpotPrice", r.Spot}} {
		if c.value != "" {
			if _, err := amount(c.value, false); err != nil {
				return c.column, err
			}
		}
	}
	if (r.GPU == "") != (r.GPUs == "") {
		return "AcceleratorCount", fmt.Errorf("AcceleratorName is %q, and AcceleratorCount is %q: both or neither are needed", r.GPU, r.GPUs)
	}
	if r.Price == "" && r.Spot == "" {
		return "Price", errors.New("there is neither a Price nor a SpotPrice")
	}
	return "", nil
}

func checkHead(source, date, currency string) error {
	if strings.TrimSpace(source) == "" || strings.ContainsAny(source, "\n\r\t") || len(source) > 100 {
		return fmt.Errorf("%q is not the name of a source: write up to 100 characters in one line", source)
	}
	if _, err := time.Parse(time.DateOnly, date); err != nil {
		return fmt.Errorf("%q is not a date such as 2026-11-01", date)
	}
	if _, _, err := money.Parse("1 " + currency); err != nil {
		return fmt.Errorf("%q is not a currency such as USD", currency)
	}
	return nil
}
