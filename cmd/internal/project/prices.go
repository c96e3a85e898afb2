package project

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/compiler/prices"
)

// A PriceTable is a table of prices beside a system.
type PriceTable struct {
	ir.PriceTable
	Currency string `json:"currency"`
	Rows     int    `json:"rows"`
}

// Prices are tables of prices, and rows of them.
type Prices struct {
	Tables []PriceTable   `json:"tables"`
	Rows   []prices.Found `json:"rows"`
	Rates  []FoundRate    `json:"rates"`
}

// A FoundRate is a rate of a table.
type FoundRate struct {
	prices.Rate
	Source   string `json:"source"`
	Date     string `json:"date"`
	Currency string `json:"currency"`
}

// Prices returns the tables beside the system, and the rows that a query selects.
func (p *Project) Prices(q prices.Query) (*Prices, error) {
	f, err := prices.Open(p.set.Dir)
	if err != nil {
		return nil, err
	}
	out := &Prices{Tables: []PriceTable{}, Rates: []FoundRate{}}
	for _, t := range f.Tables {
		out.Tables = append(out.Tables, described(t))
		for _, r := range t.Rates {
			out.Rates = append(out.Rates, FoundRate{r, t.Source, t.Date, t.Currency})
		}
	}
	if out.Rows, err = f.Search(q); err != nil {
		return nil, &RequestError{err}
	}
	return out, nil
}

func described(t prices.Table) PriceTable {
	return PriceTable{PriceTable: t.Info(), Currency: t.Currency, Rows: len(t.Rows) + len(t.Rates)}
}

// PriceImport says which table to import, and as what.
type PriceImport struct {
	Path     string // CSV or, by its name, Parquet; "" is a table that Tenon comes with
	Rates    bool   // of these, the one of rates
	Source   string // "" is the name of the file
	Date     string // of the prices; "" is the day on which the file was last changed
	Currency string
	Query    prices.Query // which rows
	Round    bool
}

// ImportedPrices is a table that was imported.
type ImportedPrices struct {
	PriceTable
	prices.Imported
	Replaced bool   `json:"replaced"` // a table of the same source
	Path     string `json:"path"`     // of the file with all tables
}

// ImportPrices reads a table of prices and keeps it beside the system, in place of the one of the
// same source. A table with a faulty row is not imported.
func (p *Project) ImportPrices(ctx context.Context, o PriceImport) (*ImportedPrices, error) {
	if !IsSystem(p.set.Dir) {
		return nil, &RequestError{fmt.Errorf("there is no system in %s, beside which the table could be kept: name its folder with -C", p.set.Dir)}
	}
	text, byRow, err := p.catalogue(ctx, &o)
	if err != nil {
		return nil, fmt.Errorf("import prices: %w", err)
	}
	t, n, err := o.table(text, byRow)
	if err != nil {
		return nil, err
	}
	f, err := prices.Open(p.set.Dir)
	if err != nil {
		return nil, err
	}
	before := len(f.Tables)
	if err := f.Put(t); err != nil {
		return nil, &RequestError{err}
	}
	if err := f.Write(); err != nil {
		return nil, err
	}
	return &ImportedPrices{PriceTable: described(*t), Imported: n, Replaced: len(f.Tables) == before, Path: f.Path}, nil
}

// table reads a table of instances or of rates.
func (o PriceImport) table(text []byte, byRow bool) (*prices.Table, prices.Imported, error) {
	t := &prices.Table{Source: o.Source, Date: o.Date, Currency: o.Currency}
	how := prices.Import{Path: o.Path, Query: o.Query, Round: o.Round, ByRow: byRow}
	var n prices.Imported
	var err error
	if prices.HasRates(text) {
		if o.Query != (prices.Query{}) {
			return nil, n, &RequestError{fmt.Errorf("%s has rates, of which all are imported: remove --type, --region and --gpu", o.Path)}
		}
		t.Rates, err = prices.ReadRates(bytes.NewReader(text), how)
	} else {
		t.Rows, n, err = prices.Read(bytes.NewReader(text), how)
	}
	if err == nil && len(t.Rows)+len(t.Rates) == 0 {
		err = fmt.Errorf("%s has no row to import: of its rows, %d are not selected, %d have no instance type, and %d no price", o.Path, n.Unselected, n.Typeless, n.Priceless)
	}
	return t, n, err
}

// catalogue returns the table to import as CSV, whether only its rows are known to the user, and sets what
// the user left open.
func (p *Project) catalogue(ctx context.Context, o *PriceImport) (text []byte, byRow bool, err error) {
	if o.Path == "" && o.Rates {
		o.Path, o.Source, o.Date = "the table of rates", prices.CommonRatesSource, prices.CommonRatesDate
		return prices.CommonRates, false, nil
	}
	if o.Path == "" {
		o.Path, o.Source, o.Date = "the common table", prices.CommonSource, prices.CommonDate
		return prices.Common, false, nil
	}
	info, err := os.Stat(o.Path)
	if err != nil {
		return nil, false, err
	}
	if o.Date == "" {
		o.Date = info.ModTime().UTC().Format(time.DateOnly)
	}
	base := filepath.Base(o.Path)
	if o.Source == "" {
		o.Source = strings.TrimSuffix(base, filepath.Ext(base))
	}
	if strings.EqualFold(filepath.Ext(base), ".parquet") {
		text, err = p.csvOf(ctx, o.Path)
		return text, true, err
	}
	text, err = os.ReadFile(o.Path)
	return text, false, err
}

// csvOf returns a Parquet file as CSV.
func (p *Project) csvOf(ctx context.Context, path string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "tenon-prices-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // what is left is removed with the temporary files
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	to := filepath.Join(dir, "prices.csv")
	if err := p.set.SQL.CSV(ctx, abs, to); err != nil {
		return nil, err
	}
	return os.ReadFile(to)
}

// RemovePrices removes the table of a source.
func (p *Project) RemovePrices(source string) error {
	f, err := prices.Open(p.set.Dir)
	if err != nil {
		return err
	}
	if err := f.Remove(source); err != nil {
		return &RequestError{err}
	}
	return f.Write()
}
