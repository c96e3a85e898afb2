package remote_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
)

// Stores in one bucket share its connections and nothing else, and the first one closes them.
func TestStoresInOneBucket(t *testing.T) {
	f := newFaulty(t)
	first, err := remote.Open(t.Context(), strings.Replace(f.url, "bucket?", "bucket/a?", 1))
	ok(t, err)
	defer first.Close()
	f.requests.Store(0)
	second := first.Beside(strings.Replace(f.url, "bucket?", "bucket/b?", 1))
	if second == nil || f.requests.Load() != 0 {
		t.Fatalf("the store beside is %v, after %d requests", second, f.requests.Load())
	}
	ref, err := second.PutBytes(t.Context(), []byte("b"))
	ok(t, err)
	if _, err := first.Bytes(t.Context(), ref); !errors.Is(err, artifact.ErrMissing) {
		t.Errorf("the first store has what the second one got: %v", err)
	}
	ok(t, second.Close())
	if _, err := first.PutBytes(t.Context(), []byte("a")); err != nil {
		t.Errorf("closing the second store closed the first one: %v", err)
	}
	for _, url := range []string{"file:///tmp/a", strings.Replace(f.url, "bucket?", "other?", 1), f.url + "&ssetype=AES256", "no URL"} {
		if x := first.Beside(url); x != nil {
			t.Errorf("%s is in the same bucket as %s", url, first)
		}
	}
}
