package planner

import "github.com/tenon-ml/tenon/internal/money"

// Infrastructure is what an apply does to the resources of a target: what is removed [Resource.Last] after units
// ran, and everything else before.
type Infrastructure struct {
	// Unmanaged says why the plan does not look at resources. If it is set, everything else is empty.
	Unmanaged string `json:"unmanaged,omitempty"`
	Tool      string `json:"tool,omitempty"`   // "OpenTofu 1.12.6"
	Config    string `json:"config,omitempty"` // digest of Files
	// Files are the configuration, by name, from which a rollback makes a plan again.
	Files map[string]string `json:"files,omitempty"`
	// Version is that of the recorded state of resources that the plan was made against, or 0.
	Version   int64      `json:"version,omitempty"`
	Resources []Resource `json:"resources,omitempty"` // that change
	Unchanged int        `json:"unchanged,omitempty"` // how many do not
	// Beside are addresses that the tool has to look at as well when it changes all but what is removed last.
	Beside []string `json:"beside,omitempty"`
	// Standing is what the resources cost while nothing runs, or nil if that is not known of the target.
	Standing *Standing `json:"standing,omitempty"`
	// Sealed is the plan of the tool, encrypted. A recorded plan lacks it.
	Sealed []byte `json:"sealed,omitempty"`
}

// Standing is what resources cost each month because they exist. It is no part of the costs of units, and
// no budget counts it.
type Standing struct {
	Items    []StandingItem `json:"items,omitempty"`
	Currency string         `json:"currency"`
	Source   string         `json:"source"` // of the rates, with their date
}

// A StandingItem is a kind of resources.
type StandingItem struct {
	What  string        `json:"what"`            // "secrets"
	Count int64         `json:"count,omitempty"` // 0 if their number does not matter
	Month *money.Amount `json:"month,omitempty"` // of all, in billionths of the currency; nil is unknown
}

// A Resource is what happens to a resource of the infrastructure.
type Resource struct {
	Address string   `json:"address"` // "aws_s3_bucket.artifacts"
	Unit    string   `json:"unit,omitempty"`
	Action  Action   `json:"action"`
	Reasons []Reason `json:"reasons,omitempty"`
	// Outside is set if somebody else has changed or removed it since the last apply.
	Outside bool `json:"outside,omitempty"`
	// Last is set if it is removed once all units were applied, because some may use it until then.
	Last bool `json:"last,omitempty"`
}

// Changes reports whether an apply of the plan changes a resource.
func (i *Infrastructure) Changes() bool { return i != nil && len(i.Resources) > 0 }

// Count returns how many resources an action is planned for.
func (i *Infrastructure) Count(a Action) (n int) {
	for _, r := range i.Resources {
		if r.Action == a {
			n++
		}
	}
	return n
}
