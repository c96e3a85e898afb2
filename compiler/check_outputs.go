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
// `existing`, as if they were written there.
func (c *checker) existing(target string, settings map[string]any) {
	from, ok := settings["terraform"].(map[string]any)
	if !ok {
		return
	}
	delete(settings, "terraform")
	file, _ := from["state"].(string)
	at := []string{"targets", target, "terraform"}
	outputs, err := c.outputs(file)
	if err != nil {
		c.fault(diag.Diagnostic{
			Message: fmt.Sprintf("the outputs for targets.%s cannot be read: %v", target, err),
			Spans:   []diag.Span{c.sys.At("", append(at, "state")...)},
			Hint:    "write them with `tofu output -json > outputs.json`, or name a state in a file",
		})
		return
	}
	to, _ := settings["existing"].(map[string]any)
	if to == nil {
		to = map[string]any{}
	}
	names, _ := from["outputs"].(map[string]any)
	fill := &filler{checker: c, target: target, file: file, outputs: outputs}
	fill.fill(to, names, nil)
	settings["existing"] = to
}

// A filler fills settings of `existing` with outputs.
type filler struct {
	*checker
	target, file string
	outputs      map[string]output
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
		o, ok := f.outputs[name]
		switch {
		case !ok:
			f.refuse(at, fmt.Sprintf("%s has no output %q", f.file, name), diag.DidYouMean(name, slices.Sorted(maps.Keys(f.outputs))))
		case o.Sensitive:
			f.refuse(at, fmt.Sprintf("the output %s of %s is sensitive, and the plan would show it", name, f.file), "name an output that may be seen: `existing` has names and ARNs, and no values of secrets")
		default:
			if err := f.fits(at, o.Value); err != nil {
				why := firstOf(err)
				if at[0] == "secrets" { // it may be the secret itself
					why = "it is not the name of a secret"
				}
				f.refuse(at, fmt.Sprintf("the output %s of %s does not fit existing.%s: %s", name, f.file, strings.Join(at, "."), why), "name another output, or change its value there")
				continue
			}
			to[setting] = o.Value
		}
	}
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

// outputs reads the outputs of a state, or those that `tofu output -json` has printed.
func (c *checker) outputs(file string) (map[string]output, error) {
	at := c.onDisk(file)
	f, err := os.Open(at)
	if errors.Is(err, os.ErrNotExist) {
		c.options.Tracker.Absent(at)
		return nil, fmt.Errorf("there is no file %s", filepath.ToSlash(file))
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
		return nil, fmt.Errorf("%s has more than 64 MiB", file)
	}
	c.options.Tracker.File(at, content)
	var state struct {
		Version   *int              `json:"version"`
		Outputs   map[string]output `json:"outputs"`
		Encrypted json.RawMessage   `json:"encrypted_data"`
	}
	// An output may be named as a field of a state is, and is an object then.
	if err := json.Unmarshal(content, &state); err == nil && state.Encrypted != nil {
		return nil, fmt.Errorf("%s is encrypted", file)
	} else if err == nil && state.Version != nil {
		if *state.Version != 4 {
			return nil, fmt.Errorf("%s is a state of version %d, and tenon reads version 4", file, *state.Version)
		}
		return state.Outputs, nil
	}
	var plain map[string]output
	if err := json.Unmarshal(content, &plain); err != nil {
		return nil, fmt.Errorf("%s has neither a state nor outputs: %w", file, err)
	}
	return plain, nil
}
