package tool_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/tenon-ml/tenon/executors/terraform/tool"
	"github.com/tenon-ml/tenon/planner"
)

func TestChangesSayWhy(t *testing.T) {
	const role = `"address": "aws_iam_role.a", "mode": "managed", "type": "aws_iam_role", "name": "a"`
	drift := `{` + role + `, "change": {"actions": ["delete"], "before": {}, "after": null}}`
	for _, tt := range []struct {
		name, change, drift, want string
	}{
		{"new", `"change": {"actions": ["create"], "after": {"tags": {"tenon:unit": "steps/a"}}}`, "", "create of steps/a: new"},
		{"removed by others", `"change": {"actions": ["create"], "after": {}}`, drift, "create: removed outside of tenon"},
		{"an attribute", `"change": {"actions": ["update"], "before": {"days": 30, "same": 1}, "after": {"days": 7, "same": 1}}`, "", "update: days 30 -> 7"},
		{"a secret", `"change": {"actions": ["update"], "before": {"p": "x"}, "after": {"p": "y"}, "before_sensitive": {"p": true}, "after_sensitive": {"p": true}}`,
			"", "update: p (sensitive) -> (sensitive)"},
		{"nothing but secrets", `"change": {"actions": ["update"], "before": {"p": "x"}, "after": {"p": "y"}, "before_sensitive": true, "after_sensitive": true}`,
			"", "update: p (sensitive) -> (sensitive)"},
		{"a replacement", `"change": {"actions": ["delete", "create"], "before": {"name": "a", "arn": "1"}, "after": {"name": "b"}, "after_unknown": {"arn": true}, "replace_paths": [["name"]]}`,
			"", "replace: name, which forces a replacement a -> b"},
		{"a leftover", `"deposed": "abc", "change": {"actions": ["delete"], "before": {}}`, "", "delete: left by an interrupted replacement"},
		{"a move", `"previous_address": "aws_iam_role.b", "change": {"actions": ["no-op"], "before": {}, "after": {}}`, "", ""},
		{"no change", `"change": {"actions": ["no-op"], "before": {}, "after": {}}`, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var p tfjson.Plan
			text := fmt.Sprintf(`{"format_version": "1.2", "resource_changes": [{%s, %s}], "resource_drift": [%s]}`, role, tt.change, tt.drift)
			if err := json.Unmarshal([]byte(text), &p); err != nil {
				t.Fatal(err)
			}
			all, unchanged, moved := tool.Changes(&p)
			if len(all)+len(unchanged) != 1 {
				t.Fatalf("got %+v, and %q unchanged", all, unchanged)
			}
			if was := p.ResourceChanges[0].PreviousAddress; was != "" && !slices.Equal(moved, []string{was, "aws_iam_role.a"}) {
				t.Errorf("moved %q", moved)
			}
			if got := describe(all); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func describe(all []planner.Resource) string {
	if len(all) == 0 {
		return ""
	}
	text := string(all[0].Action)
	if all[0].Unit != "" {
		text += " of " + all[0].Unit
	}
	for _, r := range all[0].Reasons {
		text += ": " + r.What
		if r.Before+r.After != "" {
			text += " " + r.Before + " -> " + r.After
		}
	}
	return strings.TrimSpace(text)
}
