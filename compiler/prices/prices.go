// Package prices holds what instances of clouds cost: tables that a user imports, each with its
// date and its source. They are kept in one file beside a system, which is meant to be committed:
// with it, a plan has the same costs on every machine.
package prices

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/files"
)

// Name is the name of the file.
const Name = "tenon.prices"

const version = 1

// A Row is what an instance type costs in a region, or in a zone of it. Numbers are decimals as
// text, so that nothing is lost: of cores, GiB and GPUs, and of the currency per hour. Empty ones
// are unknown.
type Row struct {
	Type   string `json:"type"`
	Region string `json:"region"`
	Zone   string `json:"zone,omitempty"`
	GPU    string `json:"gpu,omitempty"` // the model of its GPUs
	GPUs   string `json:"gpus,omitempty"`
	CPUs   string `json:"cpus,omitempty"`
	Memory string `json:"memory,omitempty"` // GiB
	Price  string `json:"price,omitempty"`
	Spot   string `json:"spot,omitempty"` // the price of a spot instance
}

// A Table is the rows of one source.
type Table struct {
	Source   string `json:"source"`
	Date     string `json:"date"` // of the prices: "2026-11-01"
	Currency string `json:"currency"`
	Rows     []Row  `json:"rows"` // sorted
	// Rates are sorted. A table has either rows or rates.
	Rates []Rate `json:"rates,omitempty"`

	digest string
}

// Info names a table and its content.
func (t *Table) Info() ir.PriceTable {
	return ir.PriceTable{Source: t.Source, Date: t.Date, Digest: t.digest}
}

// A File is the tables beside a system, sorted by source. No instance type of a region is in two of them.
type File struct {
	Path string
	// Content is that of the file when it was opened, or nil if it did not exist.
	Content []byte
	Tables  []Table
}

type document struct {
	Version int     `json:"version"`
	Tables  []Table `json:"tables"`
}

// Open reads the file in a folder. A missing file has no tables.
func Open(dir string) (*File, error) {
	f := &File{Path: filepath.Join(dir, Name)}
	b, err := os.ReadFile(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", Name, err)
	}
	f.Content = b
	var d document
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w: restore it, or delete it and import again", f.Path, err)
	}
	if d.Version != version {
		return nil, fmt.Errorf("%s has version %d, but this tenon supports version %d: upgrade tenon, or delete it and import again", f.Path, d.Version, version)
	}
	f.Tables = d.Tables
	for i := range f.Tables {
		t := &f.Tables[i]
		if err := t.check(); err != nil {
			return nil, fmt.Errorf("%s: the table %q: %w: restore it, or import the table again", f.Path, t.Source, err)
		}
	}
	if err := f.checkApart(); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Path, err)
	}
	return f, nil
}

// Put adds a table, in place of that of the same source. It sorts the rows of the table.
func (f *File) Put(t *Table) error {
	if err := t.check(); err != nil {
		return err
	}
	tables := slices.DeleteFunc(slices.Clone(f.Tables), func(o Table) bool { return o.Source == t.Source })
	g := &File{Tables: append(tables, *t)}
	if err := g.checkApart(); err != nil {
		return err
	}
	slices.SortFunc(g.Tables, func(a, b Table) int { return cmp.Compare(a.Source, b.Source) })
	f.Tables = g.Tables
	return nil
}

// Remove removes the table of a source.
func (f *File) Remove(source string) error {
	var sources []string
	for i, t := range f.Tables {
		if t.Source == source {
			f.Tables = slices.Delete(f.Tables, i, i+1)
			return nil
		}
		sources = append(sources, t.Source)
	}
	return fmt.Errorf("no table of %q was imported: %s", source, cmp.Or(diag.DidYouMean(source, sources), "there is none"))
}

// Write writes the file with one row a line, so that a change can be read in a diff. Without tables
// the file is removed.
func (f *File) Write() error {
	if len(f.Tables) == 0 {
		if err := os.Remove(f.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", Name, err)
		}
		return nil
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\"version\": %d, \"tables\": [\n", version)
	for i, t := range f.Tables {
		if i > 0 {
			b.WriteString(",\n")
		}
		b.Write(t.encode())
	}
	b.WriteString("\n]}\n")
	if err := files.Write(f.Path, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", Name, err)
	}
	return nil
}

