package all_test

import (
	"context"
	"github.com/tenon-ml/tenon/stdlib/all"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/test/steptest"
)

var component = steptest.Component(all.Run)

func TestEveryComponentHasItsOwnName(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range all.Components {
		if c.Run == nil || c.Name == "" || seen[c.Name] {
			t.Errorf("%+v", c)
		}
		seen[c.Name] = true
	}
	component.Fails(t, steptest.New(t, "train.sklearn", "{}"), `unknown built-in component "train.sklearn"`)
}

func TestSourcesReadAllFilesInSortedOrder(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{"1.csv": "id;name\n1;a\n", "2.csv": "name;id\nb;2\n", "3.csv": "id;name\n3;c\n"}
	path := func(name string) string { return dir + "/" + name }
	for name, content := range files {
		if err := os.WriteFile(path(name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := steptest.New(t, "source.csv", `{"delimiter": ";"}`, "out")
	s.Files = map[string][]string{"*.csv": {path("2.csv"), path("3.csv"), path("1.csv")}, "1.csv": {path("1.csv")}}
	component.Run(t, s)
	if diff := cmp.Diff([]string{"1|a", "2|b", "3|c"}, steptest.Rows(t, s.Outputs["out"].Path)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"reading 3 files", "3 rows from 3 files"}, steptest.Progress(t, s)); diff != "" {
		t.Error(diff)
	}

	p := steptest.New(t, "source.parquet", "", "out")
	p.Files = map[string][]string{"x": {s.Outputs["out"].Path}}
	component.Run(t, p)
	if diff := cmp.Diff([]string{"1|a", "2|b", "3|c"}, steptest.Rows(t, p.Outputs["out"].Path)); diff != "" {
		t.Error(diff)
	}

	j := steptest.New(t, "source.json", "{}", "out")
	j.Files = map[string][]string{"x": {steptest.Write(t, "a", `{"id": 1, "name": "a"}`)}}
	component.Run(t, j)
	if diff := cmp.Diff([]string{"1|a"}, steptest.Rows(t, j.Outputs["out"].Path)); diff != "" {
		t.Error(diff)
	}
}

func TestSourcesRefuseWhatTheyCannotDo(t *testing.T) {
	s := steptest.New(t, "source.csv", `{"delimeter": ";"}`, "out")
	component.Fails(t, s, `parameters of source.csv: json: unknown field "delimeter"`)
	s = steptest.New(t, "source.csv", `{}`, "out")
	component.Fails(t, s, "the source has no files")
	s.Files = map[string][]string{"data/*.csv": nil}
	component.Fails(t, s, `no file matches "data/*.csv"`)
	s.Files = map[string][]string{"x": {steptest.Write(t, "x.csv", "id,name\n1,a\nx,b\n")}}
	component.Fails(t, s, `x.csv:3: column "id": "x" is not an int64`)
}

func TestFeatureSQLSortsByKeysAndTimestamp(t *testing.T) {
	in := steptest.New(t, "source.csv", "{}", "out")
	in.Files = map[string][]string{"x": {steptest.Write(t, "x.csv", "id,name\n2,b\n1,z\n2,a\n")}}
	component.Run(t, in)
	s := steptest.New(t, "feature.sql", `{"sql": "SELECT p.id, p.name || '!' AS name FROM p"}`, "out")
	s.Inputs["p"] = in.Outputs["out"]
	out := s.Outputs["out"]
	out.Keys, out.Timestamp = []string{"id"}, "name"
	s.Outputs["out"] = out
	s.Resources = ir.Resources{MilliCPU: 500, Memory: 1 << 30}
	component.Run(t, s)
	if diff := cmp.Diff([]string{"1|z!", "2|a!", "2|b!"}, steptest.Rows(t, out.Path)); diff != "" {
		t.Error(diff)
	}
	s.Params = []byte(`{"sql": "SELECT id FROM p"}`)
	component.Fails(t, s, `column "name": missing`)
}

func TestSplitsDivideATable(t *testing.T) {
	in := steptest.New(t, "source.csv", "{}", "out")
	in.Files = map[string][]string{"x": {steptest.Write(t, "x.csv", "id,name\n0,a\n1,b\n2,a\n3,b\n4,a\n5,b\n6,a\n7,b\n8,c\n9,c\n")}}
	component.Run(t, in)
	for _, tt := range []struct {
		component, params string
		test              int // rows
	}{
		{"split.random", `{"fraction": 0.3}`, 3},
		{"split.random", `{"fraction": 0.3, "stratify": "name"}`, 3},
		{"split.by_time", `{"column": "id", "after": "8"}`, 2},
		{"split.by_group", `{"column": "name", "fraction": 0.3}`, -1},
	} {
		s := steptest.New(t, tt.component, tt.params, "train", "test")
		s.Inputs["table"] = in.Outputs["out"]
		s.Seed = 3
		component.Run(t, s)
		train, test := steptest.Rows(t, s.Outputs["train"].Path), steptest.Rows(t, s.Outputs["test"].Path)
		if tt.test >= 0 && len(test) != tt.test {
			t.Errorf("%s %s: %d rows in the test, want %d", tt.component, tt.params, len(test), tt.test)
		}
		both := slices.Sorted(slices.Values(append(train, test...)))
		if diff := cmp.Diff(steptest.Rows(t, in.Outputs["out"].Path), both); diff != "" {
			t.Error(diff)
		}
	}
	bad := steptest.New(t, "split.by_group", `{"fraction": 0.3}`, "train", "test")
	component.Fails(t, bad, "split.by_group needs a column")
	bad = steptest.New(t, "split.by_time", `{"column": "id"}`, "train", "test")
	component.Fails(t, bad, "split.by_time needs a column and a start time")
	bad = steptest.New(t, "split.random", `{"fraction": 0.3}`, "train", "test")
	component.Fails(t, bad, `split.random has no input "table"`)
	bad.Inputs["table"] = in.Outputs["out"]
	delete(bad.Outputs, "test")
	component.Fails(t, bad, `split.random has no output "test"`)
}

func TestRunStopsWhenItsContextEnds(t *testing.T) {
	s := steptest.New(t, "source.csv", "{}", "out")
	s.Files = map[string][]string{"x": {steptest.Write(t, "x.csv", "id,name\n1,a\n")}}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := all.Run(ctx, s); err == nil {
		t.Error("no error")
	}
}
