package plane

import (
	"context"
	"encoding/json"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/openinference"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// bare is the codec of messages that are bytes already.
type bare struct{}

func (bare) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (bare) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), b...)
	return nil
}
func (bare) Name() string { return "bare" }

// overGRPC serves a plane, and returns what calls a method of it with gRPC's own client.
func overGRPC(t testing.TB, p *Plane) (call func(method string, message []byte, o ...grpc.CallOption) ([]byte, error), end func() error) {
	t.Helper()
	sock, err := bind("127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	l, err := sock.listen(10)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.front().serve(ctx, l, 0) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	ended := false
	end = func() error {
		if ended {
			return nil
		}
		ended = true
		stop()
		defer conn.Close()
		return <-done
	}
	t.Cleanup(func() { _ = end() })
	return func(method string, message []byte, o ...grpc.CallOption) ([]byte, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		var out []byte
		err := conn.Invoke(ctx, grpcService+method, &message, &out, append(o, grpc.ForceCodec(bare{}))...)
		return out, err
	}, end
}

// named is a ModelReadyRequest, or the beginning of a ModelInferRequest.
func named(model, version string) []byte {
	return openinference.Text(openinference.Text(nil, 1, model), 2, version)
}

func TestMethodsOfGRPC(t *testing.T) {
	p, _ := planeOf(t, nil)
	call, end := overGRPC(t, p)
	for _, tt := range []struct {
		method  string
		message []byte
		want    string
	}{
		{"ServerLive", nil, "\x08\x01"},
		{"ServerReady", nil, "\x08\x01"},
		{"ModelReady", named("late", ""), "\x08\x01"},
		{"ModelReady", named("late", "4"), "\x08\x01"},
		{"ServerMetadata", nil, "\x0a\x05tenon\x12\x014"},
	} {
		if got, err := call(tt.method, tt.message); err != nil || string(got) != tt.want {
			t.Errorf("%s: %q, %v, want %q", tt.method, got, err, tt.want)
		}
	}
	got, err := call("ModelMetadata", named("late", ""))
	hour := openinference.Bytes(nil, 4, openinference.Tensor(nil, "hour", "INT64", []int64{-1}))
	all := openinference.Bytes(nil, 5, openinference.Tensor(nil, "probabilities", "FP64", []int64{-1, 2}))
	if err != nil || !strings.Contains(string(got), string(hour)) || !strings.Contains(string(got), string(all)) {
		t.Errorf("%q, %v", got, err)
	}
	p.Drain()
	if got, err := call("ServerReady", nil); err != nil || len(got) != 0 {
		t.Errorf("%q, %v while it drains", got, err)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
}

// rowOf is a request for one row of the model hist. change may change a tensor.
func rowOf(raw bool) []byte {
	b := openinference.Text(named("late", ""), 3, "a1")
	var raws [][]byte
	add := func(name, datatype string, contents, values []byte) {
		x := openinference.Tensor(nil, name, datatype, []int64{1})
		if !raw {
			x = openinference.Bytes(x, 5, contents)
		}
		b = openinference.Bytes(b, 5, x)
		raws = append(raws, values)
	}
	text := func(s string) ([]byte, []byte) {
		return openinference.Text(nil, 8, s), append([]byte{byte(len(s)), 0, 0, 0}, s...)
	}
	at, atRaw := text("2024-03-15T19:27:57.234567")
	carrier, carrierRaw := text("AA")
	origin, originRaw := text("EWR")
	add("at", "BYTES", at, atRaw)
	add("carrier", "BYTES", carrier, carrierRaw)
	add("origin", "BYTES", origin, originRaw)
	add("hour", "INT32", openinference.Bytes(nil, 2, []byte{17}), []byte{17, 0, 0, 0})
	wind := protowire.AppendFixed64(nil, math.Float64bits(10.64966699086867))
	add("wind", "FP64", openinference.Bytes(nil, 7, wind), wind)
	add("holiday", "BOOL", openinference.Bytes(nil, 1, []byte{0}), []byte{0})
	if raw {
		for _, r := range raws {
			b = openinference.Bytes(b, 7, r)
		}
	}
	return b
}

func TestPredictionsOverGRPC(t *testing.T) {
	p, _ := planeOf(t, nil)
	call, _ := overGRPC(t, p)
	var want struct {
		Predictions []struct{ Probability float64 }
	}
	w := ask(p, "POST", "/predict", `{"instances": [{"at": "2024-03-15T19:27:57.234567", "carrier": "AA", "origin": "EWR", "hour": 17, "wind": 10.64966699086867, "holiday": false}]}`)
	if err := json.Unmarshal(w.Body.Bytes(), &want); err != nil || w.Code != 200 {
		t.Fatal(w.Body)
	}
	probability := protowire.AppendFixed64(nil, math.Float64bits(want.Predictions[0].Probability))
	head := openinference.Parameter(openinference.Text(named("late", "4"), 3, "a1"), 4, "digest", "sha256:abc")
	tensors := func(class, value []byte) []byte {
		b := openinference.Bytes(nil, 5, append(openinference.Tensor(nil, "prediction", "BOOL", []int64{1}), class...))
		return openinference.Bytes(b, 5, append(openinference.Tensor(nil, "probability", "FP64", []int64{1}), value...))
	}
	lists := tensors(openinference.Bytes(nil, 5, openinference.Bytes(nil, 1, []byte{1})), openinference.Bytes(nil, 5, openinference.Bytes(nil, 7, probability)))
	raws := openinference.Bytes(openinference.Bytes(tensors(nil, nil), 6, []byte{1}), 6, probability)
	for raw, want := range map[bool][]byte{false: append(head[:len(head):len(head)], lists...), true: append(head[:len(head):len(head)], raws...)} {
		if got, err := call("ModelInfer", rowOf(raw)); err != nil || string(got) != string(want) {
			t.Errorf("raw %v: %q, %v\nwant %q", raw, got, err, want)
		}
	}
	text := ask(p, "GET", "/metrics", "").Body.String()
	for _, want := range []string{
		`tenon_http_requests_total{code="200",deployment="api",path="/inference.GRPCInferenceService/ModelInfer"} 2.0`,
		`tenon_predictions_total{deployment="api"} 3.0`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
}

func TestWhatGRPCRefuses(t *testing.T) {
	p, _ := planeOf(t, func(c *Config) { c.MaxBytes, c.MaxRows = 2000, 3 })
	call, _ := overGRPC(t, p)
	tensor := func(name, datatype string, rows int64, contents []byte) []byte {
		return openinference.Bytes(nil, 5, openinference.Bytes(openinference.Tensor(nil, name, datatype, []int64{rows}), 5, contents))
	}
	late := named("late", "")
	for name, tt := range map[string]struct {
		message []byte
		code    codes.Code
		want    string
	}{
		"no message":      {[]byte{0xff}, codes.InvalidArgument, "the message is not a protocol buffer of this method"},
		"another model":   {named("other", ""), codes.NotFound, "there is no such model: wanted late, version 4"},
		"another version": {named("late", "3"), codes.NotFound, "there is no such model: wanted late, version 4"},
		"nothing":         {late, codes.InvalidArgument, "inputs at: Field required"},
		"a bad value":     {append(rowOf(false), tensor("wind", "FP64", 1, nil)...), codes.InvalidArgument, "inputs wind: the tensor comes twice"},
		"out of bounds":   {append(late, tensor("hour", "INT32", 2, openinference.Bytes(nil, 2, []byte{1, 24}))...), codes.InvalidArgument, "inputs hour[1]: Input should be less than or equal to 23"},
		"not the list":    {append(late, tensor("hour", "INT32", 1, openinference.Bytes(nil, 3, []byte{1}))...), codes.InvalidArgument, "inputs hour: wanted 1 values of INT32"},
		"not the type":    {append(late, tensor("hour", "INT8", 1, openinference.Bytes(nil, 2, []byte{0xc8, 1}))...), codes.InvalidArgument, "inputs hour[0]: no INT8 is 200"},
		"too many":        {append(late, tensor("hour", "INT32", 4, openinference.Bytes(nil, 2, []byte{1, 1, 1, 1}))...), codes.InvalidArgument, "a tensor may have at most 3 rows"},
		"no UTF-8":        {append(late, tensor("carrier", "BYTES", 1, openinference.Text(nil, 8, "\xff"))...), codes.InvalidArgument, "inputs carrier[0]: Value error, wanted UTF-8"},
		"raw and fewer":   {append(rowOf(false), openinference.Bytes(nil, 7, nil)...), codes.InvalidArgument, "wanted raw_input_contents of 6 inputs, not of 1"},
		"an output":       {append(rowOf(false), openinference.Bytes(nil, 6, openinference.Text(nil, 1, "y"))...), codes.InvalidArgument, "outputs y: the model has no such output"},
		"too large":       {append(late, make([]byte, 3000)...), codes.ResourceExhausted, "the request is larger than 2000 bytes"},
	} {
		_, err := call("ModelInfer", tt.message)
		if s := status.Convert(err); s.Code() != tt.code || !strings.Contains(s.Message(), tt.want) {
			t.Errorf("%s: %v, want %s, %s", name, err, tt.code, tt.want)
		}
	}
	if _, err := call("ModelInfer", rowOf(false), grpc.UseCompressor(gzip.Name)); status.Code(err) != codes.Unimplemented {
		t.Errorf("a compressed message: %v", err)
	}
	if _, err := call("RepositoryIndex", nil); status.Code(err) != codes.Unimplemented {
		t.Errorf("an unknown method: %v", err)
	}
	if _, err := call("ModelReady", named("other", "")); status.Code(err) != codes.NotFound {
		t.Errorf("another model: %v", err)
	}
	w := ask(p, "POST", grpcService+"ModelInfer", "")
	answered(t, w, 415, `{"detail":"wanted a call of gRPC"}`)
	if text := ask(p, "GET", "/metrics", "").Body.String(); !strings.Contains(text, `tenon_http_requests_total{code="413",deployment="api",path="/inference.GRPCInferenceService/ModelInfer"} 1.0`) {
		t.Error("the status is not counted")
	}
}

// A call that waits longer than its client is not computed.
func TestDeadlinesOfGRPC(t *testing.T) {
	p, entered, release := held(t, 4)
	defer close(release)
	go ask(p, "POST", "/predict", oneRow)
	<-entered
	sock, err := bind("127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	l, err := sock.listen(10)
	if err != nil {
		t.Fatal(err)
	}
	server := p.front().server()
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	message, out := rowOf(false), []byte(nil)
	if err := conn.Invoke(ctx, grpcService+"ModelInfer", &message, &out, grpc.ForceCodec(bare{})); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
	until(t, "the call still waits", func() bool { return p.waiting.Load() == 0 })
}

func TestNullsOverGRPC(t *testing.T) {
	columns := ir.Schema{{Name: "n", Type: "int64", Nullable: true}, {Name: "s", Type: "string", Nullable: true}}
	p, _ := planeOf(t, func(c *Config) {
		c.Features = computed(columns, func(r []rowsql.Value) (bool, error) { return r[0].Null && !r[1].Null, nil })
	})
	call, _ := overGRPC(t, p)
	input := openinference.Parameter(openinference.Tensor(nil, "n", "INT64", []int64{1}), 4, "nulls", "0")
	input = openinference.Bytes(input, 5, openinference.Bytes(nil, 3, []byte{7}))
	text := openinference.Bytes(openinference.Tensor(nil, "s", "BYTES", []int64{1}), 5, openinference.Text(nil, 8, "a"))
	got, err := call("ModelInfer", openinference.Bytes(openinference.Bytes(named("late", ""), 5, input), 5, text))
	want := openinference.Parameter(openinference.Tensor(nil, "n", "INT64", []int64{1}), 4, "nulls", "0")
	if want = openinference.Bytes(want, 5, openinference.Bytes(nil, 3, []byte{0})); err != nil || !strings.Contains(string(got), string(want)) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

// Whatever a message is, reading it ends with rows or with what is wrong.
func FuzzMessages(f *testing.F) {
	p, _ := planeOf(f, nil)
	f.Add(rowOf(false))
	f.Add(rowOf(true))
	f.Fuzz(func(t *testing.T, message []byte) {
		x := p.newWork()
		asked, errs, err := openinference.Read(message, p.columnar.tensors, &x.rows)
		if err == nil && len(errs) == 0 && x.rows.Len() == 0 {
			t.Errorf("no rows of %v", asked)
		}
	})
}

func FuzzTensors(f *testing.F) {
	p, x := planeOf(f, nil)
	f.Add([]byte(tensorsOf(f, p, x.Request, nil)), 0)
	f.Add([]byte(`{"inputs": [{"name": "hour", "datatype": "INT8", "shape": [1], "parameters": {"binary_data_size": 1}}]}`+"\x01"), 1)
	f.Fuzz(func(t *testing.T, body []byte, after int) {
		x := p.newWork()
		at := len(body) - min(max(after, 0), len(body))
		if _, errs := p.columnar.tensors.Decode(body[:at], body[at:], &x.rows); len(errs) == 0 && x.rows.Len() == 0 {
			t.Error("no rows")
		}
	})
}

// What a call costs on a connection, beside the same row in JSON.
func BenchmarkCalls(b *testing.B) {
	p, _ := planeOf(b, nil)
	call, _ := overGRPC(b, p)
	message := rowOf(false)
	b.Run("gRPC", func(b *testing.B) {
		for b.Loop() {
			if _, err := call("ModelInfer", message); err != nil {
				b.Fatal(err)
			}
		}
	})
	server := httptest.NewServer(p)
	defer server.Close()
	const row = `{"instances": [{"at": "2024-03-15T19:27:57.234567", "carrier": "AA", "origin": "EWR", "hour": 17, "wind": 10.64966699086867, "holiday": false}]}`
	b.Run("JSON", func(b *testing.B) {
		for b.Loop() {
			r, err := http.Post(server.URL+"/predict", "application/json", strings.NewReader(row))
			if err != nil || r.StatusCode != 200 {
				b.Fatal(r, err)
			}
			_, _ = io.Copy(io.Discard, r.Body)
			r.Body.Close()
		}
	})
}

// While a version ends and the next one has its port, no call fails: connections are asked to
// close, and calls that come after that go to the next version.
func TestCallsMoveToTheNextVersion(t *testing.T) {
	first, _ := planeOf(t, nil)
	next, _ := planeOf(t, nil)
	sock, err := bind("127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	l, err := sock.listen(100)
	if err != nil {
		t.Fatal(err)
	}
	serve := func(p *Plane, l *listener) (stop func(), done chan error) {
		ctx, stop := context.WithCancel(context.Background())
		done = make(chan error, 1)
		go func() { done <- p.front().serve(ctx, l, 200*time.Millisecond) }()
		return stop, done
	}
	stop, done := serve(first, l)
	var failed, answered atomic.Int64
	ctx, end := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	message := rowOf(false)
	for range 4 {
		conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		clients.Go(func() {
			defer conn.Close()
			for ctx.Err() == nil {
				var out []byte
				if err := conn.Invoke(context.Background(), grpcService+"ModelInfer", &message, &out, grpc.ForceCodec(bare{})); err != nil {
					failed.Add(1)
					t.Error(err)
					return
				}
				answered.Add(1)
			}
		})
	}
	until(t, "no answers", func() bool { return answered.Load() > 20 })
	beside, err := bind("127.0.0.1", l.Addr().(*net.TCPAddr).Port)
	if err != nil {
		t.Fatal(err)
	}
	l, err = beside.listen(100)
	if err != nil {
		t.Fatal(err)
	}
	stopNext, nextDone := serve(next, l)
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	before := answered.Load()
	until(t, "the next version gets no calls", func() bool { return answered.Load() > before+20 || failed.Load() > 0 })
	end()
	clients.Wait()
	stopNext()
	if err := <-nextDone; err != nil {
		t.Error(err)
	}
}
