package executortest

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Golden compares with a file what came out. TENON_UPDATE=1 rewrites it.
func Golden(t testing.TB, path string, got []byte) {
	t.Helper()
	if os.Getenv("TENON_UPDATE") != "" {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s: TENON_UPDATE=1 accepts what it is now (-want +got):\n%s", path, diff)
	}
}
