package project

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/tenon-ml/tenon/internal/diag"
)

// editedSystem has entities that refer to each other in all the ways that its language
// has, and helpers.
const editedSystem = `
-- cue.mod/module.cue --
module: "acme.example/shop@v0"
language: version: "v0.17.0"
deps: "tenon.dev@v0": {v: "v0.1.0", default: true}
-- system.cue --
package shop

import "tenon.dev/tenon"

tenon.#System
name: "shop"
env:  *"dev" | "prod" @tag(env)

_least: 10
_time: timeout: "5m"
-- shared/shared.cue --
package shared

import "tenon.dev/col"

Name: col.#String
-- sources.cue --
package shop

import (
	"acme.example/shop/shared"
	"tenon.dev/col"
	"tenon.dev/source"
)

sources: shops: source.#CSV & {
	path: "shops.csv"
	keys: ["id"]
	schema: {
		id:   col.#Int64
		name: shared.Name
		size: col.#Int64 & {min: 0, max: 100}
	}
}
sources: "the-days": source.#CSV & {
	path: "days.csv"
	keys: ["id", "day"]
	schema: {
		id:    sources.shops.schema.id
		day:   col.#Date
		sales: col.#Float64 & {min: 0}
		good:  col.#Bool
	}
}
// Rates have no key.
sources: rates: source.#CSV & {_time, path: "rates.csv", schema: rate: col.#Float64}
-- features.cue --
package shop

import (
	"tenon.dev/col"
	"tenon.dev/feature"
)

features: {
	large: feature.#SQL & {
		in: shops: sources.shops.out
		sql: "SELECT id, name, size FROM shops WHERE size > \(_least)"
		schema: {id: in.shops.schema.id, name: in.shops.schema.name, size: in.shops.schema.size}
	}
	sold: feature.#SQL & {
		in: {large: features.large.out, days: sources["the-days"].out}
		sql: "SELECT d.id, d.day, d.sales, l.size, d.good FROM days AS d JOIN large AS l ON d.id = l.id"
		schema: {
			id:    in.days.schema.id
			day:   in.days.schema.day
			sales: in.days.schema.sales
			size:  in.large.schema.size
			good:  in.days.schema.good
		}
	}
	near: feature.#SQL & {
		in: s: sold.out
		sql: "SELECT id, sales * 2 AS twice FROM s"
		schema: {id: col.#Int64, twice: col.#Float64}
	}
}
features: other: feature.#SQL & {
	in: rates: sources.rates.out
	sql: "SELECT rate + 1 AS rate FROM rates"
	schema: rate: col.#Float64
}
-- models.cue --
package shop

import (
	"tenon.dev/evaluate"
	"tenon.dev/serve"
	"tenon.dev/split"
	"tenon.dev/train"
)

models: good: train.#SKLearn & {
	in: table: features.sold.out
	label: "good"
	exclude: ["id", "day"]
	test:       split.#Random
	estimator:  "sklearn.linear_model.LogisticRegression"
	evaluation: evaluate.#Classification
}
deployments: api: serve.#HTTP & {
	in: model: models.good.out
	port: 18631
}
deployments: second: serve.#HTTP & {
	in: model: models.good.out
	port: deployments.api.port + 1
}
-- shops.csv --
id,name,size
-- days.csv --
id,day,sales,good
-- rates.csv --
rate
`

