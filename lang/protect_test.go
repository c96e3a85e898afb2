package lang_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/internal/protect"
	"github.com/tenon-ml/tenon/lang"
)

// The rules of an environment are read as they are written, and are no part of the system.
func TestProtection(t *testing.T) {
	full := &protect.Rules{
		Who: []string{"ann", "ci:acme/deploy@main"}, Approvals: 1,
		Freeze: []protect.Window{{From: "2026-12-24T00:00:00Z", To: "2027-01-02T00:00:00Z", Reason: "holidays"}},
	}
	const written = `environments: prod: protect: {who: ["ann", "ci:acme/deploy@main"], approvals: 1, freeze: [{from: "2026-12-24T00:00:00Z", to: "2027-01-02T00:00:00Z", reason: "holidays"}]}`
	for _, c := range []struct {
		name, env, source string
		want              *protect.Rules
		fails             string
	}{
		{"all rules", "prod", written, full, ""},
		{"those of another environment", "dev", "environments: dev: {}\n" + written, nil, ""},
		{"no environment", "", written, nil, ""},
		{"beside what differs", "prod", `environments: prod: {protect: approvals: 2, _limit: 20}`, &protect.Rules{Approvals: 2}, ""},
		{"in two places", "prod", "environments: prod: protect: approvals: 1\nenvironments: prod: protect: who: [\"ann\"]", &protect.Rules{Who: []string{"ann"}, Approvals: 1}, ""},
		{"no rules", "prod", `environments: prod: {}`, nil, ""},

		{"nobody", "prod", `environments: prod: protect: who: []`, nil, "leave it out to let everybody"},
		{"who is no list", "prod", `environments: prod: protect: who: "ann"`, nil, "who must be written as a list"},
		{"an empty name", "prod", `environments: prod: protect: who: [""]`, nil, "who lists names of users"},
		{"a job without a branch", "prod", `environments: prod: protect: who: ["ci:acme/deploy"]`, nil, "names no branch"},
		{"a reference", "prod", "_team: [\"ann\"]\nenvironments: prod: protect: who: _team", nil, "who must be written as a list"},
		{"half an approval", "prod", `environments: prod: protect: approvals: 0.5`, nil, "from 0 to 20"},
		{"fewer than none", "prod", `environments: prod: protect: approvals: -1`, nil, "from 0 to 20"},
		{"twice", "prod", "environments: prod: protect: approvals: 1\nenvironments: prod: protect: approvals: 2", nil, "approvals is written twice"},
		{"a freeze without a time zone", "prod", `environments: prod: protect: freeze: [{from: "2026-12-24", to: "2027-01-02T00:00:00Z"}]`, nil, `"2026-12-24" is not a time`},
		{"a freeze that ends before it begins", "prod", `environments: prod: protect: freeze: [{from: "2027-12-24T00:00:00Z", to: "2027-01-02T00:00:00Z"}]`, nil, "ends after it begins"},
		{"a freeze without an end", "prod", `environments: prod: protect: freeze: [{from: "2027-12-24T00:00:00Z"}]`, nil, `"" is not a time`},
		{"a freeze that is no struct", "prod", `environments: prod: protect: freeze: ["2027"]`, nil, "a freeze must be written as a struct"},
		{"an unknown rule", "prod", `environments: prod: protect: approval: 1`, nil, `protect has no field "approval"`},
		{"a condition", "prod", `environments: prod: protect: {if true {approvals: 1}}`, nil, "only plain fields"},
		{"an optional one", "prod", `environments: prod: protect?: approvals: 1`, nil, "plain field"},
		{"a fault of another environment", "dev", `environments: {dev: {}, prod: protect: who: []}`, nil, "leave it out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range map[string]string{
				"cue.mod/module.cue": "module: \"example.com/x\"\nlanguage: version: \"v0.14.0\"\n",
				"a.cue":              "package x\n\nname: \"x\"\n_limit: int | *10\n" + c.source + "\n",
			} {
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			s, err := lang.Load(dir, lang.Options{Environment: c.env})
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Fatalf("got %v, want an error with %q", err, c.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, s.Protect); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if s.Lookup("protect").Exists() {
				t.Error("the rules are a part of the system")
			}
		})
	}
}
