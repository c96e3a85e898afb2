package plane

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

var oneColumn = ir.Schema{{Name: "n", Type: "int64"}}

const oneRow = `{"instances": [{"n": 1}]}`

// held is a plane that computes one request at a time, and none until release is closed.
func held(t *testing.T, waiting int) (p *Plane, entered chan struct{}, release chan struct{}) {
	entered, release = make(chan struct{}, 10), make(chan struct{})
	p, _ = planeOf(t, func(c *Config) {
		c.AtOnce, c.Waiting = 1, waiting
		c.Features = computed(oneColumn, func([]rowsql.Value) (bool, error) {
			entered <- struct{}{}
			<-release
			return true, nil
		})
	})
	return p, entered, release
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

func TestTooManyRequestsAreRefusedAtOnce(t *testing.T) {
	p, entered, release := held(t, 1)
	codes := make(chan int, 2)
	for range 2 {
		go func() { codes <- ask(p, "POST", "/predict", oneRow).Code }()
	}
	<-entered
	until(t, "the second request does not wait", func() bool { return p.waiting.Load() == 1 })
	w := ask(p, "POST", "/predict", oneRow)
	answered(t, w, 429, `{"detail":"too many requests wait for an answer"}`)
	if w.Header().Get("Retry-After") != "1" {
		t.Error("it does not say when to try again")
	}
	answered(t, ask(p, "GET", "/readyz", ""), 200, "") // health is not a matter of load
	close(release)
	for range 2 {
		if code := <-codes; code != 200 {
			t.Errorf("a request that was admitted got %d", code)
		}
	}
	text := ask(p, "GET", "/metrics", "").Body.String()
	for _, want := range []string{
		`tenon_http_requests_total{code="429",deployment="api",path="/predict"} 1.0`,
		`tenon_http_requests_total{code="200",deployment="api",path="/predict"} 2.0`,
		`tenon_predictions_total{deployment="api"} 2.0`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

func TestAClientThatLeavesWhileItWaits(t *testing.T) {
	p, entered, release := held(t, 1)
	done := make(chan int, 1)
	go func() { done <- ask(p, "POST", "/predict", oneRow).Code }()
	<-entered
	ctx, leave := context.WithCancel(context.Background())
	gone := make(chan any, 1)
	go func() {
		defer func() { gone <- recover() }()
		p.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/predict", strings.NewReader(oneRow)).WithContext(ctx))
	}()
	until(t, "it does not wait", func() bool { return p.waiting.Load() == 1 })
	leave()
	if fault := <-gone; fault != http.ErrAbortHandler {
		t.Errorf("got %v", fault)
	}
	if p.waiting.Load() != 0 {
		t.Error("it still waits")
	}
	close(release)
	<-done
	if text := ask(p, "GET", "/metrics", "").Body.String(); !strings.Contains(text, `code="499"`) {
		t.Error("it was not counted")
	}
}

// A fault of this program is an answer and a line of the log. Later requests do not notice.
func TestAPanicIsOneAnswer(t *testing.T) {
	var log logged
	n := 0
	p, _ := planeOf(t, func(c *Config) {
		c.AtOnce, c.Log = 1, log.add
		c.Features = computed(oneColumn, func([]rowsql.Value) (bool, error) {
			if n++; n == 1 {
				panic("a fault")
			}
			return true, nil
		})
	})
	answered(t, ask(p, "POST", "/predict", oneRow), 500, `{"detail":"the model failed; the log of the service says why"}`)
	answered(t, ask(p, "POST", "/predict", oneRow), 200, "")
	if !strings.Contains(log.String(), "panic: a fault") || !strings.Contains(log.String(), "load_test.go") {
		t.Errorf("the log says %q", log.String())
	}
}

// started is a plane behind a real listener.
func started(t *testing.T, p *Plane, connections int, change func(*http.Server)) (address string) {
	t.Helper()
	sock, err := bind("127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	l, err := sock.listen(connections)
	if err != nil {
		t.Fatal(err)
	}
	server := p.front().server()
	if change != nil {
		change(server)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

func TestSlowClientsAreCutOff(t *testing.T) {
	p, _ := planeOf(t, nil)
	address := started(t, p, 10, func(s *http.Server) {
		s.ReadHeaderTimeout, s.ReadTimeout, s.IdleTimeout = 50*time.Millisecond, 100*time.Millisecond, 50*time.Millisecond
	})
	for name, tt := range map[string]struct{ sends, wants string }{
		"a head without an end": {"POST /predict HTTP/1.1\r\nHost: x\r\n", ""},
		"a body without an end": {"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", "HTTP/1.1 408 "},
		"no second request":     {"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 "},
		"nothing":               {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, address)
			if _, err := io.WriteString(c, tt.sends); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(c)
			if err != nil || !strings.HasPrefix(string(got), tt.wants) {
				t.Errorf("%q, %v; want %q and the end", got, err, tt.wants)
			}
		})
	}
}

func TestAClientThatLeavesIsCountedButNotAnswered(t *testing.T) {
	p, _ := planeOf(t, nil)
	c := dial(t, started(t, p, 10, nil))
	if _, err := io.WriteString(c, "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	until(t, "it is not counted", func() bool { return strings.Contains(string(p.text()), `code="499"`) })
}

func TestConnectionsBeyondTheLimitWait(t *testing.T) {
	p, _ := planeOf(t, nil)
	address := started(t, p, 1, nil)
	const request = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
	first, second := dial(t, address), dial(t, address)
	buffer := make([]byte, 12)
	for _, c := range []net.Conn{first, second} {
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.ReadFull(first, buffer); err != nil {
		t.Fatal(err)
	}
	_ = second.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := io.ReadFull(second, buffer); err == nil {
		t.Fatal("a second connection was accepted")
	}
	_ = first.Close()
	_ = second.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadFull(second, buffer); err != nil || string(buffer) != "HTTP/1.1 200" {
		t.Errorf("%q, %v", buffer, err)
	}
}
