package executors

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/artifact"
)

// Whatever a step writes beside its outputs is either refused or read as written.
func FuzzNotes(f *testing.F) {
	for _, s := range []string{
		"", "{}", "null", `{"f1":0.5}`, `{"f1":1e400}`, `{"f1":NaN}`, `{"f1":-0.0,"f1":2}`, "{\"\xff\":1}", `{"a":1}{"b":2}`, `[[[[[[`,
		`{"metrics":{"f1":0.5}}`, `{"metrics":[1]}`, `{"task":"classification","input":[{"name":"age","type":"int64","min":1e5}],"output":{"name":"late"}}`,
		"{\"done\":1,\"total\":3}\n{\"done\":2", "{\"done\":\"x\"}\n", `{"out":{"digest":"sha256:x","size":-1}}`,
	} {
		f.Add([]byte(s))
	}
	signature := &ir.Signature{Task: "classification", Input: ir.Schema{{Name: "age", Type: "int64"}}, Output: ir.Column{Name: "late"}}
	store, err := artifact.Open(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		for _, name := range []string{"metrics.json", "report.json", "signature.json", "progress.jsonl", "log", "outputs.json"} {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		finite := func(m map[string]float64, err error) {
			for name, v := range m {
				if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
					t.Errorf("metric %q is %v, with error %v", name, v, err)
				}
			}
			if _, err := json.Marshal(m); err != nil {
				t.Errorf("what was measured cannot be recorded: %v", err)
			}
		}
		finite(readMetrics(filepath.Join(dir, "metrics.json")))
		finite(readReport(dir))
		if err := verifyModel(ir.Output{Port: "model", Signature: signature}, dir); err == nil {
			var got ir.Signature
			if err := json.Unmarshal(content, &got); err != nil || got.Task != "classification" || len(got.Input) != 1 {
				t.Errorf("%q passes for a signature", content)
			}
		}
		if lines := logTail(filepath.Join(dir, "log"), map[string]string{"S": "secret"}); len(lines) > 20 {
			t.Errorf("%d lines of the log", len(lines))
		}
		c := call{walk: &walk{o: Options{Artifacts: store}}, dir: dir, n: &work{unit: &ir.Unit{Outputs: []ir.Output{{Port: "out"}}}}}
		if listed := c.listed(); listed != nil {
			t.Errorf("a receipt %q of what does not exist", content)
		}
	})
}
