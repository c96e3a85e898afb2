package compiler

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cuelang.org/go/cue"
	cueerrors "cuelang.org/go/cue/errors"

	"github.com/tenon-ml/tenon/internal/diag"
)

// mostState is the largest file with outputs of another state, in bytes.
const mostState = 64 << 20

// existing replaces `terraform` in the settings of a target: the outputs of another state become settings of
// `existing`, or hosts, as if they were written there.
func (c *checker) existing(target string, settings map[string]any) {
	from, ok := settings["terraform"].(map[string]any)
	if !ok {
		return
	}
	delete(settings, "terraform")
	state, _ := from["state"].(string)
	names, _ := from["outputs"].(map[string]any)
	at := []string{"targets", target, "terraform"}
	outputs, err := c.outputs(state)
	if err != nil {
		hint := "write them with `tofu output -json > outputs.json`, or name a state in a file"
		if isURL(state) {
			hint = "check the URL and the credentials, or write the outputs into a file: `tofu output -json > outputs.json`"
		}
		c.fault(diag.Diagnostic{
			Message: fmt.Sprintf("the outputs %s of %s cannot be read for targets.%s: %v", strings.Join(outputsNamed(names), ", "), stateName(state), target, err),
			Spans:   []diag.Span{c.sys.At("", append(at, "state")...)},
			Hint:    hint,
		})
		return
	}
	fill := &filler{checker: c, target: target, state: stateName(state), outputs: outputs}
	if host, ok := from["host"].(map[string]any); ok {
		fill.hosts(settings, host, names)
		return
	}
	to, _ := settings["existing"].(map[string]any)
	if to == nil {
		to = map[string]any{}
	}
	fill.fill(to, names, nil)
	settings["existing"] = to
}

// outputsNamed returns the names of the outputs that settings are filled with, sorted.
func outputsNamed(settings map[string]any) (names []string) {
	for _, x := range settings {
		switch x := x.(type) {
		case string:
			names = append(names, x)
		case map[string]any:
			names = append(names, outputsNamed(x)...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// isURL reports whether a state is not in a file of the system.
func isURL(state string) bool { return strings.Contains(state, "://") }

// stateName returns how messages name a state: a URL without its settings, which may have secrets.
func stateName(state string) string {
	if isURL(state) {
		state, _, _ = strings.Cut(state, "?")
		if scheme, rest, _ := strings.Cut(state, "://"); strings.Contains(rest, "@") {
			state = scheme + "://" + rest[strings.LastIndex(rest, "@")+1:]
		}
	}
	return filepath.ToSlash(state)
}

// A filler fills settings of `existing` with outputs.
type filler struct {
	*checker
	target, state string
	outputs       map[string]output
}

// An output is one of Terraform.
type output struct {
	Value     any  `json:"value"`
	Sensitive bool `json:"sensitive"`
}

// fill sets what names says, which are those of outputs by setting.
func (f *filler) fill(to, names map[string]any, path []string) {
	for _, setting := range slices.Sorted(maps.Keys(names)) {
		at := append(slices.Clone(path), setting)
		if inner, ok := names[setting].(map[string]any); ok {
			next, _ := to[setting].(map[string]any)
			if next == nil {
				next = map[string]any{}
			}
			f.fill(next, inner, at)
			to[setting] = next
			continue
		}
		name, _ := names[setting].(string)
		if _, both := to[setting]; both {
			f.refuse(at, fmt.Sprintf("existing.%s is given, and by the output %s too", strings.Join(at, "."), name), "remove one of the two")
			continue
		}
		value, ok := f.value(at, name, "`existing` has names and ARNs, and no values of secrets")
		if !ok {
			continue
		}
		if err := f.fits(at, value); err != nil {
			why := firstOf(err)
			if at[0] == "secrets" { // it may be the secret itself
				why = "it is not the name of a secret"
			}
			f.refuse(at, fmt.Sprintf("the output %s of %s does not fit existing.%s: %s", name, f.state, strings.Join(at, "."), why), "name another output, or change its value there")
			continue
		}
		to[setting] = value
	}
}

// value returns the value of an output that a setting names, or reports why it cannot be used. has is what the setting
// has instead of secrets.
func (f *filler) value(at []string, name, has string) (any, bool) {
	o, ok := f.outputs[name]
	switch {
	case !ok:
		f.refuse(at, fmt.Sprintf("%s has no output %q", f.state, name), diag.DidYouMean(name, slices.Sorted(maps.Keys(f.outputs))))
	case o.Sensitive:
		f.refuse(at, fmt.Sprintf("the output %s of %s is sensitive, and the plan would show it", name, f.state), "name an output that may be seen: "+has)
		return nil, false
	}
	return o.Value, ok
}

func (f *filler) refuse(at []string, message, hint string) {
	f.fault(diag.Diagnostic{
		Message: message,
		Spans:   []diag.Span{f.sys.At("", append([]string{"targets", f.target, "terraform", "outputs"}, at...)...)},
		Hint:    hint,
	})
}

// fits compares a value with the type that the library gives the setting.
func (f *filler) fits(at []string, value any) error {
	sels := []cue.Selector{cue.Str("existing")}
	for _, p := range at {
		sels = append(sels, cue.Str(p))
	}
	v := f.sys.Lookup("targets", f.target).FillPath(cue.MakePath(sels...), value)
	return v.LookupPath(cue.MakePath(sels...)).Validate(cue.Concrete(true))
}

// firstOf returns the first error of CUE, without its path.
func firstOf(err error) string {
	format, args := cueerrors.Errors(err)[0].Msg()
	return fmt.Sprintf(format, args...)
}

// content reads a state in a file, or at a URL.
func (c *checker) content(state string) ([]byte, error) {
	if isURL(state) {
		if c.options.State == nil {
			return nil, errors.New("states at URLs are not read here")
		}
		c.options.Tracker.Cannot("the state " + stateName(state) + " may change at any time")
		return c.options.State(c.ctx, state, mostState)
	}
	at := c.onDisk(state)
	f, err := os.Open(at)
	if errors.Is(err, os.ErrNotExist) {
		c.options.Tracker.Absent(at)
		return nil, errors.New("there is no such file")
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, mostState+1))
	if err != nil {
		return nil, err
	}
	if len(content) > mostState {
		return nil, errors.New("it has more than 64 MiB")
	}
	c.options.Tracker.File(at, content)
	return content, nil
}

// outputs reads the outputs of a state, or those that `tofu output -json` has printed.
func (c *checker) outputs(from string) (map[string]output, error) {
	content, err := c.content(from)
	if err != nil {
		return nil, err
	}
	var state struct {
		Version   *int              `json:"version"`
		Outputs   map[string]output `json:"outputs"`
		Encrypted json.RawMessage   `json:"encrypted_data"`
	}
	// An output may be named as a field of a state is, and is an object then.
	if err := json.Unmarshal(content, &state); err == nil && state.Encrypted != nil {
		return nil, errors.New("it is encrypted: let the pipeline that has the key write its outputs into a file, with `tofu output -json`")
	} else if err == nil && state.Version != nil {
		if *state.Version != 4 {
			return nil, fmt.Errorf("it is a state of version %d, and tenon reads version 4", *state.Version)
		}
		return state.Outputs, nil
	}
	var plain map[string]output
	if err := json.Unmarshal(content, &plain); err != nil {
		return nil, fmt.Errorf("it has neither a state nor outputs: %w", err)
	}
	return plain, nil
}
