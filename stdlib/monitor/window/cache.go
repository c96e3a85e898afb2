package window

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
)

// A Cache keeps what was read of files for the next measurement: of complete files of a log, and of artifacts,
// which never change. The zero value keeps only what files have, and no values.
type Cache struct {
	Samples *measure.Cache

	mu    sync.Mutex
	files map[string]*file
}

// mostFiles is how many files a cache remembers: those of a few logs with as many files as a log may have.
const mostFiles = 50_000

// A file is what is known of a Parquet file.
type file struct {
	path   string
	key    string            // names its content
	types  map[string]string // DuckDB's names of the types of its columns, by name
	nested bool              // it has columns of several columns, whose types are not known
	rows   int64
	timed  int64 // rows with a time
	first  int64 // of the times, in microseconds since 1970
	last   int64
}

// look returns what is known of files, in their order, and reads what is not. Files that are gone are left out.
func (c *Cache) look(ctx context.Context, db *sql.DB, paths []string) ([]*file, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.files == nil || len(c.files) > mostFiles {
		c.files = map[string]*file{}
	}
	var all []*file
	fresh := map[string]*file{} // by path
	var read []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if os.IsNotExist(err) {
			continue // the service has deleted it
		}
		if err != nil {
			return nil, err
		}
		key := fmt.Sprintf("%s\x00%d\x00%d", path, info.Size(), info.ModTime().UnixNano())
		f := c.files[key]
		if f == nil {
			f = &file{path: path, key: key, types: map[string]string{}}
			fresh[path] = f
			read = append(read, path)
		}
		all = append(all, f)
	}
	if len(read) == 0 {
		return all, nil
	}
	if err := readSchemas(ctx, db, read, fresh); err != nil {
		return nil, err
	}
	for _, f := range fresh {
		c.files[f.key] = f
	}
	return all, nil
}

// readSchemas fills in what Parquet files have.
func readSchemas(ctx context.Context, db *sql.DB, paths []string, into map[string]*file) error {
	begun := map[string]bool{}
	err := each(ctx, db, "SELECT file_name, name, duckdb_type FROM parquet_schema("+list(paths)+")", func(rows *sql.Rows) error {
		var path, name string
		var typ sql.NullString
		if err := rows.Scan(&path, &name, &typ); err != nil {
			return err
		}
		if f := into[path]; f != nil && begun[path] { // the first is the root, with all columns
			f.types[name], f.nested = typ.String, f.nested || !typ.Valid
		}
		begun[path] = true
		return nil
	})
	if err != nil {
		return err
	}
	var timed, rest []string
	for _, path := range paths {
		if !begun[path] {
			return fmt.Errorf("DuckDB says nothing about %s", path)
		}
		if _, ok := into[path].types[requests.Time]; ok {
			timed = append(timed, path)
		} else {
			rest = append(rest, path)
		}
	}
	for at, some := range map[string][]string{"epoch_us(" + ident(requests.Time) + ")": timed, "CAST(NULL AS BIGINT)": rest} {
		if len(some) == 0 {
			continue
		}
		from := strings.Replace(parquet(some...), "filename = false", "filename = true", 1)
		err := each(ctx, db, fmt.Sprintf("SELECT filename, count(*), count(%s), coalesce(min(%[1]s), 0), coalesce(max(%[1]s), 0) FROM %s GROUP BY filename", at, from), func(rows *sql.Rows) error {
			var path string
			var f file
			err := rows.Scan(&path, &f.rows, &f.timed, &f.first, &f.last)
			if to := into[path]; to != nil {
				to.rows, to.timed, to.first, to.last = f.rows, f.timed, f.first, f.last
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// parts divides the rows of the window into files that are in it as a whole, whose values are kept, and the rest. It returns false
// if the files do not have the same types, so that only DuckDB can say which those of all rows are.
func (r *run) parts(columns []ir.Logged) (measure.Rows, bool) {
	rows := measure.Rows{}
	for _, c := range columns {
		typ := ""
		for i, f := range r.looked {
			if i == 0 {
				typ = f.types[c.Log]
			}
			if f.nested || f.types[c.Log] != typ {
				return rows, false
			}
		}
		rows.Columns = append(rows.Columns, measure.Attribute{Name: c.Name, Type: typ, In: c.Log})
	}
	begin, end := r.Begin.UnixMicro(), r.End.UnixMicro()
	var cut []string
	for _, f := range r.looked {
		switch {
		case f.timed == 0 || f.last < begin || f.first >= end:
		case f.timed == f.rows && f.first >= begin && f.last < end:
			rows.Parts = append(rows.Parts, measure.Part{Key: f.key, SQL: parquet(f.path), Rows: f.rows})
		default:
			cut = append(cut, f.path)
		}
	}
	if len(cut) > 0 {
		rows.Parts = append(rows.Parts, measure.Part{SQL: "(SELECT * FROM " + parquet(cut...) + " WHERE " + during(r.Begin, r.End) + ")", Rows: measure.Uncounted})
	}
	return rows, len(rows.Parts) > 0
}

// artifact is a file that never changes, as rows.
func (c *Cache) artifact(ctx context.Context, db *sql.DB, path string, columns []string, query string) (measure.Rows, error) {
	rows := measure.Rows{SQL: query}
	found, err := c.look(ctx, db, []string{path})
	if err != nil || len(found) == 0 || found[0].nested {
		return rows, err // without the file, a query says so
	}
	f := found[0]
	for _, name := range columns {
		if typ, ok := f.types[name]; ok {
			rows.Columns = append(rows.Columns, measure.Attribute{Name: name, Type: typ, In: name})
		}
	}
	if len(rows.Columns) == len(columns) {
		rows.Parts = []measure.Part{{Key: f.key, SQL: parquet(path), Rows: f.rows}}
	}
	return rows, nil
}
