package compiler_test

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/features"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A service computes the features of a request from what the compiler hands to it, here
// through two queries and a table that it looks up.
func TestAServiceComputesARequest(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "cue.mod", "module.cue"), []byte(moduleFile))
	write(t, filepath.Join(dir, "shop.cue"), []byte(edited(t, requested, onB)))
	r, _, err := load(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	table := filepath.Join(dir, "planes.parquet")
	parquetFile(t, table, "SELECT 'N1' AS plane, 1999::BIGINT AS year")
	for _, id := range []string{"deployments/api", "deployments/api/parity"} {
		u := r.System.Unit(id)
		var params struct {
			Request json.RawMessage `json:"request"`
		}
		if err := json.Unmarshal(u.Params, &params); err != nil {
			t.Fatal(err)
		}
		var spec features.Spec
		strict := json.NewDecoder(bytes.NewReader(params.Request))
		strict.DisallowUnknownFields()
		if err := strict.Decode(&spec); err != nil {
			t.Fatal(err)
		}
		s := &step.Step{Inputs: map[string]step.Port{}}
		for _, in := range u.Inputs {
			s.Inputs[in.Port] = step.Port{Kind: in.Kind, Path: table, Format: "parquet", Schema: in.Schema}
		}
		reads := r.System.Unit("models/m/register").Outputs[0].Signature.Input
		f, err := features.Load(t.Context(), s, spec, reads)
		if err != nil {
			t.Fatal(err)
		}
		if !f.Drops {
			t.Error("it does not say that training leaves out flights without a delay")
		}
		if diff := cmp.Diff([]string{"id", "plane", "distance"}, names(spec.Columns)); diff != "" {
			t.Errorf("the request: %s", diff)
		}
		got, _, err := f.Row().Results([]rowsql.Value{rowsql.Int(7), rowsql.String("N1"), rowsql.Float(10)})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]rowsql.Value{rowsql.Int(7), rowsql.Float(20), rowsql.Int(1999)}, got); diff != "" {
			t.Errorf("%v: %s", names(f.Results()), diff)
		}
	}
}

func names(s ir.Schema) (all []string) {
	for _, c := range s {
		all = append(all, c.Name)
	}
	return all
}

// A deployment has DuckDB only if it needs it.
func TestProgramsOfRequests(t *testing.T) {
	distance := edit{selected, "CAST(levenshtein(f.plane, 'x') AS DOUBLE) AS half, p.year"}
	for name, tt := range map[string]struct {
		edits []edit
		want  ir.Runtime
	}{
		"closures are enough":                        {nil, ir.Plane},
		"closures are enough, with DuckDB":           {[]edit{onDuckDB}, ir.Plane},
		"DuckDB computes an input":                   {[]edit{onDuckDB, distance, {"half: col.#Float64", "half: col.#Float64 & {nullable: true}"}}, ir.PlaneDuckDB},
		"DuckDB would compute what nothing asks for": {[]edit{onDuckDB, distance, {"half: col.#Float64", "half: col.#Float64 & {nullable: true}"}, {"label:", "exclude: [\"half\"]\n\tlabel:"}}, ir.Plane},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "cue.mod", "module.cue"), []byte(moduleFile))
			write(t, filepath.Join(dir, "shop.cue"), []byte(edited(t, requested, tt.edits)))
			r, _, err := load(dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range []string{"deployments/api", "deployments/api/parity"} {
				if got := r.System.Unit(id).Code.Runtime; got != tt.want {
					t.Errorf("%s has the runtime %q, wanted %q", id, got, tt.want)
				}
			}
		})
	}
}
