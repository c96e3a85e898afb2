// Package requests is what tenon asks of tenon-serve about logged requests, as JSON over its
// standard input and output. It links no library that reads Parquet, so that tenon starts fast.
package requests

import (
	"cmp"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/stdlib/step"
)

// Folder is the folder of the log in the one that a service keeps.
func Folder(kept string) string { return filepath.Join(kept, "requests") }

// A Selection is some rows of a log.
type Selection struct {
	Log   string    `json:"log"` // folder
	Since time.Time `json:"since,omitzero"`
	ID    string    `json:"id,omitempty"`    // of a request; "" is any
	Limit int       `json:"limit,omitempty"` // of rows, the newest; 0 is all
	Out   string    `json:"out,omitempty"`   // path of a table that they are written to
}

// A Row of a log as JSON: fields of a request, of the features and of the probabilities are in
// the order of the columns.
type Row struct {
	Time          time.Time       `json:"time"`
	RequestID     string          `json:"request_id"`
	Row           int64           `json:"row"`
	Version       int64           `json:"version"`
	Digest        string          `json:"digest"`
	LatencyUS     int64           `json:"latency_us"`
	Events        *int64          `json:"events,omitempty"` // how many events of the log its history had
	Pod           string          `json:"pod,omitempty"`
	Fallback      string          `json:"fallback,omitempty"` // why a fallback answered: "version, lookup weather"
	Request       json.RawMessage `json:"request"`
	Features      json.RawMessage `json:"features,omitempty"`
	Prediction    json.RawMessage `json:"prediction"`
	Probability   *float64        `json:"probability,omitempty"`
	Probabilities json.RawMessage `json:"probabilities,omitempty"`
}

// An Exported says how many rows were written to a table.
type Exported struct {
	Rows int64 `json:"rows"`
}

// A Replay says which requests of a log are computed again, and how training computes them.
type Replay struct {
	Log   string    `json:"log"` // folder
	Since time.Time `json:"since,omitzero"`
	Limit int64     `json:"limit,omitempty"` // of rows, the newest first; 0 is all
	Kept  string    `json:"kept,omitempty"`  // folder with the events of the history

	// Requests that were answered with other inputs, or by another contract, are not replayed.
	Inputs  map[string]string `json:"inputs"`            // digests of those of the service, by port
	Request json.RawMessage   `json:"request,omitempty"` // parameter of the service; empty if requests have the columns of the model

	Queries []Query   `json:"queries,omitempty"` // that make the features, one after another
	Source  step.Port `json:"source,omitzero"`   // of which a caller sends rows
	Model   step.Port `json:"model"`

	Private []string `json:"private,omitempty"` // columns whose values are not shown

	Duck    string `json:"duck"`    // program
	Python  string `json:"python"`  // interpreter in the environment of the model; "" compares no predictions
	Library string `json:"library"` // folder with its modules and tenon_parity.py
	Scratch string `json:"scratch"` // folder
}

// A Query is a unit that makes features: a query, or a function in Python.
type Query struct {
	Step   step.Step `json:"step"`
	Python string    `json:"python,omitempty"` // interpreter of the function
	Row    string    `json:"row"`              // input with the rows of the request, or of the query before
}

// An Event is what a replay says while it runs.
type Event struct {
	Done       int64      `json:"done,omitempty"` // rows
	Difference *Differing `json:"difference,omitempty"`
	Replayed   *Replayed  `json:"replayed,omitempty"` // the last one
}

// A Differing is something that a service computed otherwise than training does.
type Differing struct {
	Kind      string    `json:"kind"` // as in reports of package parity
	RequestID string    `json:"request_id"`
	Row       int64     `json:"row"` // of the request, from 0 on
	Time      time.Time `json:"time"`
	Column    string    `json:"column,omitempty"`
	Wanted    string    `json:"wanted,omitempty"` // in training
	Got       string    `json:"got,omitempty"`    // from the service
}

// Replayed is what a replay found.
type Replayed struct {
	Rows        int64            `json:"rows"`        // that were computed again
	Cells       int64            `json:"cells"`       // that were compared
	Predictions int64            `json:"predictions"` // that were compared
	Differing   int64            `json:"differing"`   // rows with a difference
	Columns     map[string]int64 `json:"columns"`     // differing cells
	Kinds       map[string]int64 `json:"differences"`
	Redacted    int64            `json:"redacted"` // rows that cannot be replayed: they have private columns
	Unplaced    int64            `json:"unplaced"` // rows of which the log does not say which events their history had
	Gone        int64            `json:"gone"`     // rows whose history had events that are not kept any more
	Other       int64            `json:"other"`    // rows that another model, other tables or another query answered
	LeftOut     int64            `json:"left_out"` // rows that training leaves out by conditions on columns that a caller does not have
	Notes       []string         `json:"notes"`
}

// Worst are the columns with differing cells, the one with the most first.
func (r *Replayed) Worst() []string {
	var names []string
	for name := range r.Columns {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(r.Columns[b], r.Columns[a]), strings.Compare(a, b)) })
	return names
}
