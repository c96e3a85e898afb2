package lang

import (
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/stdlib"
)

const shop = `package shop

import (
	"tenon.dev/col"
	"tenon.dev/source"
	"tenon.dev/tenon"
)

tenon.#System
name: "shop"
_limit: *10 | int

sources: orders: source.#CSV & {
	path: *"orders.csv" | string
	schema: id: col.#Int64 & {max: _limit}
}
`

// The value of an environment is unified with the system, as if it stood at the top.
func TestEnvironments(t *testing.T) {
	for _, tt := range []struct {
		name, env, text string
		want            string // what `_limit`, the path and whether there is a source "other" come out as, or a part of the error
	}{
		{"none chosen", "", `environments: prod: _limit: 20`, "10 orders.csv false"},
		{"a helper", "prod", `environments: prod: _limit: 20`, "20 orders.csv false"},
		{"a field", "prod", `environments: prod: sources: orders: path: "all.csv"`, "10 all.csv false"},
		{"another one", "dev", `environments: {dev: {}, prod: _limit: 20}`, "10 orders.csv false"},
		{"in two places", "prod", "environments: prod: _limit: 20\nenvironments: prod: sources: orders: path: \"all.csv\"", "20 all.csv false"},
		{"a reference", "prod", "_big: {_limit: 30}\nenvironments: prod: _big", "30 orders.csv false"},
		{"what others import is used", "dev", `environments: {dev: {}, prod: sources: orders: path: strings.ToLower("ALL.csv")}`, "10 orders.csv false"},
		{"what it imports", "prod", `environments: prod: sources: orders: path: strings.ToLower("ALL.csv")`, "10 all.csv false"},
		{"an entity of its own", "prod", `environments: prod: sources: other: source.#CSV & {path: sources.orders.path, schema: id: col.#Int64}`, "10 orders.csv true"},
		{"names mean what they mean at the top", "prod", "environments: prod: {_limit: 20, sources: orders: path: \"\\(_limit).csv\"}", "20 20.csv false"},
		{"a string as the name", "prod", `environments: "prod": _limit: 20`, "20 orders.csv false"},

		{"not declared", "prd", `environments: {dev: {}, prod: {}}`, `has no environment "prd"`},
		{"none declared", "prod", ``, "declare it: `environments: prod: {}`"},
		{"a name that cannot be one", "", `environments: Prod: {}`, `"Prod" cannot be the name of an environment`},
		{"not a struct", "", "_e: {prod: {}}\nenvironments: _e", "environments must be written as a struct"},
		{"for all", "", `environments: [string]: {}`, "must be written with its name"},
		{"nested", "prod", `environments: prod: environments: x: {}`, "no environments of its own"},
		{"a name of another environment that is not defined", "dev", `environments: {dev: {}, prod: _limit: nothing}`, `"nothing" is not defined`},
		{"a field that there is not", "prod", `environments: prod: sources: orders: pathh: "x"`, `sources.orders has no field "pathh"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := folder(t, map[string]string{"cue.mod/module.cue": moduleFile(stdlib.Version), "s.cue": shop, "e.cue": imports(tt.text) + tt.text + "\n"})
			s, err := Load(dir, Options{Environment: tt.env, Divide: true})
			var faults diag.List
			if err == nil {
				faults = s.Faults()
			} else if faults, _ = err.(diag.List); faults == nil {
				t.Fatal(err)
			}
			if len(faults) > 0 {
				var b strings.Builder
				if err := diag.Print(&b, faults, func(string) []byte { return nil }, diag.Style{}); err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(b.String(), tt.want) || len(faults) != 1 {
					t.Errorf("got %d faults, want one with %q:\n%s", len(faults), tt.want, b.String())
				}
				return
			}
			max := s.Lookup("sources", "orders", "schema", "id", "max")
			path, _ := s.Lookup("sources", "orders", "path").String()
			got := strings.Join([]string{text(max), path, boolText(s.Lookup("sources", "other").Exists())}, " ")
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if s.Lookup("environments").Exists() {
				t.Error("the system has a field environments")
			}
		})
	}
}

// A conflict shows both places, and how to let environments differ.
func TestAnEnvironmentConflicts(t *testing.T) {
	dir := folder(t, map[string]string{"cue.mod/module.cue": moduleFile(stdlib.Version), "s.cue": shop + `
sources: orders: max_age: "7d"
environments: prod: sources: orders: max_age: "8d"
`})
	s, err := Load(dir, Options{Environment: "prod"})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := diag.Print(&b, s.Faults(), s.Source, diag.Style{}); err != nil {
		t.Fatal(err)
	}
	want := "help: write the value that the environments share as a default: `*\"7d\" | string`"
	for _, w := range []string{want, "s.cue:18:27", "s.cue:19:47", "the environment prod"} {
		if !strings.Contains(b.String(), w) {
			t.Errorf("it does not say %q:\n%s", w, b.String())
		}
	}
	if s, err = Load(dir, Options{}); err != nil || len(s.Faults()) > 0 {
		t.Errorf("without the environment: %v", err)
	}
}

// imports returns the beginning of a file that imports what a text uses.
func imports(text string) string {
	b := "package shop\n\n"
	for path, use := range map[string]string{"strings": "strings.", "tenon.dev/col": "col.#", "tenon.dev/source": "source.#"} {
		if strings.Contains(text, use) {
			b += "import \"" + path + "\"\n"
		}
	}
	return b + "\n"
}

func text(v interface{ MarshalJSON() ([]byte, error) }) string {
	b, _ := v.MarshalJSON()
	return string(b)
}

func boolText(b bool) string {
	if b {
		return "true"
	}
	return "false"
}
