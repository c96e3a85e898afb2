package compiler

import (
	"strings"
	"testing"
)

func TestPythonImports(t *testing.T) {
	for _, tt := range []struct{ name, code, want string }{
		{"one module", "import a", "a"},
		{"several on one line", "import a, tenon_x", "a tenon_x"},
		{"with other names", "import a as x, b as y, c", "a b c"},
		{"a part of a package", "import a.b, c.d as e", "a c"},
		{"names of a module", "from a import b, c", "a"},
		{"names of a part of a package", "from a.b import c", "a"},
		{"names in brackets", "from a import (\n    b,\n    c as d,  # import x\n)\nimport e", "a e"},
		{"everything", "from a import *", "a"},
		{"no spaces", "import a,b;from c import(d)", "a b c"},
		{"tabs", "\timport\ta ,\tb", "a b"},
		{"after a semicolon", "import a; import b", "a b"},
		{"after a colon", "try: import a\nexcept ImportError: b = None\nelse:\n    import c", "a c"},
		{"a continuation line", "import a, \\\n    b\nfrom \\\n    c import d", "a b c"},
		{"lines that end as on Windows", "import a, \\\r\n b\r\nimport c\r\n", "a b c"},
		{"the same module twice", "import a\nimport a.b\nfrom a import c", "a"},
		{"relative imports", "from . import a\nfrom .b import c\nfrom ..d import e", ""},
		{"other uses of the words", "yield from a\nraise b from c\nimportant = d\nx.import_ = e\nprint(importlib)", ""},
		{"comments", "# import a\nx = 1  # ; import b", ""},
		{"strings", "x = 'import a'\ny = \"; import b\"\nz = rb'\\'; import c'", ""},
		{"a docstring", "\"\"\"Example:\n\n    import a\n\"\"\"\nimport b", "b"},
		{"quotes in a docstring", "'''it's \"\"\" so\nimport a\n'''; import b", "b"},
		{"an f-string", "f'{x}: import a'\nimport b", "b"},
		{"a dictionary", "x = {1: 2,\nimport_: a}\nimport b", "b"},
		{"a string that does not end", "x = 'oops\nimport a", "a"},
		{"letters of other alphabets", "import größe, 数据", "größe 数据"},
		{"nothing after it", "import\nfrom", ""},
		{"the end of the file", "import a, \\", "a"},
	} {
		if got := strings.Join(pythonImports(tt.code), " "); got != tt.want {
			t.Errorf("%s: %q imports %q, want %q", tt.name, tt.code, got, tt.want)
		}
	}
}
