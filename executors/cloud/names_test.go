package cloud_test

import (
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/executors/cloud"
)

// Neither the names of two units nor their folders are the same, or one in the other.
func FuzzLabelsDiffer(f *testing.F) {
	f.Add("steps/a", "steps/a/b")
	f.Add("steps/a-b", "steps/a/b")
	f.Add("steps/A", "steps/a")
	f.Fuzz(func(t *testing.T, a, b string) {
		if a != b && (cloud.Label(a) == cloud.Label(b) || strings.HasPrefix(cloud.Below(a), cloud.Below(b))) {
			t.Errorf("%q and %q: %s, %s", a, b, cloud.Label(a), cloud.Label(b))
		}
	})
}
