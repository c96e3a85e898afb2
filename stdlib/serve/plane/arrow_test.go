package plane

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/arrow"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

const arrowStream = "application/vnd.apache.arrow.stream"

func askArrow(p *Plane, path string, body []byte, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", path, bytes.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w
}

// streamOf are the rows of a JSON request as an Arrow stream.
func streamOf(t testing.TB, p *Plane, body []byte) []byte {
	t.Helper()
	var rows request.Rows
	if errs := p.decoder.Decode(body, &rows); errs != nil {
		t.Fatal(errs)
	}
	w, err := arrow.NewWriter(p.columns)
	if err != nil {
		t.Fatal(err)
	}
	b, err := w.Append(nil, rows.Values)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// readAnswer reads a stream with the columns of an answer.
func readAnswer(t testing.TB, columns ir.Schema, b []byte) []rowsql.Value {
	t.Helper()
	r, err := arrow.NewReader(columns)
	if err != nil {
		t.Fatal(err)
	}
	values, _, err := r.Read(bytes.NewReader(b), nil, arrow.Limits{Rows: 1000, Bytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return values
}

func TestArrowGetsThePredictionsOfJSON(t *testing.T) {
	p, x := planeOf(t, nil)
	stream := streamOf(t, p, x.Request)
	w := askArrow(p, "/predict?probabilities=true", stream, "Content-Type", arrowStream)
	if w.Code != 200 || w.Header().Get("Content-Type") != arrowStream || w.Header().Get("X-Tenon-Model") != `{"name":"late","version":4,"digest":"sha256:abc"}` {
		t.Fatalf("%d %v %q", w.Code, w.Header(), w.Body)
	}
	got := readAnswer(t, ir.Schema{{Name: "prediction", Type: "bool"}, {Name: "probability", Type: "float64"},
		{Name: "probabilities.false", Type: "float64"}, {Name: "probabilities.true", Type: "float64"}}, w.Body.Bytes())
	for i, want := range x.Predictions {
		row := got[4*i : 4*i+4]
		if row[0].Bool() != want["prediction"] || row[1].Float() != want["probability"] || row[3] != row[1] {
			t.Errorf("row %d: %v, want %v", i, row, want)
		}
	}
	// An answer has the format that the client accepts.
	asJSON := askArrow(p, "/predict", stream, "Content-Type", arrowStream, "Accept", "application/json")
	if plain := ask(p, "POST", "/predict", string(x.Request)); asJSON.Body.String() != plain.Body.String() {
		t.Errorf("%s\nwant %s", asJSON.Body, plain.Body)
	}
	w = askArrow(p, "/predict", x.Request, "Accept", arrowStream)
	short := readAnswer(t, ir.Schema{{Name: "prediction", Type: "bool"}, {Name: "probability", Type: "float64"}}, w.Body.Bytes())
	if len(short) != 2*len(x.Predictions) || short[1] != got[1] {
		t.Errorf("%v", short[:2])
	}
}

func TestColumnsAreReturnedInArrow(t *testing.T) {
	var columns ir.Schema
	for _, kind := range []string{"bool", "int8", "uint64", "float32", "float64", "string", "bytes", "date", "time", "timestamp", "timestamptz"} {
		columns = append(columns, ir.Column{Name: kind, Type: kind, Nullable: true})
	}
	p, _ := planeOf(t, func(c *Config) { c.Features = computed(columns, nil) })
	body := []byte(`{"instances": [{"bool": true, "int8": -7, "uint64": 18446744073709551615, "float32": 0.1, "float64": 1e300, "string": "a", "bytes": "AAE=",
		"date": "2024-02-29", "time": "13:37:00.5", "timestamp": "2024-05-17T13:37:00", "timestamptz": "2024-05-17T11:37:00Z"}, {}]}`)
	var sent request.Rows
	if errs := p.decoder.Decode(body, &sent); errs != nil {
		t.Fatal(errs)
	}
	w := askArrow(p, "/predict", streamOf(t, p, body), "Content-Type", arrowStream)
	got := readAnswer(t, append(ir.Schema{{Name: "prediction", Type: "bool"}, {Name: "probability", Type: "float64"}}, columns...), w.Body.Bytes())
	for row := range 2 {
		n := len(columns)
		if a, b := got[row*(n+2)+2:][:n], sent.Row(row); !reflect.DeepEqual(a, b) {
			t.Errorf("%v, want %v", a, b)
		}
	}
}

func TestArrowIsRefused(t *testing.T) {
	p, x := planeOf(t, func(c *Config) { c.MaxBytes = 8000 })
	stream := streamOf(t, p, []byte(`{"instances": [{"at": "2024-05-17T13:37:00", "origin": "EWR", "hour": 20}]}`))
	none := stream[:len(stream)-8]
	none = none[:bytes.LastIndex(none, []byte{0xff, 0xff, 0xff, 0xff})]
	for name, tt := range map[string]struct {
		body   []byte
		status int
		want   string
	}{
		"JSON":     {x.Request[:100], 422, `{"detail":[{"type":"value_error","loc":["body"],"msg":"the body is not an Arrow stream"}]}`},
		"more":     {append(bytes.Clone(stream), 0), 422, `{"detail":[{"type":"value_error","loc":["body"],"msg":"there is more after the end of the Arrow stream"}]}`},
		"no rows":  {append(bytes.Clone(none), stream[len(stream)-8:]...), 422, `{"detail":[{"type":"value_error","loc":["body","instances"],"msg":"the list has to have at least 1 item"}]}`},
		"too much": {make([]byte, 8001), 413, `{"detail":"the request is larger than 8000 bytes"}`},
	} {
		t.Run(name, func(t *testing.T) {
			answered(t, askArrow(p, "/predict", tt.body, "Content-Type", arrowStream), tt.status, tt.want)
		})
	}
	bad := bytes.Replace(stream, []byte("EWR"), []byte("QQQ"), 1)
	w := askArrow(p, "/predict", bad, "Content-Type", arrowStream)
	if want := `"loc":["body","instances",0,"origin"],"msg":"Input should be 'EWR', 'JFK' or 'LGA'"`; w.Code != 422 || !strings.Contains(w.Body.String(), want) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if !json.Valid(w.Body.Bytes()) {
		t.Errorf("%q", w.Body)
	}
}
