package plane

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// exported is a model that stdlib/lib/model/test_plane.py has trained, a request, and what
// the model itself predicted.
type exported struct {
	Document    json.RawMessage
	Request     json.RawMessage
	Predictions []map[string]any
}

func readExported(t testing.TB, name string) (*model.Model, exported) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("model", "_testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var x exported
	if err := json.Unmarshal(b, &x); err != nil {
		t.Fatal(err)
	}
	var doc model.Document
	if err := json.Unmarshal(x.Document, &doc); err != nil {
		t.Fatal(err)
	}
	m, err := model.New(doc)
	if err != nil {
		t.Fatal(err)
	}
	return m, x
}

// logged collects lines of a log.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (l *logged) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

// planeOf is a plane of the model hist, which predicts whether a flight is late.
func planeOf(t testing.TB, change func(*Config)) (*Plane, exported) {
	t.Helper()
	m, x := readExported(t, "hist")
	c := Config{
		Model: m, About: About{"late", 4, "sha256:abc"}, Task: "classification", Label: ir.Column{Name: "late", Type: "bool"},
		Instance: "i1", MaxRows: 1000, MaxBytes: 1 << 20, AtOnce: 2, Waiting: 8, Labels: map[string]string{"deployment": "api"},
	}
	if change != nil {
		change(&c)
	}
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p, x
}

func ask(h http.Handler, method, path string, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w
}

// answered checks status and body.
func answered(t *testing.T, w *httptest.ResponseRecorder, status int, body string) {
	t.Helper()
	if w.Code != status || body != "" && w.Body.String() != body {
		t.Errorf("%d %s\nwant %d %s", w.Code, w.Body, status, body)
	}
}

func TestAnswersAreThePredictionsOfPython(t *testing.T) {
	for _, name := range []string{"hist", "hist_regression", "forest", "extra_trees", "lightgbm", "xgboost"} {
		m, x := readExported(t, name)
		p, _ := planeOf(t, func(c *Config) { c.Model = m })
		var got struct{ Predictions []map[string]any }
		w := ask(p, "POST", "/predict", string(x.Request))
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 {
			t.Fatalf("%s: %d %s, %v", name, w.Code, w.Body, err)
		}
		want, err := json.Marshal(x.Predictions)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := json.Marshal(got.Predictions); !bytes.Equal(b, want) {
			t.Errorf("%s: %.300s\nwant %.300s", name, b, want)
		}
	}
}

func TestPathsAndMethods(t *testing.T) {
	p, _ := planeOf(t, func(c *Config) { c.Ready = "/ready" })
	for _, tt := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/healthz", 200, `{"status":"ok"}`},
		{"GET", "/readyz", 200, `{"status":"ready"}`},
		{"GET", "/ready", 200, `{"status":"ready"}`},
		{"GET", "/predict", 405, `{"detail":"Method Not Allowed"}`},
		{"HEAD", "/readyz", 405, ""},
		{"POST", "/metrics", 405, `{"detail":"Method Not Allowed"}`},
		{"GET", "/", 404, `{"detail":"Not Found"}`},
		{"DELETE", "/nowhere", 404, `{"detail":"Not Found"}`},
		{"GET", "/readyz/", 307, ""},
		{"GET", "/nowhere/", 404, `{"detail":"Not Found"}`},
		{"POST", "/predict?probabilities=x", 422, `{"detail":[{"type":"bool_parsing","loc":["query","probabilities"],"msg":"Input should be a valid boolean, unable to interpret input"}]}`},
	} {
		w := ask(p, tt.method, tt.path, "")
		t.Run(tt.method+" "+tt.path, func(t *testing.T) { answered(t, w, tt.status, tt.body) })
	}
	if got := ask(p, "GET", "/healthz", "").Header().Get("X-Tenon-Instance"); got != "i1" {
		t.Errorf("instance %q", got)
	}
	p.Drain()
	w := ask(p, "GET", "/readyz", "")
	answered(t, w, 503, `{"status":"draining"}`)
	if w.Header().Get("Connection") != "close" {
		t.Error("a client keeps its connection to a service that ends")
	}
}

