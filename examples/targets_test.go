package examples_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/internal/test/containerdtest"
)

// base is the image that `make base-image` makes.
const base = "localhost/tenon/python:3.11"

// What the components of a system make is the same on each target, byte for byte.
func TestFlightsOnEveryTarget(t *testing.T) {
	want := testLocal(t)
	same := func(t *testing.T, s *system) {
		t.Helper()
		got := digests(s)
		for output, digest := range want {
			if got[output] != digest {
				t.Errorf("%s is %s, and of local processes %s", output, got[output], digest)
			}
		}
	}
	t.Run("containerd", func(t *testing.T) { testContainers(t, same) })
	t.Run("kubernetes", func(t *testing.T) { testCluster(t, same) })
	t.Run("aws", func(t *testing.T) { testAWS(t, same) })
}

// endpoint is the address that status shows for a unit.
func (s *system) endpoint(unit string) string {
	s.t.Helper()
	for _, u := range s.status() {
		if u.Unit == unit {
			return u.Endpoint
		}
	}
	s.t.Fatalf("status does not show %s", unit)
	return ""
}

// Its endpoint answers from a container.
func testContainers(t *testing.T, same func(*testing.T, *system)) {
	d, err := containerdtest.Start("/tmp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(); err != nil { // it also reports what is left in it
			t.Error(err)
		}
	})
	contained := newSystem(t, "flights")
	contained.env = []string{"CONTAINERD_ADDRESS=" + d.Address}
	contained.edit("flights.cue", "8080", fmt.Sprint(freePort(t)))
	contained.must("apply", "--yes", "-t", "target=containerd", "-t", "base="+base)
	same(t, contained)
	endpoint := contained.endpoint("deployments/api")
	status, body := post(t, endpoint+"/predict", oneFlight)
	if status != 200 || !strings.Contains(body, `"probability"`) {
		t.Errorf("POST %s/predict: %d %s", endpoint, status, body)
	}
	contains(t, contained.must("plan", "-t", "target=containerd", "-t", "base="+base), "Nothing to do")
	contains(t, contained.must("show", "models/late/train"), "used", "of cpu")

	// Where containerd does not answer, the rest is still reported.
	d.Kill()
	for _, u := range contained.status() {
		if unknown := u.Unit == "deployments/api"; unknown != (u.Phase == "unknown") {
			t.Errorf("without a containerd, %s is %s", u.Unit, u.Phase)
		}
	}
	contains(t, contained.must("status"), "? deployments/api", endpoint+" unknown: containerd at "+d.Address)
	contains(t, contained.must("show", "deployments/api"), "unknown containerd at "+d.Address)
	if err := d.Run(); err != nil {
		t.Fatal(err)
	}

	// Another target takes the service over, and the results stay current. Those of Python do if
	// the interpreter is the same to the patch level.
	results := "9 reused"
	if here, there := contained.python(), contained.python("-t", "target=containerd", "-t", "base="+base); here != there {
		t.Logf("Python is %s here and %s in the base", here, there)
		results = "6 ran, 3 reused"
	}
	contains(t, contained.must("apply", "--yes"), results, "1 replaced")
	status, _ = post(t, endpoint+"/predict", oneFlight)
	if status != 200 {
		t.Errorf("after the move: %d", status)
	}
}

// digests are those of all current artifacts, by unit and port.
func digests(s *system) map[string]string {
	s.t.Helper()
	out := map[string]string{}
	for _, u := range s.status() {
		var shown struct {
			Run struct {
				Outputs map[string]struct{ Digest string }
			}
		}
		if err := json.Unmarshal([]byte(s.must("show", u.Unit, "--json")), &shown); err != nil {
			s.t.Fatal(err)
		}
		for port, a := range shown.Run.Outputs {
			// The rules name the port of the endpoint, which is another one.
			if !strings.HasPrefix(u.Unit, "slos/") && !strings.HasPrefix(u.Unit, "deployments/") {
				out[u.Unit+" "+port] = a.Digest
			}
		}
	}
	return out
}

// python is the exact version of the interpreter with which a plan runs jobs.
func (s *system) python(args ...string) string {
	s.t.Helper()
	var plan struct{ Python map[string]string }
	if err := json.Unmarshal([]byte(s.must(append([]string{"plan", "--json"}, args...)...)), &plan); err != nil {
		s.t.Fatal(err)
	}
	return plan.Python["3.11"]
}

type unitStatus struct{ Unit, Phase, Endpoint string }

func (s *system) status() []unitStatus {
	s.t.Helper()
	var doc struct{ Units []unitStatus }
	if err := json.Unmarshal([]byte(s.must("status", "--json")), &doc); err != nil {
		s.t.Fatal(err)
	}
	return doc.Units
}
