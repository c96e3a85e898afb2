package engine

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// A Checker types queries. It keeps one empty database and may be used by
// several goroutines; calls follow one another. No call sees the tables of
// another one.
type Checker struct {
	mu    sync.Mutex
	s     *session
	parse *sql.Stmt // see Analyse
}

// NewChecker starts a checker. It reads no file, whatever a query says.
func NewChecker() (*Checker, error) {
	ctx := context.Background()
	s, err := open(ctx, Limits{Threads: 1})
	if err != nil {
		return nil, err
	}
	// The optimizer computes constants while it prepares a query. Types do not depend on it.
	if err := s.exec(ctx, "PRAGMA disable_optimizer"); err != nil {
		s.close()
		return nil, fmt.Errorf("start duckdb: %w", err)
	}
	if err := s.restrict(ctx); err != nil {
		s.close()
		return nil, fmt.Errorf("start duckdb: %w", err)
	}
	return &Checker{s: s}, nil
}

// Close ends the checker.
func (c *Checker) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.parse != nil {
		c.parse.Close()
	}
	c.s.close()
	return nil
}

// checkLimit is how long the check of one query may take. It usually takes a millisecond.
const checkLimit = 30 * time.Second

// Describe returns the columns of a query over tables of the given schemas. An
// error about the query is a [*duck.SQLError]; it is one too if two columns of the
// result have the same name, which DuckDB, and Parquet, take without regard to
// case.
func (c *Checker) Describe(ctx context.Context, tables map[string]ir.Schema, query string) (cols []duck.Column, err error) {
	query, err = selectOnly(query)
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	defer func() {
		if err != nil && limited.Err() != nil && ctx.Err() == nil {
			err = &duck.SQLError{Message: fmt.Sprintf("DuckDB takes longer than %s to check the query", checkLimit), Offset: -1, Kind: "other"}
		}
	}()
	ctx = limited
	if err := c.refuseBulk(ctx, query); err != nil {
		return nil, err
	}
	create, err := createTables(tables)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if cols, ok := c.plain(ctx, tables, query); ok && distinctNames(cols) == nil {
		return cols, nil
	}
	if err := c.s.exec(ctx, create); err != nil {
		c.rollback()
		return nil, fmt.Errorf("declare the tables of a query: %w", err)
	}
	defer c.rollback()
	cols, err = c.s.describe(ctx, query)
	if err != nil {
		return nil, keepTables(err, func(name string) bool { _, ok := tables[name]; return ok })
	}
	if err := distinctNames(cols); err != nil {
		return nil, err
	}
	return cols, nil
}

var (
	// special finds queries that DuckDB may give an alias of a plain type, such as
	// JSON for text, or may run in several steps.
	special = regexp.MustCompile(`(?i)json|->|collate|pivot`)
	// bulky finds queries that may compute a large constant.
	bulky = regexp.MustCompile(`(?i)repeat|[lr]pad`)
	// with is what a query may begin with before its own tables.
	with = regexp.MustCompile(`(?i)^\s*with\s+(recursive\s+)?`)
	// plainly is how other queries begin that tables can be written before.
	plainly = regexp.MustCompile(`(?i)^\s*(select|from|values)\b`)
)

// plain returns the columns of a sound query whose types all have a counterpart
// in the IR. It writes the tables into the query and lets DuckDB prepare it.
// That takes a third of the time of making the tables and asking for a
// description, which all other queries are left to.
func (c *Checker) plain(ctx context.Context, tables map[string]ir.Schema, query string) ([]duck.Column, bool) {
	own := with.FindStringSubmatch(query)
	if special.MatchString(query) || own == nil && !plainly.MatchString(query) || len(tables) == 0 {
		return nil, false
	}
	var b strings.Builder
	b.WriteString("WITH ")
	if own != nil {
		b.WriteString(own[1])
	}
	for i, name := range slices.Sorted(maps.Keys(tables)) {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(ident(name) + " AS (SELECT ")
		for j, col := range tables[name] {
			if j > 0 {
				b.WriteString(", ")
			}
			b.WriteString("NULL::" + ir.Types[col.Type] + " AS " + ident(col.Name))
		}
		b.WriteString(" WHERE false)")
	}
	if own != nil {
		b.WriteString(", " + query[len(own[0]):])
	} else {
		b.WriteString(" " + query)
	}
	return c.s.prepared(ctx, b.String())
}

