package compiler_test

import (
	"fmt"
	"maps"
	"testing"
)

// Every fault of a script has a sound twin.
func TestPython(t *testing.T) {
	const feature = `features: f: feature.#Python & {in: o: sources.orders.out, script: "f.py", schema: id: col.#Int64%s}`
	for name, tt := range map[string]struct {
		entity string
		files  map[string]string
		want   string
	}{
		"a function":                                 {fmt.Sprintf(feature, ""), map[string]string{"f.py": "def transform(o): return o\n"}, ""},
		"no function":                                {fmt.Sprintf(feature, ""), map[string]string{"f.py": "def transfrom(o): return o\n"}, `f.py has no function "transform"`},
		"a function of another name":                 {fmt.Sprintf(feature, `, function: "g"`), map[string]string{"f.py": "def g(o): return o\n"}, ""},
		"an imported function":                       {fmt.Sprintf(feature, `, files: ["g.py"]`), map[string]string{"f.py": "from g import transform\n", "g.py": "def transform(o): return o\n"}, ""},
		"a function of a star import":                {fmt.Sprintf(feature, `, files: ["g.py"]`), map[string]string{"f.py": "from g import *\n", "g.py": "def transform(o): return o\n"}, ""},
		"an input of another name":                   {fmt.Sprintf(feature, ""), map[string]string{"f.py": "def transform(orders): return orders\n"}, `features.f cannot call transform in f.py: it has no parameter "o"`},
		"any inputs":                                 {fmt.Sprintf(feature, ""), map[string]string{"f.py": "def transform(**tables): return tables['o']\n"}, ""},
		"an argument":                                {fmt.Sprintf(feature, `, args: years: 2`), map[string]string{"f.py": "def transform(o, years): return o\n"}, ""},
		"an unknown argument":                        {fmt.Sprintf(feature, `, args: year: 2`), map[string]string{"f.py": "def transform(o, years=1): return o\n"}, `features.f cannot call transform in f.py: it has no parameter "year"`},
		"a missing argument":                         {fmt.Sprintf(feature, ""), map[string]string{"f.py": "def transform(o, years): return o\n"}, `features.f cannot call transform in f.py: it needs an argument "years"`},
		"an argument with a default":                 {fmt.Sprintf(feature, ""), map[string]string{"f.py": "def transform(o, years=1): return o\n"}, ""},
		"a decorated function":                       {fmt.Sprintf(feature, ""), map[string]string{"f.py": "import functools\n@functools.cache\ndef transform(x): return x\n"}, ""},
		"a syntax error":                             {fmt.Sprintf(feature, ""), map[string]string{"f.py": "def transform(o)\n    return o\n"}, "f.py is not valid Python"},
		"Python 2":                                   {fmt.Sprintf(feature, ""), map[string]string{"f.py": "def transform(o):\n    print 'x'\n    return o\n"}, "f.py is not valid Python"},
		"a syntax error beside":                      {fmt.Sprintf(feature, `, files: ["g.py"]`), map[string]string{"f.py": "import g\ndef transform(o): return o\n", "g.py": "x = (\n"}, "g.py is not valid Python"},
		"a file that is not listed":                  {fmt.Sprintf(feature, ""), map[string]string{"f.py": "import g\ndef transform(o): return o\n", "g.py": ""}, "f.py imports g, but g.py is not among the files of features.f"},
		"a file that is listed":                      {fmt.Sprintf(feature, `, files: ["g.py"]`), map[string]string{"f.py": "import g\ndef transform(o): return o\n", "g.py": ""}, ""},
		"a package that is not listed":               {fmt.Sprintf(feature, ""), map[string]string{"f.py": "import g\ndef transform(o): return o\n", "g/__init__.py": ""}, "f.py imports g, but g/__init__.py is not among the files of features.f"},
		"a folder that is listed":                    {fmt.Sprintf(feature, `, files: ["g"]`), map[string]string{"f.py": "import g\ndef transform(o): return o\n", "g/__init__.py": ""}, ""},
		"a file that may be imported":                {fmt.Sprintf(feature, ""), map[string]string{"f.py": "try:\n    import g\nexcept ImportError:\n    g = None\ndef transform(o): return o\n", "g.py": ""}, ""},
		"a file of a package":                        {fmt.Sprintf(feature, ""), map[string]string{"f.py": "import pandas\ndef transform(o): return o\n", "pandas.py": ""}, ""},
		"a module of a package":                      {fmt.Sprintf(feature, ""), map[string]string{"f.py": "import pandas.api.types as t\nimport numpy\ndef transform(o): return o\n"}, ""},
		"a module of no package":                     {fmt.Sprintf(feature, ""), map[string]string{"f.py": "import json, tabulate\ndef transform(o): return o\n"}, "f.py imports tabulate, which no package of features.f has"},
		"a module of another component's":            {fmt.Sprintf(feature, ""), map[string]string{"f.py": "from sklearn.svm import SVC\ndef transform(o): return o\n"}, "f.py imports sklearn, which no package of features.f has"},
		"a module of a package that is asked for":    {fmt.Sprintf(feature, `, packages: ["tabulate==0.9.0"]`), map[string]string{"f.py": "import tabulate\ndef transform(o): return o\n"}, ""},
		"a module of no package that may be missing": {fmt.Sprintf(feature, ""), map[string]string{"f.py": "try:\n    import tabulate\nexcept ImportError:\n    tabulate = None\ndef transform(o): return o\n"}, ""},
		"a module that a function imports":           {fmt.Sprintf(feature, ""), map[string]string{"f.py": "def transform(o):\n    import tabulate\n    return o\n"}, ""},
		"a file that hides a module":                 {fmt.Sprintf(feature, `, files: ["random.py"]`), map[string]string{"f.py": "import random\ndef transform(o): return o\n", "random.py": ""}, "random.py hides the module random of Python's standard library"},
		"a module of that name in a package":         {fmt.Sprintf(feature, `, files: ["g"]`), map[string]string{"f.py": "import g.types\ndef transform(o): return o\n", "g/__init__.py": "", "g/types.py": ""}, ""},
		"a source":                                   {`sources: s: source.#Python & {script: "s.py", args: n: 1, schema: id: col.#Int64}`, map[string]string{"s.py": "def load(n): return []\n"}, ""},
		"a source without its argument":              {`sources: s: source.#Python & {script: "s.py", schema: id: col.#Int64}`, map[string]string{"s.py": "def load(n): return []\n"}, `sources.s cannot call load in s.py: it needs an argument "n"`},
		"a step":                                     {`steps: s: step.#Python & {script: "s.py", outputs: o: kind: "file"}`, map[string]string{"s.py": "def main(step): pass\n"}, ""},
		"a step without a parameter":                 {`steps: s: step.#Python & {script: "s.py", outputs: o: kind: "file"}`, map[string]string{"s.py": "def main(): pass\n"}, "steps.s cannot call main in s.py: it takes too few arguments by position: it gets step"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{"shop.cue": fmt.Sprintf(scripts, tt.entity)}
			maps.Copy(files, tt.files)
			refuses(t, files, tt.want)
		})
	}
}

const scripts = `package shop

import (
	"tenon.dev/col"
	"tenon.dev/feature"
	"tenon.dev/source"
	"tenon.dev/step"
	"tenon.dev/tenon"
)

tenon.#System
name: "shop"

sources: orders: source.#CSV & {path: "orders.csv", schema: id: col.#Int64}
_used: [feature.#Python, step.#Python]
%s
`
