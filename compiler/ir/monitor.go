package ir

import "time"

// A Monitor says what is measured of a deployment while it runs. Drift or Quality is set.
type Monitor struct {
	Deployment string        `json:"deployment"` // unit of the service that keeps the requests
	Every      time.Duration `json:"every_ns"`   // from one measurement to the next
	Window     time.Duration `json:"window_ns"`  // of the requests
	MinRows    int64         `json:"min_rows"`   // below which there is no verdict
	By         []Logged      `json:"by,omitempty"`
	Severity   string        `json:"severity"` // label of alerts: "ticket" or "page"
	Drift      *Drift        `json:"drift,omitempty"`
	Quality    *Quality      `json:"quality,omitempty"`
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
