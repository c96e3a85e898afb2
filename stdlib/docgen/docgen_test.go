package docgen_test

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/stdlib"
	"github.com/tenon-ml/tenon/stdlib/docgen"
)

// The page is what the library says of itself. TENON_UPDATE=1 rewrites it.
func TestLibrary(t *testing.T) {
	const page = "../../docs/library.md"
	got, err := docgen.Library(stdlib.CUE())
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("TENON_UPDATE") != "" {
		if err := os.WriteFile(page, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("docs/library.md is not what the library says; TENON_UPDATE=1 writes it (-want +got):\n%s", diff)
	}
}
