package examples_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/tenon-ml/tenon/executors/kubernetes"
	"github.com/tenon-ml/tenon/internal/test/kubernetestest"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
)

// movesVar is how many random moves the test makes.
const movesVar = "TENON_TEST_MOVES"

// In a cluster, two versions answer at the same time, and no request of 64 clients fails while
// their weights change, pods are deleted, and challengers come, are aborted, and win.
func TestVersionsAreReleasedInACluster(t *testing.T) {
	c := kubernetestest.Up(t)
	namespace := c.Namespace(t)
	c.StoreSecret(t, namespace, "store")
	env := append(c.S3.Environ(), "KUBECONFIG="+c.ServiceAccount(t, namespace, kubernetes.Rules()...))
	tags := []string{"-t", "base=" + base, "-t", "namespace=" + namespace, "-t", "registry=" + c.Registry,
		"-t", "store=" + c.S3.Bucket(t, namespace), "-t", "hosts=" + c.Hosts(t)}
	r := releasing{rollout: rollout{system: newSystem(t, "testdata/release"), cluster: c.Client(t), namespace: namespace, tags: tags}, t: t}
	r.env = env

	r.must(r.command("apply", "says=1")...)
	r.url = "http://" + clusterIP(t, r.cluster, namespace, "release-api") + ":8080/predict"
	all := r.ask()
	r.crowd = all
	r.challenge(2)

	r.takesEffect(func() { r.must("release", "next", "--to", "30") }, 30)
	all.pause(true)
	r.addsUp()
	all.pause(false)

	moves := 6
	if n, err := strconv.Atoi(os.Getenv(movesVar)); err == nil {
		moves = n
	}
	random := rand.New(rand.NewPCG(1, 2))
	for n := range moves {
		r.move(random, n)
	}
	r.endsWithin("a rollback during a release", func() { contains(t, r.must("rollback", "--yes"), "Rollback to @", "the champion is restored") })
	r.challenge(r.says)
	r.must("release", "next", "--to", "100")
	contains(t, r.must("release", "next"), "is the champion: decided by hand")
	r.deletePod()
	contains(t, r.must("release", "status"), "No release is in progress.")
	all.pause(true)
	r.logs()
	all.pause(false)
	contains(t, r.must("rollback", "--yes"), "Rollback to @")

	all.stop()
	all.check()
	r.must("destroy", "--yes")
}

// releasing is the system of testdata/release in a namespace.
type releasing struct {
	rollout
	t     *testing.T
	url   string
	says  int // of the newest version
	crowd *crowd
}

// challenge releases another version, which begins as a shadow.
func (r *releasing) challenge(says int) {
	r.t.Helper()
	r.says = says
	r.must(append(r.command("apply", fmt.Sprintf("says=%d", says)), "--no-wait")...)
}

// status returns what is known of the release.
func (r *releasing) status() (all []struct {
	Versions []struct {
		Name               string
		Weight             int
		Requests, Shadows  int
		Failed, Compared   int
		Different, Refused int
	}
	Next struct{ Act, Reason string }
}) {
	r.t.Helper()
	if err := json.Unmarshal([]byte(r.must("release", "status", "--json")), &all); err != nil {
		r.t.Fatal(err)
	}
	return all
}

// takesEffect requires that a change of weights is effective within five seconds: the challenger
// then answers that percentage of the requests.
func (r *releasing) takesEffect(change func(), weight int) {
	r.t.Helper()
	change()
	began := time.Now()
	for {
		if got := r.share(); got >= weight-15 && got <= weight+15 {
			break
		}
		if time.Since(began) > 5*time.Second {
			r.t.Fatalf("after 5 s the weight is not %d %%", weight)
		}
	}
	r.t.Logf("a weight of %d %% took effect in at most %s", weight, time.Since(began).Round(time.Millisecond))
}

// endsWithin requires that a command takes all requests from the challenger within five seconds: it
// answers none that a client has begun later.
func (r *releasing) endsWithin(what string, command func()) {
	r.t.Helper()
	if r.weight() != 50 {
		r.must("release", "next", "--to", "50")
	}
	r.crowd.until(r.says)
	began := time.Now()
	command()
	total := time.Since(began)
	took := r.crowd.last(r.says).Sub(began)
	if took > 5*time.Second {
		r.t.Errorf("%s: the challenger still answered after %s, want at most 5 s", what, took)
	}
	r.t.Logf("%s: the challenger got its last request after %s; the champion ran alone after %s", what, took.Round(time.Millisecond), total.Round(time.Millisecond))
}

