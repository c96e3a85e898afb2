package plane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/sharedport"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// What this program is instead of the tests.
const (
	asService = "TENON_TEST_SERVICE"
	asWorker  = "TENON_TEST_WORKER"
)

// TestMain makes this program the service, and a worker, too.
func TestMain(m *testing.M) {
	if os.Getenv(asWorker) != "" {
		diesOfWork()
	}
	if os.Getenv(asService) != "" {
		s, err := step.Read()
		if err == nil {
			err = Run(context.Background(), s, nil)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// Random routes and shadows, while the process is killed again and again, or another one takes over,
// and 64 clients send requests. Each loses at most the request that a killed process had. Nobody is
// refused, and every answer is that of the version that it names.
func TestNoRequestFailsBesideThoseOfAKilledProcess(t *testing.T) {
	s := newReleasing(t)
	port := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(s.port))
	fd, err := sharedport.Bind(port) // as tenon-run does
	if err != nil {
		t.Fatal(err)
	}
	held := os.NewFile(uintptr(fd), "socket")
	defer held.Close()
	started := 0
	name := func(process int) string { return fmt.Sprint(port, " ", process) }
	start := func() *exec.Cmd {
		started++
		hander, err := sharedport.Hand(name(started))
		if err != nil {
			t.Fatal(err)
		}
		hander.Set(fd)
		x := s.step("v2")
		x.Instance, x.Endpoint = fmt.Sprint("i", started), &ir.Endpoint{Port: s.port, Replicas: 2}
		x.Beside, x.Route, x.Observed = map[string]*step.Step{"v1": s.step("v1")}, filepath.Join(s.dir, "route"), filepath.Join(s.dir, "observed")
		b, err := json.Marshal(x)
		doc := filepath.Join(s.dir, fmt.Sprintf("step%d.json", started))
		if err = errors.Join(err, os.WriteFile(doc, b, 0o644)); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), asService+"=1", step.Env+"="+doc, sharedport.Variable+"="+sharedport.Value(3, name(started)))
		cmd.ExtraFiles = []*os.File{held}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	answersNow := func() bool {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
		r, err := client.Get(s.url("/readyz"))
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == 200 && r.Header.Get("X-Tenon-Instance") == fmt.Sprint("i", started)
	}
	random := rand.New(rand.NewPCG(3, 4))
	move := func() {
		weight := random.IntN(101)
		s.route(step.RouteVersion{Name: "v1", Weight: 100 - weight}, step.RouteVersion{Name: "v2", Weight: weight, Shadow: float64(random.IntN(3)) / 2})
	}
	move()
	process := start()
	defer func() { _ = process.Process.Kill(); _ = process.Wait() }()
	until(t, "it does not listen", func() bool { return sharedport.Listens(fd) })

	ctx, end := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	var answers, lost atomic.Int64
	for i := range 64 {
		clients.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: i%2 == 0}, Timeout: 30 * time.Second}
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				r, err := client.Post(s.url("/predict"), "application/json", strings.NewReader(aFlight))
				var body []byte
				if err == nil {
					body, err = io.ReadAll(r.Body)
					r.Body.Close()
				}
				want := ""
				if err == nil {
					want = map[string]string{"v1": "false", "v2": "true"}[r.Header.Get(versionHeader)]
				}
				switch {
				case errors.Is(err, syscall.ECONNREFUSED), err != nil && strings.Contains(err.Error(), "Timeout"):
					t.Error(err)
					return
				case err != nil:
					lost.Add(1)
				case r.StatusCode != 200 || !strings.HasPrefix(string(body), `{"predictions":[{"prediction":`+want+","):
					t.Errorf("%d %s by %s", r.StatusCode, body, r.Header.Get(versionHeader))
					return
				default:
					answers.Add(1)
				}
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	kills := 0
	for n := range 40 {
		move()
		time.Sleep(time.Duration(50+random.IntN(100)) * time.Millisecond)
		if n%16 == 11 {
			next := start()
			if _, _, ok := sharedport.Take(name(started-1), port); !ok {
				t.Fatal("the socket is not handed out")
			}
			until(t, "the next process does not answer", answersNow)
			_ = process.Process.Signal(unix.SIGTERM)
			if err := process.Wait(); err != nil {
				t.Errorf("the process before ends with %v", err)
			}
			process = next
		}
		if n%8 != 7 {
			continue
		}
		kills++
		_ = process.Process.Kill()
		_ = process.Wait()
		before := answers.Load()
		process = start()
		until(t, "nobody is answered after a kill", func() bool { return answers.Load() > before+64 })
	}
	until(t, "the last route is not in effect", func() bool { return s.observed().Serial == s.released })
	end()
	clients.Wait()
	if n := lost.Load(); n > int64(64*kills) {
		t.Errorf("%d requests are lost in %d kills", n, kills)
	}
	t.Logf("%d answers, %d requests lost in %d kills", answers.Load(), lost.Load(), kills)
	_ = process.Process.Signal(unix.SIGTERM)
}