func TestLimits(t *testing.T) {
	p, x := planeOf(t, func(c *Config) { c.MaxRows, c.MaxBytes = 5, 300 })
	answered(t, ask(p, "POST", "/predict", string(x.Request)), 413, `{"detail":"the request is larger than 300 bytes"}`)
	unknown := httptest.NewRequest("POST", "/predict", io.MultiReader(strings.NewReader(strings.Repeat(" ", 301))))
	if unknown.ContentLength >= 0 {
		t.Fatal("the length is known")
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, unknown)
	answered(t, w, 413, "")
	w = ask(p, "POST", "/predict", `{"instances": [1,2,3,4,5,6]}`)
	if !strings.Contains(w.Body.String(), "the list may have at most 5 items") || w.Code != 422 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// Numbers are written as Python writes them, so that clients read floats.
func TestNumbers(t *testing.T) {
	for x, want := range map[float64]string{
		0: "0.0", 1: "1.0", -2.5: "-2.5", 0.1: "0.1", 1e15: "1000000000000000.0", 1e16: "1e+16", 1e-4: "0.0001", 1e-5: "1e-05", 1.5e300: "1.5e+300",
		0.30000000000000004: "0.30000000000000004", 5e-324: "5e-324",
	} {
		p, _ := planeOf(t, func(c *Config) {
			c.Features = computed(ir.Schema{{Name: "x", Type: "float64"}}, nil)
		})
		b, _ := json.Marshal(x)
		if w := ask(p, "POST", "/predict", `{"instances": [{"x": `+string(b)+`}]}`); !strings.Contains(w.Body.String(), `"x":`+want+`}`) {
			t.Errorf("%s\nwant %s", w.Body, want)
		}
	}
}

// fake are features that a function computes.
type fake struct {
	columns ir.Schema
	compute func(request, row []rowsql.Value) (bool, error)
}

// An answer repeats the request.
func (f fake) Returns() ir.Schema { return f.columns }

func (f fake) Columns() ir.Schema  { return f.columns }
func (f fake) NewRow() RowComputer { return f }
func (f fake) Position() int64     { return 0 }
func (f fake) Missed() string      { return "" }
func (f fake) Compute(request, row, returned []rowsql.Value) (kept bool, e error) {
	copy(returned, request)
	return f.compute(request, row)
}

// computed are features of any request: the row of the model is always the same.
func computed(columns ir.Schema, before func(request []rowsql.Value) (bool, error)) Features {
	return fake{columns, func(request, row []rowsql.Value) (bool, error) {
		if before != nil {
			if kept, err := before(request); !kept || err != nil {
				return kept, err
			}
		}
		copy(row, []rowsql.Value{rowsql.Int(0), rowsql.Null, rowsql.String("EWR"), rowsql.Int(20), rowsql.Float(12.5), rowsql.Null})
		return true, nil
	}}
}

func TestFeaturesAreComputedFromTheRequest(t *testing.T) {
	p, _ := planeOf(t, func(c *Config) {
		c.Features = computed(ir.Schema{{Name: "n", Type: "int64", Min: "0"}}, func(request []rowsql.Value) (bool, error) {
			switch request[0].Int() {
			case 1:
				return false, nil
			case 2:
				return false, &model.ValueError{Column: "n", Reason: "no such flight"}
			case 3:
				return false, io.ErrUnexpectedEOF
			}
			return true, nil
		})
	})
	good := ask(p, "POST", "/predict", `{"instances": [{"n": 5}]}`)
	if good.Code != 200 || !strings.HasPrefix(good.Body.String(), `{"predictions":[{"prediction":true,"probability":0.`) || !strings.Contains(good.Body.String(), `,"n":5}]`) {
		t.Errorf("%d %s", good.Code, good.Body)
	}
	for n, want := range map[string]string{
		"1": `{"detail":[{"type":"value_error","loc":["body","instances",1],"msg":"the query of the features leaves this row out"}]}`,
		"2": `{"detail":[{"type":"value_error","loc":["body","instances",1,"n"],"msg":"no such flight"}]}`,
		"3": `{"detail":[{"type":"value_error","loc":["body","instances",1],"msg":"unexpected EOF"}]}`,
	} {
		answered(t, ask(p, "POST", "/predict", `{"instances": [{"n": 5}, {"n": `+n+`}]}`), 422, want)
	}
	w := ask(p, "POST", "/predict", `{"instances": [{"n": -1}]}`)
	if !strings.Contains(w.Body.String(), "greater than or equal to 0") {
		t.Errorf("the bounds of the request do not count: %s", w.Body)
	}
	if doc := ask(p, "GET", "/openapi.json", "").Body.String(); !strings.Contains(doc, `"n":{"maximum":9223372036854775807,"minimum":0`) {
		t.Errorf("the document has no column n: %s", doc)
	}
}

func TestColumnsOfTheRequestAreReturned(t *testing.T) {
	values := map[string]string{
		"bool": "true", "int8": "-7", "uint64": "18446744073709551615", "float32": "0.1", "float64": "1e+300", "string": `"a\"\\\u0001é\u2028"`,
		"bytes": `"AAE="`, "date": `"2024-02-29"`, "time": `"13:37:00.5"`, "timestamp": `"2024-05-17T13:37:00.000001"`, "timestamptz": `"2024-05-17T11:37:00Z"`,
	}
	var columns ir.Schema
	var fields []string
	for _, kind := range []string{"bool", "int8", "uint64", "float32", "float64", "string", "bytes", "date", "time", "timestamp", "timestamptz"} {
		columns = append(columns, ir.Column{Name: kind, Type: kind, Nullable: true})
		fields = append(fields, `"`+kind+`": `+values[kind])
	}
	p, _ := planeOf(t, func(c *Config) { c.Features = computed(columns, nil) })
	w := ask(p, "POST", "/predict", `{"instances": [{`+strings.Join(fields, ", ")+`}, {}]}`)
	var got struct{ Predictions []map[string]json.RawMessage }
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	for kind, want := range values {
		var a, b any
		if err := json.Unmarshal([]byte(want), &a); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(got.Predictions[0][kind], &b); err != nil || a != b {
			t.Errorf("%s: %s, want %s", kind, got.Predictions[0][kind], want)
		}
		if null := string(got.Predictions[1][kind]); null != "null" {
			t.Errorf("%s: %s, want null", kind, null)
		}
	}
	if _, err := New(Config{Model: p.Model, Features: computed(ir.Schema{{Name: "prediction", Type: "bool"}}, nil), MaxRows: 1}); err == nil {
		t.Error("an answer has two fields with one name")
	}
}

func TestTheDocumentNeedsNoInternet(t *testing.T) {
	p, _ := planeOf(t, nil)
	w := ask(p, "GET", "/docs", "")
	if w.Code != 200 || strings.Contains(w.Body.String(), "://") || !strings.Contains(w.Body.String(), "<code>carrier</code>") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
