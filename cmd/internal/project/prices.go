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
}

// Prices returns the tables beside the system, and the rows that a query selects.
func (p *Project) Prices(q prices.Query) (*Prices, error) {
	f, err := prices.Open(p.set.Dir)
	if err != nil {
		return nil, err
	}
	out := &Prices{Tables: []PriceTable{}}
	for _, t := range f.Tables {
		out.Tables = append(out.Tables, described(t))
	}
	if out.Rows, err = f.Search(q); err != nil {
		return nil, &RequestError{err}
	}
	return out, nil
}

func described(t prices.Table) PriceTable {
	return PriceTable{PriceTable: t.Info(), Currency: t.Currency, Rows: len(t.Rows)}
}

// PriceImport says which table to import, and as what.
type PriceImport struct {
	Path     string // CSV or, by its name, Parquet; "" is the table that Tenon comes with
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
	rows, n, err := prices.Read(bytes.NewReader(text), prices.Import{Path: o.Path, Query: o.Query, Round: o.Round, ByRow: byRow})
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("%s has no row to import: of its rows, %d are not selected, %d have no instance type, and %d no price", o.Path, n.Unselected, n.Typeless, n.Priceless)
	}
	f, err := prices.Open(p.set.Dir)
	if err != nil {
		return nil, err
	}
	before := len(f.Tables)
	t := prices.Table{Source: o.Source, Date: o.Date, Currency: o.Currency, Rows: rows}
	if err := f.Put(&t); err != nil {
		return nil, &RequestError{err}
	}
	if err := f.Write(); err != nil {
		return nil, err
	}
	return &ImportedPrices{PriceTable: described(t), Imported: n, Replaced: len(f.Tables) == before, Path: f.Path}, nil
}

// catalogue returns the table to import as CSV, whether only its rows are known to the user, and sets what
// the user left open.
func (p *Project) catalogue(ctx context.Context, o *PriceImport) (text []byte, byRow bool, err error) {
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
