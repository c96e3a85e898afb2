package compiler_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A random split of rows with a time is accepted, with a warning.
func TestWarningOfARandomSplit(t *testing.T) {
	const text = `models.m is tested on random rows, although its table has a time, "t"`
	for name, tt := range map[string]struct{ from, to, want string }{
		"a random split":            {"", "", text},
		"a split by time":           {"split.#Random & {fraction: 0.3}", `split.#ByTime & {column: "t", after: "2024-07-01"}`, ""},
		"a split by groups":         {"split.#Random & {fraction: 0.3}", `split.#ByGroup & {column: "id"}`, ""},
		"rows without a time":       {`timestamp: "t"`, "", ""},
		"a stratified random split": {"{fraction: 0.3}", `{stratify: "refunded"}`, text},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			system := fmt.Sprintf(leaky, `SELECT id, t, amount, refund > 0 AS refunded FROM o`, "amount: col.#Float64", "")
			write(t, filepath.Join(dir, "cue.mod", "module.cue"), []byte(moduleFile))
			write(t, filepath.Join(dir, "shop.cue"), []byte(strings.Replace(system, tt.from, tt.to, 1)))
			r, _, err := load(dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			var got, want []ir.Warning
			for _, e := range r.System.Entities {
				got = append(got, e.Warnings...)
			}
			if tt.want != "" {
				want = []ir.Warning{{Message: tt.want, At: "shop.cue:47:2", Hint: `split.#ByTime & {column: "t", after: ...} tests on later rows, as in service`}}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}
