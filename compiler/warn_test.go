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

// Where a condition that the bounds of a column exclude may be meant, it is a warning.
func TestWarningOfAConditionThatIsNeverTrue(t *testing.T) {
	const text = "a condition of features.f is never true: it compares amount with 900, and amount is declared at most 500"
	for name, tt := range map[string]struct{ expression, want string }{
		"in a CASE":                {"CASE WHEN amount > 900 THEN 1.0::DOUBLE ELSE amount END", text},
		"in a CASE that happens":   {"CASE WHEN amount > 400 THEN 1.0::DOUBLE ELSE amount END", ""},
		"a value":                  {"CASE amount WHEN 900 THEN 1.0::DOUBLE ELSE amount END", text},
		"another value":            {"CASE amount WHEN 300 THEN 1.0::DOUBLE ELSE amount END", ""},
		"one of two alternatives":  {"CASE WHEN amount > 900 OR id = 3 THEN 1.0::DOUBLE ELSE amount END", text},
		"a column without a bound": {"CASE WHEN id > 900 THEN 1.0::DOUBLE ELSE amount END", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			system := fmt.Sprintf(leaky, "SELECT id, t, "+tt.expression+" AS amount, refund > 0 AS refunded FROM o", "amount: col.#Float64", "")
			system = strings.Replace(system, "split.#Random & {fraction: 0.3}", `split.#ByGroup & {column: "id"}`, 1)
			system = strings.Replace(system, "amount:   col.#Float64", "amount:   col.#Float64 & {max: 500}", 1)
			write(t, filepath.Join(dir, "cue.mod", "module.cue"), []byte(moduleFile))
			write(t, filepath.Join(dir, "shop.cue"), []byte(system))
			r, _, err := load(dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range r.System.Entities {
				for _, w := range e.Warnings {
					got = append(got, w.Message)
				}
			}
			if strings.Join(got, "\n") != tt.want {
				t.Errorf("warnings: %q\nwant %q", got, tt.want)
			}
		})
	}
}
