package executors_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
)

func TestOutputsMustMatchTheirDeclaration(t *testing.T) {
	const sig = `{"task":"classification","input":[{"name":"age","type":"int64"}],"output":{"name":"late","type":"bool"}}`
	for _, c := range []struct {
		name   string
		unit   ir.Unit
		writes map[string]string
		want   string // DIR stands for the folder of outputs
	}{
		{"nothing written", table("x/a", `{}`), map[string]string{},
			"output out is missing: the step wrote nothing at DIR/out"},
		{"a folder for a table", table("x/a", `{}`), map[string]string{"out/out/part": "x"},
			"output out is a table: expected one Parquet file at DIR/out, but the step wrote a folder"},
		{"a file for a model", model("x/a", `{}`), map[string]string{"out/model": "x"},
			"output model is a model: expected a folder at DIR/model, but the step wrote a file"},
		{"a table that violates its schema", table("x/a", `{}`), map[string]string{"out/out": "bad"},
			`output out violates its schema: column "age": 2 rows below min 0, such as -3 (row 17)`},
		{"a model without signature", model("x/a", `{}`), map[string]string{"out/model/weights": "x"},
			"output model is a model: the step wrote no DIR/model/signature.json"},
		{"another task", model("x/a", `{}`), map[string]string{"out/model/signature.json": strings.Replace(sig, "classification", "regression", 1)},
			`output model: the model's signature is not the declared one: task is "regression", declared as "classification"`},
		{"another type", model("x/a", `{}`), map[string]string{"out/model/signature.json": strings.Replace(sig, "int64", "float64", 1)},
			`output model: the model's signature is not the declared one: input column 1 is {"name":"age","type":"float64"}, declared as {"name":"age","type":"int64"}`},
		{"no column", model("x/a", `{}`), map[string]string{"out/model/signature.json": `{"task":"classification"}`},
			"output model: the model's signature is not the declared one: input column age is missing"},
		{"a report without report.json", unit("x/a", `{}`, ir.Output{Port: "report", Kind: ir.Report}), map[string]string{"out/report/plot.png": "x"},
			"output report is a report: the step wrote no DIR/report/report.json"},
		{"NaN in metrics", table("x/a", `{}`), map[string]string{"out/out": "x", "notes/metrics.json": `{"f1": 0.5, "roc_auc": NaN}`},
			"metrics.json: metric roc_auc is NaN: a metric must be a finite number"},
		{"text in metrics", table("x/a", `{}`), map[string]string{"out/out": "x", "notes/metrics.json": `{"f1": "high"}`},
			`metrics.json: metric f1 is "high": a metric must be a finite number`},
		{"no metrics at all", table("x/a", `{}`), map[string]string{"out/out": "x", "notes/metrics.json": `[1]`},
			"metrics.json: metrics must be a JSON object of numbers: json: cannot unmarshal array into Go value of type map[string]interface {}"},
		{"a receipt of its own", table("x/a", `{}`), map[string]string{"outputs.json": `{}`},
			"output out is missing: the step wrote nothing at DIR/out"},
		{"two objects of metrics", table("x/a", `{}`), map[string]string{"out/out": "x", "notes/metrics.json": `{"f1": 1} {"f1": 2}`},
			"metrics.json: metrics must be one JSON object of numbers, but more follows it"},
		{"a long text in metrics", table("x/a", `{}`), map[string]string{"out/out": "x", "notes/metrics.json": `{"f1": "` + strings.Repeat("long ", 1000) + `"}`},
			`metrics.json: metric f1 is "long long long long long long long long long long long long...: a metric must be a finite number`},
		{"more metrics than can be meant", table("x/a", `{}`), map[string]string{"out/out": "x", "notes/metrics.json": strings.Repeat(" ", 17<<20)},
			"metrics: DIR/../notes/metrics.json is larger than 16 MiB"},
		{"too large a number", table("x/a", `{}`), map[string]string{"out/out": "x", "notes/metrics.json": `{"f1": 1e999}`},
			"metrics.json: metric f1 is 1e999: a metric must be a finite number"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.fake.behave["x/a"] = behaviour{writes: c.writes}
			_, err := b.apply(c.unit)
			u := failure(t, err, "x/a")
			dir := strings.TrimSuffix(u.LogPath, "log") + "out"
			if want := strings.ReplaceAll(strings.ReplaceAll(c.want, "DIR/..", filepath.Dir(dir)), "DIR", dir); u.Err.Error() != want {
				t.Errorf("error %q\n want %q", u.Err, want)
			}
			if b.current("x/a").Unit != "" {
				t.Error("it is kept nevertheless")
			}
		})
	}
}

