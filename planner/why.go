package planner

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// why compares the unit with what is deployed: first its definition, then its inputs.
func (m *maker) why(l *look) ([]Reason, error) {
	if l.current == nil {
		return append([]Reason{{What: "new"}}, m.changingInputs(l)...), nil
	}
	old, err := m.applied(l.u.ID)
	if err != nil {
		return nil, err
	}
	var out []Reason
	if old != nil {
		out = m.inFields(l.u, diffUnits(old, l.u))
	}
	if l.current.Definition != l.u.Digest && len(out) == 0 {
		out = append(out, Reason{What: "definition", Before: short(l.current.Definition), After: short(l.u.Digest)})
	}
	prior, err := m.priorInputs(l)
	if err != nil {
		return nil, err
	}
	read, err := m.diffInputs(l, prior)
	if err != nil {
		return nil, err
	}
	out = append(append(out, read...), m.changingInputs(l)...)
	if len(out) == 0 {
		out = []Reason{{What: "it has no recorded run"}}
	}
	return out, nil
}

// inFields replaces fields of the unit with the fields that the user wrote.
func (m *maker) inFields(u *ir.Unit, reasons []Reason) []Reason {
	e := m.entities[u.Entity]
	if e == nil {
		return reasons
	}
	for i := range reasons {
		if field := e.Field(u.ID, reasons[i].What); field != "" {
			reasons[i].What, reasons[i].At = field, e.Place(field)
		}
	}
	return reasons
}

// diffInputs compares the inputs of the unit with those of its previous run.
func (m *maker) diffInputs(l *look, prior map[string]string) ([]Reason, error) {
	if prior == nil {
		return nil, nil
	}
	names := maps.Clone(prior)
	maps.Copy(names, l.inputs)
	var out []Reason
	for _, name := range slices.Sorted(maps.Keys(names)) {
		before, was := prior[name]
		after, is := l.inputs[name]
		advisory := slices.ContainsFunc(l.u.Inputs, func(i ir.Input) bool { return i.Port == name && i.Advisory })
		if before == after && was == is || slices.Contains(l.unknown, name) || advisory {
			continue
		}
		if in := l.u.Inputs; was && is {
			// What is behind an endpoint has no digest that a reader knows.
			if i := slices.IndexFunc(in, func(i ir.Input) bool { return i.Port == name && i.Kind == ir.EndpointOf }); i >= 0 {
				out = append(out, Reason{What: "input " + name + " changes", After: in[i].Unit})
				continue
			}
		}
		file, isFile := strings.CutPrefix(name, filePrefix)
		ref, isImage := strings.CutPrefix(name, imagePrefix)
		base, isBase := strings.CutPrefix(name, basePrefix)
		_, isPython := strings.CutPrefix(name, pythonPrefix)
		switch {
		case isPython && is && (was || baseOf(l.inputs) == ""): // otherwise the definition or the base says it
			out = append(out, Reason{What: "python", Before: cmp.Or(before, "not recorded"), After: after})
		case isPython:
		case isBase && was && is:
			out = append(out, Reason{What: "base image " + base, Before: pinned(before), After: pinned(after)})
		case isBase && is:
			out = append(out, Reason{What: "base image", Before: otherBase(prior), After: base + " " + pinned(after)})
		case isBase && baseOf(l.inputs) == "":
			out = append(out, Reason{What: "base image", Before: base + " " + pinned(before), After: noBase})
		case isBase: // another one, which is reported under its name
		case isImage && was && is: // otherwise the unit names another image, which the definition reports
			out = append(out, Reason{What: "image " + ref, Before: pinned(before), After: pinned(after)})
		case isImage:
		case isFile && !was:
			out = append(out, Reason{What: "file " + file + " is new", After: short(after)})
		case isFile && !is:
			out = append(out, Reason{What: "file " + file + " is gone", Before: short(before)})
		case isFile:
			out = append(out, Reason{What: "file " + file, Before: short(before), After: short(after)})
		case was && is: // otherwise the port itself was added or removed, which the definition reports
			b, err := m.recorded(before)
			if err != nil {
				return nil, err
			}
			a, err := m.recorded(after)
			if err != nil {
				return nil, err
			}
			out = append(out, Reason{What: "input " + name, Before: b, After: a})
		}
	}
	return out, nil
}

// noBase stands for the base image of a run without one, on local processes.
const noBase = "none"

// otherBase names the base image of a run.
func otherBase(inputs map[string]string) string {
	name := baseOf(inputs)
	if name == "" {
		return noBase
	}
	return strings.TrimPrefix(name, basePrefix) + " " + pinned(inputs[name])
}

// changingInputs names the inputs that are not known yet, and which units make them.
func (m *maker) changingInputs(l *look) []Reason {
	var out []Reason
	for _, in := range l.u.Inputs {
		if !in.Incumbent && slices.Contains(l.unknown, in.Port) {
			out = append(out, Reason{What: "input " + in.Port + " changes", After: in.Unit})
		}
	}
	for _, name := range l.unknown {
		if version, ok := Interpreter(name); ok {
			out = append(out, Reason{What: "python " + version + " is not found here: its exact version is not known"})
		}
	}
	return out
}

// recorded describes an artifact by what the state knows about it.
func (m *maker) recorded(digest string) (string, error) {
	if digest == "" {
		return "none", nil
	}
	a, err := m.in.State.Artifact(m.ctx, digest)
	if errors.Is(err, state.ErrNotFound) {
		return short(digest), nil
	}
	return describe(a), err
}

func describe(a artifact.Artifact) string {
	if a.Kind == string(ir.Table) {
		return fmt.Sprintf("%d rows, %s", a.Rows, short(a.Digest))
	}
	return short(a.Digest)
}

// pinned returns a short form of the digest in an image reference.
func pinned(ref string) string {
	_, digest, ok := strings.Cut(ref, "@")
	if !ok {
		return "not known"
	}
	return short(digest)
}

// short returns a prefix of a digest that is long enough to compare by eye.
func short(digest string) string {
	d := strings.TrimPrefix(digest, "sha256:")
	return d[:min(len(d), 12)]
}

func shorts(digests []string) (all []string) {
	for _, d := range digests {
		all = append(all, short(d))
	}
	return all
}
