package lang

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/cue/parser"
	"github.com/rogpeppe/go-internal/txtar"
)

func TestFormat(t *testing.T) {
	for name, tt := range map[string]struct{ src, want string }{
		"imports on one line":           {"package a\nimport (\"list\", \"strings\")\nx: strings.Join\n", "package a\n\nimport (\n\t\"list\"\n\t\"strings\"\n)\n\nx: strings.Join\n"},
		"imports on one line, in lines": {"package a\nimport (\n\"list\", s \"strings\"\n)\n", "package a\n\nimport (\n\t\"list\"\n\ts \"strings\"\n)\n"},
		"a trailing comma":              {"import (\"list\", \"strings\",)\n", "import (\n\t\"list\"\n\t\"strings\"\n)\n"},
		"one import":                    {"package a\nimport (\"list\")\n", "package a\n\nimport (\"list\")\n"},
		"comments of imports":           {"import (\"list\", // of numbers\n\"strings\") // of text\n", "import (\n\t\"list\" // of numbers\n\t\"strings\"\n) // of text\n"},
		"CRLF":                          {"package a\r\nx:   1\r\ny: \"\"\"\r\n\ta\r\n\t\"\"\"\r\n", "package a\n\nx: 1\ny: \"\"\"\n\ta\n\t\"\"\"\n"},
		"BOM, no final newline":         {"\ufeffpackage a\nx: 1", "package a\n\nx: 1\n"},
		"attributes":                    {"@if(prod)\npackage a\nx:   1 @tag(a)   @b(c)\ny: {@bar(), a: 1}\n", "@if(prod)\npackage a\n\nx: 1 @tag(a) @b(c)\ny: {@bar(), a: 1}\n"},
		"trailing commas":               {"x: {a: 1, b: 2,}, y: [1,2,], z: len([1,],)\n", "x: {a: 1, b: 2}, y: [1, 2], z: len([1])\n"},
		"numbers":                       {"x: [.5, 1., 0XFf, 1_000, 4Ki, 1E3, 0b11, -.5e-1]\n", "x: [0.5, 1.0, 0XFf, 1_000, 4Ki, 1e3, 0b11, -0.5e-1]\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Format("a.cue", []byte(tt.src))
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tt.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, tt.want)
			}
		})
	}
}

// CUE's formatter moves such comments to where the file no longer parses.
func TestFormatRefusesFilesItWouldDamage(t *testing.T) {
	const src = "x: 1 | // a\n 2 |\n // b\n3\n"
	if out, err := Format("a.cue", []byte(src)); err == nil || !strings.Contains(err.Error(), "would change what it means") {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestMeaningSeesChanges(t *testing.T) {
	for name, pair := range map[string][2]string{
		"a value":       {"x: 1\n", "x: 2\n"},
		"a fraction":    {"x: 1.0\n", "x: 1\n"},
		"quotes":        {"x: \"a\"\n", "x: 'a'\n"},
		"a mark":        {"x?: 1\n", "x!: 1\n"},
		"an operator":   {"x: 1 & 2\n", "x: 1 | 2\n"},
		"a default":     {"x: *1 | 2\n", "x: 1 | 2\n"},
		"a comment":     {"x: 1 // a\n", "x: 1\n"},
		"an attribute":  {"x: 1 @tag(a)\n", "x: 1 @tag(b)\n"},
		"an import":     {"import \"list\"\n", "import \"strings\"\n"},
		"a package":     {"package a\n", "package b\n"},
		"interpolation": {"x: \"a\\(y)b\"\n", "x: \"a\\(y) b\"\n"},
		"indentation":   {"x: \"\"\"\n\ta\n\t\"\"\"\n", "x: \"\"\"\n\t a\n\t\"\"\"\n"},
		"an order":      {"x: [1, 2]\n", "x: [2, 1]\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if meaning(parsed(t, pair[0])) == meaning(parsed(t, pair[1])) {
				t.Errorf("%q and %q mean the same", pair[0], pair[1])
			}
		})
	}
}

func parsed(t *testing.T, src string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile("a.cue", src, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// The formatted file parses, formats to itself, and has the same value.
func FuzzFormat(f *testing.F) {
	archives, err := filepath.Glob("../compiler/testdata/*/*.txtar")
	if err != nil || len(archives) == 0 {
		f.Fatalf("no archives: %v", err)
	}
	for _, path := range archives {
		a, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range a.Files {
			if strings.HasSuffix(file.Name, ".cue") {
				f.Add(string(file.Data))
			}
		}
	}
	for _, src := range []string{
		"package a\nimport (\"list\", s \"strings\",)\nx: list.Sum([1,2,]), y: s.Join([\"a\"], \",\")\n",
		"x: \"\"\"\r\n\ta\\(y)b\r\n\tc\r\n\t\"\"\"\r\ny: #'a\\#(1)'#\n",
		"\ufeff@if(a)\n\nx?: int // a\n\n// b\ny: [ // c\n1, // d\n\n// e\n]\nlet z = {for k, v in y if v > 1 {\"\\(k)\": v}}\n",
		"x: {@a(b), [string]: int, ...}, #D: {a!: *1 | >=2 & <3}\n",
	} {
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src string) {
		if len(src) > 2000 {
			return
		}
		out, err := Format("a.cue", []byte(src))
		if err != nil {
			return
		}
		again, err := Format("a.cue", out)
		if err != nil {
			t.Fatalf("the formatted file is refused: %v\n%s", err, out)
		}
		if string(again) != string(out) {
			t.Fatalf("formatting twice gives\n%s\nafter\n%s", again, out)
		}
		if len(src) > 300 || strings.Contains(src, "import") || strings.Contains(src, "for") || strings.Count(src, "|") > 8 {
			return // it may take long to evaluate
		}
		if before, after := evaluated(src), evaluated(string(out)); before != after {
			t.Fatalf("the value was\n%s\nand is\n%s", before, after)
		}
	})
}

// zeros are those at the end of a number with a point: CUE prints as many as were written.
var zeros = regexp.MustCompile(`(\.[0-9]*?)0+\b`)

// evaluated returns the value of a file as CUE prints it, without such zeros.
func evaluated(src string) string {
	v := cuecontext.New().CompileString(src)
	if v.Err() != nil {
		return "an error"
	}
	return zeros.ReplaceAllString(strings.Join(strings.Fields(fmt.Sprintf("%#v", v.Eval())), " "), "$1")
}
