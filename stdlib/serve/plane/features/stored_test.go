package features_test

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/test/postgrestest"
	"github.com/tenon-ml/tenon/internal/test/redistest"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/features"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/stores"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// publish publishes the tables of a spec, and returns the step of a service that reads them.
func publish(t testing.TB, s *step.Step, spec features.Spec) *step.Step {
	t.Helper()
	out := filepath.Join(t.TempDir(), "tables")
	for name, in := range s.Inputs {
		in.Digest = "sha256:" + in.Path
		s.Inputs[name] = in
	}
	job := *s
	job.Outputs = map[string]step.Port{features.Published: {Path: out}}
	if err := features.Publish(t.Context(), &job, spec); err != nil {
		t.Fatal(err)
	}
	return &step.Step{Inputs: map[string]step.Port{features.Published: {Kind: ir.File, Path: out}}}
}

func inStores(spec features.Spec, store stores.Spec) features.Spec {
	lookups := map[string]features.Lookup{}
	for name, l := range spec.Lookups {
		l.Store = &store
		lookups[name] = l
	}
	spec.Lookups = lookups
	return spec
}

func compute(t testing.TB, r *features.Row, rows ...[]rowsql.Value) (all [][]rowsql.Value, errs []string) {
	t.Helper()
	fetched := 0
	err := r.Fetch(t.Context(), len(rows), func(i int) []rowsql.Value { return rows[i] }, func(fetch func() error) error {
		fetched++
		return fetch()
	})
	if err != nil || fetched > 2 {
		t.Fatalf("%v after %d fetches", err, fetched)
	}
	for _, in := range rows {
		row, says := make([]rowsql.Value, 2), ""
		if kept, err := r.Compute(in, row, nil); err != nil {
			row, says = nil, err.Error()
		} else if !kept {
			row = nil
		}
		all, errs = append(all, row), append(errs, says)
	}
	return all, errs
}

// Rows of stores are those of memory, in every bit, with their ages.
func TestFeaturesOfTablesInStores(t *testing.T) {
	t.Setenv("STORE_REDIS", redistest.Password)
	t.Setenv("STORE_POSTGRES", postgrestest.Password)
	redis, postgres := redistest.Start(t), postgrestest.Start(t)
	rows := [][]rowsql.Value{
		order("ann", 1, "2024-01-31", rowsql.Float(4)), order("bob", 1, "2024-02-01", rowsql.Float(4)), order("eve", 9, "2024-02-01", rowsql.Float(4)),
		order("ann", 1, "2023-02-01", rowsql.Float(4)), order("old", 1, "2024-02-01", rowsql.Float(4)), order("ann", 2, "2024-02-01", rowsql.Float(-4)),
		order("ann", 1, "2024-02-01", rowsql.Float(math.NaN())), order("ann", 1, "2024-02-02", rowsql.Null),
	}
	for kind, store := range map[string]stores.Spec{
		"redis":    {URL: redis.URL(), Password: "STORE_REDIS"},
		"cached":   {Kind: "redis", URL: redis.URL(), Password: "STORE_REDIS", Cache: 3},
		"postgres": {URL: strings.Replace(postgres.Database(), ":"+postgrestest.Password, "", 1), Password: "STORE_POSTGRES"},
	} {
		if store.Kind == "" {
			store.Kind = kind
		}
		store.Prefix, store.Schema, store.Timeout, store.Connections, store.Keep = "tenon", "tenon", "5s", 4, "1h"
		s, spec := shop(t)
		spec.Lookups["p"] = features.Lookup{Port: "lookup_p", MaxAge: "20d"}
		want, wantErrs := compute(t, load(t, s, spec).Row(), rows...)
		stored := inStores(spec, store)
		service := publish(t, s, stored)
		f := load(t, service, stored)
		r := f.Row()
		for range 2 {
			got, errs := compute(t, r, rows...)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s", kind, diff)
			}
			if diff := cmp.Diff(wantErrs, errs); diff != "" {
				t.Errorf("%s: %s", kind, diff)
			}
		}
		if n := f.Size(); n != 0 {
			t.Errorf("%s: %d bytes are in memory", kind, n)
		}

		// One of the tables in memory, the other one in the store.
		mixed := inStores(spec, store)
		mixed.Lookups["c"] = spec.Lookups["c"]
		service = publish(t, s, mixed)
		service.Inputs["lookup_c"] = s.Inputs["lookup_c"]
		if got, _ := compute(t, load(t, service, mixed).Row(), rows...); !cmp.Equal(want, got) {
			t.Errorf("%s, with a table in memory: %s", kind, cmp.Diff(want, got))
		}

		// Another table is another version.
		table := s.Inputs["lookup_c"]
		table.Path += "2"
		write(t, table.Path, "SELECT * REPLACE (age + 1 AS age) FROM read_parquet('"+s.Inputs["lookup_c"].Path+"')")
		s.Inputs["lookup_c"] = table
		newer := load(t, publish(t, s, stored), stored).Row()
		if got, _ := compute(t, newer, rows[6]); got[0] == nil || got[0][1] != rowsql.Int(31) {
			t.Errorf("%s: the new version computes %v", kind, got)
		}
		if got, _ := compute(t, r, rows[6]); !cmp.Equal(want[6:7], got) {
			t.Errorf("%s: the service of the old version computes %v", kind, got)
		}
	}
}

