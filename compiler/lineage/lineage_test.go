package lineage_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/compiler/lineage"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
)

var duckdb = new(engine.Engine)

// shop is a system of two sources, a query over them, a Python feature, a model and a
// deployment.
func shop(query string, columns ...string) *ir.System {
	sys := &ir.System{}
	add := func(id, component string, fields any, out ir.Output, schema string, in ...ir.EntityInput) {
		raw, err := json.Marshal(fields)
		if err != nil {
			panic(err)
		}
		e := ir.Entity{ID: id, Component: component, Fields: raw, Inputs: in, Places: ir.PlacesOf(map[string]string{"sql": "shop.cue:3:3"}),
			Outputs: []ir.EntityOutput{{Port: out.Port, Unit: id, Schema: schema}}}
		if component == "feature.sql" {
			e.Query = "sql"
		}
		sys.Entities = append(sys.Entities, e)
		sys.Units = append(sys.Units, ir.Unit{ID: id, Entity: id, Component: component, Outputs: []ir.Output{out}})
	}
	read := func(field, entity string) ir.EntityInput {
		return ir.EntityInput{Field: "in." + field, Entity: entity, Out: "out", Kind: ir.Table}
	}
	ints := func(names ...string) (s ir.Schema) {
		for _, n := range names {
			s = append(s, ir.Column{Name: n, Type: "int64"})
		}
		return s
	}
	add("sources/orders", "source.csv", nil, ir.Output{Port: "out", Kind: ir.Table, Schema: ints("id", "shop", "t", "paid", "back"), Keys: []string{"id"}, Timestamp: "t"}, "schema")
	add("sources/shops", "source.csv", nil, ir.Output{Port: "out", Kind: ir.Table, Schema: ints("shop", "size"), Keys: []string{"shop"}}, "schema")
	add("features/share", "feature.sql", map[string]string{"sql": query}, ir.Output{Port: "out", Kind: ir.Table, Schema: ints(columns...), Timestamp: "t"}, "schema",
		read("o", "sources/orders"), read("s", "sources/shops"))
	add("features/score", "feature.python", nil, ir.Output{Port: "out", Kind: ir.Table, Schema: ints("id", "score")}, "schema", read("share", "features/share"))
	add("models/late", "train.sklearn", map[string]string{"label": "score"}, ir.Output{Port: "model", Kind: ir.Model,
		Signature: &ir.Signature{Input: ints("id"), Output: ir.Column{Name: "score", Type: "int64"}}}, "", read("table", "features/score"))
	add("deployments/late", "serve.http", nil, ir.Output{Port: "endpoint", Kind: ir.EndpointOf}, "", ir.EntityInput{Field: "in.model", Entity: "models/late", Out: "out", Kind: ir.Model})
	return sys
}

