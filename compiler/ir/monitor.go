package ir

import (
	"time"

	"github.com/tenon-ml/tenon/internal/money"
)

// A Monitor says what is measured of a deployment, or of a table, while a system runs. One of Drift, Quality,
// Service, Freshness and Cost is set.
type Monitor struct {
	Deployment string        `json:"deployment"` // unit of the service that keeps the requests; "" for Freshness
	Every      time.Duration `json:"every_ns"`   // from one measurement to the next
	Window     time.Duration `json:"window_ns"`  // of the requests
	MinRows    int64         `json:"min_rows"`   // below which there is no verdict
	By         []Logged      `json:"by,omitempty"`
	Severity   string        `json:"severity"` // label of alerts: "ticket" or "page"
	Drift      *Drift        `json:"drift,omitempty"`
	Quality    *Quality      `json:"quality,omitempty"`
	Service    *ServiceLevel `json:"service,omitempty"`
	Freshness  *Freshness    `json:"freshness,omitempty"`
	Cost       *Cost         `json:"cost,omitempty"`
}

// Of is the unit that is measured.
func (m *Monitor) Of() string {
	if m.Freshness != nil {
		return m.Freshness.Table
	}
	return m.Deployment
}

// Inputs of a unit with a [Monitor].
const (
	MonitorReference = "reference" // the rows that the model was trained on
	MonitorLabels    = "labels"
)

// Delay is how long after a request it is measured: until then its label may still come.
func (m *Monitor) Delay() time.Duration {
	if m.Quality != nil {
		return m.Quality.Within
	}
	return 0
}

// A ServiceLevel compares requests in the audit log of a deployment with objectives. The window of the monitor is
// the period of the objectives.
type ServiceLevel struct {
	Objectives []Objective `json:"objectives"`
}

// An Objective is the share of requests that has to be good. A request is bad if it failed with a status
// of 5xx; if Slower is set, if it took longer than that; and if Refused is set, if it was refused with 429.
type Objective struct {
	Name    string        `json:"name"`   // "availability", "latency p99"
	Target  float64       `json:"target"` // between 0 and 1
	Slower  time.Duration `json:"slower_ns,omitempty"`
	Refused bool          `json:"refused,omitempty"`
}

// Freshness measures how old the data of a table is.
type Freshness struct {
	Table string `json:"table"` // unit
	// Column has the time of each row. Without one, the data is as old as its last change.
	Column *Column       `json:"column,omitempty"`
	Max    time.Duration `json:"max_ns"`
}

// Cost limits what a deployment costs. At least one of the limits is set.
type Cost struct {
	Entities      []string      `json:"entities"`                 // the deployment, and the models that it answers with
	PerDay        *money.Amount `json:"per_day,omitempty"`        // of all of them
	PerPrediction *money.Amount `json:"per_prediction,omitempty"` // of the deployment
	Currency      string        `json:"currency"`
}

// A Logged is a column of the request log, see package requestlog.
type Logged struct {
	Name string `json:"name"` // of the column of the request, or of the model
	Log  string `json:"log"`  // of the column in the log: "request.hour"
	Type string `json:"type"` // one of [Types]
}

// Drift compares columns of requests with those of the reference, which have the same names.
type Drift struct {
	Columns    []Compared `json:"columns"`
	Alpha      float64    `json:"alpha"`
	Correction string     `json:"correction"` // of package measure
	MinVolume  int64      `json:"min_volume,omitempty"`
	MaxVolume  int64      `json:"max_volume,omitempty"`
}

// A Compared is a column that is compared. Limits that are nil were not declared.
type Compared struct {
	Logged
	Test       string   `json:"test,omitempty"` // of package measure; "" is its default
	Max        *float64 `json:"max,omitempty"`
	MaxNulls   *float64 `json:"max_nulls,omitempty"`
	MaxOutside *float64 `json:"max_outside,omitempty"`
	MaxNew     *float64 `json:"max_new,omitempty"`
}

// Quality compares predictions with labels.
type Quality struct {
	Task      string   `json:"task"`   // of the model
	Label     Column   `json:"label"`  // of the table of labels
	Labels    []Column `json:"labels"` // its columns that Join names, in that order
	Timestamp Column   `json:"timestamp"`
	Join      []Logged `json:"join"` // columns of the log, in the order of Labels
	// Within is how long after its request a label may become known.
	Within time.Duration `json:"within_ns"`
	// Binary says that the label is a bool, of which true is the positive class.
	Binary bool            `json:"binary,omitempty"`
	Gates  map[string]Gate `json:"gates,omitempty"` // by metric
}

// A Gate is limits of a metric.
type Gate struct {
	Min *float64 `json:"min,omitempty"`
	Max *float64 `json:"max,omitempty"`
}
