package examples_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A controller in the cluster has no more rights there than tenon asks for. It measures what is asked,
// trains again on data that was sent later, and releases that in steps while no request fails. A model that was
// trained on mixed labels passes its gate by a mistake, and is taken back when its first labels arrive. Prometheus
// and Alertmanager report both. A service is made again whose Deployment was deleted.
func TestAControllerRunsInTheCluster(t *testing.T) {
	t.Parallel() // it mostly waits
	r := newRemoteOf(t, "testdata/controller", same)
	r.cluster.Secret(t, r.namespace, "ended", map[string]string{"dsn": r.db.From(r.db.Database())})
	if err := r.db.Exec(t.Context(), "CREATE TABLE ended (request text, known timestamp, fare float8)"); err != nil {
		t.Fatal(err)
	}
	r.writeRides(1, false)
	r.must(append([]string{"apply", "--yes"}, r.tags...)...)
	address := clusterIP(t, r.client, r.namespace, "watched-api") + ":8080"
	alerts := startAlerting(t, r.must("monitor", "rules"))

	env := r.env
	r.env = append(slices.Clone(env), "TENON_ARTIFACTS=")
	out, err := r.run("run", "--detach")
	if r.env = env; err == nil {
		t.Errorf("a controller is detached that finds no artifacts:\n%s", out)
	}
	contains(t, out, "the controller cannot run in the cluster:", "artifacts are only on this machine: keep them in the store of the target, with --artifacts 's3://")
	contains(t, r.must("run", "--detach", "--every", "500ms"), "Detached: Deployment controller-", "in namespace "+r.namespace+" watches.")
	contains(t, r.must("run", "--detach", "--every", "500ms"), "Unchanged: Deployment controller-")
	contains(t, r.must("run", "--status"), "watched by tenon run --detach, process 1 on controller-", ": ready")

	// What it was sent replaces what it had.
	r.writeRides(longRide, false)
	r.control(alerts, address)

	all := r.askShifted("http://" + address + "/predict")
	r.comesTo("history", "retrain: miles: ks 1 > 0.3", "is the champion")
	r.answersAlone(address, "fare v2")
	alerts.hears("firing TenonMonitorAlert inputs ticket")

	// The planted mistake trains nothing.
	out = r.must(append([]string{"apply", "--yes", "-t", "mistake"}, r.tags...)...)
	if strings.Contains(out, "models/fare/train") {
		t.Errorf("a lower gate leads to a training:\n%s", out)
	}
	r.writeRides(longRide, true)
	r.control(alerts, address)
	r.must("loops", "trigger", "fare", "--reason", "the rides were exported again")
	// At 50 %, or at 100 % if the first window has hardly any answers of the new version.
	r.comesTo("logs --controller", "decided: loops/fare  rolled back: the release of deployments/api ends at ")
	contains(t, r.must("history"), "fare v3 was rejected: the release of deployments/api ends at ", "mean_absolute_error ")
	r.answersAlone(address, "fare v2")
	all.stop()
	if all.failed != nil || all.answers["fare v1"] == 0 || all.answers["fare v2"] == 0 || all.answers["fare v3"] == 0 {
		t.Errorf("the answers are %v; the first that failed: %v", all.answers, all.failed)
	}
	alerts.counts("3")
	alerts.hears("firing TenonMonitorAlert truth page", "firing TenonReleaseRejected  ticket")

	deployments := r.client.Resource(appsv1.SchemeGroupVersion.WithResource("deployments")).Namespace(r.namespace)
	if err := deployments.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "tenon.dev/unit=deployments.api"}); err != nil {
		t.Fatal(err)
	}
	r.comesTo("history", "repair: deployments/api: ")
	r.comesTo("status", "http://watched-api."+r.namespace+".svc:8080 ready")
	contains(t, r.must("logs", "--controller"), "▸ watching", "✓ repaired: deployments/api")

	// There is nothing left to watch after a destroy.
	r.must("destroy", "--yes")
	contains(t, r.must("run", "--status"), "No controller runs")
	left, err := deployments.List(t.Context(), metav1.ListOptions{})
	if err != nil || len(left.Items) > 0 {
		t.Errorf("%d Deployments are left: %v", len(left.Items), err)
	}
}