// edits are changes of a text that users make, sound and unsound ones.
var edits = []struct{ file, old, new string }{
	{"features.cue", "sales * 2", "sales * 3"},
	{"features.cue", "sales * 3", "sales * 2"},
	{"features.cue", "rate + 1", "rate + 2"},
	{"features.cue", "twice: col.#Float64", "twice: col.#Float64 & {min: 0}"},
	{"features.cue", "in: s: sold.out", "in: s: features.sold.out"},
	{"features.cue", "features: other:", "// A comment.\n\nfeatures: other:"},
	{"features.cue", "features: other:", "features: renamed:"},
	{"features.cue", "features: renamed:", "features: other:"},
	{"features.cue", "\tnear: feature", "\tnearer: feature"},
	{"features.cue", "\tnearer: feature", "\tnear: feature"},
	{"features.cue", `sources["the-days"].out`, "sources.rates.out"},
	{"features.cue", "days: sources.rates.out", `days: sources["the-days"].out`},
	{"features.cue", "features: {\n", "features: [_]: timeout: \"7m\"\nfeatures: {\n"},
	{"features.cue", "features: [_]: timeout: \"7m\"\n", ""},
	{"sources.cue", "max: 100", "max: 200"},
	{"sources.cue", "max: 200", "max: 100"},
	{"sources.cue", "col.#Date", "col.#Timestamp"},
	{"sources.cue", "col.#Timestamp", "col.#Date"},
	{"sources.cue", "rate: col.#Float64", "rate: col.#Float32"},
	{"sources.cue", "rate: col.#Float32", "rate: col.#Float64"},
	{"sources.cue", `keys: ["id"]`, `keys: ["name"]`},
	{"sources.cue", `keys: ["name"]`, `keys: ["id"]`},
	{"sources.cue", "min: 0}\n\t\tgood", "min: \"x\"}\n\t\tgood"},
	{"sources.cue", "min: \"x\"}\n\t\tgood", "min: 0}\n\t\tgood"},
	{"sources.cue", "// Rates have no key.\n", "sources: more: source.#CSV & {path: \"rates.csv\", schema: rate: col.#Float64}\n// Rates have no key.\n"},
	{"sources.cue", "sources: more: source.#CSV & {path: \"rates.csv\", schema: rate: col.#Float64}\n", ""},
	{"sources.cue", "\t\"tenon.dev/col\"\n", "\tcol \"tenon.dev/col\"\n"},
	{"shared/shared.cue", "col.#String", "col.#String & {values: [\"a\"]}"},
	{"shared/shared.cue", " & {values: [\"a\"]}", ""},
	{"system.cue", "_least: 10", "_least: 20"},
	{"system.cue", "_least: 20", "_least: 10"},
	{"system.cue", "_least: 10", "_least: sources.shops.schema.size.max"},
	{"system.cue", "_least: sources.shops.schema.size.max", "_least: 10"},
	{"system.cue", "timeout: \"5m\"", "timeout: \"6m\""},
	{"system.cue", "timeout: \"6m\"", "timeout: \"5m\""},
	{"system.cue", "_least:", "for s in [\"x\"] {sources: (s): {path: \"rates.csv\"}}\n_least:"},
	{"system.cue", "for s in [\"x\"] {sources: (s): {path: \"rates.csv\"}}\n", ""},
	{"models.cue", "18631", "18641"},
	{"models.cue", "18641", "18631"},
	{"models.cue", "api.port + 1", "api.port"},
	{"models.cue", "deployments.api.port\n", "deployments.api.port + 1\n"},
	{"models.cue", `label: "good"`, `label: "great"`},
	{"models.cue", `label: "great"`, `label: "good"`},
	{"models.cue", `"day"]`, `"day", "size"]`},
	{"models.cue", `"day", "size"]`, `"day"]`},
}

// Whatever is edited, a compilation that evaluates only what has changed gives the result,
// or the faults, of a compilation from nothing.
func TestCompilationAfterAnEditEqualsOneFromNothing(t *testing.T) {
	dir := t.TempDir()
	for _, f := range txtar.Parse([]byte(editedSystem)).Files {
		writeFile(t, filepath.Join(dir, f.Name), string(f.Data))
	}
	if err := os.MkdirAll(filepath.Join(dir, ".tenon"), 0o700); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	applied, reused, refused := []string{"nothing"}, 0, 0
	undo := func() {}
	for i := 0; len(applied) <= 40 && i < 2000; i++ {
		if i > 0 {
			e := edits[r.IntN(len(edits))]
			file := filepath.Join(dir, e.file)
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(b), e.old) {
				continue
			}
			writeFile(t, file, strings.Replace(string(b), e.old, e.new, 1))
			undo = func() { writeFile(t, file, string(b)) }
			applied = append(applied, fmt.Sprintf("%q becomes %q", e.old, e.new))
		}
		entry, err := quiet(t, dir).cached("")
		if err != nil {
			t.Fatal(err)
		}
		c := quiet(t, dir).compilation(nil, nil)
		c.divide, c.before, c.typings = true, entry.GetEntities(), entry.GetTypings()
		got, gotErr := c.run(t.Context())
		want, wantErr := quiet(t, dir).compilation(nil, nil).run(t.Context())
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s\n(-from nothing +after the edit)\n%s", strings.Join(applied, "\n"), diff)
		}
		if diff := cmp.Diff(printed(wantErr), printed(gotErr)); diff != "" {
			t.Fatalf("%s\n(-from nothing +after the edit)\n%s", strings.Join(applied, "\n"), diff)
		}
		if _, err := quiet(t, dir).Compile(t.Context()); (err == nil) != (wantErr == nil) {
			t.Fatalf("it gives %v, want %v", err, wantErr)
		}
		if gotErr != nil {
			refused++
			applied = append(applied, "which is undone")
			undo()
		} else if c.sys.Reuses() {
			reused++
		} else if r.IntN(2) == 0 { // as long as such an edit stays, nothing is reused
			applied = append(applied, "which is undone")
			undo()
		}
	}
	if reused < 8 || refused < 4 {
		t.Errorf("of %d compilations only %d reused anything, and %d were refused", len(applied), reused, refused)
	}
}

