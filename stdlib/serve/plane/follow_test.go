package plane

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/replicas"
	"github.com/tenon-ml/tenon/internal/sharedport"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A service that nobody asks leaves its socket, and is started again by the next connection. No
// request of 64 clients fails, whenever it comes.
func TestAServiceSleepsUntilARequestComes(t *testing.T) {
	port := freePort(t)
	socket, err := sharedport.Bind(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port)))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket) //nolint:errcheck // nobody uses it any more
	dir := folder(t, nil)
	s := &step.Step{
		Unit: "deployments/api", Instance: "i7", Params: json.RawMessage(`{"drain_seconds": 0.05}`),
		Endpoint: &ir.Endpoint{Host: "127.0.0.1", Port: port, Ready: "/ready", Scale: &ir.Scale{Max: 2, CPU: 70, InFlight: 8, Idle: 200 * time.Millisecond}},
		Inputs:   map[string]step.Port{"model": {Kind: ir.Model, Path: dir, Version: 3, Digest: "sha256:d"}},
	}
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan struct{})
	starts := 0
	go func() { // as tenon-run does
		defer close(ended)
		for ctx.Err() == nil {
			starts++
			given, err := unix.Dup(socket)
			if err == nil {
				err = os.Setenv(sharedport.Variable, strconv.Itoa(given))
			}
			if err == nil {
				err = Run(ctx, s, nil)
			}
			if err != nil {
				t.Error(err)
				return
			}
			for ctx.Err() == nil && sharedport.Listens(socket) && !sharedport.Await(socket, 20*time.Millisecond) {
			}
		}
	}()
	url := fmt.Sprintf("http://127.0.0.1:%d", port)
	until(t, "it is not ready", func() bool {
		r, err := http.Get(url + "/ready")
		if err == nil {
			r.Body.Close()
		}
		return err == nil && r.StatusCode == 200
	})
	client := http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	for range 8 {
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() {
				r, err := client.Post(url+"/predict", "", strings.NewReader(`{"instances": [{"at": "2024-05-17T13:37:00", "origin": "EWR", "hour": 20}]}`))
				if err != nil {
					t.Error(err)
					return
				}
				defer r.Body.Close()
				if b, err := io.ReadAll(r.Body); err != nil || r.StatusCode != 200 {
					t.Errorf("%d %s %v", r.StatusCode, b, err)
				}
			})
		}
		all.Wait()
		time.Sleep(150*time.Millisecond + rand.N(400*time.Millisecond))
	}
	end()
	<-ended
	if starts < 3 {
		t.Errorf("it was started %d times, and never slept", starts)
	}
}

// A program that is started only to answer what waits is asked to end while it loads, too.
func TestTheLastStartOutlivesASignal(t *testing.T) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	t.Setenv(sharedport.Variable, sharedport.Value(int(f.Fd()), ""))
	t.Setenv(sharedport.Last, "1")
	ctx, stop := serving(t.Context())
	defer stop()
	if ctx.Err() == nil {
		t.Error("it goes on answering")
	}
	if err := unix.Kill(unix.Getpid(), unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // the signal would end this program
}

// How many requests are in flight is a metric, without those about health and metrics themselves.
func TestRequestsInFlightAreAMetric(t *testing.T) {
	p, _ := planeOf(t, nil)
	seconds := func() float64 {
		t.Helper()
		for line := range strings.Lines(string(p.text())) {
			if v, ok := strings.CutPrefix(line, replicas.InFlightMetric); ok {
				f, err := strconv.ParseFloat(strings.TrimSpace(v[strings.IndexByte(v, '}')+1:]), 64)
				if err != nil {
					t.Fatal(err)
				}
				return f
			}
		}
		t.Fatal("there is no such metric")
		return 0
	}
	for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
		ask(p, "GET", path, "")
	}
	if s := seconds(); s != 0 {
		t.Errorf("health checks were in flight for %v s", s)
	}
	ask(p, "POST", "/predict", `{"instances": []}`)
	if s := seconds(); s <= 0 || s > 60 {
		t.Errorf("a request was in flight for %v s", s)
	}
}

// The note for tenon status and the number of processes follow the requests in flight.
func TestWhatReplicasFollow(t *testing.T) {
	for name, c := range map[string]struct {
		scale ir.Scale
		each  float64
		idle  time.Duration
	}{
		"requests": {ir.Scale{Max: 4, CPU: 70, InFlight: 8, Idle: time.Minute}, 8, time.Minute},
		"cores":    {ir.Scale{Max: 4, CPU: 70}, 0.7, defaultIdle},
	} {
		s := &step.Step{Endpoint: &ir.Endpoint{Replicas: 0, Scale: &c.scale}, Lives: filepath.Join("notes", "replicas")}
		f := newFollowing(s, new(process))
		if f.each != c.each || f.rule != (replicas.Rule{Min: 1, Max: 4, Idle: c.idle}) || f.note != filepath.Join("notes", "count") {
			t.Errorf("%s: %v each of %+v, noted in %s", name, f.each, f.rule, f.note)
		}
	}
}
