package examples_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The age of a van, which a service looks up, decides how late it is.
const deliveries = `package deliveries

import (
	"tenon.dev/col"
	"tenon.dev/evaluate"
	"tenon.dev/feature"
	"tenon.dev/serve"
	"tenon.dev/source"
	"tenon.dev/split"
	"tenon.dev/tenon"
	"tenon.dev/train"
)

tenon.#System
name: "deliveries"

sources: trips: source.#CSV & {
	path: "trips.csv"
	keys: ["id"]
	schema: {id: col.#Int64, van: col.#String, distance: col.#Int64, late: col.#Bool & {nullable: true}}
}
sources: vans: source.#CSV & {
	path: "vans.csv"
	keys: ["van"]
	schema: {van: col.#String, built: col.#Int64}
}
features: known: feature.#SQL & {
	in: {t: sources.trips.out, v: sources.vans.out}
	keys: ["id"]
	sql: "SELECT t.id, t.distance, 2024 - v.built AS age, t.late FROM t LEFT JOIN v ON t.van = v.van WHERE t.late IS NOT NULL"
	schema: {id: in.t.schema.id, distance: in.t.schema.distance, age: col.#Int64 & {nullable: true}, late: col.#Bool}
}
models: late: train.#SKLearn & {
	in: table: features.known.out
	label: "late"
	test: split.#Random & {fraction: 0.5}
	estimator: "sklearn.ensemble.HistGradientBoostingClassifier"
	params: max_iter: 5
	evaluation: evaluate.#Classification
}
deployments: api: serve.#HTTP & {
	in: {model: models.late.out, table: features.known.out}
	request: t: exclude: ["late"]
	lookup: v: {%s}
	returns: ["age"]
	port: %d
}
`

// writeDeliveries writes the system. lookup says how the service has the vans.
func writeDeliveries(t *testing.T, port int, lookup string) *system {
	t.Helper()
	s := &system{t: t, dir: t.TempDir()}
	trips := "id,van,distance,late\n"
	for i := range 400 {
		trips += fmt.Sprintf("%d,v%d,%d,%v\n", i, i%4, i%90, i%4 < 2)
	}
	s.write("deliveries.cue", fmt.Sprintf(deliveries, lookup, port))
	s.write("trips.csv", trips)
	s.write("vans.csv", "van,built\nv0,2000\nv1,2001\nv2,2020\nv3,2021\n")
	t.Cleanup(func() {
		if out, err := s.run("destroy", "--yes"); err != nil {
			t.Errorf("destroy: %v\n%s", err, out)
		}
	})
	s.must("init")
	return s
}

func (s *system) write(file, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, file), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// A table that a service looks up is replaced without one failed request. If the process of
// the service is killed, each client loses at most the request that it had begun. Others wait until
// the service is started again.
func TestATableIsReplacedUnderLoad(t *testing.T) {
	port := freePort(t)
	s := writeDeliveries(t, port, "")
	s.must("apply", "--yes")
	c := startClients(fmt.Sprintf("http://127.0.0.1:%d/predict", port), `{"instances": [{"van": "v0", "distance": 7}]}`)
	defer c.stop()
	c.until(t, 24)

	s.replaceVans(t, c)
	pids := s.serving(t)
	if len(pids) != 1 {
		t.Fatalf("the service has the processes %v", pids)
	}
	killed := time.Now()
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for now := pids; len(now) != 1 || now[0] == pids[0]; now = s.serving(t) {
		if time.Since(killed) > 20*time.Second {
			t.Fatal("nothing has started it again")
		}
		time.Sleep(20 * time.Millisecond)
	}
	c.until(t, 14)
	t.Logf("answers again after %s", time.Since(killed).Round(time.Millisecond))
	c.settled(t, 14)
	_, failed := c.seen()
	if len(failed) > 64 {
		t.Errorf("64 clients have lost %d requests", len(failed))
	}
	for _, f := range failed {
		if !strings.HasPrefix(f, "connection: ") || strings.Contains(f, syscall.ECONNREFUSED.Error()) {
			t.Errorf("a client saw %s", f)
		}
	}
	contains(t, s.must("status"), "was killed by SIGKILL")
}

