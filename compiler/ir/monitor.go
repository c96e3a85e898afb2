package ir

import (
	"time"

	"github.com/tenon-ml/tenon/internal/money"
)

// A Monitor says what is measured of a deployment, or of a table, while a system runs. One of Drift, Quality,
// Metric, Experiment, Service, Freshness and Cost is set.
type Monitor struct {
	Deployment string        `json:"deployment"` // unit of the service that keeps the requests; "" for Freshness
	Every      time.Duration `json:"every_ns"`   // from one measurement to the next
	Window     time.Duration `json:"window_ns"`  // of the requests
	MinRows    int64         `json:"min_rows"`   // below which there is no verdict
	By         []Logged      `json:"by,omitempty"`
	Severity   string        `json:"severity"` // label of alerts: "ticket" or "page"
	Drift      *Drift        `json:"drift,omitempty"`
	Quality    *Quality      `json:"quality,omitempty"`
	Metric     *Metric       `json:"metric,omitempty"`
	Experiment *Experiment   `json:"experiment,omitempty"`
	Service    *ServiceLevel `json:"service,omitempty"`
	Freshness  *Freshness    `json:"freshness,omitempty"`
	Cost       *Cost         `json:"cost,omitempty"`
	Notify     []Receiver    `json:"notify,omitempty"`
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
	MonitorReference = "reference" // the rows that the model was trained on, or predictions for others
	MonitorLabels    = "labels"    // or outcomes
	MonitorModel     = "model"     // whose predictions the reference has
)

// Delay is how long after a request it is measured: until then its label may still come.
func (m *Monitor) Delay() time.Duration {
	switch {
	case m.Quality != nil:
		return m.Quality.Within
	case m.Metric != nil:
		return m.Metric.delay()
	case m.Experiment != nil:
		return m.Experiment.Metric.delay()
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

// Drift compares columns of requests with those of the reference, which have the same names, or what was
// answered with what was predicted or answered elsewhere.
type Drift struct {
	Columns []Compared `json:"columns"`
	// Answers says that the columns are those of answers: a prediction and a probability.
	Answers bool `json:"answers,omitempty"`
	// Previous says that the reference is the window before. Without it, the reference of answers are
	// predictions of one model, and only what that answered is compared.
	Previous bool `json:"previous,omitempty"`
	// Source is the unit of the table whose rows are the reference of what callers send; "" if the reference
	// are the training rows of a model.
	Source string `json:"source,omitempty"`
	// MaxFallbacks is the highest share of answers by a fallback, from 0 to 1; nil is no limit.
	MaxFallbacks *float64 `json:"max_fallbacks,omitempty"`

	Alpha      float64 `json:"alpha"`
	Correction string  `json:"correction"` // of package measure
	MinVolume  int64   `json:"min_volume,omitempty"`
	MaxVolume  int64   `json:"max_volume,omitempty"`
}

// A Compared is a column that is compared. Limits that are nil were not declared.
type Compared struct {
	Logged
	Of         string   `json:"of,omitempty"`   // name of the column in the reference; "" is the same
	Test       string   `json:"test,omitempty"` // of package measure; "" is its default
	Max        *float64 `json:"max,omitempty"`
	MaxNulls   *float64 `json:"max_nulls,omitempty"`
	MaxOutside *float64 `json:"max_outside,omitempty"`
	MaxNew     *float64 `json:"max_new,omitempty"`
}

// Quality compares predictions with labels.
type Quality struct {
	Task  string `json:"task"`  // of the model
	Label Column `json:"label"` // of the table of labels
	Joined
	// Binary says that the label is a bool, of which true is the positive class.
	Binary bool            `json:"binary,omitempty"`
	Gates  map[string]Gate `json:"gates,omitempty"` // by metric
}

// Joined says which row of a table of labels, or of outcomes, belongs to which request: the first one
// that becomes known from the request on.
type Joined struct {
	Labels    []Column `json:"labels"` // columns of the table that Join names, in that order
	Timestamp Column   `json:"timestamp"`
	Join      []Logged `json:"join"` // columns of the log, in the order of Labels
	// Within is how long after its request a row of the table may become known.
	Within time.Duration `json:"within_ns"`
}

// A Metric sums up a value of each row that was answered. The texts are expressions of SQL over one row of
// the tables "requests" and "responses", and of the outcomes that belong to it, "outcomes".
type Metric struct {
	Value     string `json:"value"`           // a number, or a bool that counts as 0 or 1
	Per       string `json:"per,omitempty"`   // of the same types, for a ratio
	Where     string `json:"where,omitempty"` // a bool about the request: other rows do not count
	Aggregate string `json:"aggregate"`       // of package measure
	// Columns are those of the log that the texts name. Their table follows from the prefix in the log.
	Columns []Logged `json:"columns,omitempty"`
	// Outcomes is set if the texts name columns of a table with outcomes, which are OutcomeColumns.
	Outcomes       *Joined  `json:"outcomes,omitempty"`
	OutcomeColumns []Column `json:"outcome_columns,omitempty"`
	Gate
}

func (m *Metric) delay() time.Duration {
	if m.Outcomes != nil {
		return m.Outcomes.Within
	}
	return 0
}

// An Experiment compares a metric of the challenger of a release with that of the champion, in each step.
type Experiment struct {
	Of     string  `json:"of"` // unit of the monitor with the metric
	Metric *Metric `json:"metric"`
	// Unit is the column by whose values a request gets its version, or nil if each request gets one of
	// its own.
	Unit    *Logged       `json:"unit,omitempty"`
	Observe time.Duration `json:"observe_ns,omitempty"` // how long a unit counts from its first request on
	Horizon time.Duration `json:"horizon_ns"`           // of a step, at which it is over
	// Alpha is the probability of ever finding a difference in a release where there is none. Each of
	// the steps gets an equal part of it.
	Alpha     float64 `json:"alpha"`
	Power     float64 `json:"power"`      // with which a plan finds MinEffect
	MinEffect float64 `json:"min_effect"` // in the unit of the metric
	MinUnits  int64   `json:"min_units"`  // of each version
	Expected  int64   `json:"expected_units"`
	Lower     bool    `json:"lower,omitempty"` // less is better
	// Steps are the percentages of the challenger in which both versions answer.
	Steps []int `json:"steps"`
}

// A Gate is limits of a metric.
type Gate struct {
	Min *float64 `json:"min,omitempty"`
	Max *float64 `json:"max,omitempty"`
}
