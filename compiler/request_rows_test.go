package compiler_test

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/features"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// compiled compiles a system with a script.
func compiled(t *testing.T, text, script string) *ir.System {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "cue.mod", "module.cue"), []byte(moduleFile))
	write(t, filepath.Join(dir, "shop.cue"), []byte(text))
	write(t, filepath.Join(dir, "s.py"), []byte(script))
	r, _, err := load(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r.System
}

func requestOf(t *testing.T, u *ir.Unit) features.Spec {
	t.Helper()
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
	return spec
}

// ages stands for the function in Python.
type ages struct{}

func (ages) Compute(_ context.Context, values []rowsql.Value, n int) (results []rowsql.Value, errs []error, err error) {
	for i := range n {
		results = append(results, rowsql.Int(2024-values[2*i+1].Int()))
	}
	return results, make([]error, n), nil
}

// A service, and the comparison before it, have all that the function of a feature needs: its
// files, its environment, its columns.
func TestAServiceComputesARequestWithPython(t *testing.T) {
	sys := compiled(t, byRow, age)
	table := filepath.Join(t.TempDir(), "planes.parquet")
	parquetFile(t, table, "SELECT 'N1' AS plane, 1999::BIGINT AS year")
	of := sys.Unit("features/s")
	for _, id := range []string{"deployments/api", "deployments/api/parity"} {
		u := sys.Unit(id)
		if !slices.ContainsFunc(u.Code.Files, func(f ir.CodeFile) bool { return f.Path == "s.py" }) || u.Code.Lock == of.Code.Lock || !slices.Equal(u.Code.Environments, []string{of.Code.Lock}) {
			t.Errorf("%s has the files %v and the environments %v", id, u.Code.Files, u.Code.Environments)
		}
		spec := requestOf(t, u)
		want := features.Call{Plan: 1, Feature: "features.s", Script: "s.py", Function: "transform", Environment: of.Code.Lock,
			Columns: ir.Schema{{Name: "t", Type: "timestamp"}, {Name: "year", Type: "int64", Nullable: true}}, Makes: ir.Schema{{Name: "age", Type: "int64", Nullable: true}}}
		if diff := cmp.Diff([]features.Call{want}, spec.Calls); diff != "" {
			t.Errorf("%s: %s", id, diff)
		}
		if diff := cmp.Diff([]string{"id", "t", "plane", "distance"}, names(spec.Columns)); diff != "" {
			t.Errorf("the request: %s", diff)
		}
		s := &step.Step{Inputs: map[string]step.Port{}}
		for _, in := range u.Inputs {
			s.Inputs[in.Port] = step.Port{Kind: in.Kind, Path: table, Format: "parquet", Schema: in.Schema}
		}
		f, err := features.Load(t.Context(), s, spec, sys.Unit("models/m/register").Outputs[0].Signature.Input)
		if err != nil {
			t.Fatal(err)
		}
		f.UseFunctions([]features.Function{ages{}})
		r, row := f.Row(), []rowsql.Value{rowsql.Int(7), rowsql.Int(0), rowsql.String("N1"), rowsql.Float(10)}
		if err := r.Fetch(t.Context(), 1, func(int) []rowsql.Value { return row }, func(fetch func() error) error { return fetch() }); err != nil {
			t.Fatal(err)
		}
		got, _, err := r.Results(row)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]rowsql.Value{rowsql.Int(7), rowsql.Float(5), rowsql.Int(25)}, got); diff != "" {
			t.Errorf("%v: %s", names(f.Results()), diff)
		}
	}
}

// A function whose columns the model does not read is not asked: what is copied needs no Python.
func TestAServiceDoesNotAskForWhatNothingReads(t *testing.T) {
	sys := compiled(t, edited(t, byRow, []edit{{`label:     "late"`, `label: "late"` + "\n\texclude: [\"age\"]"}}), age)
	u := sys.Unit("deployments/api")
	if spec := requestOf(t, u); len(spec.Calls) > 0 || len(u.Code.Environments) > 0 || spec.Plans[1].NeedsPython() {
		t.Errorf("it asks %v in %v", spec.Calls, u.Code.Environments)
	}
}

// What a function computes from a private column is private, and the parameters of its program say so.
func TestPrivateColumnsOfFunctions(t *testing.T) {
	private := edit{"year:  col.#Int64", "year:  col.#Int64 & {private: true}"}
	logs := edit{`returns: ["id"]`, `returns: ["id"]` + "\n\tlog: {}"}
	for name, c := range map[string]struct {
		edits  []edit
		script string
		want   []string
		told   bool
	}{
		"nothing is private":                 {nil, age, nil, false},
		"a column that it takes":             {[]edit{private}, age, []string{"age"}, true},
		"a column that it does not take":     {[]edit{private}, "def transform(t):\n    return {'age': t.year}\n", nil, false},
		"what it makes of it is not private": {[]edit{private, {"age:  col.#Int64 & {nullable: true}", "age:  col.#Int64 & {nullable: true, private: false}"}}, age, nil, true},
		"a copy":                             {[]edit{{"distance: col.#Float64 & {", "distance: col.#Float64 & {private: true, "}}, age, []string{"distance", "half"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			u := compiled(t, edited(t, byRow, append([]edit{logs}, c.edits...)), c.script).Unit("deployments/api")
			var params struct {
				Private []string `json:"private"`
			}
			if err := json.Unmarshal(u.Params, &params); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, params.Private); diff != "" {
				t.Error(diff)
			}
			if told := requestOf(t, u).Calls[0].Private; told != c.told {
				t.Errorf("the parameters of the program have %v", told)
			}
		})
	}
}