// replaceVans makes v0 ten years younger while clients send requests. None may fail.
func (s *system) replaceVans(t *testing.T, c *clients) {
	t.Helper()
	s.edit("vans.csv", "v0,2000", "v0,2010")
	contains(t, s.must("apply", "--yes"), "sources/vans", "deployments/api")
	c.until(t, 14)
	c.settled(t, 14)
	answers, failed := c.seen()
	if len(failed) > 0 {
		t.Errorf("%d requests failed beside the answers %v: %s\n%s", len(failed), answers, strings.Join(failed[:min(len(failed), 5)], "\n"), s.must("logs", "deployments/api"))
	}
	if got := slices.Sorted(maps.Keys(answers)); !slices.Equal(got, []int{14, 24}) {
		t.Errorf("the answers are %v", answers)
	}
	t.Logf("answers of the table before and of the new one: %v", answers)
}

// serving lists the processes of the plane of a system.
func (s *system) serving(t *testing.T) (pids []int) {
	t.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		program, _ := os.Readlink(filepath.Join(filepath.Dir(p), "exe"))
		env, _ := os.ReadFile(p) // it may have ended
		if filepath.Base(program) == "tenon-serve" && strings.Contains(string(env), "TENON_STEP="+s.dir+"/") {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(p)))
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// clients ask for predictions again and again: half of them on a connection that they keep,
// half on a new one each time. No request is repeated.
type clients struct {
	stop func()

	mu      sync.Mutex
	answers map[int]int // by the age in them
	failed  []string
}

func startClients(url, body string) *clients {
	c := &clients{answers: map[int]int{}}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for i := range 64 {
		client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: i%2 == 0}}
		all.Go(func() {
			for tick := time.NewTicker(50 * time.Millisecond); ctx.Err() == nil; <-tick.C {
				age, err := askAge(client, url, body)
				c.mu.Lock()
				if err != nil {
					c.failed = append(c.failed, err.Error())
				} else {
					c.answers[age]++
				}
				c.mu.Unlock()
			}
			client.CloseIdleConnections()
		})
	}
	c.stop = sync.OnceFunc(func() {
		cancel()
		all.Wait()
	})
	return c
}

func askAge(client *http.Client, url, body string) (int, error) {
	r, err := client.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("connection: %w", err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, fmt.Errorf("connection: %w", err)
	}
	var doc struct{ Predictions []struct{ Age *int } }
	if r.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("status %s: %s", r.Status, b)
	}
	if err := json.Unmarshal(b, &doc); err != nil || len(doc.Predictions) != 1 || doc.Predictions[0].Age == nil {
		return 0, errors.Join(err, fmt.Errorf("answer: %s", b))
	}
	return *doc.Predictions[0].Age, nil
}

func (c *clients) seen() (map[int]int, []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.answers), slices.Clone(c.failed)
}

// until waits for a new answer with an age.
func (c *clients) until(t *testing.T, age int) {
	t.Helper()
	before, _ := c.seen()
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		now, failed := c.seen()
		if now[age] > before[age] {
			return
		}
		if time.Since(start) > 30*time.Second {
			t.Fatalf("no answer has the age %d: %v, and %d failed", age, now, len(failed))
		}
	}
}

// settled waits until no answer has had another age, and none has failed, for a while.
func (c *clients) settled(t *testing.T, age int) {
	t.Helper()
	for start := time.Now(); ; {
		before, failed := c.seen()
		time.Sleep(700 * time.Millisecond)
		after, more := c.seen()
		after[age] = before[age]
		if len(failed) == len(more) && maps.Equal(before, after) {
			return
		}
		if time.Since(start) > 30*time.Second {
			t.Fatalf("not all answers have the age %d: %v", age, after)
		}
	}
}
