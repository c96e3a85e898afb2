package aws_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The tests exist that the page for users names in place of the conformance suite.
func TestTheDocumentationNamesTests(t *testing.T) {
	page, err := os.ReadFile("../../docs/aws.md")
	ok(t, err)
	var source strings.Builder
	for _, dir := range []string{".", "../../examples"} {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		ok(t, err)
		for _, name := range files {
			b, err := os.ReadFile(name)
			ok(t, err)
			source.Write(b)
		}
	}
	named := regexp.MustCompile("`(Test[A-Z]\\w*)`").FindAllSubmatch(page, -1)
	if len(named) < 10 {
		t.Errorf("it names %d tests", len(named))
	}
	for _, m := range named {
		if !strings.Contains(source.String(), "func "+string(m[1])+"(t *testing.T)") {
			t.Errorf("there is no %s", m[1])
		}
	}
}
