package dashboard

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/internal/test/grafana"
)

func about(kind, name string) About {
	return About{System: "late", Env: "prod", Unit: kind + "s/" + name, Name: kind + "s." + name, Selector: `system="late",env="prod",` + kind + `="` + name + `"`}
}

// equal compares with a file. TENON_UPDATE=1 rewrites it.
func equal(t *testing.T, path string, got []byte) {
	t.Helper()
	if os.Getenv("TENON_UPDATE") != "" {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got)\n%s", path, diff)
	}
}

// Dashboards are the same for the same system, and what Grafana's schema permits. What they show exists:
// the scripts of cmd/tenon compare it with services and controllers that run.
func TestDashboards(t *testing.T) {
	dir := t.TempDir()
	var files []string
	for name, d := range map[string]*Dashboard{
		"endpoint": Endpoint(about("deployment", "api"), "/predict", true),
		"drift":    Monitor(about("monitor", "inputs"), Drift),
		"quality":  Monitor(about("monitor", "truth"), Quality),
		"cost":     Monitor(about("monitor", "spent"), ""),
		"loop": Loop(about("loop", "late"), []Selected{{"monitors.inputs", `system="late",monitor="inputs"`}},
			[]Selected{{"deployments.api", `system="late",deployment="api"`}}, `system="late"`),
	} {
		b, err := d.JSON()
		if err != nil {
			t.Fatal(err)
		}
		equal(t, filepath.Join("testdata", name+".json"), b)
		files = append(files, filepath.Join(dir, name+".json"))
		if err := os.WriteFile(files[len(files)-1], b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := grafana.Schema(files...); err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{{`"gridPos": {`, `"gridPos": {"depth": 1,`}, {`"refId"`, `"reference"`}, {`"schemaVersion": 39`, `"schemaVersion": "39"`}} {
		wrong := filepath.Join(dir, "wrong.json")
		if err := os.WriteFile(wrong, bytes.ReplaceAll(b, []byte(change[0]), []byte(change[1])), 0o644); err != nil {
			t.Fatal(err)
		}
		if grafana.Schema(wrong) == nil {
			t.Errorf("the schema permits %s", change[1])
		}
	}
}
