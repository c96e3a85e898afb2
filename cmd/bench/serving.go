package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tenon-ml/tenon/stdlib/step"
)

// servingGoals are, by the number of rows in a request, how many times the requests of
// FastAPI one core has to answer.
var servingGoals = map[int]float64{1: 100, 100: 25}

// featuresOfFlight is the request of the example as the service in Python takes it, with the
// features computed: the plane computes them.
const featuresOfFlight = `{"instances": [{"carrier": "UA", "origin": "EWR", "dest": "LAS", "distance": 2227, "month": 12, "weekday": 5, "dep_hour": 14, "arr_hour": 17,
	"plane_age": 4, "seats": 149, "temp": 48.92, "wind_speed": 10.357019999999999, "precip": 0.0, "pressure": 1015.6, "visib": 10.0}]}`

const (
	connections   = 8
	servingMemory = 50 << 20 // of a plane that serves trees
	turns         = 3
)

// measureServing measures the service of the demo beside the one in Python, which Tenon keeps
// only to compare with. Each has one core, and wrk the other one.
func (b *bench) measureServing(ctx context.Context) (err error) {
	const name = "serve flights, rows"
	sizes := slices.Sorted(maps.Keys(servingGoals))
	sizes = slices.DeleteFunc(sizes, func(n int) bool { return !b.wants(name, n) })
	others := b.wantedRivals()
	if len(sizes)+len(others) == 0 {
		return nil
	}
	for _, tool := range []string{"wrk", "taskset"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%w: .ci/tools bench installs it", err)
		}
	}
	dir := b.path("serving")
	if err := copyExample(dir); err != nil {
		return err
	}
	defer func() {
		_, gone := b.run(context.WithoutCancel(ctx), command{args: []string{b.tenon, "destroy", "--yes", dir}})
		err = errors.Join(err, gone)
	}()
	if _, err := b.run(ctx, command{args: []string{b.tenon, "apply", "--yes", dir}}); err != nil {
		return err
	}
	python, err := b.interpreter(ctx, dir)
	if err != nil {
		return err
	}
	serve := filepath.Join(filepath.Dir(b.tenon), "tenon-serve")
	plane, err := b.startServer(ctx, dir, "plane", serve, python, "_tenon/tenon_worker.py")
	if err != nil {
		return err
	}
	defer plane.stop()
	fastAPI, err := b.startServer(ctx, dir, "fastapi", python, "_tenon/main.py")
	if err != nil {
		return err
	}
	defer fastAPI.stop()
	flight, err := os.ReadFile(filepath.Join(example, "request.json"))
	if err != nil {
		return err
	}
	for _, n := range sizes {
		b.say(name, n)
		body, err := repeated(flight, n)
		if err != nil {
			return err
		}
		computed, err := repeated([]byte(featuresOfFlight), n)
		if err != nil {
			return err
		}
		plane.body, fastAPI.body = body, computed
		if err := sameAnswers(ctx, plane, fastAPI); err != nil {
			return err
		}
		m, other, p99, otherP99, err := b.turns(ctx, plane, fastAPI)
		if err != nil {
			return err
		}
		times := float64(other.Wall) / float64(max(1, m.Wall))
		b.rows = append(b.rows, tableRow{Case: name, Size: n, Of: "a request, time of each", Tenon: m, Beside: "FastAPI", Other: &other, Goals: []goal{
			{Want: fmt.Sprintf("at least %g times the requests", servingGoals[n]), Got: fmt.Sprintf("%.0f times, %.0f/s beside %.0f/s", times, 1/m.Wall.Seconds(), 1/other.Wall.Seconds()), Met: times >= servingGoals[n]},
			{Want: "p99 below FastAPI's " + short(otherP99), Got: short(p99), Met: p99 < otherP99},
			{Want: "peak memory below " + memory(servingMemory), Got: memory(m.Peak), Met: m.Peak <= servingMemory},
		}})
	}
	fastAPI.stop()
	for _, r := range others {
		if err := b.measureRival(ctx, r, dir, plane); err != nil {
			return err
		}
	}
	return nil
}

// turns loads two servers in turn, and returns the medians of a request and of the p99 of each.
func (b *bench) turns(ctx context.Context, a, z *server) (m, other timing, p99, otherP99 time.Duration, err error) {
	var ours, theirs []loaded
	for range turns {
		o, err := b.wrk(ctx, a)
		if err != nil {
			return m, other, 0, 0, err
		}
		t, err := b.wrk(ctx, z)
		if err != nil {
			return m, other, 0, 0, err
		}
		ours, theirs = append(ours, o), append(theirs, t)
	}
	m, p99 = each(ours)
	other, otherP99 = each(theirs)
	return m, other, p99, otherP99, nil
}

// interpreter returns the Python of the model's environment.
func (b *bench) interpreter(ctx context.Context, dir string) (string, error) {
	s, err := b.run(ctx, command{args: []string{b.tenon, "env", "models/late", "--json", "--dir", dir}})
	if err != nil {
		return "", err
	}
	var env struct{ Interpreter string }
	if err := json.Unmarshal([]byte(s.out), &env); err != nil {
		return "", fmt.Errorf("read the environment of the model: %w", err)
	}
	return env.Interpreter, nil
}

// repeated returns a request with n times the row of another.
func repeated(request []byte, n int) ([]byte, error) {
	var doc struct {
		Instances []json.RawMessage `json:"instances"`
	}
	if err := json.Unmarshal(request, &doc); err != nil || len(doc.Instances) != 1 {
		return nil, errors.Join(err, errors.New("wanted a request with one row"))
	}
	doc.Instances = slices.Repeat(doc.Instances, n)
	return json.Marshal(doc)
}

