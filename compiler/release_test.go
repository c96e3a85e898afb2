package compiler_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/lang"
)

const releasedHead = `package shop

import (
	"tenon.dev/col"
	"tenon.dev/feature"
	"tenon.dev/source"
	"tenon.dev/tenon"
)

tenon.#System
name: "shop"
`

// The values of CUE are let go of once they are decoded, except where they have places that
// the text does not have. An entity that is written has its place either way.
func TestValuesAreReleased(t *testing.T) {
	for name, tt := range map[string]struct {
		system string
		place  string // of the entity features/large, if it is written
		kept   bool
	}{
		"everything is written": {
			`sources: orders: source.#CSV & {path: "orders.csv", schema: id: col.#Int64}
features: large: feature.#SQL & {in: o: sources.orders.out, sql: "SELECT id FROM o", schema: id: in.o.schema.id}
`, "shop.cue:13:11", false,
		},
		"an entity comes from a comprehension": {
			`sources: orders: source.#CSV & {path: "orders.csv", schema: id: col.#Int64}
for n in ["large"] {
	features: (n): feature.#SQL & {in: o: sources.orders.out, sql: "SELECT id FROM o", schema: id: col.#Int64}
}
`, "", true,
		},
		"the target comes from a comprehension": {
			`sources: orders: source.#CSV & {path: "orders.csv", schema: id: col.#Int64}
features: large: feature.#SQL & {in: o: sources.orders.out, sql: "SELECT id FROM o", schema: id: in.o.schema.id}
if true {target: "local"}
`, "shop.cue:13:11", true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "cue.mod", "module.cue"), []byte(moduleFile))
			write(t, filepath.Join(dir, "shop.cue"), []byte(releasedHead+tt.system))
			sys, err := lang.Load(dir, lang.Options{Env: os.Environ()})
			if err != nil {
				t.Fatal(err)
			}
			r, err := compiler.Compile(t.Context(), sys, compiler.Options{
				Describe: sql.Describe, Executors: map[string]func(ir.Target, ir.Unit) []ir.Fault{"process": nil}, Default: "process",
			})
			if err != nil {
				t.Fatal(err)
			}
			if kept := sys.Lookup("name").Exists(); kept != tt.kept {
				t.Errorf("the values are kept: %v, want %v", kept, tt.kept)
			}
			if at := r.System.Entity("features/large").Pos.String(); tt.place != "" && at != tt.place {
				t.Errorf("the entity is at %s, want %s", at, tt.place)
			}
			sys.Label("", "targets", "none") // what is written nowhere has no place, then as well
		})
	}
}