// encode returns the table with one row a line. Texts and decimals can always be encoded.
func (t *Table) encode() []byte {
	text := func(v any) string { b, _ := json.Marshal(v); return string(b) }
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\"source\": %s, \"date\": %s, \"currency\": %s, \"rows\": [", text(t.Source), text(t.Date), text(t.Currency))
	for i, r := range t.Rows {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("\n" + text(r))
	}
	b.WriteString("\n]")
	for i, r := range t.Rates {
		sep := ","
		if i == 0 {
			sep = ", \"rates\": ["
		}
		b.WriteString(sep + "\n" + text(r))
	}
	if len(t.Rates) > 0 {
		b.WriteString("\n]")
	}
	b.WriteString("}")
	return b.Bytes()
}

// check checks a table that was read or is to be added, sorts its rows, and sets its digest.
func (t *Table) check() error {
	if err := checkHead(t.Source, t.Date, t.Currency); err != nil {
		return err
	}
	slices.SortFunc(t.Rows, Row.compare)
	for i := range t.Rows {
		r := &t.Rows[i]
		if column, err := r.check(); err != nil {
			return fmt.Errorf("%s of %s: %w", column, r, err)
		}
		if i > 0 && t.Rows[i-1].place() == r.place() {
			return fmt.Errorf("%s has two prices", r)
		}
	}
	if err := t.checkRates(); err != nil {
		return err
	}
	t.digest = ir.Sum(t.encode())
	return nil
}

// checkApart reports an instance type that two tables price in one region: which of them a pool means would
// depend on their order.
func (f *File) checkApart() error {
	of := map[[2]string]string{}
	for _, t := range f.Tables {
		for _, r := range t.Rows {
			at := [2]string{r.Type, r.Region}
			if other, ok := of[at]; ok && other != t.Source {
				return fmt.Errorf("%s in %s has a price in the tables %q and %q: import one of them as the source of the other to replace it, or remove it with `tenon prices remove`", r.Type, r.Region, other, t.Source)
			}
			of[at] = t.Source
		}
	}
	rates := map[[3]string]string{}
	for _, t := range f.Tables {
		for _, r := range t.Rates {
			if other, ok := rates[r.place()]; ok && other != t.Source {
				return fmt.Errorf("%s has a price in the tables %q and %q: import one of them as the source of the other to replace it, or remove it with `tenon prices remove`", r, other, t.Source)
			}
			rates[r.place()] = t.Source
		}
	}
	return nil
}

func (r Row) compare(o Row) int {
	return cmp.Or(cmp.Compare(r.Type, o.Type), cmp.Compare(r.Region, o.Region), cmp.Compare(r.Zone, o.Zone))
}

func (r Row) place() [3]string { return [3]string{r.Type, r.Region, r.Zone} }

func (r Row) String() string {
	return fmt.Sprintf("%s in %s", r.Type, cmp.Or(r.Zone, r.Region))
}

// A Query selects rows. Empty fields select all of them.
type Query struct {
	Type   string // a part of it, or a pattern with *
	GPU    string // a part of the model
	Region string // a part of it, or a pattern with *
}

// A Found is a row of a table.
type Found struct {
	Row
	Source   string `json:"source"`
	Date     string `json:"date"`
	Currency string `json:"currency"`
}

// Search returns the rows that a query selects, by type, region and zone.
func (f *File) Search(q Query) ([]Found, error) {
	found := []Found{}
	for _, t := range f.Tables {
		for _, r := range t.Rows {
			ok, err := q.Selects(r)
			if err != nil {
				return nil, err
			}
			if ok {
				found = append(found, Found{r, t.Source, t.Date, t.Currency})
			}
		}
	}
	slices.SortStableFunc(found, func(a, b Found) int { return a.compare(b.Row) })
	return found, nil
}

// Selects reports whether a query selects a row.
func (q Query) Selects(r Row) (bool, error) {
	for _, c := range []struct{ want, is string }{{q.Type, r.Type}, {q.GPU, r.GPU}, {q.Region, r.Region}} {
		want, is := strings.ToLower(c.want), strings.ToLower(c.is)
		if strings.ContainsAny(want, "*?[") {
			ok, err := filepath.Match(want, is)
			if err != nil {
				return false, fmt.Errorf("%q is not a pattern such as g5.*: %w", c.want, err)
			}
			if !ok {
				return false, nil
			}
		} else if !strings.Contains(is, want) {
			return false, nil
		}
	}
	return true, nil
}