// A server is a service that the bench has started.
type server struct {
	cmd  *exec.Cmd
	url  string
	path string // of its requests
	log  string
	body []byte // of its requests
	at   int    // how many connections send requests; 0 is the usual number
	stop func()
}

// startServer starts a program as the service of an applied system, on one core and with
// one replica.
func (b *bench) startServer(ctx context.Context, dir, name string, argv ...string) (*server, error) {
	doc, err := stepOf(dir)
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	doc.Endpoint.Port = ports[0]
	doc.Endpoint.Replicas, doc.Instance, doc.Lives = 1, name, ""
	doc.Scratch = b.path(name + "-scratch")
	text, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	path := b.path(name + ".json")
	if err := errors.Join(os.MkdirAll(doc.Scratch, 0o755), os.WriteFile(path, text, 0o644)); err != nil {
		return nil, err
	}
	s := &server{url: fmt.Sprintf("http://127.0.0.1:%d", doc.Endpoint.Port), path: "/predict", log: b.path(name + ".log")}
	return s, b.launch(ctx, s, "/readyz", doc.Code, []string{step.Env + "=" + path}, argv...)
}

// launch starts a program as a server, on one core, and waits until it answers at a path.
func (b *bench) launch(ctx context.Context, s *server, ready, dir string, env []string, argv ...string) error {
	out, err := os.Create(s.log)
	if err != nil {
		return err
	}
	defer out.Close()
	s.cmd = exec.CommandContext(ctx, "taskset", append([]string{"-c", "0"}, argv...)...)
	s.cmd.Dir, s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr = dir, slices.Concat(b.env, env), out, out
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.stop = sync.OnceFunc(func() {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		_ = s.cmd.Wait()
	})
	for start := time.Now(); ; {
		r, err := http.Get(s.url + ready) //nolint:noctx // on this machine
		if err == nil && r.Body.Close() == nil && r.StatusCode == http.StatusOK {
			return nil
		}
		if time.Since(start) > time.Minute {
			s.stop()
			said, _ := os.ReadFile(s.log)
			return fmt.Errorf("%s is not ready after a minute: %s", argv[0], tail(string(said)))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// sameAnswers refuses to compare services that give different predictions.
func sameAnswers(ctx context.Context, a, b *server) error {
	var predictions [2]string
	for i, s := range []*server{a, b} {
		text, err := ask(ctx, s)
		if err != nil {
			return err
		}
		var doc struct {
			Predictions []struct {
				Prediction  any
				Probability float64
			}
		}
		if err := json.Unmarshal(text, &doc); err != nil || len(doc.Predictions) == 0 {
			return fmt.Errorf("%s answers %s: %w", s.url, tail(string(text)), cmp.Or(err, errors.New("without predictions")))
		}
		predictions[i] = fmt.Sprint(doc.Predictions)
	}
	if predictions[0] != predictions[1] {
		return fmt.Errorf("the services disagree: %s, %s", predictions[0], predictions[1])
	}
	return nil
}

// A loaded is what a server did under load.
type loaded struct {
	sample
	p50, p99 time.Duration
}

// wrkScript posts the body in a file, and prints what happened.
const wrkScript = `
local f = io.open(%q)
wrk.method, wrk.body = "POST", f:read("*a")
wrk.headers["Content-Type"] = "application/json"
function done(s, latency)
	local e = s.errors
	print(string.format("RESULT %%d %%d %%d %%d %%d", s.requests, s.duration, latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
`

// wrk loads a server from the other core. Of the sample, the times are those of a request.
func (b *bench) wrk(ctx context.Context, s *server) (l loaded, err error) {
	script, request := b.path("wrk.lua"), b.path("wrk.json")
	if err := errors.Join(os.WriteFile(request, s.body, 0o644), os.WriteFile(script, fmt.Appendf(nil, wrkScript, request), 0o644)); err != nil {
		return l, err
	}
	before, _, err := usage(s.cmd.Process.Pid)
	if err != nil {
		return l, err
	}
	seconds := max(1, int(b.time.Seconds())/4)
	out, err := exec.CommandContext(ctx, "taskset", "-c", "1", "wrk", "-t1", "-c"+strconv.Itoa(cmp.Or(s.at, connections)), "-d"+strconv.Itoa(seconds)+"s", "-s", script, s.url+s.path).CombinedOutput()
	if err != nil {
		return l, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	after, peak, err := usage(s.cmd.Process.Pid)
	if err != nil {
		return l, err
	}
	_, result, _ := strings.Cut(string(out), "RESULT ")
	var requests, micros, p50, p99, failed int64
	if _, err := fmt.Sscan(result, &requests, &micros, &p50, &p99, &failed); err != nil || requests == 0 || failed > 0 {
		return l, fmt.Errorf("wrk had %d requests, of which %d failed: %w\n%s", requests, failed, err, tail(string(out)))
	}
	l.wall, l.cpu = time.Duration(micros*1000/requests), (after-before)/time.Duration(requests)
	l.p50 = time.Duration(p50) * time.Microsecond
	l.p99, l.peak = time.Duration(p99)*time.Microsecond, peak
	return l, nil
}

func each(all []loaded) (timing, time.Duration) {
	var samples []sample
	for _, l := range all {
		samples = append(samples, l.sample)
	}
	slices.SortFunc(all, func(a, b loaded) int { return cmp.Compare(a.p99, b.p99) })
	return medians(samples), all[len(all)/2].p99
}
