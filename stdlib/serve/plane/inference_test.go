package plane

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// tensorsOf is the request of a model as one of the Open Inference Protocol, as a client in
// Python would send it.
func tensorsOf(t testing.TB, p *Plane, body []byte, extra map[string]any) string {
	t.Helper()
	var doc struct{ Instances []map[string]any }
	if err := json.Unmarshal(body, &doc); err != nil {
		t.Fatal(err)
	}
	n := len(doc.Instances)
	var inputs []any
	for _, in := range p.inputs() {
		var data []any
		for _, row := range doc.Instances {
			data = append(data, row[in.Name])
		}
		inputs = append(inputs, map[string]any{"name": in.Name, "datatype": in.Datatype, "shape": []int{n}, "data": data})
	}
	out := map[string]any{"inputs": inputs}
	for k, v := range extra {
		out[k] = v
	}
	b, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// An openAnswer is an answer of the protocol.
type openAnswer struct {
	Name    string `json:"model_name"`
	Version string `json:"model_version"`
	ID      string
	Outputs []struct {
		Name, Datatype string
		Shape          []int
		Data           []any
		Parameters     map[string]any
	}
}

const inferPath = "/v2/models/late/infer"

func TestTensorsGetThePredictionsOfPredict(t *testing.T) {
	for _, name := range []string{"hist", "hist_regression", "forest", "extra_trees", "lightgbm", "xgboost"} {
		m, x := readExported(t, name)
		p, _ := planeOf(t, func(c *Config) { c.Model = m })
		w := ask(p, "POST", inferPath, tensorsOf(t, p, x.Request, map[string]any{"id": "a1"}))
		var got openAnswer
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 {
			t.Fatalf("%s: %d %s, %v", name, w.Code, w.Body, err)
		}
		if got.Name != "late" || got.Version != "4" || got.ID != "a1" {
			t.Errorf("%s: %s, %s, %s", name, got.Name, got.Version, got.ID)
		}
		for _, out := range got.Outputs {
			for i, v := range out.Data {
				want := x.Predictions[i][out.Name]
				if out.Datatype == "BYTES" {
					want = fmt.Sprint(want)
				}
				if v != want {
					t.Errorf("%s: %s[%d] is %v, want %v", name, out.Name, i, v, want)
				}
			}
		}
	}
}

func TestMetadataOfTheInferenceProtocol(t *testing.T) {
	p, _ := planeOf(t, nil)
	model := `{"name":"late","versions":["4"],"platform":"tenon","inputs":[{"name":"at","datatype":"BYTES","shape":[-1]},{"name":"carrier","datatype":"BYTES","shape":[-1]},` +
		`{"name":"origin","datatype":"BYTES","shape":[-1]},{"name":"hour","datatype":"INT64","shape":[-1]},{"name":"wind","datatype":"FP64","shape":[-1]},` +
		`{"name":"holiday","datatype":"BOOL","shape":[-1]}],"outputs":[{"name":"prediction","datatype":"BOOL","shape":[-1]},{"name":"probability","datatype":"FP64","shape":[-1]},` +
		`{"name":"probabilities","datatype":"FP64","shape":[-1,2]}],"parameters":{"digest":"sha256:abc","classes":[false,true]}}`
	for path, want := range map[string]string{
		"/v2":                              `{"name":"tenon","version":"4","extensions":["binary_tensor_data"]}`,
		"/v2/health/live":                  `{"live":true}`,
		"/v2/health/ready":                 `{"ready":true}`,
		"/v2/models/late":                  model,
		"/v2/models/late/versions/4":       model,
		"/v2/models/late/ready":            `{"ready":true}`,
		"/v2/models/late/versions/4/ready": `{"ready":true}`,
	} {
		answered(t, ask(p, "GET", path, ""), 200, want)
	}
	answered(t, ask(p, "GET", "/v2/models/other", ""), 404, "")
	answered(t, ask(p, "GET", "/v2/models/late/versions/3", ""), 404, "")
	p.Drain()
	answered(t, ask(p, "GET", "/v2/health/ready", ""), 503, `{"error":"draining"}`)
	answered(t, ask(p, "GET", "/v2/models/late/ready", ""), 503, `{"error":"draining"}`)
	answered(t, ask(p, "GET", "/v2/health/live", ""), 200, `{"live":true}`)
}

// tensor is one of a request, with its data as JSON.
func tensor(name, datatype string, shape []int, data string) string {
	s, _ := json.Marshal(shape)
	return fmt.Sprintf(`{"name": %q, "datatype": %q, "shape": %s, "data": %s}`, name, datatype, s, data)
}

func TestTensorsThatAreRefused(t *testing.T) {
	columns := ir.Schema{{Name: "n", Type: "int8", Min: "0"}, {Name: "x", Type: "float64", Nullable: true}, {Name: "s", Type: "string", Nullable: true},
		{Name: "t", Type: "timestamp", Nullable: true}, {Name: "f", Type: "float32", Nullable: true}, {Name: "b", Type: "bytes", Nullable: true}, {Name: "ok", Type: "bool", Nullable: true}}
	p, _ := planeOf(t, func(c *Config) { c.Features, c.MaxRows = computed(columns, nil), 3 })
	n := tensor("n", "INT8", []int{1}, "[1]")
	for name, tt := range map[string]struct{ inputs, want string }{
		"below the bound":       {tensor("n", "INT8", []int{2}, "[1, -1]"), "inputs n[1]: Input should be greater than or equal to 0"},
		"above the type":        {tensor("n", "INT64", []int{2}, "[1, 128]"), "inputs n[1]: Input should be less than or equal to 127"},
		"above the datatype":    {tensor("n", "INT8", []int{1}, "[300]"), "inputs n[0]: no INT8 is 300"},
		"a fraction":            {tensor("n", "INT8", []int{1}, "[1.5]"), "inputs n[0]: Input should be a valid integer"},
		"a text":                {tensor("n", "INT8", []int{1}, `["1"]`), "inputs n[0]: Input should be a valid integer"},
		"null":                  {tensor("n", "INT8", []int{1}, "[null]"), "inputs n[0]: Input should be a valid integer"},
		"another datatype":      {tensor("n", "FP32", []int{1}, "[1]"), `inputs n: a column of type int8 cannot be a tensor of datatype "FP32"; wanted INT8`},
		"no datatype":           {`{"name": "n", "shape": [1], "data": [1]}`, `inputs n: a column of type int8 cannot be a tensor of datatype ""; wanted INT8`},
		"unknown datatype":      {tensor("n", "INT4", []int{1}, "[1]"), `inputs n: a column of type int8 cannot be a tensor of datatype "INT4"; wanted INT8`},
		"unknown tensor":        {n + "," + tensor("m", "INT8", []int{1}, "[1]"), "inputs m: Extra inputs are not permitted"},
		"missing tensor":        {tensor("x", "FP64", []int{1}, "[1]"), "inputs n: Field required"},
		"no tensor":             {"", "inputs n: Field required"},
		"twice":                 {n + "," + n, "inputs n: the tensor comes twice"},
		"other rows":            {n + "," + tensor("x", "FP64", []int{2}, "[1, 2]"), "inputs x: it has 2 rows, and the tensors before it 1"},
		"no row":                {tensor("n", "INT8", []int{0}, "[]"), "inputs n: wanted a tensor of shape [n] or [n, 1] with at least 1 row"},
		"a matrix":              {tensor("n", "INT8", []int{1, 2}, "[1, 2]"), "inputs n: wanted a tensor of shape [n] or [n, 1] with at least 1 row"},
		"too many rows":         {tensor("n", "INT8", []int{4}, "[1, 2, 3, 4]"), "inputs n: a tensor may have at most 3 rows"},
		"fewer values":          {tensor("n", "INT8", []int{2}, "[1]"), "inputs n: wanted a list of 2 values"},
		"more values":           {tensor("n", "INT8", []int{1}, "[1, 2]"), "inputs n: wanted a list of 1 values"},
		"no list":               {tensor("n", "INT8", []int{1}, "1"), "inputs n: wanted a list of 1 values"},
		"no data":               {`{"name": "n", "datatype": "INT8", "shape": [1]}`, "inputs n: the tensor has no data"},
		"infinity":              {n + "," + tensor("x", "FP64", []int{1}, "[Infinity]"), "inputs x[0]: Input should be a finite number"},
		"too large":             {n + "," + tensor("x", "FP64", []int{1}, "[1e400]"), "inputs x[0]: Input should be a finite number"},
		"an inexact integer":    {n + "," + tensor("x", "INT64", []int{1}, "[9007199254740993]"), "inputs x[0]: Value error, the type does not hold it exactly"},
		"no moment":             {n + "," + tensor("t", "BYTES", []int{1}, `["yesterday"]`), "inputs t[0]: Value error, wanted an ISO 8601 string"},
		"half a surrogate":      {n + "," + tensor("s", "BYTES", []int{1}, `["\ud800"]`), "half of a surrogate pair is no text"},
		"no base64":             {n + "," + tensor("b", "BYTES", []int{1}, `["?"]`), "inputs b[0]: Value error, wanted a base64 string"},
		"a number for a bool":   {n + "," + tensor("ok", "BOOL", []int{1}, "[1]"), "inputs ok[0]: Input should be a valid boolean"},
		"two wrong":             {tensor("n", "INT8", []int{2}, "[-1, -2]"), "inputs n[0]: Input should be greater than or equal to 0; inputs n[1]: Input should be greater than or equal to 0"},
		"no index":              {`{"name": "n", "datatype": "INT8", "shape": [1], "data": [1], "parameters": {"nulls": "1"}}`, `inputs n: wanted nulls to be a list of indexes, such as "0,7"`},
		"odd parameters":        {`{"name": "n", "datatype": "INT8", "shape": [1], "data": [1], "parameters": 5}`, "wanted parameters to be an object"},
		"not a tensor":          {"5", `wanted a tensor, such as {"name": ..., "shape": [1], "datatype": ..., "data": [...]}`},
		"fewer bytes than said": {`{"name": "n", "datatype": "INT8", "shape": [1], "parameters": {"binary_data_size": 1}}`, "there are fewer bytes after the JSON than its tensors have"},
	} {
		t.Run(name, func(t *testing.T) {
			w := ask(p, "POST", inferPath, `{"inputs": [`+tt.inputs+`]}`)
			var got struct{ Error string }
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 422 || got.Error != tt.want {
				t.Errorf("%d %s, want %s", w.Code, w.Body, tt.want)
			}
		})
	}
	for body, want := range map[string]string{
		``:                                      "wanted a request of the Open Inference Protocol",
		`[]`:                                    "wanted a request of the Open Inference Protocol",
		`{"inputs": 1}`:                         "wanted a list",
		`{"inputs": [` + n + `], "inputs": []}`: "a field is there twice",
		`{"inputs": [` + n + `], "instances": []}`:                                 "instances: Extra inputs are not permitted",
		`{"inputs": [` + n + `], "outputs": [{"name": "y"}]}`:                      "outputs y: the model has no such output",
		`{"inputs": [` + n + `]} x`:                                                "there is more after its end",
		`{"inputs": [` + n + `], "outputs": [{"name": "n"}, {"name": "n"}]}`:       "outputs n: the output comes twice",
		`{"inputs": [` + n + `], "parameters": {"binary_data_output": "perhaps"}}`: "wanted true or false",
	} {
		if w := ask(p, "POST", inferPath, body); w.Code != 422 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s, want %s", body, w.Code, w.Body, want)
		}
	}
}

