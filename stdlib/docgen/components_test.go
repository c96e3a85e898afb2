package docgen_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"cuelang.org/go/cue"

	"github.com/tenon-ml/tenon/lang"
)

// What the page on components shows is so. The files of its module and of its system
// compile together, with the folder of the module in place of the published one; other
// pieces of CUE are a valid component or unit. (cmd/tenon publishes the module and
// applies the system.)
func TestComponentsPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/components.md")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"lake/yaml/requirements.lock": "# locked\n"}
	pieces := map[string]string{}
	for _, m := range fence.FindAllStringSubmatch(string(page), -1) {
		kind, marker, name, body := m[1], m[2], m[3], m[4]
		if marker == "file" {
			files[name] = body
		} else if kind == "cue" {
			what, _, _ := strings.Cut(strings.TrimPrefix(body, "// "), "\n")
			pieces[what] = body
		}
	}
	if len(files) < 10 || pieces["unit"] == "" || pieces["component"] == "" || len(pieces) != 2 {
		t.Fatalf("found the files %v and the pieces %v", files, pieces)
	}
	if text := compileIn(t, "cars", files, ""); text != "" {
		t.Error(text)
	}
	for what, wrap := range map[string]string{"unit": "tenon.#Component & {section: \"sources\", unit: {\n%s}}", "component": "tenon.#Component & {\n%s\nunit: {}}"} {
		files["cars/piece.cue"] = "package cars\nimport \"tenon.dev/tenon\"\ncomponents: piece: " + fmt.Sprintf(wrap, pieces[what])
		sys, err := lang.Load(inFolder(t, files)+"/cars", lang.Options{Env: os.Environ()})
		if err != nil {
			t.Fatal(err)
		}
		if err := sys.Value.LookupPath(cue.ParsePath("components.piece")).Validate(cue.Concrete(true), cue.Final()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}
