package planner

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A unit equals what the state gives back of it, whichever of its lists are empty.
func TestDiffUnitsIgnoresEmptyLists(t *testing.T) {
	schema := ir.Schema{{Name: "n", Type: "int64", Values: []string{}}}
	u := &ir.Unit{
		ID: "sources/a", Kind: ir.Job, Params: json.RawMessage(`{}`), Files: []string{}, Secrets: []ir.Secret{},
		Code:   ir.Code{Command: []string{}, Files: []ir.CodeFile{}},
		Inputs: []ir.Input{{Port: "in", Kind: ir.Table, Schema: ir.Schema{}, Keys: []string{}}, {Port: "more", Schema: schema}},
		Outputs: []ir.Output{
			{Port: "out", Kind: ir.Table, Schema: schema, Keys: []string{}},
			{Port: "model", Kind: ir.Model, Signature: &ir.Signature{Input: ir.Schema{}, Output: schema[0]}},
			{Port: "endpoint", Kind: ir.EndpointOf, Request: ir.Schema{}, Response: ir.Schema{}},
		},
	}
	b, err := json.Marshal(u)
	if err != nil {
		t.Fatal(err)
	}
	var kept ir.Unit
	if err := json.Unmarshal(b, &kept); err != nil {
		t.Fatal(err)
	}
	bare := &ir.Unit{
		ID: "sources/a", Kind: ir.Job, Params: json.RawMessage(`{}`),
		Inputs: []ir.Input{{Port: "in", Kind: ir.Table}, {Port: "more", Schema: ir.Schema{{Name: "n", Type: "int64"}}}},
		Outputs: []ir.Output{
			{Port: "out", Kind: ir.Table, Schema: ir.Schema{{Name: "n", Type: "int64"}}},
			{Port: "model", Kind: ir.Model, Signature: &ir.Signature{Output: ir.Column{Name: "n", Type: "int64"}}},
			{Port: "endpoint", Kind: ir.EndpointOf},
		},
	}
	for name, old := range map[string]*ir.Unit{"as the state keeps it": &kept, "without lists": bare} {
		if got := diffUnits(old, u); len(got) > 0 {
			t.Errorf("%s: got %v", name, got)
		}
		if got := diffUnits(u, old); len(got) > 0 {
			t.Errorf("%s, the other way round: got %v", name, got)
		}
	}
	u.Outputs[0].Keys = []string{"n"}
	if got := diffUnits(&kept, u); len(got) != 1 || got[0] != (Reason{What: "output out keys", Before: "[]", After: `["n"]`}) {
		t.Errorf("new keys: got %v", got)
	}
	u.Outputs[0].Keys = nil
	u.Outputs[0].References = []ir.Reference{{Columns: []string{"n", "m"}, Keys: []string{"id", "m"}, Input: "references.b"}, {Columns: []string{"n"}, Keys: []string{"n"}, Output: "out"}}
	want := Reason{What: "output out references", Before: "[]", After: `["n, m -> references.b (id, m)","n -> output out (n)"]`}
	if got := diffUnits(&kept, u); len(got) != 1 || got[0] != want {
		t.Errorf("new references: got %v", got)
	}
}

// A parameter that differs in many places is one reason, a few differences are one each.
func TestDiffUnitsCountsDifferences(t *testing.T) {
	object := func(n, value int) string {
		var fields []string
		for i := range n {
			fields = append(fields, fmt.Sprintf(`"f%02d": %d`, i, value))
		}
		return "{" + strings.Join(fields, ", ") + "}"
	}
	for places, want := range map[int][]Reason{
		2:  {{What: "params.plan.f00", Before: "1", After: "2"}, {What: "params.plan.f01", Before: "1", After: "2"}, {What: "params.x", Before: "1", After: "2"}},
		11: {{What: "params.plan", After: "11 differences"}, {What: "params.x", Before: "1", After: "2"}},
	} {
		before := ir.Unit{Params: json.RawMessage(`{"plan": ` + object(places, 1) + `, "x": 1}`)}
		after := ir.Unit{Params: json.RawMessage(`{"plan": ` + object(places, 2) + `, "x": 2}`)}
		if diff := cmp.Diff(want, diffUnits(&before, &after)); diff != "" {
			t.Errorf("%d places: %s", places, diff)
		}
	}
}