// A value that a tensor may have is returned as the value that /predict would have returned.
func TestValuesOfTensors(t *testing.T) {
	var columns ir.Schema
	for _, kind := range []string{"bool", "int8", "int64", "uint64", "float32", "float64", "string", "bytes", "date", "time", "timestamp", "timestamptz"} {
		columns = append(columns, ir.Column{Name: kind, Type: kind, Nullable: true})
	}
	p, _ := planeOf(t, func(c *Config) { c.Features = computed(columns, nil) })
	for _, tt := range []struct{ column, datatype, data, want string }{
		{"bool", "BOOL", "[true, false, null]", "[true,false,null]"},
		{"int8", "UINT64", "[[1], [null], [127]]", "[1,null,127]"},
		{"int64", "INT64", "[-9223372036854775808, 9223372036854775807]", "[-9223372036854775808,9223372036854775807]"},
		{"uint64", "UINT64", "[18446744073709551615]", "[18446744073709551615]"},
		{"float32", "FP64", "[0.1, NaN]", "[0.1,null]"},
		{"float64", "FP32", "[0.1]", "[0.10000000149011612]"},
		{"float64", "FP64", "[0.1, NaN, null]", "[0.1,null,null]"},
		{"float64", "INT32", "[3]", "[3.0]"},
		{"string", "BYTES", `["a\"é\u0001", null]`, `["a\"é\u0001",null]`},
		{"bytes", "BYTES", `["AAE="]`, `["AAE="]`},
		{"date", "BYTES", `["2024-02-29"]`, `["2024-02-29"]`},
		{"time", "BYTES", `["13:37:00.5"]`, `["13:37:00.5"]`},
		{"timestamp", "BYTES", `["2024-05-17T13:37:00.000001"]`, `["2024-05-17T13:37:00.000001"]`},
		{"timestamptz", "BYTES", `["2024-05-17T13:37:00+02:00"]`, `["2024-05-17T11:37:00Z"]`},
	} {
		n := strings.Count(tt.want, ",") + 1
		w := ask(p, "POST", inferPath, `{"outputs": [{"name": "`+tt.column+`"}], "inputs": [`+tensor(tt.column, tt.datatype, []int{n}, tt.data)+`]}`)
		if want := `"shape":[` + fmt.Sprint(n) + `],"data":` + tt.want + `}]}`; w.Code != 200 || !strings.HasSuffix(w.Body.String(), want) {
			t.Errorf("%s of %s: %d %s, want %s", tt.column, tt.datatype, w.Code, w.Body, want)
		}
	}
}

