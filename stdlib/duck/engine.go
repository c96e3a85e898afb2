package duck

import (
	"context"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// An Engine answers questions about queries and files. Its methods are safe for
// concurrent use.
type Engine interface {
	// Describe types one SELECT over empty tables of the given schemas. It reads
	// no file. An error about the query is a [*SQLError]; it is one too if two
	// columns of the result have the same name, ignoring case.
	Describe(ctx context.Context, tables map[string]ir.Schema, query string) (Description, error)
	// Bind returns the plan to which DuckDB binds one SELECT over empty tables of the given
	// schemas, as JSON: every type and every implicit cast is explicit, and nothing is
	// optimized. It reads no file. An error about the query is a [*SQLError].
	Bind(ctx context.Context, tables map[string]ir.Schema, query string) ([]byte, error)
	// Evaluate runs one SELECT over the rows of the inputs, each known by its
	// name, and checks the result against out, whose path is ignored. A value of
	// an input that does not convert is a [*ValueError].
	Evaluate(ctx context.Context, query string, inputs map[string]Literal, out Table) (Evaluated, error)
	// Typed converts rows to the types of a schema and returns them as DuckDB
	// writes them. Columns of the schema that the rows lack are left out. A value
	// that does not convert is a [*ValueError].
	Typed(ctx context.Context, rows Rows, schema ir.Schema) (Rows, error)
	// Write writes the rows of inputs as Parquet files, if none breaks its schema. A value
	// that does not convert is a [*ValueError].
	Write(ctx context.Context, inputs map[string]Literal, paths map[string]string) (broken map[string][]Violation, err error)
	// Read returns the columns of a schema in a Parquet file, as DuckDB writes them.
	Read(ctx context.Context, path string, schema ir.Schema) (Rows, error)
	// Verify compares a Parquet file with a schema, the columns that identify a row and
	// the tables that it refers to, and counts its rows.
	Verify(ctx context.Context, path string, schema ir.Schema, keys []string, refs []Reference) (violations []Violation, rows int64, err error)
	// Preview reads the first n rows of a Parquet file.
	Preview(ctx context.Context, path string, n int) (Preview, error)
	// Nulls counts the nulls of each column of a Parquet file.
	Nulls(ctx context.Context, path string) (map[string]int64, error)
	// CSV writes the rows of a Parquet file to a new CSV file with a header.
	CSV(ctx context.Context, path, to string) error
	// Heads returns for each source what the heads of its files show: why they cannot be read
	// as its schema, and which times they have.
	Heads(ctx context.Context, heads []Head) ([]HeadResult, error)
	// Infer looks at all rows of a query over sources, each known by its name, or
	// at those of the only source if the query is empty.
	Infer(ctx context.Context, query string, sources map[string]Source) ([]Inferred, error)
}