func of(t *testing.T, sys *ir.System) *lineage.Lineage {
	t.Helper()
	l, err := lineage.Of(context.Background(), sys, lineage.Options{Describe: duckdb.Describe})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// written writes a trace with one line for each step.
func written(tr *lineage.Trace) string {
	var b strings.Builder
	var write func(steps []*lineage.Step, indent string)
	write = func(steps []*lineage.Step, indent string) {
		for _, s := range steps {
			line := indent + strings.TrimSpace(s.Use+" "+s.Name)
			if s.Whole {
				line += " whole"
			}
			if s.Later != "" {
				line += " later by " + s.Later
			}
			if s.Future {
				line += " future"
			}
			if s.Made != "" {
				line += " by " + s.Made
			}
			if s.Repeated {
				line += " ..."
			}
			b.WriteString(line + "\n")
			write(s.Next, indent+"  ")
		}
	}
	write(tr.Steps, "")
	for _, r := range tr.Rows {
		fmt.Fprintf(&b, "rows of %s by %s %t\n", r.Table, strings.Join(r.By, " "), r.Partial)
	}
	return b.String()
}

const query = "SELECT id, t, sum(back) OVER (PARTITION BY o.shop ORDER BY t ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING) AS soon, CASE WHEN size > 3 THEN paid - back END AS net FROM o JOIN s USING (shop) WHERE paid > 0"

func TestTrace(t *testing.T) {
	l := of(t, shop(query, "id", "t", "soon", "net"))
	for _, c := range []struct {
		name string
		down bool
		want string
	}{
		{"features.share.net", false, `
features.share.net
  computed sources.orders.back
  computed sources.orders.paid
  decided sources.shops.size
rows of features.share by sources.orders.paid sources.orders.shop sources.shops.shop false`},
		{"features/share.soon", false, `
features.share.soon
  windowed sources.orders.back later by t future
  decided sources.orders.shop
  decided sources.orders.t
rows of features.share by sources.orders.paid sources.orders.shop sources.shops.shop false`},
		{"models.late.score", false, `
models.late.score
  passed features.score.score by feature.python
    perhaps features.share
      perhaps sources.orders
      perhaps sources.shops
rows of features.share by sources.orders.paid sources.orders.shop sources.shops.shop false`},
		{"sources.orders.back", true, `
sources.orders.back
  windowed features.share.soon later by t future
    perhaps features.score by feature.python
      passed models.late.id
        perhaps deployments.late by serve.http
      passed models.late.score
        perhaps deployments.late by serve.http
  computed features.share.net
    perhaps features.score by feature.python ...`},
		{"sources.shops.size", true, `
sources.shops.size
  decided features.share.net
    perhaps features.score by feature.python
      passed models.late.id
        perhaps deployments.late by serve.http
      passed models.late.score
        perhaps deployments.late by serve.http`},
	} {
		tr, err := l.Trace(c.name, c.down)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := "\n" + strings.TrimSpace(written(tr)); got != c.want {
			t.Errorf("%s, down %t:\ngot %s\nwant %s", c.name, c.down, got, c.want)
		}
	}
}

// A column of a table that is asked for as a whole has all of its columns.
func TestTraceOfATable(t *testing.T) {
	l := of(t, shop(query, "id", "t", "soon", "net"))
	tr, err := l.Trace("models.late", false)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range tr.Steps {
		names = append(names, s.Name+" "+s.Role)
	}
	if got := strings.Join(names, ", "); got != "models.late.id input, models.late.score label" {
		t.Error(got)
	}
}

func TestUnknownNames(t *testing.T) {
	l := of(t, shop(query, "id", "t", "soon", "net"))
	for name, want := range map[string]string{
		"features.share.nett": `features.share has no column "nett": did you mean "net"?`,
		"features.shar":       `there is no unit or column "features.shar": did you mean "features.share"?`,
		"nothing":             `there is no unit or column "nothing"`,
	} {
		if _, err := l.Trace(name, false); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

// A change of a query changes exactly the columns that it may compute differently.
func TestChanged(t *testing.T) {
	for _, c := range []struct{ before, after, want string }{
		{"SELECT id, paid FROM o", "select  id, -- the key\n paid from o", ""},
		{"SELECT id, paid FROM o", "SELECT id, paid + 1 AS paid FROM o", "paid"},
		{"SELECT id, paid FROM o", "SELECT id, back AS paid FROM o", "paid"},
		{"SELECT id, paid FROM o", "SELECT paid, id FROM o", ""},
		{"SELECT id, paid FROM o", "SELECT id FROM o", "-paid"},
		{"SELECT id, paid FROM o", "SELECT id, paid, back FROM o", "+back"},
		{"SELECT id, paid FROM o", "SELECT id, paid FROM o WHERE back > 1", "id paid"},
		{"SELECT id, paid FROM o WHERE paid > 1", "SELECT id, paid + 1 AS paid FROM o WHERE paid > 1", "paid"},
		{"SELECT id, paid * 2 AS p FROM o WHERE p > 1", "SELECT id, paid * 3 AS p FROM o WHERE p > 1", "id p"},
		{"SELECT id, paid * 2 AS p, p + 1 AS q FROM o", "SELECT id, paid * 3 AS p, p + 1 AS q FROM o", "p q"},
		{"SELECT shop, sum(paid) AS p FROM o GROUP BY shop", "SELECT shop, sum(back) AS p FROM o GROUP BY shop", "p"},
		{"SELECT shop, sum(paid) AS p FROM o GROUP BY 1", "SELECT shop + 1 AS shop, sum(paid) AS p FROM o GROUP BY 1", "p shop"},
		{"SELECT shop, sum(paid) AS p FROM o GROUP BY 1", "SELECT shop, sum(back) AS p FROM o GROUP BY 1", "p"},
		{"SELECT shop, sum(paid) AS p FROM o GROUP BY ALL", "SELECT shop + 1 AS shop, sum(paid) AS p FROM o GROUP BY ALL", "p shop"},
		{"SELECT shop, sum(paid) AS p FROM o GROUP BY ALL", "SELECT shop, sum(back) AS p FROM o GROUP BY ALL", "p"},
		{"SELECT shop, sum(paid) AS p FROM o GROUP BY ALL", "SELECT shop, id, sum(paid) AS p FROM o GROUP BY ALL", "+id p shop"},
		{"SELECT max(id) AS id, max(paid) AS p FROM o", "SELECT max(id) AS id, min(paid) AS p FROM o", "p"},
		{"SELECT DISTINCT shop, paid FROM o", "SELECT DISTINCT shop, back AS paid FROM o", "paid shop"},
		{"SELECT id, paid AS p FROM o ORDER BY p LIMIT 3", "SELECT id, back AS p FROM o ORDER BY p LIMIT 3", "id p"},
		{"SELECT id, paid AS p FROM o ORDER BY id LIMIT 3", "SELECT id, back AS p FROM o ORDER BY id LIMIT 3", "p"},
		{"SELECT id, 1 AS p FROM o", "SELECT id, unnest([1, 2]) AS p FROM o", "id p"},
		{"SELECT o.id FROM o LEFT JOIN s USING (shop)", "SELECT o.id FROM o JOIN s USING (shop)", "id"},
		{"SELECT * FROM o", "SELECT * EXCLUDE (back) FROM o", "-back id paid shop t"},
		{"SELECT id FROM o UNION ALL SELECT shop FROM s", "SELECT id FROM o UNION ALL SELECT size FROM s", "id"},
	} {
		// The columns do not matter here: those of the queries do.
		got := lineage.Changed(of(t, shop(c.before, "id")), of(t, shop(c.after, "id")), "features.share", "features.share")
		var all []string
		for _, n := range got.Added {
			all = append(all, "+"+n)
		}
		for _, n := range got.Removed {
			all = append(all, "-"+n)
		}
		changed := slices.Sorted(slices.Values(got.Changed))
		all = append(all, changed...)
		if s := strings.Join(all, " "); s != c.want {
			t.Errorf("%s\n%s\n got %q\nwant %q", c.before, c.after, s, c.want)
		}
		if (len(all) == 0) != got.Same() || len(all) > 0 && !slices.Equal(got.Readers, []string{"deployments/late", "models/late"}) {
			t.Errorf("%s: same %t, readers %v", c.after, got.Same(), got.Readers)
		}
	}
}
