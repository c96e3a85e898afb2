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
	Model     string `json:"model,omitempty"`     // digest; only what this one has answered counts, if it is set

	// Version is the name of the version whose step of a release began at Begin, if there is a release. The
	// requests of others do not count.
	Version string `json:"version,omitempty"`
	// Challenger is the digest of the model of a release in progress whose rows are counted apart, or "".
	Challenger string `json:"challenger,omitempty"`
	// Versions are those that an experiment compares. Nil asks for a plan of one.
	Versions *Versions `json:"versions,omitempty"`
	// Gaps say what of the log cannot be had now. Whoever asks adds them to the answer.
	Gaps []string `json:"-"`
	// Write asks for the rows instead of a measurement. The answer is [Written].
	Write *Files `json:"write,omitempty"`
}

// Versions are the two of a release, in a step that began with the window.
type Versions struct {
	Champion   string  `json:"champion"`   // digest of its model
	Challenger string  `json:"challenger"` // digest of its model
	Share      float64 `json:"share"`      // of the challenger, above 0 and below 1
	Over       bool    `json:"over,omitempty"`
}

// Files are Parquet files to write: the rows that a drift compares, with the columns that it compares
// or divides by.
type Files struct {
	Requests  string `json:"requests"`
	Reference string `json:"reference,omitempty"` // not written if it is empty
}

// Written says how many rows were written. Notes are like those of an [Answer].
type Written struct {
	Requests  int64    `json:"rows"`
	Reference int64    `json:"reference_rows,omitempty"`
	Notes     []string `json:"notes,omitempty"`
}

// An Answer is what a measurement found. It is the report of a row of the state.
type Answer struct {
	*measure.Report
	// Plan is what an experiment would find. There is no report then.
	Plan *measure.Plan `json:"plan,omitempty"`
	// Estimate is how good the predictions of the newest window probably are, without their labels;
	// nil if the model gives no probability.
	Estimate *measure.Report `json:"estimate,omitempty"`
	// Challenger is how many rows of the window the challenger of a release has answered; nil if that was not asked.
	Challenger *int64 `json:"challenger_rows,omitempty"`
	// Notes are about rows that were left out, or that the log no longer has.
	Notes []string `json:"notes,omitempty"`
}
