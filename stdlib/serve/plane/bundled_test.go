package plane

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/bundle"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/parity"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// bundleOf writes the bundle of a model that was exported by a test of its trainer.
func bundleOf(t *testing.T, name string) (dir string, x exported) {
	t.Helper()
	_, x = readExported(t, name)
	from := t.TempDir()
	dir = t.TempDir()
	for file, b := range map[string][]byte{Exported: x.Document, "signature.json": []byte(`{"task":"classification","output":{"name":"late","type":"bool"}}`), "model.json": []byte("{}"), "model.joblib": []byte("a pickle")} {
		if err := os.WriteFile(filepath.Join(from, file), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	q := bundle.Question{Dir: dir, Rows: 10, Service: step.Step{
		Version: step.Version, Unit: "deployments/api", Component: "serve.http", Params: json.RawMessage(`{"log":{},"max_instances":500}`), Endpoint: &ir.Endpoint{Host: "127.0.0.1", Port: 1, Ready: "/readyz"},
		Inputs: map[string]step.Port{"model": {Kind: ir.Model, Path: from}},
	}}
	if _, err := Bundle(context.Background(), q); err != nil {
		t.Fatal(err)
	}
	return dir, x
}

func TestABundleHasNoPickleAndNoPath(t *testing.T) {
	dir, _ := bundleOf(t, "hist")
	if _, err := os.Stat(filepath.Join(dir, "model", "model.joblib")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pickle: %v", err)
	}
	b, err := os.ReadFile(filepath.Join(dir, bundle.Service))
	if err != nil || strings.Contains(string(b), os.TempDir()) {
		t.Errorf("%v: %s", err, b)
	}
}

func TestABundleReadsNothingOutsideOfIt(t *testing.T) {
	for _, path := range []string{"/etc", "../model", "model/../../x"} {
		dir := t.TempDir()
		b, err := json.Marshal(step.Step{Version: step.Version, Inputs: map[string]step.Port{"model": {Path: path}}})
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, bundle.Service), b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Unbundle(dir); err == nil || !strings.Contains(err.Error(), "the input model of the bundle is outside of it") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// What a sample says is compared: features, predictions, and that the service takes the row.
func TestSelftestFindsDifferences(t *testing.T) {
	dir, x := bundleOf(t, "hist")
	s, err := Unbundle(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := readModel(s)
	if err != nil {
		t.Fatal(err)
	}
	var body struct{ Instances []json.RawMessage }
	if err := json.Unmarshal(x.Request, &body); err != nil {
		t.Fatal(err)
	}
	row := func(change func(*parity.Sampled)) parity.Sampled {
		r := parity.Sampled{Request: body.Instances[0], Features: []*string{}, Outputs: make([]string, m.Outputs())}
		for i := range r.Outputs {
			r.Outputs[i] = "0x1p-01"
		}
		if change != nil {
			change(&r)
		}
		return r
	}
	test := func(rows ...parity.Sampled) (*Selftested, error) {
		t.Helper()
		if err := writeJSON(filepath.Join(dir, bundle.Selftest), parity.Sample{Version: parity.SampleVersion, Rows: rows}); err != nil {
			t.Fatal(err)
		}
		return Selftest(context.Background(), s, dir)
	}
	if found, err := test(); err != nil || found.Rows != 0 {
		t.Errorf("no rows: %+v, %v", found, err)
	}
	found, err := test(row(nil), row(func(r *parity.Sampled) { r.Request = json.RawMessage(`{}`) }))
	if err == nil || !strings.Contains(err.Error(), "2 of 2 rows of the sample are computed otherwise than in training\n  row 1: the prediction: wanted [0.5 0.5], got [") || !strings.Contains(err.Error(), "\n  row 2 is refused: ") || found.Equal != 0 {
		t.Errorf("%+v, %v", found, err)
	}
	if _, err := test(row(func(r *parity.Sampled) { r.Outputs = r.Outputs[:1] })); err == nil || !strings.Contains(err.Error(), "row 1 of the sample: it has other columns") {
		t.Errorf("%v", err)
	}
}

// What a failed selftest prints is read by whoever gets a bundle.
func TestSelftestShowsNoPrivateValues(t *testing.T) {
	dir, x := bundleOf(t, "hist")
	s, err := Unbundle(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := readModel(s)
	if err != nil {
		t.Fatal(err)
	}
	var body struct{ Instances []json.RawMessage }
	if err := json.Unmarshal(x.Request, &body); err != nil {
		t.Fatal(err)
	}
	of := m.Columns()[0]
	secret := "424242"
	sample := parity.Sample{Version: parity.SampleVersion, Columns: ir.Schema{of}, Rows: []parity.Sampled{
		{Request: body.Instances[0], Features: []*string{&secret}, Outputs: make([]string, m.Outputs())}, {Request: json.RawMessage(`{}`), Features: []*string{&secret}, Outputs: make([]string, m.Outputs())}}}
	if err := writeJSON(filepath.Join(dir, bundle.Selftest), sample); err != nil {
		t.Fatal(err)
	}
	for params, want := range map[string]string{
		`{}`:                              "column " + of.Name + ": wanted 1970-01-01 00:00:00.424242, got ",
		`{"private":["` + of.Name + `"]}`: "column " + of.Name + ": wanted (private), got (private)\n  row 2 is refused: its values cannot be computed",
	} {
		s.Params = json.RawMessage(params)
		if _, err := Selftest(context.Background(), s, dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", params, err, want)
		}
	}
}

// Without a port of its own, a service answers as with one, but for what cannot be done there.
func TestHandlerAnswersAsTheService(t *testing.T) {
	dir, x := bundleOf(t, "hist")
	s, err := Unbundle(dir)
	if err != nil {
		t.Fatal(err)
	}
	h, err := Handler(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := planeOf(t, nil)
	for _, body := range []string{string(x.Request), `{"instances": [{}]}`, "x"} {
		got, other := httptest.NewRecorder(), httptest.NewRecorder()
		h.ServeHTTP(got, httptest.NewRequest("POST", "/predict", strings.NewReader(body)))
		want.ServeHTTP(other, httptest.NewRequest("POST", "/predict", strings.NewReader(body)))
		a, _, _ := strings.Cut(got.Body.String(), `"model"`)
		b, _, _ := strings.Cut(other.Body.String(), `"model"`)
		if got.Code != other.Code || a != b {
			t.Errorf("%d %.200s\nwant %d %.200s", got.Code, a, other.Code, b)
		}
	}
}
