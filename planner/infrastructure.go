package planner

// Infrastructure is what an apply does to the resources of a target, before units run.
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
	// Sealed is the plan of the tool, encrypted. A recorded plan lacks it.
	Sealed []byte `json:"sealed,omitempty"`
}

// A Resource is what happens to a resource of the infrastructure.
type Resource struct {
	Address string   `json:"address"` // "aws_s3_bucket.artifacts"
	Unit    string   `json:"unit,omitempty"`
	Action  Action   `json:"action"`
	Reasons []Reason `json:"reasons,omitempty"`
	// Outside is set if somebody else has changed or removed it since the last apply.
	Outside bool `json:"outside,omitempty"`
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
