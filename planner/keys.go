package planner

import (
	"cmp"
	"fmt"
	"maps"

	"github.com/tenon-ml/tenon/compiler/ir"
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
	// Incumbent returns the digest of the newest registered version of the
	// model that is not the candidate, or "" if there is none.
	Incumbent func(model, candidate string) (string, error)
	// Files holds the digests of data files by path, see [Files].
	Files map[string]string
	// Images maps images to their references by digest, see [Plan]. A missing image
	// enters the key under its own reference.
	Images map[string]string
}

// Inputs returns what u reads: digests by port, by "file:" and path for its data files,
// and by "image:" and reference for the image that it names. unknown lists the ports that
// enter the run key and whose digest is not known yet; the key is only known if it is
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
		inputs["file:"+f] = digest
	}
	if ref := u.Code.Image; ref != "" {
		inputs["image:"+ref] = cmp.Or(s.Images[ref], ref)
	}
	return inputs, unknown, nil
}

// RunKey returns the run key of a unit with these inputs, see [Sources.Inputs].
func RunKey(u *ir.Unit, inputs map[string]string) string {
	keyed := maps.Clone(inputs)
	for _, in := range u.Inputs {
		if in.Advisory {
			delete(keyed, in.Port)
		}
	}
	return ir.RunKey(u.Digest, keyed)
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

// EndpointDigest represents the endpoint of a service in the run keys of the units that
// use it. It changes with anything the service is made from, but not when the service is
// merely restarted.
func EndpointDigest(key string) string { return ir.Sum([]byte("endpoint " + key)) }
