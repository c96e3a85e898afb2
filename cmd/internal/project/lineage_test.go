package project

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/tenon-ml/tenon/compiler/lineage"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/stdlib/duck/worker"
)

const lineageSystem = `
-- cue.mod/module.cue --
module: "acme.example/shop@v0"
language: version: "v0.17.0"
deps: "tenon.dev@v0": {v: "v0.1.0", default: true}
-- shop.cue --
package shop

import (
	"tenon.dev/col"
	"tenon.dev/feature"
	"tenon.dev/source"
	"tenon.dev/tenon"
)

tenon.#System
name: "shop"

sources: orders: source.#CSV & {path: "orders.csv", schema: {id: col.#Int64, paid: col.#Int64}}

features: net: feature.#SQL & {
	in: o: sources.orders.out
	sql: "SELECT id, paid * 2 AS twice FROM o WHERE paid > 0"
	schema: {id: col.#Int64, twice: col.#Int64}
}

features: more: feature.#SQL & {
	in: n: features.net.out
	sql: """
		SELECT id,
		       twice + 1 AS more
		FROM n
		"""
	schema: {id: col.#Int64, more: col.#Int64}
}
-- orders.csv --
id,paid
`

// A front end asks the engine for lineage as plain data, with positions to the byte.
func TestTheEngineTraces(t *testing.T) {
	dir := t.TempDir()
	for _, f := range txtar.Parse([]byte(lineageSystem)).Files {
		path := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	sql := worker.New(self)
	t.Cleanup(sql.Close)
	p := New(Settings{Dir: dir, SQL: sql, Config: all.Config{Environ: os.Environ()}})
	tr, err := p.Trace(context.Background(), "features.more.more", false)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for s := tr.Steps[0]; ; s = s.Next[0] {
		got = append(got, s.Use+" "+s.Name+" "+s.At)
		if len(s.Next) == 0 {
			break
		}
	}
	want := []string{
		" features.more.more shop.cue:25:10",
		"computed features.net.twice shop.cue:17:19",
		"computed sources.orders.paid shop.cue:13:78",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if len(tr.Rows) != 1 || !slices.Equal(tr.Rows[0].By, []string{"sources.orders.paid"}) {
		t.Errorf("rows %+v", tr.Rows)
	}
	var request *RequestError
	var unknown *lineage.UnknownError
	if _, err := p.Trace(context.Background(), "features.mor", true); !errors.As(err, &request) || !errors.As(err, &unknown) {
		t.Errorf("an unknown name: %v", err)
	}
}
