package aws

import (
	"path"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// access is what a unit may do besides its log and its image. Prefixes are below the root of
// the system in the bucket and end with a slash.
type access struct {
	reads, writes []string
	asks          []string // units whose endpoints it may ask
	secrets       []string // variables of secrets that it may read
}

// accessOf returns what a unit needs. What a service answers with is part of its image or
// archive, so it reads nothing.
func accessOf(u *ir.Unit) (a access) {
	if u.Kind != ir.Job {
		return a
	}
	a.reads = append(a.reads, below(u.ID, "code"))
	if len(u.Files) > 0 {
		a.reads = append(a.reads, below(u.ID, "files"))
	}
	for _, in := range u.Inputs {
		if in.Kind != ir.EndpointOf && !in.Checked {
			a.reads = append(a.reads, below(in.Unit, "out", in.From))
		}
	}
	a.writes = append(a.writes, below(u.ID, "notes"))
	for _, out := range u.Outputs {
		if out.Kind != ir.EndpointOf {
			a.writes = append(a.writes, below(u.ID, "out", out.Port))
		}
	}
	a.asks = asks(u)
	for _, x := range u.Secrets {
		a.secrets = append(a.secrets, x.Env)
	}
	for _, list := range []*[]string{&a.reads, &a.writes, &a.secrets} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return a
}

// asks returns the units whose endpoints a unit reads, each once.
func asks(u *ir.Unit) (units []string) {
	for _, in := range u.Inputs {
		if in.Kind == ir.EndpointOf && u.Kind == ir.Job {
			units = append(units, in.Unit)
		}
	}
	slices.Sort(units)
	return slices.Compact(units)
}

// below returns a prefix in the folder of a unit. The folder of one unit is never in that of another,
// because a label has no slash.
func below(unit string, elements ...string) string {
	return path.Join(append([]string{"units", label(unit)}, elements...)...) + "/"
}