// A service that does not find its tables says what to do, and one that loses them says which.
func TestTablesThatAreNotInTheStore(t *testing.T) {
	t.Setenv("STORE_REDIS", redistest.Password)
	server := redistest.Start(t)
	s, spec := shop(t)
	stored := inStores(spec, stores.Spec{Kind: "redis", URL: server.URL(), Password: "STORE_REDIS", Prefix: "tenon", Timeout: "300ms", Connections: 4, Keep: "1h"})
	service := publish(t, s, stored)
	f := load(t, service, stored)
	server.Stop()
	row := order("ann", 1, "2024-01-31", rowsql.Float(4))
	err := f.Row().Fetch(t.Context(), 1, func(int) []rowsql.Value { return row }, func(fetch func() error) error { return fetch() })
	var away *stores.Error
	if !errors.As(err, &away) || away.Table != "c" && away.Table != "p" {
		t.Errorf("%v, want an error about a table", err)
	}
	server.Again()
	if _, err := features.Load(t.Context(), service, stored, reads); err == nil || !strings.Contains(err.Error(), "--rerun") {
		t.Errorf("%v, want what to do about lost tables", err)
	}
	b, err := json.Marshal(map[string]any{"digests": map[string]string{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(service.Inputs[features.Published].Path, "tables.json"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := features.Load(t.Context(), service, stored, reads); err == nil || !strings.Contains(err.Error(), "not published") {
		t.Errorf("%v, want that a table is not published", err)
	}
}

// Two rows with one key are refused before a request has to choose between them.
func TestTablesThatRepeatAKeyAreNotPublished(t *testing.T) {
	t.Setenv("STORE_REDIS", redistest.Password)
	s, spec := shop(t)
	stored := inStores(spec, stores.Spec{Kind: "redis", URL: redistest.Start(t).URL(), Password: "STORE_REDIS", Prefix: "tenon", Timeout: "1s", Connections: 1, Keep: "1h"})
	write(t, s.Inputs["lookup_c"].Path, "SELECT * FROM read_parquet('"+s.Inputs["lookup_c"].Path+"') UNION ALL SELECT * FROM read_parquet('"+s.Inputs["lookup_c"].Path+"')")
	for name, in := range s.Inputs {
		in.Digest = "sha256:x"
		s.Inputs[name] = in
	}
	s.Outputs = map[string]step.Port{features.Published: {Path: t.TempDir()}}
	if err := features.Publish(t.Context(), s, stored); err == nil || !strings.Contains(err.Error(), `two rows of "c" have the same keys`) {
		t.Errorf("%v, want an error about the keys", err)
	}
}
