package ir

import "time"

// A Release is how a new version of a service, the challenger, replaces the current one, the
// champion. Both answer until the last step.
type Release struct {
	// Steps are percentages of requests that the challenger answers, ascending. It becomes the
	// champion at the end of a step of 100. Without one, the last step lasts until somebody decides.
	Steps []int         `json:"steps"`
	Each  time.Duration `json:"each_ns"` // how long a step lasts at least
	// Shadow is the fraction of requests that the challenger also computes, without answering,
	// for one step before the first. 0 means that there is no such step.
	Shadow float64 `json:"shadow,omitempty"`
	// By is the column of a request whose value decides on the version, see [step.Route].
	By    string `json:"by,omitempty"`
	Judge Judge  `json:"judge,omitzero"`
	Edge  Edge   `json:"edge,omitzero"`
}

// An Edge is what a service does for whoever asks it. It belongs to the process, and so to all
// versions in it: that of the challenger holds from the first step on.
type Edge struct {
	Params []string `json:"params,omitempty"`
	// Identifies are parameters, as paths, with one of which callers have to show who they are.
	Identifies []string `json:"identifies,omitempty"`
	Secrets    []string `json:"secrets,omitempty"` // by name
}

// A Judge decides whether a challenger may take the next step. Limits that are nil are not checked.
type Judge struct {
	ErrorRate    *float64      `json:"error_rate,omitempty"`   // highest fraction of its requests that fail, with a status of 5xx
	P99          time.Duration `json:"p99_ns,omitempty"`       // highest 99th percentile of its latency; 0 is no limit
	Disagreement *float64      `json:"disagreement,omitempty"` // highest fraction of rows for which it and the champion differ
	// Requests is how many requests it has to answer (or compute, as a shadow) in a step before it is judged. The step lasts until then.
	Requests int64 `json:"requests,omitempty"`
	// Within is the longest time that a step lasts without these requests. Then Otherwise is done: its
	// challenger is rejected ("abort"), or takes the next step ("next"). With 0 it waits.
	Within    time.Duration `json:"within_ns,omitempty"`
	Otherwise string        `json:"otherwise,omitempty"`
}
