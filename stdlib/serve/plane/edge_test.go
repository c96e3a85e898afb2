package plane

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tenon-ml/tenon/internal/test/certtest"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/edge"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/edge/keys"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// declared is what a deployment declares, as JSON. KEYS stands for a list with one key for each
// name, which may ask what the name says.
func declared(t testing.TB, text string, names ...string) (d edge.Declared, of map[string]string) {
	t.Helper()
	list := ""
	of = map[string]string{}
	for _, name := range names {
		may, err := keys.ParseScopes(strings.Split(name, "."))
		if err != nil {
			t.Fatal(err)
		}
		of[name] = keys.New()
		line, err := keys.Line(name, of[name], may)
		if err != nil {
			t.Fatal(err)
		}
		list += line + "\n"
	}
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(strings.ReplaceAll(text, "KEYS", path)), &d); err != nil {
		t.Fatal(err)
	}
	return d, of
}

// edged is a plane behind an edge. Its folder has the audit log.
func edged(t testing.TB, d edge.Declared, change func(*Config)) (p *Plane, x exported, kept string) {
	t.Helper()
	kept = t.TempDir()
	e, err := edge.Open(t.Context(), d, edge.Options{Kept: kept, Instance: "i1", Log: func(line string) { t.Log(line) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	p, x = planeOf(t, func(c *Config) {
		c.process = &process{edge: e, aside: d.Management}
		if change != nil {
			change(c)
		}
	})
	return p, x, kept
}

// managed is what the port for management asks.
func managed(p *Plane) http.Handler {
	f := p.front()
	f.managed = true
	return f
}

func asked(h http.Handler, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// Every path but health asks who the caller is, and for the scope of the path. A path that somebody
// adds is for those who may predict.
func TestPathsNeedScopes(t *testing.T) {
	d, of := declared(t, `{"auth": {"keys": "KEYS"}}`, "predict", "explain", "metrics", "events")
	p, x, _ := edged(t, d, nil)
	needs := map[string]string{
		"/predict": "predict", "/v2": "predict", "/v2/models/late": "predict", "/v2/models/late/infer": "predict", "/v2/models/late/versions/4": "predict",
		"/v2/models/late/versions/4/infer": "predict", "/metrics": "metrics",
		"/docs": "any", "/redoc": "any", "/openapi.json": "any",
		"/healthz": "", "/readyz": "", "/v2/health/live": "", "/v2/health/ready": "", "/v2/models/late/ready": "", "/v2/models/late/versions/4/ready": "",
	}
	for _, method := range []string{"ModelInfer", "ServerMetadata", "ModelMetadata"} {
		needs[grpcService+method] = "predict"
	}
	for _, method := range []string{"ServerLive", "ServerReady", "ModelReady"} {
		needs[grpcService+method] = ""
	}
	for _, path := range p.paths {
		need, ok := needs[path]
		if !ok {
			t.Errorf("the path %s is not among those that are tested", path)
			continue
		}
		for name, key := range map[string]string{"nobody": "", "predict": of["predict"], "explain": of["explain"], "metrics": of["metrics"], "stranger": keys.New()} {
			var headers []string
			if key != "" {
				headers = []string{"Authorization", "Bearer " + key}
			}
			want := 0
			switch {
			case need == "":
			case name == "nobody" || name == "stranger":
				want = 401
			case need != "any" && need != name:
				want = 403
			}
			w := asked(p, p.routes[path].method, path, string(x.Request), headers...)
			if got := w.Code; got != want && (want != 0 || got == 401 || got == 403) {
				t.Errorf("%s %s: %d, want %d", name, path, got, want)
			}
		}
	}
	if w := asked(p, "POST", "/predict", string(x.Request), "X-API-Key", of["predict"]); w.Code != 200 {
		t.Errorf("with X-API-Key: %d %s", w.Code, w.Body)
	}
	for name, headers := range map[string][]string{
		"two keys": {"X-API-Key", of["predict"], "Authorization", "Bearer " + of["predict"]}, "a password": {"Authorization", "Basic " + of["predict"]},
		"a bare key": {"Authorization", of["predict"]}, "nothing": {"Authorization", ""}, "no key": {"Authorization", "Bearer "},
	} {
		if w := asked(p, "POST", "/predict", string(x.Request), headers...); w.Code != 401 || !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: %d %v", name, w.Code, w.Header())
		}
	}
	w := asked(p, "POST", "/v2/models/late/infer", "{}")
	answered(t, w, 401, `{"error":"say who you are: send a key or a token"}`)
}

// What is public needs nobody's name. A wrong key is refused nevertheless.
func TestWhatIsPublic(t *testing.T) {
	d, of := declared(t, `{"auth": {"keys": "KEYS", "public": ["predict", "docs"]}}`, "metrics")
	p, x, _ := edged(t, d, nil)
	for path, want := range map[string]int{"/openapi.json": 200, "/docs": 200, "/metrics": 401} {
		if w := asked(p, "GET", path, ""); w.Code != want {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	for key, want := range map[string]int{"": 200, of["metrics"]: 200, "wrong": 401} {
		if w := asked(p, "POST", "/predict", string(x.Request), "X-API-Key", key); w.Code != want {
			t.Errorf("%q: %d, want %d", key, w.Code, want)
		}
	}
}

// The audit log has who asked for what, and nothing of bodies, keys or queries.
func TestAudit(t *testing.T) {
	d, of := declared(t, `{"auth": {"keys": "KEYS"}, "limits": {"callers": {"key:predict": {"daily": 2}}}, "audit": {"keep": "1GiB"}}`, "predict")
	p, x, kept := edged(t, d, nil)
	for range 3 {
		asked(p, "POST", "/predict?probabilities=true", string(x.Request), "X-API-Key", of["predict"])
	}
	asked(p, "GET", "/predict", "")
	asked(p, "GET", "/a%0a%22%1b[31mb", "", "X-API-Key", "secret-key")
	asked(p, "GET", "/healthz", "")
	p.edge.Close()
	files, _ := filepath.Glob(filepath.Join(kept, "audit", "*"))
	if len(files) != 1 {
		t.Fatalf("files %q", files)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(b)) {
		var l struct {
			Caller, Method, Path string
			Status, Rows         int
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		got = append(got, fmt.Sprintf("%s %s %s %d %d", l.Caller, l.Method, l.Path, l.Status, l.Rows))
	}
	rows := len(x.Predictions)
	want := []string{
		fmt.Sprintf("key:predict POST /predict 200 %d", rows), fmt.Sprintf("key:predict POST /predict 200 %d", rows), "key:predict POST /predict 429 0",
		" GET /predict 401 0", " GET /a%0a%22%1b[31mb 404 0",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for _, secret := range []string{of["predict"], "secret-key", "probabilities", "EWR"} {
		if bytes.Contains(b, []byte(secret)) {
			t.Errorf("the log has %q", secret)
		}
	}
}

// On the port for management are metrics, health and documents for everybody, and nothing else. They are
// on the other port only where that is declared.
func TestTheTwoPorts(t *testing.T) {
	d, of := declared(t, `{"auth": {"keys": "KEYS"}, "management": {"public": ["health"]}}`, "predict.metrics")
	p, x, _ := edged(t, d, nil)
	for path, want := range map[string][2]int{
		"/healthz": {200, 200}, "/readyz": {200, 200}, "/metrics": {404, 200}, "/docs": {404, 200}, "/redoc": {404, 200}, "/openapi.json": {404, 200},
		"/predict": {405, 404}, "/v2": {200, 404}, "/v2/health/ready": {200, 404}, "/none": {404, 404},
	} {
		for i, h := range []http.Handler{p, managed(p)} {
			if w := asked(h, "GET", path, "", "X-API-Key", of["predict.metrics"]); w.Code != want[i] {
				t.Errorf("port %d, %s: %d, want %d", i, path, w.Code, want[i])
			}
		}
	}
	answered(t, asked(p, "POST", "/predict", string(x.Request), "X-API-Key", of["predict.metrics"]), 200, "")
	answered(t, asked(managed(p), "POST", "/predict", string(x.Request), "X-API-Key", of["predict.metrics"]), 404, "")
	var doc struct{ Paths map[string]any }
	if err := json.Unmarshal(asked(managed(p), "GET", "/openapi.json", "").Body.Bytes(), &doc); err != nil || doc.Paths["/metrics"] != nil || doc.Paths["/readyz"] == nil {
		t.Errorf("the document has paths of the other port: %v", err)
	}
}

// Pages of other origins may ask only where that is declared.
func TestCORS(t *testing.T) {
	const shop, other = "https://shop.example", "https://other.example"
	preflight := []string{"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type"}
	for _, tt := range []struct {
		declared, origin, method string
		status                   int
		allowed                  string
	}{
		{`{}`, shop, "OPTIONS", 405, ""}, {`{}`, shop, "POST", 200, ""},
		{`{"cors": {"origins": ["https://shop.example"]}}`, shop, "OPTIONS", 204, shop},
		{`{"cors": {"origins": ["https://shop.example"]}}`, shop, "POST", 200, shop},
		{`{"cors": {"origins": ["https://shop.example"]}}`, other, "OPTIONS", 405, ""},
		{`{"cors": {"origins": ["https://shop.example"]}}`, other, "POST", 200, ""},
		{`{"cors": {"origins": ["https://shop.example"]}}`, "https://shop.example.evil", "POST", 200, ""},
		{`{"cors": {"origins": ["*"]}}`, other, "OPTIONS", 204, "*"},
	} {
		d, _ := declared(t, tt.declared)
		p, x, _ := edged(t, d, nil)
		headers := []string{"Origin", tt.origin}
		if tt.method == "OPTIONS" {
			headers = append(headers, preflight...)
		}
		w := asked(p, tt.method, "/predict", string(x.Request), headers...)
		if w.Code != tt.status || w.Header().Get("Access-Control-Allow-Origin") != tt.allowed || w.Header().Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s, %s %s: %d %v", tt.declared, tt.method, tt.origin, w.Code, w.Header())
		}
	}
}

// The document says how callers show who they are, and for what.
func TestTheDocumentOfASecuredService(t *testing.T) {
	d, of := declared(t, `{"auth": {"keys": "KEYS", "public": ["metrics"]}, "limits": {"rate": 10}}`, "predict")
	p, _, _ := edged(t, d, nil)
	var doc struct {
		Paths map[string]map[string]struct {
			Security  []map[string][]string
			Responses map[string]any
		}
		Components struct {
			SecuritySchemes map[string]struct{ Type string }
		}
	}
	if err := json.Unmarshal(asked(p, "GET", "/openapi.json", "", "X-API-Key", of["predict"]).Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if s := doc.Components.SecuritySchemes; s["key"].Type != "apiKey" || s["bearer"].Type != "http" || len(s) != 2 {
		t.Errorf("schemes %v", s)
	}
	predict := doc.Paths["/predict"]["post"]
	if len(predict.Security) != 2 || predict.Responses["401"] == nil || predict.Responses["403"] == nil || predict.Responses["429"] == nil {
		t.Errorf("/predict: %+v", predict)
	}
	for _, path := range []string{"/readyz", "/metrics"} {
		if o := doc.Paths[path]["get"]; len(o.Security) != 0 || o.Responses["401"] != nil {
			t.Errorf("%s: %+v", path, o)
		}
	}
	if open, _ := planeOf(t, nil); strings.Contains(ask(open, "GET", "/openapi.json", "").Body.String(), "security") {
		t.Error("a service for everybody has schemes")
	}
}

// secured serves a plane over TLS.
func secured(t testing.TB, text string, change func(*Config), names ...string) (p *Plane, x exported, address string, trust *tls.Config, of map[string]string) {
	t.Helper()
	ca, dir := certtest.New(t), t.TempDir()
	cert, key := ca.Make(t, "localhost")
	for name, text := range map[string]string{"c": cert, "k": key} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, of := declared(t, text, names...)
	d.TLS = &edge.TLS{Cert: edge.Source{Path: filepath.Join(dir, "c")}, Key: edge.Source{Path: filepath.Join(dir, "k")}}
	p, x, _ = edged(t, d, change)
	return p, x, listening(t, p), &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"}, of
}

// listening serves a plane until the test ends.
func listening(t testing.TB, p *Plane) string {
	t.Helper()
	sock, err := bind("127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	l, err := sock.listen(4096)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.front().serve(ctx, l, 0) }()
	t.Cleanup(func() { stop(); <-done })
	return l.Addr().String()
}

// Over TLS, clients have HTTP/1.1 or HTTP/2, as they wish, and gRPC. Without TLS they have nothing.
func TestTLS(t *testing.T) {
	_, x, address, trust, of := secured(t, `{"auth": {"keys": "KEYS"}}`, nil, "predict")
	for _, two := range []bool{true, false} {
		var protocols http.Protocols
		protocols.SetHTTP1(!two)
		protocols.SetHTTP2(two)
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: trust.Clone(), Protocols: &protocols}, Timeout: 20 * time.Second}
		r, err := http.NewRequest("POST", "https://"+address+"/predict", bytes.NewReader(x.Request))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+of["predict"])
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 || (resp.ProtoMajor == 2) != two || resp.TLS.Version < tls.VersionTLS12 {
			t.Errorf("HTTP/2 %v: %d %s", two, resp.StatusCode, resp.Proto)
		}
		c.CloseIdleConnections()
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(trust)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for key, want := range map[string]codes.Code{"": codes.Unauthenticated, of["predict"]: codes.OK, "wrong": codes.Unauthenticated} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if key != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)
		}
		var out []byte
		message := []byte{}
		err := conn.Invoke(ctx, grpcService+"ServerMetadata", &message, &out, grpc.ForceCodec(bare{}))
		if cancel(); status.Code(err) != want {
			t.Errorf("%q: %v, want %v", key, err, want)
		}
	}
	plain := dial2(t, address)
	_, _ = io.WriteString(plain, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
	if b, _ := io.ReadAll(plain); !strings.HasPrefix(string(b), "HTTP/1.0 400") {
		t.Errorf("without TLS: %q", b)
	}
}

func dial2(t testing.TB, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// Of connections on which nothing is asked, the oldest are closed. Those with a request under way
// stay, and so do those that come later.
func TestIdleConnectionsAreClosed(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	d, _ := declared(t, `{"limits": {"max_idle": 50}}`)
	p, _, _ := edged(t, d, func(c *Config) {
		c.Features = computed(oneColumn, func([]rowsql.Value) (bool, error) {
			entered <- struct{}{}
			<-release
			return true, nil
		})
	})
	address := listening(t, p)
	working := dial2(t, address)
	fmt.Fprintf(working, "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(oneRow), oneRow)
	<-entered
	var all []net.Conn
	const many = 3000
	for i := range many {
		c := dial2(t, address)
		if i%2 == 0 { // some have asked before, some never
			fmt.Fprint(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		}
		all = append(all, c)
	}
	until(t, "idle connections stay open", func() bool {
		open, closed := p.edge.Idle.Now()
		return open <= 50 && closed >= many-50-1
	})
	ends := func(c net.Conn) bool {
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		_, err := io.Copy(io.Discard, c)
		return err == nil || !os.IsTimeout(err)
	}
	for i, c := range all[:100] {
		if !ends(c) {
			t.Fatalf("the connection %d is open", i)
		}
	}
	later := all[many-2]
	fmt.Fprint(later, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	b := make([]byte, 12)
	if _, err := io.ReadFull(later, b); err != nil || string(b) != "HTTP/1.1 200" {
		t.Errorf("one of the last: %q %v", b, err)
	}
	close(release)
	if _, err := io.ReadFull(working, b); err != nil || string(b) != "HTTP/1.1 200" {
		t.Errorf("one with a request under way: %q %v", b, err)
	}
}

// A client that opens streams only to reset them makes the service do no more than its share.
func TestStreamsThatAreReset(t *testing.T) {
	var running, most atomic.Int64
	p, _, address, trust, _ := secured(t, `{}`, func(c *Config) {
		c.AtOnce = 4
		c.Features = computed(oneColumn, func([]rowsql.Value) (bool, error) {
			n := running.Add(1)
			defer running.Add(-1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			time.Sleep(time.Millisecond)
			return true, nil
		})
	})
	config := trust.Clone()
	config.NextProtos = []string{"h2"}
	c, err := tls.Dial("tcp", address, config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(c, http2.ClientPreface)
	f := http2.NewFramer(c, c)
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, c) //nolint:errcheck // it ends with the connection
	var head bytes.Buffer
	h := hpack.NewEncoder(&head)
	for _, field := range [][2]string{{":method", "POST"}, {":scheme", "https"}, {":authority", "localhost"}, {":path", "/predict"}} {
		_ = h.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
	}
	n := 0
	for id := uint32(1); n < 20_000; id += 2 {
		err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head.Bytes(), EndHeaders: true})
		if err == nil {
			err = f.WriteData(id, true, []byte(oneRow))
		}
		if err == nil {
			err = f.WriteRSTStream(id, http2.ErrCodeCancel)
		}
		if err != nil {
			break // the server has had enough
		}
		n++
	}
	if m := most.Load(); m > 4 {
		t.Errorf("%d requests were computed at once", m)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trust.Clone()}, Timeout: 10 * time.Second}
	resp, err := client.Get("https://" + address + "/readyz")
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("after %d streams: %v", n, err)
	}
	resp.Body.Close()
	until(t, "requests are left", func() bool { return running.Load() == 0 && len(p.slots) == 0 && p.bodies.Load() == 0 })
}

// A drain answers on the port for management, and says that it is not ready.
func TestTheSecondPortWhileItDrains(t *testing.T) {
	d, _ := declared(t, `{"management": {}}`)
	sock, err := bind("127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	p, _, _ := edged(t, d, func(c *Config) { c.process.management = sock })
	public, err := bind("127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	l, err := public.listen(10)
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.front().serve(ctx, l, 300*time.Millisecond) }()
	until(t, "it does not listen", func() bool { return p.managementListener.Load() != nil })
	c := dial2(t, p.managementListener.Load().Addr().String())
	get := func() string {
		fmt.Fprint(c, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
		b := make([]byte, 12)
		_, _ = io.ReadFull(c, b)
		_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		_, _ = io.Copy(io.Discard, c)
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		return string(b)
	}
	if s := get(); s != "HTTP/1.1 200" {
		t.Errorf("%q", s)
	}
	end()
	until(t, "it does not drain", p.draining.Load)
	if s := get(); s != "HTTP/1.1 503" {
		t.Errorf("while it drains: %q", s)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
