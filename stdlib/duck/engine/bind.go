package engine

import (
	"context"
	"fmt"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// Bind returns the plan to which DuckDB binds one SELECT over tables of the given schemas,
// as json_serialize_plan writes it: every type and every implicit cast is explicit, and
// nothing is optimized. An error about the query is a [*duck.SQLError].
func (c *Checker) Bind(ctx context.Context, tables map[string]ir.Schema, query string) ([]byte, error) {
	query, err := selectOnly(query)
	if err != nil {
		return nil, err
	}
	create, err := createTables(tables)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.refuseBulk(ctx, query); err != nil {
		return nil, err
	}
	if err := c.s.exec(ctx, create); err != nil {
		c.rollback()
		return nil, fmt.Errorf("declare the tables of a query: %w", err)
	}
	defer c.rollback()
	if _, err := c.s.describe(ctx, query); err != nil {
		return nil, keepTables(err, func(name string) bool { _, ok := tables[name]; return ok })
	}
	var plan string
	if err := c.s.one(ctx, "SELECT CAST(json_serialize_plan("+quote(query)+") AS VARCHAR)", &plan); err != nil {
		return nil, fmt.Errorf("bind a query: %w", err)
	}
	return []byte(plan), nil
}