func printed(err error) string {
	var faults *SourceError
	if !errors.As(err, &faults) {
		return fmt.Sprint(err)
	}
	var b strings.Builder
	_ = diag.Print(&b, faults.Faults, faults.Source, diag.Style{})
	return b.String()
}

// After a change of one entity, only it and what depends on it is evaluated, with what they
// read.
func TestOnlyWhatAnEditReachesIsEvaluated(t *testing.T) {
	all := []string{"sources/shops", "sources/the-days", "sources/rates", "features/large", "features/sold", "features/near", "features/other", "models/good", "deployments/api", "deployments/second"}
	for name, tt := range map[string]struct {
		file, old, new string
		kept           string // without spaces: the entities that are not evaluated
	}{
		"the last of a chain":             {"features.cue", "sales * 2", "sales * 3", "sources/rates features/other models/good deployments/api deployments/second"},
		"a chain of its own":              {"features.cue", "rate + 1", "rate + 2", "sources/shops sources/the-days features/large features/sold features/near models/good deployments/api deployments/second"},
		"the first of a chain":            {"sources.cue", "max: 100", "max: 200", "sources/rates features/other"},
		"a service that another reads":    {"models.cue", "18631", "18641", "sources/rates features/near features/other"},
		"a comment at the top":            {"features.cue", "package shop", "// A comment.\npackage shop", ""},
		"a helper":                        {"system.cue", "_least: 10", "_least: 20", ""},
		"an import":                       {"shared/shared.cue", "col.#String", "col.#String & {values: [\"a\"]}", ""},
		"a pattern for a whole section":   {"features.cue", "features: {\n", "features: [_]: timeout: \"7m\"\nfeatures: {\n", ""},
		"a comprehension in a section":    {"features.cue", "features: {\n", "features: {\n\tif env == \"prod\" {large: timeout: \"7m\"}\n", ""},
		"an entity of computed name":      {"features.cue", "features: other:", "features: \"o\\(\"ther\")\":", ""},
		"an entity in another file, also": {"models.cue", "models: good: train", "features: other: timeout: \"9m\"\nmodels: good: train", "sources/shops sources/the-days features/large features/sold features/near models/good deployments/api deployments/second"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range txtar.Parse([]byte(editedSystem)).Files {
				writeFile(t, filepath.Join(dir, f.Name), string(f.Data))
			}
			if err := os.MkdirAll(filepath.Join(dir, ".tenon"), 0o700); err != nil {
				t.Fatal(err)
			}
			p := quiet(t, dir)
			if _, err := p.Compile(t.Context()); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(filepath.Join(dir, tt.file))
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(dir, tt.file), strings.Replace(string(b), tt.old, tt.new, 1))
			entry, err := p.cached("")
			if err != nil {
				t.Fatal(err)
			}
			c := p.compilation(nil, nil)
			c.divide, c.before = true, entry.GetEntities()
			if _, err := c.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			var kept []string
			for _, id := range all {
				if section, name, _ := strings.Cut(id, "/"); c.sys.Reused(section, name) {
					kept = append(kept, id)
				}
			}
			if got := strings.Join(kept, " "); got != tt.kept {
				t.Errorf("these are not evaluated:\n%s\nwant\n%s", got, tt.kept)
			}
		})
	}
}
