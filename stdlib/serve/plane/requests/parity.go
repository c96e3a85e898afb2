package requests

import (
	"fmt"
	"path/filepath"
	"time"
)

// Files in the folder of the checks of a service, see [Checks].
const (
	DifferencesFile  = "differences.jsonl" // a [Differing] on each line
	OlderDifferences = ".1"                // is behind the name of the file before it
	ParityFile       = "parity.json"       // a [Parity]
)

// Checks is the folder of continuous checks in the one that a service keeps.
func Checks(kept string) string { return filepath.Join(kept, "parity") }

// Parity is what continuous checks have found since the service began.
type Parity struct {
	Instance  string           `json:"instance"` // of the service
	Checked   int64            `json:"checked"`  // rows
	Different int64            `json:"different"`
	Columns   map[string]int64 `json:"columns,omitempty"` // differing cells
	Last      time.Time        `json:"last"`              // when the last check ended
	Notes     []string         `json:"notes,omitempty"`
}

// String says what differs.
func (d *Differing) String() string {
	what := map[string]string{"cells": d.Column, "predictions": "prediction", "extra": "rows", "refused": "fails in training"}[d.Kind]
	line := fmt.Sprintf("request %s row %d: %s: ", d.RequestID, d.Row, what)
	if d.Kind == "refused" {
		return line + d.Wanted
	}
	return line + fmt.Sprintf("%s in training, %s from the service", d.Wanted, d.Got)
}
