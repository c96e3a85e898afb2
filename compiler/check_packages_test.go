package compiler_test

import (
	"fmt"
	"testing"
)

// Packages that no environment can have are refused before anything is fetched.
func TestPackagesThatContradictEachOther(t *testing.T) {
	const system = `package t

import (
	"tenon.dev/col"
	"tenon.dev/source"
	"tenon.dev/tenon"
)

tenon.#System
name: "t"

sources: s: source.#Python & {script: "s.py", function: "rows", packages: [%s], schema: v: col.#Int64}
`
	const twice = "sources.s pins faker to two versions"
	for name, tt := range map[string]struct{ packages, want string }{
		"one pin":                              {`"faker==37.0.0"`, ""},
		"two versions":                         {`"faker==37.0.0", "faker==36.1.0"`, twice},
		"the same version twice":               {`"faker==37.0.0", "faker==37.0.0"`, ""},
		"the same version, with fewer zeros":   {`"faker==37.0.0", "faker==37"`, ""},
		"names that are one":                   {`"Faker==37.0.0", "faker == 36.1.0"`, twice},
		"names that differ in separators":      {`"my_pkg.a==1.0", "my-pkg-a==2.0"`, "sources.s pins my-pkg-a to two versions"},
		"extras":                               {`"faker[x]==37.0.0", "faker==36.1.0"`, twice},
		"two packages":                         {`"faker==37.0.0", "jinja2==3.1.6"`, ""},
		"a pin and a range":                    {`"faker==37.0.0", "faker>=36"`, ""},
		"a wildcard":                           {`"faker==37.*", "faker==37.0.0"`, ""},
		"only some machines":                   {`"faker==37.0.0; python_version < '3.9'", "faker==36.1.0"`, ""},
		"another version than the component's": {`"pyarrow==1.0"`, "sources.s pins pyarrow to another version than the environment of source.python"},
		"a range of the component's":           {`"pyarrow>=1.0"`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, map[string]string{"t.cue": fmt.Sprintf(system, tt.packages), "s.py": "def rows():\n    return []\n"}, tt.want)
		})
	}
}
