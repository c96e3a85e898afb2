package scaler

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/internal/replicas"
)

// made returns a scaler of a service at the port of a server, which knows of no pod yet.
func made(t *testing.T, pod *httptest.Server, c Config) *Scaler {
	t.Helper()
	at, err := url.Parse(pod.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(at.Port())
	if err != nil {
		t.Fatal(err)
	}
	c.Port, c.Metrics, c.InFlight, c.Max = port, port, 8, 4
	return &Scaler{Config: c, log: io.Discard, meter: newMeter(c), woken: make(chan struct{}, 1), changed: make(chan struct{})}
}

// served is what a pod answers: the protocol, and what it was sent.
func served(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Trailer", "Grpc-Status")
		fmt.Fprintf(w, "%s %s %s %s %s", r.Proto, r.Method, r.URL, r.Host, b)
		w.Header().Set("Grpc-Status", "0")
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// A request waits for the first pod, and reaches it as it was sent, in either protocol.
func TestRequestsWaitForThePod(t *testing.T) {
	for name, two := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		t.Run(name, func(t *testing.T) {
			s := made(t, served(t), Config{Holds: 8, Patience: time.Minute})
			front := httptest.NewUnstartedServer(nil)
			front.Config = s.front()
			front.Start()
			defer front.Close()
			protocols := new(http.Protocols)
			protocols.SetHTTP1(!two)
			protocols.SetUnencryptedHTTP2(two)
			client := http.Client{Transport: &http.Transport{Protocols: protocols}}
			go func() {
				<-s.woken
				time.Sleep(50 * time.Millisecond)
				if n := s.need(load{}); n != 1 {
					t.Errorf("a request that waits needs %d pods", n)
				}
				s.publish([]string{"127.0.0.1"})
			}()
			req, err := http.NewRequest("POST", front.URL+"/predict?x=%2F", strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			req.Host = "api.example"
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if want := name + " POST /predict?x=%2F api.example body"; err != nil || string(b) != want || resp.Trailer.Get("Grpc-Status") != "0" {
				t.Errorf("%q with %v, %v; want %q", b, resp.Trailer, err, want)
			}
			if !two && !resp.Close {
				t.Error("the client goes on using its connection to the scaler")
			}
			if s.waits() {
				t.Error("the request still counts as one that waits")
			}
		})
	}
}

// What still waits when a scaler ends goes to the Service, which has another version or another scaler.
func TestRequestsThatStillWaitAtTheEnd(t *testing.T) {
	s := made(t, served(t), Config{Holds: 8, Patience: time.Minute, Service: "127.0.0.1"})
	go func() {
		<-s.woken
		s.set(func() { s.passing = true })
	}()
	w := httptest.NewRecorder()
	s.front().Handler.ServeHTTP(w, httptest.NewRequest("GET", "http://api.example/", nil))
	if want := "HTTP/1.1 GET / api.example "; w.Code != 200 || w.Body.String() != want {
		t.Errorf("%d %q, want %q", w.Code, w.Body, want)
	}
}

// Requests beyond the limit, and those for which there is no pod in time, get 503 and when to come again.
func TestRequestsThatCannotWait(t *testing.T) {
	for name, c := range map[string]struct {
		Config
		want error
	}{"too many": {Config{Patience: time.Minute}, errFull}, "too late": {Config{Holds: 1, Patience: 10 * time.Millisecond}, errLate}} {
		s := made(t, served(t), c.Config)
		w := httptest.NewRecorder()
		s.front().Handler.ServeHTTP(w, httptest.NewRequest("POST", "/predict", nil))
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), c.want.Error()) {
			t.Errorf("%s: %d %v %s", name, w.Code, w.Header(), w.Body)
		}
		if s.waits() {
			t.Errorf("%s: the request still counts as one that waits", name)
		}
	}
}

// Requests are to come to the scaler while there are no pods, and while the last are about to end.
func TestWhenRequestsComeHere(t *testing.T) {
	s := made(t, served(t), Config{})
	asks := func() int {
		w := httptest.NewRecorder()
		s.front().Handler.ServeHTTP(w, httptest.NewRequest("GET", ReadyPath, nil))
		return w.Code
	}
	for _, c := range []struct {
		change func()
		want   int
	}{
		{func() {}, 200},
		{func() { s.publish([]string{"127.0.0.1"}) }, 503},
		{func() { s.set(func() { s.taking = true }) }, 200},
		{func() { s.set(func() { s.taking = false }) }, 503},
	} {
		if c.change(); asks() != c.want {
			t.Errorf("%d, want %d", asks(), c.want)
		}
	}
	s.Min = 1
	if s.front() != nil {
		t.Error("a service that always has pods has somebody else answer for it")
	}
}

// The load is the difference of two readings. As long as there are not two, it is unknown.
func TestTheLoadOfPods(t *testing.T) {
	seconds, cpu, name := 10.0, 3.0, replicas.InFlightMetric
	pod := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "# TYPE %[1]s counter\n%[1]s{deployment=\"a } b\"} %v 1700000000\nprocess_cpu_seconds_total %v\n", name, seconds, cpu)
	}))
	defer pod.Close()
	s := made(t, pod, Config{CPU: 50, MilliCPU: 500})
	m := newMeter(s.Config)
	ask := func() (load, error) { return m.measure(t.Context(), []string{"127.0.0.1"}) }
	if l, err := ask(); err != nil || !l.unknown {
		t.Errorf("first: %+v, %v", l, err)
	}
	was := m.last["127.0.0.1"]
	was.at = was.at.Add(-10 * time.Second)
	m.last["127.0.0.1"] = was
	seconds, cpu = seconds+170, cpu+5
	l, err := ask()
	if err != nil || l.unknown || l.inFlight < 16 || l.inFlight > 17 || l.cores < 0.45 || l.cores > 0.5 {
		t.Errorf("then: %+v, %v", l, err)
	}
	if n := s.need(l); n != 3 {
		t.Errorf("17 requests in flight, 8 each, need %d", n)
	}
	if n := s.need(load{inFlight: 1, cores: 0.9}); n != 4 {
		t.Errorf("0.9 cores, a quarter each, need %d", n)
	}
	if n := s.need(load{cores: 0.01}); n != 0 {
		t.Errorf("what a pod does that nobody asks needs %d", n)
	}
	seconds = 1 // it was started again
	if l, err := ask(); err != nil || !l.unknown {
		t.Errorf("after a restart: %+v, %v", l, err)
	}
	name = "other"
	if l, err := ask(); err == nil || !l.unknown || !strings.Contains(err.Error(), "it reports no "+replicas.InFlightMetric) {
		t.Errorf("without the metric: %+v, %v", l, err)
	}
	pod.Close()
	if l, err := ask(); !l.unknown || !errors.As(err, new(net.Error)) {
		t.Errorf("without an answer: %+v, %v", l, err)
	}
}