// refuseBulk refuses constants that are too large to compute: DuckDB computes some of them
// while it binds a query.
func (c *Checker) refuseBulk(ctx context.Context, query string) error {
	if !bulky.MatchString(query) {
		return nil
	}
	_, tree, err := c.tree(ctx, query)
	if err != nil || tree == nil {
		return err
	}
	var found *duck.SQLError
	each(tree, func(n map[string]any) {
		if size := textSize(n); size > maxText && found == nil && n["class"] == "FUNCTION" {
			found = &duck.SQLError{Message: fmt.Sprintf("%s makes a text of more than %d characters", text(n, "function_name"), int64(maxText)), Offset: offsetOf(n), Kind: "other"}
		}
	})
	if found != nil {
		return found
	}
	return nil
}

// tree returns DuckDB's parse tree of a query, as text and decoded, or nil if DuckDB cannot give one. Call it
// with the lock held.
func (c *Checker) tree(ctx context.Context, query string) (doc string, tree map[string]any, err error) {
	if c.parse == nil {
		c.parse, err = c.s.conn.PrepareContext(ctx, "SELECT CAST(json_serialize_sql(?::VARCHAR, skip_null := true) AS VARCHAR)")
		if err != nil {
			return "", nil, fmt.Errorf("parse a query: %w", err)
		}
	}
	if err := c.parse.QueryRowContext(ctx, query).Scan(&doc); err != nil {
		return "", nil, fmt.Errorf("parse a query: %w", err)
	}
	tree, err = decodeTree(doc)
	return doc, tree, err
}

// Analyse adds to the description of a query that Describe has accepted its tree, what it
// compares, what makes it unrepeatable, and its texts that do not convert.
func (c *Checker) Analyse(ctx context.Context, tables map[string]ir.Schema, query string, d *duck.Description) error {
	query, err := selectOnly(query)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	doc, tree, err := c.tree(ctx, query)
	if err != nil || tree == nil {
		return err
	}
	d.Tree = []byte(doc)
	if len(tables) > 1 { // a single table is joined with itself at most
		d.Compared = comparisons(tree, tables)
	}
	d.Unrepeatable = unrepeatable(tree, tables)
	d.Misfits, err = c.s.misfits(ctx, tree, tables)
	return err
}

// rollback drops the tables of a call, also when its context has ended.
func (c *Checker) rollback() {
	// The only error is that no transaction was begun, and then there is
	// nothing to drop.
	_ = c.s.exec(context.Background(), "ROLLBACK")
}

// createTables opens a transaction and makes the tables in it.
func createTables(tables map[string]ir.Schema) (string, error) {
	var b strings.Builder
	b.WriteString("BEGIN")
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		schema := tables[name]
		if len(schema) == 0 {
			return "", fmt.Errorf("table %q has no columns", name)
		}
		fmt.Fprintf(&b, "; CREATE TEMP TABLE %s (", ident(name))
		for i, c := range schema {
			typ, ok := ir.Types[c.Type]
			if !ok {
				return "", fmt.Errorf("column %q of table %q has the unknown type %q", c.Name, name, c.Type)
			}
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(ident(c.Name) + " " + typ)
		}
		b.WriteString(")")
	}
	return b.String(), nil
}

func distinctNames(cols []duck.Column) error {
	seen := map[string]string{}
	for _, c := range cols {
		lower := strings.ToLower(c.Name)
		if first, ok := seen[lower]; ok {
			msg := fmt.Sprintf("duplicate column %q in the result", c.Name)
			if first != c.Name {
				msg = fmt.Sprintf("columns %q and %q of the result differ only in case", first, c.Name)
			}
			return &duck.SQLError{Message: msg, Offset: -1, Kind: "other"}
		}
		seen[lower] = c.Name
	}
	return nil
}
