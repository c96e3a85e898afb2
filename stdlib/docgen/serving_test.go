package docgen_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// The page lists what is computed for a request. TENON_UPDATE=1 rewrites the list.
func TestServing(t *testing.T) {
	const page = "../../docs/serving.md"
	const marker = "<!-- functions: written by TENON_UPDATE=1 go test ./stdlib/docgen -->\n"
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	text, list, found := strings.Cut(string(b), marker)
	if !found {
		t.Fatalf("%s has no %s", page, marker)
	}
	want := "\n" + rowsql.Reference()
	if os.Getenv("TENON_UPDATE") != "" {
		if err := os.WriteFile(page, []byte(text+marker+want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("the list is not what is computed; TENON_UPDATE=1 writes it (-want +got):\n%s", diff)
	}
}
