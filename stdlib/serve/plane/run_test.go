package plane

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Until it listens, a service that has the port beside it gets all connections.
func TestABoundSocketGetsNoConnections(t *testing.T) {
	old, err := bind("127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	l, err := old.listen(10)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	next, err := bind("127.0.0.1", port)
	if err != nil {
		t.Fatalf("a next version cannot start: %v", err)
	}
	defer next.file.Close()
	for range 20 {
		dial(t, l.Addr().String())
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
}

func TestAPortThatIsTaken(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	_, err = bind("127.0.0.1", other.Addr().(*net.TCPAddr).Port)
	if want := fmt.Sprintf("cannot listen on %s: address already in use", other.Addr()); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// Whoever is connected before the end gets an answer that asks it to connect again: those
// with a request under way, those that keep their connection, and those not yet accepted.
func TestDrainAnswersAll(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	p, _ := planeOf(t, func(c *Config) {
		c.Features = computed(oneColumn, func([]rowsql.Value) (bool, error) {
			entered <- struct{}{}
			<-release
			return true, nil
		})
	})
	sock, err := bind("127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	l, err := sock.listen(2) // so that others are not accepted
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.front().serve(ctx, l, 300*time.Millisecond) }()

	send := func(c net.Conn, text string) {
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
	}
	read := func(c net.Conn) *http.Response {
		t.Helper()
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		return r
	}
	const health = "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
	working, idle := dial(t, l.Addr().String()), dial(t, l.Addr().String())
	send(working, fmt.Sprintf("POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(oneRow), oneRow))
	<-entered
	send(idle, health)
	if r := read(idle); r.StatusCode != 200 || r.Close {
		t.Fatalf("%d, close %v before the end", r.StatusCode, r.Close)
	}
	var waiting []net.Conn
	for range 20 {
		waiting = append(waiting, dial(t, l.Addr().String()))
	}
	end()
	until(t, "it does not drain", p.draining.Load)
	for _, c := range append(waiting, idle) {
		send(c, health)
	}
	for i, c := range append(waiting, idle) {
		if r := read(c); r.StatusCode != 503 || !r.Close {
			t.Errorf("connection %d: %d, close %v", i, r.StatusCode, r.Close)
		}
	}
	select {
	case err := <-done:
		t.Fatalf("it ended before its last answer: %v", err)
	case <-time.After(400 * time.Millisecond):
	}
	close(release)
	if r := read(working); r.StatusCode != 200 || !r.Close {
		t.Errorf("the request under way: %d, close %v", r.StatusCode, r.Close)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		_ = c.Close()
		t.Error("it still listens")
	}
}

// folder is a model folder of the model hist, whose document a function may change.
func folder(t testing.TB, change func(doc map[string]any)) string {
	t.Helper()
	_, x := readExported(t, "hist")
	var doc map[string]any
	if err := json.Unmarshal(x.Document, &doc); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(doc)
	}
	dir := t.TempDir()
	for name, v := range map[string]any{
		Exported:         doc,
		"signature.json": ir.Signature{Task: "classification", Output: ir.Column{Name: "late", Type: "bool"}},
		"model.json":     map[string]any{},
		"report.json":    map[string]any{"metrics": map[string]float64{"roc_auc": 0.75}},
	} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func freePort(t testing.TB) int {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	return free.Addr().(*net.TCPAddr).Port
}

func TestRunServesAStep(t *testing.T) {
	port := freePort(t)
	dir := folder(t, nil)
	lives := filepath.Join(t.TempDir(), "lives")
	if err := os.WriteFile(lives, []byte("9 1 of an earlier service\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := &step.Step{
		Unit: "deployments/api", Instance: "i7", Lives: lives, Endpoint: &ir.Endpoint{Port: port, Ready: "/ready", Replicas: 2},
		Params: json.RawMessage(`{"drain_seconds": 0, "max_instances": 1, "system": "s", "latency_buckets": [0.5]}`),
		Inputs: map[string]step.Port{
			"model":  {Kind: ir.Model, Path: dir, Version: 3, Digest: "sha256:d", Created: "2024-05-17T13:37:00.123456789Z"},
			"report": {Kind: ir.Report, Path: dir},
		},
	}
	ctx, end := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, s, nil) }()
	url := fmt.Sprintf("http://127.0.0.1:%d", port)
	until(t, "it is not ready", func() bool {
		r, err := http.Get(url + "/ready")
		if err != nil {
			select {
			case err := <-done:
				t.Fatal(err)
			default:
			}
			return false
		}
		r.Body.Close()
		return r.StatusCode == 200 && r.Header.Get("X-Tenon-Instance") == "i7"
	})
	r, err := http.Post(url+"/predict", "", strings.NewReader(`{"instances": [{"at": "2024-05-17T13:37:00", "origin": "EWR", "hour": 20}]}`))
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(r.Body)
	r.Body.Close()
	if r.StatusCode != 200 || !strings.HasSuffix(string(b), `"model":{"name":"api","version":3,"digest":"sha256:d"}}`) {
		t.Errorf("%d %s", r.StatusCode, b)
	}
	r, err = http.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	b, _ = io.ReadAll(r.Body)
	r.Body.Close()
	for _, want := range []string{
		`tenon_model_evaluation{deployment="api",metric="roc_auc",system="s"} 0.75`,
		`tenon_model_info{deployment="api",digest="sha256:d",name="api",system="s",version="3"} 1.0`,
		`tenon_model_created_timestamp_seconds{deployment="api",system="s"} 1.715953020123456e+09`,
		`tenon_http_request_duration_seconds_bucket{deployment="api",le="0.5",path="/predict",system="s"} 1.0`,
	} {
		if !strings.Contains(string(b), want+"\n") {
			t.Errorf("no %s in\n%s", want, b)
		}
	}
	if _, err := os.Stat(lives); err == nil {
		t.Error("restarts of an earlier service count")
	}
	end()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAStepWithoutAnEndpoint(t *testing.T) {
	s := &step.Step{Inputs: map[string]step.Port{"model": {Path: folder(t, nil)}}}
	if err := Run(context.Background(), s, nil); err == nil || !strings.Contains(err.Error(), "the step has no endpoint") {
		t.Errorf("got %v", err)
	}
}

// A model that predicts something else here than where it was trained is not served.
func TestTheModelIsCheckedBeforeItIsServed(t *testing.T) {
	row := []any{"2024-05-17T13:37:00", nil, "EWR", 20, nil, true}
	outputs, other := func(t *testing.T) (same, other []any) {
		p, _ := planeOf(t, nil)
		x := p.newWork()
		if errs := p.decoder.Decode([]byte(`{"instances": [{"at": "2024-05-17T13:37:00", "origin": "EWR", "hour": 20, "holiday": true}]}`), &x.rows); errs != nil {
			t.Fatal(errs)
		}
		if err := p.ask(t.Context(), x); err != nil {
			t.Fatal(err)
		}
		a, b := x.outputs[0], x.outputs[1]
		hex := func(v float64) string { return fmt.Sprintf("%x", v) }
		return []any{hex(a), hex(b)}, []any{hex(a), hex(math.Nextafter(b, 0))}
	}(t)
	run := func(check map[string]any) string {
		dir := folder(t, func(doc map[string]any) { doc["check"] = check })
		// Without an endpoint it goes no further than the check.
		return Run(context.Background(), &step.Step{Inputs: map[string]step.Port{"model": {Path: dir}}}, nil).Error()
	}
	for name, tt := range map[string]struct {
		check map[string]any
		want  string
	}{
		"equal":         {map[string]any{"rows": []any{row, row}, "outputs": []any{outputs, outputs}}, "the step has no endpoint"},
		"one bit":       {map[string]any{"rows": []any{row, row}, "outputs": []any{outputs, other}}, `row 1, ["2024-05-17T13:37:00",null,"EWR",20,null,true]: output 1 is`},
		"fewer outputs": {map[string]any{"rows": []any{row}, "outputs": []any{outputs[:1]}}, "2 numbers, wanted 1"},
		"fewer rows":    {map[string]any{"rows": []any{row}, "outputs": []any{}}, "1 rows and 0 predictions"},
		"fewer values":  {map[string]any{"rows": []any{row[:3]}, "outputs": []any{outputs}}, "row 0 has 3 values of 6 columns"},
		"no value":      {map[string]any{"rows": []any{[]any{1, nil, "EWR", 20, nil, true}}, "outputs": []any{outputs}}, "wanted an ISO 8601 string"},
		"no number":     {map[string]any{"rows": []any{row}, "outputs": []any{[]any{outputs[0], "x"}}}, `"x" is not a number`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := run(tt.check); !strings.Contains(got, tt.want) {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestTracesNeedAURL(t *testing.T) {
	s := &step.Step{Inputs: map[string]step.Port{}}
	s.Inputs["model"] = step.Port{Path: folder(t, nil), Version: 3}
	s.Endpoint = &ir.Endpoint{}
	s.Params = json.RawMessage(`{"traces": {"endpoint": "nowhere"}}`)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Endpoint.Port = free.Addr().(*net.TCPAddr).Port
	free.Close()
	if err := Run(context.Background(), s, nil); err == nil || !strings.Contains(err.Error(), `the endpoint of traces "nowhere" is not a URL`) {
		t.Errorf("got %v", err)
	}
}

// JSON has no NaN and no infinity.
func TestValuesThatJSONLacks(t *testing.T) {
	for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		v, narrow := rowsql.Float(x), rowsql.Float32(float32(x))
		if got := string(value(value(nil, "float64", &v), "float32", &narrow)); got != "nullnull" {
			t.Errorf("%v is written as %s", x, got)
		}
	}
}
