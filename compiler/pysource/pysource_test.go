package pysource_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/pysource"
)

func parse(t *testing.T, source string) pysource.Module {
	t.Helper()
	m, err := pysource.Parse([]byte(source))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestSyntax(t *testing.T) {
	for source, want := range map[string]string{
		"def f(a):\n    return a\n":                       "",
		"match x:\n    case [a, *b]:\n        pass\n":     "",
		"x = f'{a!r:>{w}} {b}'\n":                         "",
		"if (n := 1) > 0: pass\n":                         "",
		"async def f():\n    async with a: pass\n":        "",
		"try:\n    pass\nexcept* ValueError:\n    pass\n": "",
		"":                            "",
		"def f(a)\n    return a\n":    "1:",
		"x = (1,\n":                   "1:",
		"def f():\n    return 1 +\n":  "2:",
		"x = 1\nprint \"a\"\n":        "2:1",
		"for i in range(3)\n  pass\n": "1:",
		"x = 'abc\n":                  "1:",
		"class A\n    pass\n":         "1:",
		"import a\nx = f(g(\n    1)\nif (x > 2):\n    pass\n": "2:6",
		"def f():\n    return [1, 2)\n":                       "2:17",
		"x = '(' + \"[\"\ny = 1 +\n":                          "2:",
	} {
		m := parse(t, source)
		got := ""
		if m.Invalid != nil {
			got = fmt.Sprintf("%d:%d", m.Invalid.Line, m.Invalid.Col)
		}
		if want == "" && got != "" || !strings.HasPrefix(got, want) {
			t.Errorf("%q is invalid at %q, want %q", source, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	for source, want := range map[string]string{
		"def f(): x = 1":                             "f",
		"class A: b = 1":                             "A",
		"@deco\ndef f(): pass":                       "f",
		"a = b = 1":                                  "a b",
		"a, (b, *c) = x":                             "a b c",
		"a.b = 1\nc[0] = 2":                          "",
		"import os.path, re as r":                    "os r",
		"from a.b import c, d as e":                  "c e",
		"from . import c":                            "c",
		"from a import *":                            "open",
		"if x:\n    def f(): pass\nelse:\n    g = 1": "f g",
		"try:\n    import a\nexcept E as e:\n    a = None": "a e",
		"for i, j in x: k = 1":                             "i j k",
		"with a as b, c as (d, e): pass":                   "b d e",
		"while (n := x): pass":                             "n",
		"def f():\n    global g\n    g = 1":                "f open",
		"globals()['f'] = 1":                               "open",
		"def __getattr__(name): pass":                      "__getattr__ open",
		"a: int = 1\nb: str":                               "a b",
		"x += 1":                                           "x",
		"y = [i for i in x]":                               "y",
		"f = lambda a: a":                                  "f",
	} {
		m := parse(t, source)
		names := slices.Sorted(maps.Keys(m.Names))
		if m.Open {
			names = append(names, "open")
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%q binds %q, want %q", source, got, want)
		}
	}
}

func TestImports(t *testing.T) {
	m := parse(t, "import os.path, a as b\nfrom c.d import e\nfrom . import f\nfrom .g import h\nif x:\n    import i\ntry:\n    import j\nexcept ImportError: pass\ndef k():\n    import l\n")
	var got []string
	for _, i := range m.Imports {
		got = append(got, i.Module)
	}
	if s := strings.Join(got, " "); s != "os a c" {
		t.Errorf("imports %q, want those of the top level", s)
	}
}

// Calls are as inspect.signature(f).bind takes them.
func TestCall(t *testing.T) {
	for _, tt := range []struct {
		def               string
		positional, named string
		want              string
	}{
		{"def f(a, b): pass", "", "a b", ""},
		{"def f(a, b): pass", "", "a", `needs an argument "b"`},
		{"def f(a, b=1): pass", "", "a", ""},
		{"def f(a: int, b: int = 1): pass", "", "a b", ""},
		{"def f(a): pass", "", "a b", `has no parameter "b"`},
		{"def f(a, **rest): pass", "", "a b", ""},
		{"def f(a, *rest): pass", "", "a b", `has no parameter "b"`},
		{"def f(a, *, b): pass", "", "a b", ""},
		{"def f(a, *, b): pass", "a", "", `needs an argument "b"`},
		{"def f(a, /, b): pass", "", "a b", `has no parameter "a"`},
		{"def f(a, /, b): pass", "x", "b", ""},
		{"def f(a, b): pass", "x y", "", ""},
		{"def f(a, b): pass", "x", "a", `gets "a" twice: by position and by name`},
		{"def f(a): pass", "x y", "", "takes too few arguments by position: it gets y"},
		{"def f(*all): pass", "x y", "", ""},
		{"def f(): pass", "", "", ""},
		{"def f(\n    a,  # one\n    b,\n): pass", "", "a b", ""},
		{"async def f(a): pass", "", "a", ""},
	} {
		f, ok := parse(t, tt.def).Functions["f"]
		if !ok {
			t.Errorf("%s: no function", tt.def)
			continue
		}
		got := ""
		if m := f.Call(strings.Fields(tt.positional), strings.Fields(tt.named)); m != nil {
			got = m.Reason
		}
		if got != tt.want {
			t.Errorf("%s with (%s) and (%s): %q, want %q", tt.def, tt.positional, tt.named, got, tt.want)
		}
	}
}

// What a function takes is known only if nothing changes it.
func TestFunctions(t *testing.T) {
	for source, known := range map[string]bool{
		"def f(a): pass":                                 true,
		"@cache\ndef f(a): pass":                         false,
		"def f(a): pass\ndef f(b): pass":                 false,
		"def f(a): pass\nf = g(f)":                       false,
		"if x:\n    def f(a): pass\nelse:\n    f = None": false,
		"from m import f":                                false,
	} {
		if _, ok := parse(t, source).Functions["f"]; ok != known {
			t.Errorf("%q: the parameters are known is %v", source, ok)
		}
	}
}

// FuzzParse reads any bytes.
func FuzzParse(f *testing.F) {
	for _, source := range []string{
		"def f(a, /, b: int = 1, *c, d, **e): pass\n", "from a import (b as c, *)\n", "@x\nasync def f(): ...\n", "with a as (b, c): pass\n",
		"match x:\n  case A(b=c) | [d, *e]: pass\n", "x: int = (y := 1)\nprint 'a'\n", "\xff\x00", "def (", "lambda: (yield)",
	} {
		f.Add([]byte(source))
	}
	f.Fuzz(func(t *testing.T, source []byte) {
		m, err := pysource.Parse(source)
		if err != nil {
			t.Fatal(err)
		}
		for name, f := range m.Functions {
			if _, ok := m.Names[name]; !ok {
				t.Errorf("the function %q is no name", name)
			}
			f.Call([]string{"a"}, []string{"b", "c"})
		}
	})
}
