package engine_test

import (
	"os"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/stdlib/duck/engine"
)

// The page of the documentation has the table of conversions as it is.
// TENON_UPDATE=1 writes it.
func TestConversionsAreDocumented(t *testing.T) {
	const page = "../../../docs/data.md"
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(b), "TENON_UPDATE=1 -->\n")
	_, after, ok2 := strings.Cut(rest, "<!-- end -->")
	if !ok1 || !ok2 {
		t.Fatalf("%s has no place for the table", page)
	}
	want := before + "TENON_UPDATE=1 -->\n" + engine.ConversionsAsMarkdown() + "<!-- end -->" + after
	if os.Getenv("TENON_UPDATE") != "" {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	equal(t, want, string(b))
}
