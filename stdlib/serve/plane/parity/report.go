package parity

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Difference is something that the service computes otherwise than training.
type Difference struct {
	Kind Kind  `json:"kind"`
	Row  int64 `json:"row"` // of the source, from 1 on; of the features if it is Missing or Repeated
	// Key has the values of the keys of the row, or of all columns if there are no keys.
	Key    string `json:"key,omitempty"`
	Column string `json:"column,omitempty"`
	Wanted string `json:"wanted,omitempty"` // in training
	Got    string `json:"got,omitempty"`
}

// A Kind of difference.
type Kind string

const (
	Cell       Kind = "cells"       // a value differs
	Prediction Kind = "predictions" // the exported model predicts something else than Python
	Missing    Kind = "missing"     // a row of the features that the service does not compute
	Extra      Kind = "extra"       // a row that the service computes, and training does not have
	Repeated   Kind = "repeated"    // a row that the service computes more often
	Refused    Kind = "refused"     // a row that the service refuses
	Decoded    Kind = "decoded"     // a value that is another one, or refused, when it is sent
)

var kinds = []Kind{Decoded, Refused, Cell, Extra, Missing, Repeated, Prediction}

// hidden stands for the value of a private column.
const hidden = "(private)"

// mask hides what a difference says about private columns. The reason why a row is refused may
// repeat any of its values.
func mask(kind Kind, column string, private []string, wanted, got *string) {
	switch {
	case kind == Cell && slices.Contains(private, column):
		*wanted, *got = hidden, hidden
	case kind == Refused && len(private) > 0:
		for _, says := range []*string{wanted, got} {
			if *says != "" {
				*says = "its values cannot be computed"
			}
		}
	}
}

// mostShown is how many differences are shown.
const mostShown = 20

// A Report is what the step found, in report.json.
type Report struct {
	Metrics map[string]float64 `json:"metrics"`
	Notes   []string           `json:"notes"`
	Counts  Counts             `json:"parity"`
}

// Counts are the numbers of a comparison.
type Counts struct {
	Rows        int64          `json:"rows"`        // of the source
	Features    int64          `json:"features"`    // rows of training
	Compared    int64          `json:"compared"`    // rows
	Cells       int64          `json:"cells"`       // compared ones
	Predictions int64          `json:"predictions"` // compared ones
	LeftOut     int64          `json:"left_out"`    // rows that only training leaves out
	Unsendable  int64          `json:"unsendable"`  // rows with a value that no request can contain
	Stale       int64          `json:"stale"`       // rows that a service refuses because of max_age
	Failed      int64          `json:"failed"`      // rows that the service refuses, and training may have left out
	Differences map[Kind]int64 `json:"differences"`
	First       []Difference   `json:"first"`
}

func (c *Counts) total() (n int64) {
	for _, k := range c.Differences {
		n += k
	}
	return n
}

// found notes a difference. Those of a worker come in the order of rows.
func (c *Counts) found(d Difference) {
	c.Differences[d.Kind]++
	if len(c.First) < mostShown {
		c.First = append(c.First, d)
	}
}

// add adds the counts of a worker.
func (c *Counts) add(w *Counts) {
	c.Rows += w.Rows
	c.Compared += w.Compared
	c.Cells += w.Cells
	c.Predictions += w.Predictions
	c.LeftOut += w.LeftOut
	c.Unsendable += w.Unsendable
	c.Stale += w.Stale
	c.Failed += w.Failed
	for k, n := range w.Differences {
		c.Differences[k] += n
	}
	c.First = append(c.First, w.First...)
}

// ofFeatures reports whether the number of the row is one of the features.
func (d Difference) ofFeatures() bool { return d.Kind == Missing || d.Kind == Repeated }

// sort puts the differences in the order of the rows of the source, and then of the features,
// and keeps the first.
func (c *Counts) sort() {
	rank := func(d Difference) int {
		if d.ofFeatures() {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(c.First, func(a, b Difference) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Row, b.Row), cmp.Compare(slices.Index(kinds, a.Kind), slices.Index(kinds, b.Kind)))
	})
	c.First = c.First[:min(len(c.First), mostShown)]
}

// write writes the report into its folder.
func (c *Counts) write(folder string, notes []string) error {
	r := Report{Notes: notes, Counts: *c, Metrics: map[string]float64{
		"rows": float64(c.Rows), "compared": float64(c.Compared), "cells": float64(c.Cells), "predictions": float64(c.Predictions), "differences": float64(c.total()),
	}}
	if r.Notes == nil {
		r.Notes = []string{}
	}
	if r.Counts.First == nil {
		r.Counts.First = []Difference{}
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if err := os.WriteFile(filepath.Join(folder, "report.json"), append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// err is the failure of the step, or nil.
func (c *Counts) err() error {
	if c.total() == 0 {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "the service computes something else than training: %d differences in %d rows (", c.total(), c.Rows)
	sep := ""
	for _, k := range kinds {
		if n := c.Differences[k]; n > 0 {
			fmt.Fprintf(&b, "%s%s: %d", sep, k, n)
			sep = ", "
		}
	}
	b.WriteString(")")
	for _, d := range c.First {
		b.WriteString("\n  " + d.String())
	}
	if more := c.total() - int64(len(c.First)); more > 0 {
		fmt.Fprintf(&b, "\n  and %d more", more)
	}
	return errors.New(b.String())
}

func (d Difference) String() string {
	where := fmt.Sprintf("row %d of the source", d.Row)
	if d.ofFeatures() {
		where = fmt.Sprintf("row %d of the features", d.Row)
	}
	if d.Key != "" {
		where += " (" + d.Key + ")"
	}
	switch d.Kind {
	case Missing:
		return where + ": the service does not compute it"
	case Repeated:
		return where + ": the service computes it " + d.Got + " times, training " + d.Wanted
	case Extra:
		return where + ": training does not have it"
	case Refused:
		return where + ": the service refuses it: " + d.Got
	case Prediction:
		return where + ": the prediction: wanted " + d.Wanted + ", got " + d.Got
	case Decoded:
		return where + ": column " + d.Column + " as JSON: wanted " + d.Wanted + ", got " + d.Got
	}
	return where + ": column " + d.Column + ": wanted " + d.Wanted + ", got " + d.Got
}
