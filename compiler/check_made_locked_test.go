package compiler_test

import (
	"fmt"
	"testing"
)

// A class of the user's packages is checked by the index that was made when they were locked.
// What the index does not say is accepted.
func TestClassesOfLockedPackages(t *testing.T) {
	estimator := func(path, rest string) string {
		return fmt.Sprintf(`models: m: #Class & {packages: ["acme-forests==1.2"], estimator: %q, %s}`, path, rest)
	}
	step := func(path, rest string) string {
		return estimator("acme.Forest", fmt.Sprintf(`pipeline: [{transformer: %q, %s}]`, path, rest))
	}
	for name, tt := range map[string]struct{ model, want string }{
		"a class":                         {estimator("acme.Forest", ""), ""},
		"another name of it":              {estimator("acme.trees.Forest", ""), ""},
		"a misspelt class":                {estimator("acme.Forst", ""), "acme-forests 1.2 has no class acme.Forst"},
		"a class of another module":       {estimator("acme.trees.Linear", ""), "acme-forests 1.2 has no class acme.trees.Linear"},
		"a class of a lazy module":        {estimator("acme.lazy.Anything", ""), ""},
		"a class below a lazy module":     {estimator("acme.lazy.more.Anything", ""), "acme-forests 1.2 has no class acme.lazy.more.Anything"},
		"a class that nobody knows":       {estimator("acme.Foreign", "params: anything: 1"), ""},
		"a module that nobody knows":      {estimator("acme.gpu.deep.Forest", "params: anything: 1"), ""},
		"a private module":                {estimator("acme._trees.Hidden", ""), ""},
		"the name of the package":         {estimator("acme_forests.Forest", ""), "the environment of models.m has no package for acme_forests.Forest"},
		"a misspelt module":               {estimator("acne.Forest", ""), "the environment of models.m has no package for acne.Forest"},
		"a module without an index":       {estimator("more.Forest", "params: anything: 1"), ""},
		"a module of no package":          {estimator("other.Forest", ""), "the environment of models.m has no package for other.Forest"},
		"a package in another version":    {estimator("old.Forest", "params: anything: 1"), ""},
		"a parameter":                     {estimator("acme.Forest", "params: trees: 3"), ""},
		"a misspelt parameter":            {estimator("acme.Forest", "params: tree: 3"), `Forest has no parameter "tree"`},
		"a value":                         {estimator("acme.Forest", `params: split: "random"`), ""},
		"a value that it refuses":         {estimator("acme.Forest", `params: split: "rnadom"`), "Forest does not take this split"},
		"a value without a rule":          {estimator("acme.Forest", `params: depth: "deep"`), ""},
		"a parameter of an open class":    {estimator("acme.Open", "params: anything: 1"), ""},
		"a parameter that it needs":       {estimator("acme.Needs", "params: base: 1"), ""},
		"without one that it needs":       {estimator("acme.Needs", ""), `Needs needs a parameter "base"`},
		"a regressor for classes":         {estimator("acme.Linear", ""), "acme.Linear is a regressor, but models.m predicts a class"},
		"an estimator of any kind":        {estimator("acme.Any", ""), ""},
		"a transformer as an estimator":   {estimator("acme.Scale", "params: anything: 1"), "acme.Scale is a transformer, and predicts nothing"},
		"a transformer":                   {step("acme.Scale", `columns: ["size"]`), ""},
		"an estimator as a transformer":   {step("acme.Forest", `columns: ["size"]`), "acme.Forest is a classifier, and transforms nothing"},
		"a transformer of strings":        {step("acme.Scale", `columns: ["kind"]`), "acme.Scale takes numbers, but the column kind holds strings"},
		"a class within parameters":       {estimator("sklearn.ensemble.BaggingClassifier", `params: estimator: {"$estimator": "acme.Forest", params: trees: 1}`), ""},
		"a misspelt one":                  {estimator("sklearn.ensemble.BaggingClassifier", `params: estimator: {"$estimator": "acme.Forest", params: tree: 1}`), `Forest has no parameter "tree"`},
		"a class of the standard library": {estimator("fractions.Fraction", ""), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, map[string]string{
				"late.cue": fmt.Sprintf(trainers, tt.model), "classes/acme.txt": acmeIndex, "classes/modules.txt": "acme-forests==1.2 acme more\n",
				"classes/acme_forests.txt": "", "classes/acne.txt": "", "classes/old.txt": "old==9\nold.Tree {}",
			}, tt.want)
		})
	}
}

const acmeIndex = `acme-forests==1.2
acme.Any {"does":["fit","predict"],"params":{}}
acme.Forest {"is":"classifier","does":["fit","predict"],"params":{"depth":{"default":"null"},"split":{"takes":[{"is":["best","random"]}]},"trees":{}}}
acme.Foreign ?
acme.Linear {"is":"regressor","does":["fit","predict"],"params":{}}
acme.Needs {"is":"classifier","does":["fit","predict"],"params":{"base":{"required":true}}}
acme.Open {"is":"classifier","does":["fit","predict"],"open":true,"params":{}}
acme.Scale {"is":"transformer","does":["fit","transform"],"numbers":true,"params":{}}
acme.gpu.* ?
acme.lazy.+ ?
acme.trees.Forest =acme.Forest`

// What scripts import is compared with the modules of all packages, if an index says which
// modules the user's packages have.
func TestImportsFromLockedPackages(t *testing.T) {
	for name, tt := range map[string]struct{ script, modules, want string }{
		"a module of the package":      {"import acme", "acme-forests==1.2 acme", ""},
		"another module":               {"import acne", "acme-forests==1.2 acme", "report.py imports acne, which no package of steps.report has"},
		"another one without an index": {"import acne", "", ""},
		"one of the library's":         {"import pandas, acme", "acme-forests==1.2 acme", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, map[string]string{
				"late.cue": `package late

import (
	"tenon.dev/step"
	"tenon.dev/tenon"
)

tenon.#System
name: "late"
steps: report: step.#Python & {script: "report.py", packages: ["acme-forests==1.2"], outputs: done: kind: "file"}
`,
				"report.py": tt.script + "\n\ndef main(step): ...\n", "classes/modules.txt": tt.modules,
			}, tt.want)
		})
	}
}
