// Package window measures a monitor over one window of the request log: it finds the rows of the
// window in the files of the log, joins labels, and asks package measure.
//
// tenon-duck does this, because it links DuckDB: tenon sends it a [Question] and gets an [Answer],
// both as JSON. This file only has these types, and imports no database.
package window

import (
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
)

// A Question asks for a measurement. Begin is in the window, End is not.
type Question struct {
	Monitor ir.Monitor `json:"monitor"`
	Log     string     `json:"log"` // folder of the log, which is the audit log of a service
	Begin   time.Time  `json:"begin"`
	End     time.Time  `json:"end"`
	Now     time.Time  `json:"now"` // labels that became known later do not count

	Reference string `json:"reference,omitempty"` // Parquet file; of a table whose age is measured, this one
	Labels    string `json:"labels,omitempty"`    // Parquet file

	// Version is the name of the version whose step of a release began at Begin, if there is a release. The
	// requests of others do not count.
	Version string `json:"version,omitempty"`
}

// An Answer is what a measurement found. It is the report of a row of the state.
type Answer struct {
	*measure.Report
	// Estimate is how good the predictions of the newest window probably are, without their labels;
	// nil if the model gives no probability.
	Estimate *measure.Report `json:"estimate,omitempty"`
	// Notes are about rows that were left out, or that the log no longer has.
	Notes []string `json:"notes,omitempty"`
}
