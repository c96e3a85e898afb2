package cloud

import (
	"path"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// Access is what a unit may do besides its log and its image. Prefixes are below the root of
// the system in the bucket and end with a slash. They may contain [AnyLineage] once.
type Access struct {
	Reads, Writes []string
	Asks          []string // units whose endpoints it may ask
	Secrets       []string // variables of secrets that it may read
	Removes       []string // prefixes of what it may remove
}

// AccessOf returns what a unit needs. What a service answers with is part of its image or
// archive, so it reads nothing.
func AccessOf(u *ir.Unit) (a Access) {
	if u.Kind != ir.Job {
		return a
	}
	a.Reads = append(a.Reads, Below(u.ID, "code"))
	if len(u.Files) > 0 {
		a.Reads = append(a.Reads, Below(u.ID, "files"))
	}
	for _, in := range u.Inputs {
		if in.Kind != ir.EndpointOf && !in.Checked {
			a.Reads = append(a.Reads, Below(in.Unit, "out", in.From))
		}
	}
	a.Writes = append(a.Writes, Below(u.ID, "notes"))
	for _, out := range u.Outputs {
		if out.Kind != ir.EndpointOf {
			a.Writes = append(a.Writes, Below(u.ID, "out", out.Port))
		}
	}
	if u.Checkpoints > 0 {
		own := Below(u.ID, "checkpoints")
		a.Reads, a.Writes, a.Removes = append(a.Reads, own), append(a.Writes, own), []string{own}
	}
	a.Asks = Asks(u)
	for _, x := range u.Secrets {
		a.Secrets = append(a.Secrets, x.Env)
	}
	for _, list := range []*[]string{&a.Reads, &a.Writes, &a.Secrets} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return a
}

// Asks returns the units whose endpoints a unit reads, each once.
func Asks(u *ir.Unit) (units []string) {
	for _, in := range u.Inputs {
		if in.Kind == ir.EndpointOf && u.Kind == ir.Job {
			units = append(units, in.Unit)
		}
	}
	slices.Sort(units)
	return slices.Compact(units)
}

// Below returns a prefix in the folder of a unit. The folder of one unit is never in that of another,
// because a label has no slash.
func Below(unit string, elements ...string) string {
	return path.Join(append([]string{"units", Label(unit)}, elements...)...) + "/"
}

// SecretVariables returns the variables of the secrets of all units of a system, sorted.
func SecretVariables(sys *ir.System) (all []string) {
	for _, u := range sys.Units {
		for _, x := range u.Secrets {
			if x.Env != "" {
				all = append(all, x.Env)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Secrets returns the variables of secrets that units may read, sorted, if they are wanted.
func Secrets(units []*ir.Unit, access func(*ir.Unit) Access, wanted func(variable string) bool) (all []string) {
	for _, u := range units {
		for _, variable := range access(u).Secrets {
			if wanted(variable) {
				all = append(all, variable)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
