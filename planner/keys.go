package planner

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

// candidatePort is the port whose artifact an incumbent must differ from.
const candidatePort = "model"

// Sources provides what units read. The planner and the walk both compute run keys
// through it, so that a key means the same to both.
type Sources struct {
	// Output returns the digest of what the unit has on that output port, or "" while it
	// is unknown. For a port of kind endpoint it is the [EndpointDigest] of the unit's
	// key, which is known before the unit is up.
	Output func(unit, port string) string
	// Incumbent returns the digest of the registered version of the model that the candidate
	// has to beat, or "" if there is none, see [IncumbentDigest].
	Incumbent func(model, candidate string) (string, error)
	// Files holds the digests of data files by path, see [Files].
	Files map[string]string
	// Images maps images to their references by digest, see [Plan]. A missing image
	// enters the key under its own reference.
	Images map[string]string
	// Base is the image of the target on which units run that name none, or "".
	Base string
	// Python maps the versions of Python that units name to those of the interpreters
	// that run them, see [Plan]. Nil means that they enter no key.
	Python map[string]string
}

// Prefixes of the names of inputs that are no ports.
const (
	filePrefix   = "file:"   // and the path of a data file
	imagePrefix  = "image:"  // and the image that a unit names
	basePrefix   = "base:"   // and the image of the target that it runs in otherwise
	pythonPrefix = "python:" // and the version of Python that it names
)

// Inputs returns what u reads: digests by port, by "file:" and path for its data files,
// by "image:" and reference for the image that it names, or by "base:" for that of the
// target; and by "python:" the exact version of the interpreter of a job. unknown lists the
// names of what enters the run key and is not known yet; the key is only known if it is
// empty.
func (s Sources) Inputs(u *ir.Unit, files []string) (inputs map[string]string, unknown []string, err error) {
	inputs = make(map[string]string, len(u.Inputs)+len(files))
	for _, in := range u.Inputs {
		digest := ""
		if in.Incumbent {
			var known bool
			if digest, known, err = s.incumbent(u, in); err != nil {
				return nil, nil, err
			}
			if known {
				inputs[in.Port] = digest
				continue
			}
		} else {
			digest = s.Output(in.Unit, in.From)
		}
		if digest == "" {
			if !in.Advisory {
				unknown = append(unknown, in.Port)
			}
			continue
		}
		inputs[in.Port] = digest
	}
	for _, f := range files {
		digest, ok := s.Files[f]
		if !ok {
			return nil, nil, fmt.Errorf("%s reads %s, whose digest is not given", u.ID, f)
		}
		inputs[filePrefix+f] = digest
	}
	if ref := u.Code.Image; ref != "" {
		inputs[imagePrefix+ref] = cmp.Or(s.Images[ref], ref)
	} else if s.Base != "" && u.Kind != ir.Record {
		inputs[basePrefix+s.Base] = cmp.Or(s.Images[s.Base], s.Base)
	}
	if v := u.Code.Python; s.Python != nil && v != "" && u.Code.Image == "" && u.Kind == ir.Job {
		switch exact := s.Python[v]; {
		case exact != "":
			inputs[pythonPrefix+v] = exact
		case s.Base == "": // the digest of a base says it as well
			unknown = append(unknown, pythonPrefix+v)
		}
	}
	return inputs, unknown, nil
}

// SharedKey returns the key under which the other kind of target, with a base image or
// without, records the run that gives the same bytes, or "". inputs are those of the unit
// here, current those of its current run.
//
// A base gives a job its interpreter, whose exact version is an input, and the C library.
// Packages are locked by digest, and what Tenon runs itself brings its code along. A
// command may run any program of the base, or of the machine: its results are not shared.
func SharedKey(u *ir.Unit, inputs, current map[string]string) string {
	if u.Kind != ir.Job || u.Code.Runtime == ir.Command {
		return ""
	}
	if v := u.Code.Python; v != "" && inputs[pythonPrefix+v] == "" {
		return "" // nobody knows whether it is the same
	}
	other := maps.Clone(inputs)
	if here, there := baseOf(inputs), baseOf(current); here != "" {
		delete(other, here)
	} else if there != "" && current[pythonPrefix+u.Code.Python] == inputs[pythonPrefix+u.Code.Python] {
		other[there] = current[there]
	} else {
		return ""
	}
	return RunKey(u, other)
}

// baseOf returns the name of the input with the base image, or "".
func baseOf(inputs map[string]string) string {
	for name := range inputs {
		if strings.HasPrefix(name, basePrefix) {
			return name
		}
	}
	return ""
}

// Interpreter returns the version of Python that an unknown input stands for, see
// [Sources.Inputs].
func Interpreter(input string) (version string, ok bool) {
	return strings.CutPrefix(input, pythonPrefix)
}

// RunKey returns the run key of a unit with these inputs, see [Sources.Inputs]. The digest
// of a base says which Python it has, so the key is known even where the version is not.
func RunKey(u *ir.Unit, inputs map[string]string) string {
	based := baseOf(inputs) != ""
	left := func(name, _ string) bool {
		return based && strings.HasPrefix(name, pythonPrefix) ||
			slices.ContainsFunc(u.Inputs, func(in ir.Input) bool { return in.Advisory && in.Port == name })
	}
	for name := range inputs {
		if left(name, "") { // seldom: most keys cover all inputs
			inputs = maps.Clone(inputs)
			maps.DeleteFunc(inputs, left)
			break
		}
	}
	return ir.RunKey(u.Digest, inputs)
}

func (s Sources) incumbent(u *ir.Unit, in ir.Input) (digest string, known bool, err error) {
	for _, c := range u.Inputs {
		if c.Port != candidatePort || c.Incumbent {
			continue
		}
		candidate := s.Output(c.Unit, c.From)
		if candidate == "" {
			return "", false, nil
		}
		model, _ := ir.SplitID(c.Unit)
		if digest, err = s.Incumbent(model, candidate); err != nil {
			return "", false, fmt.Errorf("incumbent for %s: %w", u.ID, err)
		}
		return digest, true, nil
	}
	return "", false, fmt.Errorf("%s needs an incumbent on port %s but has no candidate on port %s", u.ID, in.Port, candidatePort)
}

// IncumbentDigest represents an incumbent in the run keys of the units that use it. One
// whose artifact is lost is not the same as one that is there, nor as none.
func IncumbentDigest(v *state.ModelVersion, there func(digest string) bool) string {
	switch {
	case v == nil:
		return ""
	case there(v.Digest):
		return v.Digest
	}
	return ir.Sum([]byte("lost " + v.Digest))
}

// EndpointDigest represents the endpoint of a service in the run keys of the units that
// use it. It changes with anything the service is made from, but not when the service is
// merely restarted.
func EndpointDigest(key string) string { return ir.Sum([]byte("endpoint " + key)) }
