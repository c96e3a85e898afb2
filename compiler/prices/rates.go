package prices

import (
	"cmp"
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/money"
)

// CommonRates are a few rates of clouds in CSV.
//
//go:embed common_rates.csv
var CommonRates []byte

// The source of [CommonRates] and the day on which they were looked up.
const (
	CommonRatesSource = "S3 and Cloud Storage, standard class, first tier, as quoted by third parties"
	CommonRatesDate   = "2026-11-29"
)

// What rates are for.
const (
	Storage = "storage" // 1 GiB for a month
	Egress  = "egress"  // 1 GiB that leaves the cloud for the Internet
)

var rateNames = []string{Egress, Storage}

// A Rate is what a cloud charges in a region by amount.
type Rate struct {
	Cloud  string `json:"cloud"` // the executor of a target: "aws"
	Region string `json:"region"`
	Rate   string `json:"rate"`  // Storage or Egress
	Price  string `json:"price"` // a decimal, in the currency of the table
}

func (r Rate) place() [3]string { return [3]string{r.Cloud, r.Region, r.Rate} }

func (r Rate) String() string { return fmt.Sprintf("%s of %s in %s", r.Rate, r.Cloud, r.Region) }

func (r Rate) compare(o Rate) int {
	return cmp.Or(cmp.Compare(r.Cloud, o.Cloud), cmp.Compare(r.Region, o.Region), cmp.Compare(r.Rate, o.Rate))
}

// check reports the column that cannot be used.
func (r Rate) check() (column string, err error) {
	switch {
	case r.Cloud == "":
		return "Cloud", errors.New("it is empty")
	case r.Region == "":
		return "Region", errors.New("it is empty")
	case !slices.Contains(rateNames, r.Rate):
		return "Rate", fmt.Errorf("%q is not a rate: write %s", r.Rate, strings.Join(rateNames, " or "))
	}
	_, err = amount(r.Price, false)
	return "Price", err
}

var rateColumns = []string{"Cloud", "Region", "Rate", "Price"}

// HasRates reports whether a table in CSV is one of rates.
func HasRates(text []byte) bool {
	head, _, _ := strings.Cut(string(text), "\n")
	return slices.Contains(strings.Split(strings.TrimSpace(strings.TrimPrefix(head, "\ufeff")), ","), "Rate")
}

// ReadRates reads a table of rates in CSV. The error lists every faulty cell with its line and column.
func ReadRates(text io.Reader, o Import) ([]Rate, error) {
	c := csv.NewReader(text)
	head, err := c.Read()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Path, err)
	}
	head[0] = strings.TrimPrefix(head[0], "\ufeff")
	at := map[string]int{}
	for _, name := range rateColumns {
		if at[name] = slices.Index(head, name); at[name] < 0 {
			return nil, fmt.Errorf("%s has no column %s; needed are %s%s", o.Path, name, strings.Join(rateColumns, ", "), diag.DidYouMean(name, head))
		}
	}
	var rates []Rate
	var faults []fault
	for {
		record, err := c.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.Path, err) // with the line and the column
		}
		r := Rate{Cloud: record[at["Cloud"]], Region: record[at["Region"]], Rate: record[at["Rate"]], Price: record[at["Price"]]}
		if column, err := r.check(); err != nil {
			line, byteAt := c.FieldPos(at[column])
			faults = append(faults, fault{line, byteAt, column, err})
			continue
		}
		rates = append(rates, r)
	}
	if len(faults) > 0 {
		return nil, o.explain(faults)
	}
	return rates, nil
}

// A Charge is a rate with the table that it is from.
type Charge struct {
	Price    money.Amount `json:"price"` // for the unit of the rate
	Currency string       `json:"currency"`
	Source   string       `json:"source"`
	Date     string       `json:"date"`
}

// Charge returns what a cloud charges in a region, or nil if no table says it.
func (f *File) Charge(cloud, region, rate string) *Charge {
	for _, t := range f.Tables {
		for _, r := range t.Rates {
			if r.Cloud == cloud && r.Region == region && r.Rate == rate {
				a, err := amount(r.Price, false)
				if err != nil {
					return nil // Open has checked it
				}
				return &Charge{Price: a, Currency: t.Currency, Source: t.Source, Date: t.Date}
			}
		}
	}
	return nil
}

// checkRates checks and sorts the rates of a table.
func (t *Table) checkRates() error {
	slices.SortFunc(t.Rates, Rate.compare)
	for i, r := range t.Rates {
		if column, err := r.check(); err != nil {
			return fmt.Errorf("%s of %s: %w", column, r, err)
		}
		if i > 0 && t.Rates[i-1].place() == r.place() {
			return fmt.Errorf("%s has two prices", r)
		}
	}
	return nil
}