func TestTensorsOfBytes(t *testing.T) {
	columns := ir.Schema{{Name: "n", Type: "int16"}, {Name: "s", Type: "string", Nullable: true}, {Name: "x", Type: "float64", Nullable: true}}
	p, _ := planeOf(t, func(c *Config) { c.Features = computed(columns, nil) })
	post := func(length, head, after string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", inferPath, strings.NewReader(head+after))
		r.Header.Set(lengthHeader, length)
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		return w
	}
	head := `{"parameters": {"binary_data_output": true}, "outputs": [{"name": "n"}, {"name": "s"}, {"name": "x"}], "inputs": [` +
		`{"name": "n", "datatype": "INT16", "shape": [2], "parameters": {"binary_data_size": 4}},` +
		`{"name": "s", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 10, "nulls": "1"}}, ` + tensor("x", "FP64", []int{2}, "[1, NaN]") + `]}`
	after := "\xff\xff\x02\x00" + "\x02\x00\x00\x00hi" + "\x00\x00\x00\x00"
	w := post(fmt.Sprint(len(head)), head, after)
	want := `"outputs":[{"name":"n","datatype":"INT16","shape":[2],"parameters":{"binary_data_size":4}},` +
		`{"name":"s","datatype":"BYTES","shape":[2],"parameters":{"binary_data_size":10,"nulls":"1"}},` +
		`{"name":"x","datatype":"FP64","shape":[2],"parameters":{"binary_data_size":16,"nulls":"1"}}]}` +
		after + "\x00\x00\x00\x00\x00\x00\xf0\x3f" + "\x01\x00\x00\x00\x00\x00\xf8\x7f"
	if w.Code != 200 || !strings.HasSuffix(w.Body.String(), want) || w.Header().Get("Content-Type") != "application/octet-stream" {
		t.Fatalf("%d %q\nwant %q", w.Code, w.Body, want)
	}
	if at := strings.Index(w.Body.String(), "\xff\xff"); w.Header().Get(lengthHeader) != fmt.Sprint(at) {
		t.Errorf("the header says %s, and the JSON has %d bytes", w.Header().Get(lengthHeader), at)
	}
	for name, tt := range map[string]struct{ length, head, after, want string }{
		"a length beyond the body": {"9999", head, after, "wanted Inference-Header-Content-Length"},
		"no length":                {"x", head, after, "wanted Inference-Header-Content-Length"},
		"bytes too few":            {fmt.Sprint(len(head)), head, after[:12], "fewer bytes"},
		"bytes too many":           {fmt.Sprint(len(head)), head, after + "x", "bytes that belong to no tensor"},
		"a text too long":          {fmt.Sprint(len(head)), head, strings.Replace(after, "\x02\x00\x00\x00hi", "\x12\x00\x00\x00hi", 1), "inputs s: wanted 2 texts"},
	} {
		if w := post(tt.length, tt.head, tt.after); w.Code != 422 || !strings.Contains(w.Body.String(), tt.want) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

func TestLimitsHoldForTensors(t *testing.T) {
	p, x := planeOf(t, func(c *Config) { c.MaxBytes = 300 })
	answered(t, ask(p, "POST", inferPath, tensorsOf(t, p, x.Request, nil)), 413, `{"error":"the request is larger than 300 bytes"}`)
	text := ask(p, "GET", "/metrics", "").Body.String()
	if want := `tenon_http_requests_total{code="413",deployment="api",path="/v2/models/late/infer"} 1.0`; !strings.Contains(text, want) {
		t.Errorf("no %s", want)
	}
}

func TestARequestMayNameTheModel(t *testing.T) {
	p, x := planeOf(t, nil)
	answered(t, ask(p, "POST", inferPath, tensorsOf(t, p, x.Request, map[string]any{"model_name": "late", "model_version": "4", "id": nil})), 200, "")
	answered(t, ask(p, "POST", inferPath, tensorsOf(t, p, x.Request, map[string]any{"model_name": "other"})), 404, `{"error":"there is no such model: wanted late, version 4"}`)
}

func TestAllProbabilities(t *testing.T) {
	p, x := planeOf(t, nil)
	w := ask(p, "POST", inferPath, tensorsOf(t, p, x.Request, map[string]any{"outputs": []any{map[string]any{"name": "probabilities"}}}))
	var got openAnswer
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 || len(got.Outputs) != 1 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	out := got.Outputs[0]
	if n := len(x.Predictions); out.Shape[0] != n || out.Shape[1] != 2 || len(out.Data) != 2*n {
		t.Errorf("shape %v, %d values", out.Shape, len(out.Data))
	}
	for i, want := range x.Predictions {
		if out.Data[2*i+1] != want["probability"] || math.Abs(out.Data[2*i].(float64)+out.Data[2*i+1].(float64)-1) > 1e-9 {
			t.Errorf("row %d: %v", i, out.Data[2*i:2*i+2])
		}
	}
}

func TestDeadlines(t *testing.T) {
	p, entered, release := held(t, 4)
	go ask(p, "POST", "/predict", oneRow)
	<-entered
	late := func(path, body, timeout string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", path, strings.NewReader(body))
		r.Header.Set("Request-Timeout", timeout)
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		return w
	}
	answered(t, late("/predict", oneRow, "0.05"), http.StatusGatewayTimeout, `{"detail":"the request was not computed within its timeout"}`)
	answered(t, late(inferPath, "{}", "0.05"), http.StatusGatewayTimeout, `{"error":"the request was not computed within its timeout"}`)
	for _, bad := range []string{"", "soon", "-1", "0", "NaN"} {
		answered(t, late("/predict", oneRow, bad), 422, `{"detail":[{"type":"value_error","loc":["header","request-timeout"],"msg":"wanted a number of seconds above 0, such as 0.2"}]}`)
	}
	if p.waiting.Load() != 0 {
		t.Error("requests that are too late still wait")
	}
	close(release)
	answered(t, late("/predict", oneRow, "1e9"), 200, "")
	if text := ask(p, "GET", "/metrics", "").Body.String(); !strings.Contains(text, `tenon_http_requests_total{code="504",deployment="api",path="/predict"} 1.0`) {
		t.Errorf("no 504 in %s", text)
	}
}
