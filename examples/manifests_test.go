package examples_test

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a cluster would get for examples/flights is in testdata. TENON_UPDATE=1 writes
// it anew.
func TestTheManifestsOfFlights(t *testing.T) {
	const golden = "testdata/flights.manifests.yaml"
	s := &system{t: t, dir: "flights"}
	got := s.must("compile", "--tag", "target=kubernetes", "--format=manifests")
	if os.Getenv("TENON_UPDATE") != "" {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("TENON_UPDATE=1 accepts what it is now (-want +got):\n%s", diff)
	}
}