// logs requires that what the pods have answered is in the request log, and that training computes
// the same.
func (r *releasing) logs() {
	r.t.Helper()
	const asked, prefix = 100, "logged-"
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // to reach all pods
	id := func(n int) string { return fmt.Sprint(prefix, n) }
	for n := range asked {
		if _, err := askAs(client, r.url, n, id(n)); err != nil {
			r.t.Fatal(err)
		}
	}
	found, pods := map[string]bool{}, map[string]bool{}
	for end := time.Now().Add(30 * time.Second); len(found) < asked; time.Sleep(time.Second) {
		if time.Now().After(end) {
			r.t.Fatalf("%d of %d requests are in the log", len(found), asked)
		}
		for line := range strings.Lines(r.must("requests", "--limit", fmt.Sprint(asked), "--json")) {
			var row requests.Row
			if err := json.Unmarshal([]byte(line), &row); err != nil {
				r.t.Fatal(err)
			}
			if !strings.HasPrefix(row.RequestID, prefix) {
				continue
			}
			if says := fmt.Sprint(r.says); string(row.Prediction) != says && string(row.Prediction) != says+".0" {
				r.t.Errorf("%s is logged with the prediction %s, want %s", row.RequestID, row.Prediction, says)
			}
			found[row.RequestID], pods[row.Pod] = true, true
		}
	}
	if len(pods) < 2 {
		r.t.Errorf("the rows are of the pods %v, want two", pods)
	}
	contains(r.t, r.must("requests", "--id", id(7)), id(7), "POD")
	lines := 0
	for end := time.Now().Add(30 * time.Second); lines < asked && time.Now().Before(end); time.Sleep(time.Second) {
		lines = strings.Count(r.must("requests", "--audit", "--limit", fmt.Sprint(2*asked), "--json"), `"id":"`+prefix)
	}
	if lines != asked {
		r.t.Errorf("%d of %d requests are in the audit log", lines, asked)
	}
	contains(r.t, r.must("replay", "--limit", fmt.Sprint(asked)), fmt.Sprintf("replayed %d rows, 0 cells and %[1]d predictions, without a difference", asked))
}

// share returns the percentage of values of the column for which the newest version answers.
func (r *releasing) share() int {
	r.t.Helper()
	n := 0
	for x := range 100 {
		a, err := askFor(http.DefaultClient, r.url, x)
		if err != nil {
			r.t.Fatal(err)
		}
		if a.says == r.says {
			n++
		}
	}
	return n
}

// addsUp requires that a status has the requests of all pods, also of one that is gone, and that
// the same value gets the same version from each of them.
func (r *releasing) addsUp() {
	r.t.Helper()
	r.must("release", "pause") // a route with figures of its own
	time.Sleep(3 * time.Second)
	versions := map[int]string{}
	send := func() {
		for x := range 100 {
			a, err := askFor(http.DefaultClient, r.url, x)
			if err != nil {
				r.t.Fatal(err)
			}
			if versions[x] != "" && versions[x] != a.version {
				r.t.Errorf("%d was answered by %s, and then by %s", x, versions[x], a.version)
			}
			versions[x] = a.version
		}
	}
	send()
	r.deletePod()
	send()
	var answered, compared int
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		answered, compared = 0, 0
		for _, v := range r.status()[0].Versions {
			answered += v.Requests - v.Shadows
			compared += v.Compared
		}
		if answered == 200 && compared > 0 {
			break
		}
	}
	if answered != 200 || compared == 0 {
		r.t.Errorf("all pods together answered %d requests, and compared %d rows; want 200, and some", answered, compared)
	}
	r.must("release", "resume")
}

// move changes something while clients ask.
func (r *releasing) move(random *rand.Rand, n int) {
	r.t.Helper()
	switch {
	case n%8 == 5:
		r.endsWithin("an abort", func() { contains(r.t, r.must("release", "abort"), "was rejected: aborted by hand") })
		if n%32 == 13 {
			r.challenge(r.says + 1)
		} else { // the same model again, which trains nothing
			r.must("release", "retry")
			r.challenge(r.says)
		}
	case n%4 == 1:
		r.deletePod()
	default:
		r.must("release", "next", "--to", fmt.Sprint(1+(r.weight()+random.IntN(99))%100))
	}
}

// weight returns that of the challenger.
func (r *releasing) weight() int { return r.status()[0].Versions[1].Weight }

