package all_test

import (
	"context"
	"encoding/json"
	"github.com/tenon-ml/tenon/stdlib/all"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/builtin"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Every parameter that a definition of the library hands to a component is one
// that the component knows: what fails below fails because it has no data.
func TestComponentsTakeWhatTheirDefinitionsGive(t *testing.T) {
	a, err := txtar.ParseFile("../../compiler/testdata/systems/everything.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var sys ir.System
	for _, f := range a.Files {
		if f.Name == "ir.json" {
			if err := json.Unmarshal(f.Data, &sys); err != nil {
				t.Fatal(err)
			}
		}
	}
	tried := map[string]bool{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // no download
	for _, u := range sys.Units {
		if !slices.ContainsFunc(all.Components, func(c builtin.Component) bool { return c.Name == u.Component }) {
			continue
		}
		tried[u.Component] = true
		err := all.Run(ctx, &step.Step{Version: 1, Unit: u.ID, Component: u.Component, Params: u.Params, Scratch: t.TempDir()})
		if err != nil && strings.Contains(err.Error(), "param") {
			t.Errorf("%s: %v", u.ID, err)
		}
	}
	for _, c := range all.Components {
		if !tried[c.Name] {
			t.Errorf("the system with every definition has no %s", c.Name)
		}
	}
}