// longRide is the length of rides, in miles, from which on they cost more by day.
const longRide = 1000

// fare is what a ride costs.
func fare(miles, night int) int {
	switch {
	case night == 1:
		return 90
	case miles < longRide:
		return 10
	}
	return 12
}

// writeRides writes rides of a length and more. Their fares may be mixed up.
func (r *remote) writeRides(miles int, mixed bool) {
	r.t.Helper()
	fares := make([]int, 120)
	for i := range fares {
		fares[i] = fare(miles, i%2)
	}
	if mixed {
		rand.New(rand.NewPCG(7, 7)).Shuffle(len(fares), func(i, j int) { fares[i], fares[j] = fares[j], fares[i] })
	}
	var rows strings.Builder
	rows.WriteString("id,miles,night,fare\n")
	for i, f := range fares {
		fmt.Fprintf(&rows, "%d,%d,%d,%d\n", i, miles+i/2, i%2, f)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "rides.csv"), []byte(rows.String()), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// control detaches a controller that has the rides of now. Prometheus scrapes it, and the service.
func (r *remote) control(alerts *alerting, service string) {
	r.t.Helper()
	out := r.must("run", "--detach", "--every", "500ms", "--metrics", ":9464")
	m := regexp.MustCompile(`Detached: Deployment (controller-\S+) in`).FindStringSubmatch(out)
	if m == nil {
		r.t.Fatalf("no controller is detached:\n%s", out)
	}
	contains(r.t, out, fmt.Sprintf("Prometheus finds its metrics at http://%s.%s.svc:9464/metrics.", m[1], r.namespace))
	alerts.scrape(service, clusterIP(r.t, r.client, r.namespace, m[1])+":9464")
}

// comesTo waits until a command prints some texts.
func (r *remote) comesTo(command string, texts ...string) {
	r.t.Helper()
	for end := time.Now().Add(4 * time.Minute); ; time.Sleep(500 * time.Millisecond) {
		out := r.must(strings.Fields(command)...)
		missing := ""
		for _, text := range texts {
			if !strings.Contains(out, text) {
				missing = text
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(end) {
			log, _ := r.run("logs", "--controller")
			r.t.Fatalf("tenon %s never prints %q:\n%s\nthe controller says:\n%s", command, missing, out, log)
		}
	}
}

// answersAlone requires that a version answers all requests.
func (r *remote) answersAlone(address, version string) {
	r.t.Helper()
	for i := range 20 {
		miles, night := longRide+i, i%2
		a, err := askOf(http.DefaultClient, "http://"+address+"/predict", ride(miles, night), "")
		if err != nil || a != (answer{fare(miles, night), version}) {
			r.t.Errorf("a ride of %d miles gets %+v, %v; want %d of %s", miles, a, err, fare(miles, night), version)
		}
	}
}

// ride is a request.
func ride(miles, night int) string { return fmt.Sprintf(`{"miles": %d, "night": %d}`, miles, night) }

// A shifted client asks for rides that are longer than those that the first model was trained on. What they cost is
// in the database as soon as they have been answered.
type shifted struct {
	stop    func()
	answers map[string]int // by version
	failed  error
}

func (r *remote) askShifted(url string) *shifted {
	r.t.Helper()
	s := &shifted{answers: map[string]int{}}
	db, err := pgx.Connect(r.t.Context(), r.db.Database())
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var asking sync.WaitGroup
	asking.Go(func() {
		client := &http.Client{Timeout: 30 * time.Second}
		for n := 0; ctx.Err() == nil; n++ {
			miles, night, id := longRide+n%60, n/60%2, fmt.Sprint("ride-", n)
			a, err := askOf(client, url, ride(miles, night), id)
			if err == nil {
				s.answers[a.version]++
				_, err = db.Exec(context.Background(), "INSERT INTO ended VALUES ($1, $2, $3)", id, time.Now().UTC(), float64(fare(miles, night)))
			}
			if err != nil && s.failed == nil {
				s.failed = err
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
	s.stop = sync.OnceFunc(func() {
		cancel()
		asking.Wait()
		_ = db.Close(context.Background())
	})
	r.t.Cleanup(s.stop)
	return s
}