func TestEndlessFilesAreNotRead(t *testing.T) {
	left := map[string]func(path string) error{
		"a pipe":   func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a device": func(path string) error { return os.Symlink("/dev/zero", path) },
	}
	for what, leave := range left {
		for _, file := range []string{executors.MetricsFile, executors.ProgressFile, "log", "out/model/signature.json", "out/report/report.json"} {
			t.Run(what+" for "+file, func(t *testing.T) {
				b := newBench(t)
				u := model("x/a", `{}`)
				u.Outputs = append(u.Outputs, ir.Output{Port: "report", Kind: ir.Report})
				b.fake.behave["x/a"] = behaviour{leaves: func(dir string) error {
					path := filepath.Join(dir, filepath.FromSlash(file))
					return errors.Join(os.RemoveAll(path), leave(path))
				}}
				_, err := b.apply(u)
				if fails := file != executors.ProgressFile && file != "log"; (err != nil) != fails {
					t.Errorf("error %v", err)
				}
			})
		}
	}
}

// A step must not learn from an error about files that tenon can read and the step
// cannot.
func TestAnOutputIsNotVerifiedThroughALink(t *testing.T) {
	private := t.TempDir()
	for name, text := range map[string]string{"table": "bad", "signature.json": `{"task":"private"}`, "report.json": `{"metrics":{"private":"x"}}`} {
		if err := os.WriteFile(filepath.Join(private, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	report := table("x/a", `{}`)
	report.Outputs = []ir.Output{{Port: "out", Kind: ir.Report}}
	for name, c := range map[string]struct {
		unit   ir.Unit
		target string
	}{
		"a table": {table("x/a", `{}`), filepath.Join(private, "table")}, "a report": {report, private}, "a model": {model("x/a", `{}`), private},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.fake.behave["x/a"] = behaviour{leaves: func(dir string) error {
				path := filepath.Join(dir, "out", c.unit.Outputs[0].Port)
				return errors.Join(os.RemoveAll(path), os.Symlink(c.target, path))
			}}
			_, err := b.apply(c.unit)
			if u := failure(t, err, "x/a"); !strings.Contains(u.Err.Error(), "the step wrote a link") {
				t.Errorf("error %v, want that it is a link", u.Err)
			}
		})
	}
}

func TestViolationsCanBeReadOneByOne(t *testing.T) {
	b := newBench(t)
	b.fake.behave["x/a"] = behaviour{writes: map[string]string{"out/out": "bad"}}
	_, err := b.apply(table("x/a", `{}`))
	var v *executors.ViolationError
	if !errors.As(err, &v) || v.Port != "out" || v.Violations[0].Rule != "min" || v.Violations[0].Count != 2 {
		t.Errorf("error %+v", v)
	}
}

// TestVerificationHasADeadline leaves a sparse file that takes minutes to read.
func TestVerificationHasADeadline(t *testing.T) {
	b := newBench(t)
	u := table("x/a", `{}`)
	u.Outputs[0].Kind, u.Outputs[0].Schema = ir.File, nil
	u.Timeout = time.Second
	b.fake.behave["x/a"] = behaviour{leaves: func(dir string) error {
		path := filepath.Join(dir, "out", "out")
		return errors.Join(os.WriteFile(path, nil, 0o644), os.Truncate(path, 400<<30))
	}}
	o := b.options()
	o.Settling = 100 * time.Millisecond
	began := time.Now()
	_, err := executors.Apply(t.Context(), b.plan([]ir.Unit{u}), o)
	if f := failure(t, err, "x/a"); !strings.Contains(f.Error(), "its outputs were not verified within 1s: they are too large for its timeout") {
		t.Errorf("got %v", f)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestAnOutputIsCheckedAgainstTheTablesThatItRefersTo(t *testing.T) {
	b := newBench(t)
	shops := table("sources/shops", `{}`)
	sales := table("sources/sales", `{}`)
	sales.Inputs = []ir.Input{{Port: "references.shop", Unit: "sources/shops", From: "out", Kind: ir.Table, Checked: true}}
	sales.Outputs[0].References = []ir.Reference{
		{Columns: []string{"shop"}, Keys: []string{"id"}, Input: "references.shop"},
		{Columns: []string{"before"}, Keys: []string{"id"}, Output: "out"},
	}
	o := b.options()
	verify := o.Verify
	var got []string
	o.Verify = func(ctx context.Context, path string, schema ir.Schema, keys []string, refs []executors.Referred) ([]executors.Violation, int64, error) {
		for _, r := range refs {
			what := "other"
			if r.Path == path {
				what = "itself"
			} else if content, err := os.ReadFile(r.Path); err == nil {
				what = string(content)
			}
			got = append(got, r.Table+" "+what)
		}
		return verify(ctx, path, schema, keys, refs)
	}
	b.fake.behave["sources/shops"] = behaviour{writes: map[string]string{"out/out": "the shops"}}
	_, err := executors.Apply(t.Context(), b.plan([]ir.Unit{shops, sales}), o)
	b.ok(err)
	if want := []string{"sources.shops the shops", "sources.sales itself"}; !slices.Equal(got, want) {
		t.Errorf("verified against %q, want %q", got, want)
	}
	for _, ran := range b.fake.tasks {
		if len(ran.task.Inputs) > 0 {
			t.Errorf("%s got %v", ran.task.Unit.ID, ran.task.Inputs)
		}
	}
}
