package window

import (
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A Preparation makes files for a simulation: what a service would have logged if other versions
// of its model had answered the requests that were recorded. It asks for one of these.
type Preparation struct {
	Take  *Take  `json:"take,omitempty"`
	Serve *Serve `json:"serve,omitempty"`
	Cut   *Cut   `json:"cut,omitempty"`
}

// A Take copies the requests of a period, in the order of their times. Begin is in the period,
// End is not. Log or Table is set.
type Take struct {
	Log   string `json:"log,omitempty"`   // folder of a request log
	Table string `json:"table,omitempty"` // Parquet file, a row of which is a request
	// Time is the column of the table with the time of a request, and ID the one with its id;
	// without one, requests have no ids.
	Time string `json:"time,omitempty"`
	ID   string `json:"id,omitempty"`
	// Logged are the columns of the log that are needed, and Inputs those of the model. Of a table
	// they are taken by name.
	Logged []ir.Logged `json:"logged"`
	Inputs []string    `json:"inputs"`

	Begin time.Time `json:"begin"`
	End   time.Time `json:"end"`

	// Requests is written with the columns of the log, and Rows with those of the model. The rows of
	// both have the same numbers, in the column [Number].
	Requests string `json:"requests"`
	Rows     string `json:"rows"`
}

// Number is the column that says which rows of two files belong together, from 0 on.
const Number = ".n"

// A Serve writes the log of the versions that answered in one period.
type Serve struct {
	Requests string    `json:"requests"` // as taken
	Answers  []Answers `json:"answers"`  // the champion, and the challenger if there is one
	Begin    time.Time `json:"begin"`
	End      time.Time `json:"end"`
	To       string    `json:"to"` // Parquet file
}

// Answers are what a version predicts for all requests, and how many of 100 it answers.
type Answers struct {
	Path   string `json:"path"` // Parquet file: [Number], prediction, probability_CLASS
	Weight int    `json:"weight"`
}

// A Cut copies the rows of a table between two times, or only looks at them if To is "". A zero
// time does not limit them.
type Cut struct {
	Table  string    `json:"table"`
	Time   string    `json:"time"` // column
	Since  time.Time `json:"since,omitzero"`
	Before time.Time `json:"before,omitzero"`
	To     string    `json:"to,omitempty"`
}

// Prepared is what was written. Without rows, it has no times.
type Prepared struct {
	Rows  int64     `json:"rows"`
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
	Notes []string  `json:"notes,omitempty"` // about requests that were left out
}

// An Ask is what a simulation, or a controller, asks tenon-duck, one after another. One of the two is set.
type Ask struct {
	Prepare *Preparation `json:"prepare,omitempty"`
	Measure *Question    `json:"measure,omitempty"`
}

// A Reply is the reply to an [Ask]. Error is set, or what was asked for.
type Reply struct {
	Prepared *Prepared `json:"prepared,omitempty"`
	Answer   *Answer   `json:"answer,omitempty"`
	Error    string    `json:"error,omitempty"`
	Full     bool      `json:"full,omitempty"` // the process has taken so much memory that another one has to answer the next Ask
}
