package tool

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/tenon-ml/tenon/planner"
)

// Changes returns what a plan does to resources, in the order of their addresses, the addresses of those that it leaves
// as they are, and both addresses of each that has got another one.
func Changes(p *tfjson.Plan) (all []planner.Resource, unchanged, moved []string) {
	drifted := map[string]*tfjson.ResourceChange{}
	for _, c := range p.ResourceDrift {
		drifted[c.Address] = c
	}
	for _, c := range p.ResourceChanges {
		if c.Mode != tfjson.ManagedResourceMode || c.Change == nil {
			continue
		}
		if c.PreviousAddress != "" {
			moved = append(moved, c.PreviousAddress, c.Address)
		}
		r := planner.Resource{Address: c.Address, Unit: unitOf(c.Change)}
		switch a := c.Change.Actions; {
		case a.NoOp() || a.Read() || a.Forget():
			unchanged = append(unchanged, c.Address)
			continue
		case a.Replace():
			r.Action, r.Reasons = planner.Replace, differences(c.Change, true)
		case a.Create():
			r.Action, r.Reasons = planner.Create, []planner.Reason{{What: "new"}}
		case a.Delete():
			r.Action, r.Reasons = planner.Delete, []planner.Reason{{What: "no longer needed"}}
		default:
			r.Action, r.Reasons = planner.Update, differences(c.Change, false)
		}
		if d := drifted[c.Address]; d != nil {
			r.Outside = true
			switch {
			case r.Action == planner.Create:
				r.Reasons = []planner.Reason{{What: "removed outside of tenon"}}
			case r.Action != planner.Delete:
				r.Reasons = append([]planner.Reason{{What: "changed outside of tenon"}}, r.Reasons...)
			}
		}
		if c.DeposedKey != "" {
			r.Reasons = []planner.Reason{{What: "left by an interrupted replacement"}}
		}
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b planner.Resource) int { return strings.Compare(a.Address, b.Address) })
	return all, unchanged, moved
}

// unitOf returns the unit that the tags of a resource name, or "".
func unitOf(c *tfjson.Change) string {
	for _, values := range []any{c.After, c.Before} {
		fields, _ := values.(map[string]any)
		tags, _ := fields["tags"].(map[string]any)
		if unit, ok := tags["tenon:unit"].(string); ok {
			return unit
		}
	}
	return ""
}

// differences lists the attributes that change, first those that force a replacement.
func differences(c *tfjson.Change, replace bool) []planner.Reason {
	before, _ := c.Before.(map[string]any)
	after, _ := c.After.(map[string]any)
	unknown, _ := c.AfterUnknown.(map[string]any)
	names := map[string]bool{}
	for _, of := range []map[string]any{before, after, unknown} {
		for name := range of {
			names[name] = true
		}
	}
	forces := map[string]bool{}
	for _, path := range c.ReplacePaths {
		if steps, ok := path.([]any); ok && len(steps) > 0 {
			forces[fmt.Sprint(steps[0])] = true
		}
	}
	var first, rest []planner.Reason
	for _, name := range slices.Sorted(maps.Keys(names)) {
		r := planner.Reason{What: name, Before: shown(before[name], c.BeforeSensitive, name), After: shown(after[name], c.AfterSensitive, name)}
		isUnknown := unknown[name] != nil && unknown[name] != false && !empty(unknown[name])
		if isUnknown {
			r.After = "known after apply"
		}
		switch {
		case forces[name]:
			r.What += ", which forces a replacement"
			first = append(first, r)
		case replace && isUnknown, !isUnknown && reflect.DeepEqual(before[name], after[name]):
			// What a new resource gets from the cloud is not a reason to create it.
		case name == "tags_all" && !reflect.DeepEqual(before["tags"], after["tags"]):
			// It repeats the tags.
		default:
			rest = append(rest, r)
		}
	}
	return append(first, rest...)
}

// empty reports whether nothing in a structure of markers is marked.
func empty(v any) bool {
	switch v := v.(type) {
	case bool:
		return !v
	case []any:
		return !slices.ContainsFunc(v, func(x any) bool { return !empty(x) })
	case map[string]any:
		for _, x := range v {
			if !empty(x) {
				return false
			}
		}
		return true
	}
	return v == nil
}

// shown returns a value as text, unless it is a secret.
func shown(v, sensitive any, name string) string {
	if marks, ok := sensitive.(map[string]any); ok {
		sensitive = marks[name]
	}
	if !empty(sensitive) {
		return "(sensitive)"
	}
	if s, ok := v.(string); ok || v == nil {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
