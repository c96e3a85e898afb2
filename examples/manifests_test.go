package examples_test

import (
	"testing"

	"github.com/tenon-ml/tenon/executors/executortest"
)

// What a cluster would get for examples/flights is in testdata. TENON_UPDATE=1
// rewrites it.
func TestTheManifestsOfFlights(t *testing.T) {
	s := &system{t: t, dir: "flights"}
	got := s.must("compile", "--tag", "target=kubernetes", "--format=manifests")
	executortest.Golden(t, "testdata/flights.manifests.yaml", []byte(got))
}