// deletePod deletes a pod of the service, which has its grace period, and waits for another one.
func (r *releasing) deletePod() {
	r.t.Helper()
	pods := r.cluster.Resource(corev1.SchemeGroupVersion.WithResource("pods")).Namespace(r.namespace)
	serving := func() (ready []string) {
		list, err := pods.List(r.t.Context(), metav1.ListOptions{LabelSelector: "tenon.dev/unit=deployments.api"})
		if err != nil {
			r.t.Fatal(err)
		}
		for _, p := range list.Items {
			conditions, _, _ := unstructured.NestedSlice(p.Object, "status", "conditions")
			if p.GetDeletionTimestamp() == nil && slices.ContainsFunc(conditions, func(c any) bool {
				m, _ := c.(map[string]any)
				return m["type"] == "Ready" && m["status"] == "True"
			}) {
				ready = append(ready, p.GetName())
			}
		}
		return ready
	}
	before := serving()
	if len(before) == 0 {
		r.t.Fatal("no pod is ready")
	}
	if err := pods.Delete(r.t.Context(), before[0], metav1.DeleteOptions{}); err != nil {
		r.t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if now := serving(); len(now) >= 2 && !slices.Contains(now, before[0]) {
			return
		}
		if time.Now().After(end) {
			r.t.Fatal("no other pod is ready")
		}
	}
}

// An answer is what a client got.
type answer struct {
	says    int
	version string
}

func askFor(client *http.Client, url string, x int) (answer, error) { return askAs(client, url, x, "") }

// askAs asks with an id, if it is not empty.
func askAs(client *http.Client, url string, x int, id string) (answer, error) {
	return askOf(client, url, fmt.Sprintf(`{"x": %d}`, x), id)
}

// askOf asks about an instance, in JSON, with an id, if it is not empty.
func askOf(client *http.Client, url, instance, id string) (a answer, err error) {
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(`{"instances": [`+instance+`]}`))
	if err != nil {
		return a, err
	}
	req.Header.Set("Content-Type", "application/json")
	if id != "" {
		req.Header.Set("X-Request-Id", id)
	}
	resp, err := client.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return a, err
	}
	var said struct {
		Predictions []struct{ Prediction float64 }
	}
	a.version = resp.Header.Get("Tenon-Version")
	if err := json.Unmarshal(b, &said); err != nil || resp.StatusCode != http.StatusOK || len(said.Predictions) != 1 {
		return a, fmt.Errorf("%s by %q: %s", resp.Status, a.version, b)
	}
	a.says = int(math.Round(said.Predictions[0].Prediction))
	return a, nil
}

// A crowd is 64 clients that ask again and again: half of them on a connection that they keep.
type crowd struct {
	t      *testing.T
	stop   func()
	paused atomic.Bool

	mu      sync.Mutex
	failed  []string
	answers map[answer]int
	begun   map[int]time.Time // the latest request, by what was said
}

func (r *releasing) ask() *crowd {
	c := &crowd{t: r.t, answers: map[answer]int{}, begun: map[int]time.Time{}}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for i := range 64 {
		client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: i%2 == 0}}
		all.Go(func() {
			for tick := time.NewTicker(100 * time.Millisecond); ctx.Err() == nil; <-tick.C {
				if !c.paused.Load() {
					began := time.Now()
					a, err := askFor(client, r.url, i)
					c.note(began, a, err)
				}
			}
			client.CloseIdleConnections()
		})
	}
	c.stop = sync.OnceFunc(func() {
		cancel()
		all.Wait()
	})
	r.t.Cleanup(c.stop)
	return c
}

func (c *crowd) pause(yes bool) {
	c.paused.Store(yes)
	if yes {
		time.Sleep(time.Second) // for requests under way
	}
}

// last returns when the latest request began that was answered so.
func (c *crowd) last(says int) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.begun[says]
}

// until waits for an answer to a request that is yet to begin.
func (c *crowd) until(says int) {
	c.t.Helper()
	for began := time.Now(); !c.last(says).After(began); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			c.t.Fatalf("no answer says %d", says)
		}
	}
}

func (c *crowd) note(began time.Time, a answer, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.failed = append(c.failed, time.Now().Format(time.TimeOnly)+" "+err.Error())
		return
	}
	c.answers[a]++
	if began.After(c.begun[a.says]) {
		c.begun[a.says] = began
	}
}

// check requires that no request failed, and that each version always says the same.
func (c *crowd) check() {
	c.t.Helper()
	total, says := 0, map[string]int{}
	for a, n := range c.answers {
		total += n
		if before, ok := says[a.version]; ok && before != a.says {
			c.t.Errorf("%s says %d and %d", a.version, before, a.says)
		}
		says[a.version] = a.says
	}
	if n := len(c.failed); n > 0 {
		c.t.Errorf("%d requests failed, beside %d that were answered:\n%s", n, total, strings.Join(c.failed[:min(n, 10)], "\n"))
	}
	if len(says) < 2 {
		c.t.Errorf("the answers are %v", c.answers)
	}
	c.t.Logf("%d answers by %d versions, %d failed", total, len(says), len(c.failed))
}
