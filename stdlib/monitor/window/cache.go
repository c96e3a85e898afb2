package window

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"sync"

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
	models map[string]int64 // rows by the digest of the model that answered them; nil if that was not asked for
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
		err := each(ctx, db, fmt.Sprintf("SELECT filename, count(*), count(%s), coalesce(min(%[1]s), 0), coalesce(max(%[1]s), 0) FROM %s GROUP BY filename", at, withNames(some)), func(rows *sql.Rows) error {
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

// withNames is the relation of all rows of files, with the path of its file as filename.
func withNames(paths []string) string {
	return strings.Replace(parquet(paths...), "filename = false", "filename = true", 1)
}

// answered returns how many rows of each file a model answered.
func (c *Cache) answered(ctx context.Context, db *sql.DB, files []*file, model string) (map[*file]int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fresh := map[string]*file{}
	var read []string
	for _, f := range files {
		if f.models == nil {
			fresh[f.path] = f
			read = append(read, f.path)
		}
	}
	if len(read) > 0 {
		models := map[string]map[string]int64{}
		for _, path := range read {
			models[path] = map[string]int64{}
		}
		query := fmt.Sprintf("SELECT filename, %s, count(*) FROM %s GROUP BY ALL", ident(requests.Digest), withNames(read))
		err := each(ctx, db, query, func(rows *sql.Rows) error {
			var path string
			var digest sql.NullString
			var n int64
			err := rows.Scan(&path, &digest, &n)
			if of := models[path]; of != nil && digest.Valid {
				of[digest.String] = n
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		for path, f := range fresh {
			f.models = models[path]
		}
	}
	rows := make(map[*file]int64, len(files))
	for _, f := range files {
		rows[f] = f.models[model]
	}
	return rows, nil
}
