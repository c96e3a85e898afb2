package engine

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"

	duckdb "github.com/duckdb/duckdb-go/v2"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// Limits bound what a piece of work may take. The zero value leaves the choice
// to DuckDB: all cores, most of the memory, the system's temporary folder.
type Limits struct {
	Threads int
	Memory  int64  // bytes
	TempDir string // where data that does not fit in memory goes
}

// session is one in-memory database with one connection.
type session struct {
	connector driver.Connector
	db        *sql.DB
	conn      *sql.Conn
	temp      string
}

var sessions atomic.Int64

// open starts a database. Nothing is locked down yet, see restrict.
func open(ctx context.Context, l Limits) (*session, error) {
	connector, err := duckdb.NewConnector("", nil)
	if err != nil {
		return nil, fmt.Errorf("start duckdb: %w", err)
	}
	parent := l.TempDir
	if parent == "" {
		parent = os.TempDir()
	}
	// DuckDB makes the folder when it first spills; the default would be
	// ".tmp" in the working directory.
	temp := filepath.Join(parent, fmt.Sprintf("tenon-duckdb-%d-%d", os.Getpid(), sessions.Add(1)))
	s := &session{connector: connector, db: sql.OpenDB(connector), temp: temp}
	if s.conn, err = s.db.Conn(ctx); err != nil {
		s.close()
		return nil, fmt.Errorf("start duckdb: %w", err)
	}
	set := []string{
		"SET errors_as_json = true",
		"SET autoinstall_known_extensions = false",
		"SET autoload_known_extensions = false",
		"SET TimeZone = 'UTC'",
		// It keeps content in memory, and gives old content if a file changes within a second.
		"SET enable_external_file_cache = false",
		"SET temp_directory = " + quote(temp),
	}
	threads := l.Threads
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	// With a single thread DuckDB 1.5 writes Parquet by another way, which does
	// not keep the order of UNION ALL, and so gives other bytes.
	set = append(set, fmt.Sprintf("SET threads = %d", max(threads, 2)))
	if l.Memory > 0 {
		set = append(set, fmt.Sprintf("SET memory_limit = '%dKiB'", max(l.Memory>>10, 1)))
	}
	if err := s.exec(ctx, strings.Join(set, "; ")); err != nil {
		s.close()
		return nil, fmt.Errorf("start duckdb: %w", err)
	}
	return s, nil
}

// idle keeps one database that only ever read files by SQL of this package:
// starting one takes longer than verifying a small table.
var idle = make(chan *session, 1)

// borrow returns a database for reading files, to be given back.
func borrow(ctx context.Context) (*session, error) {
	select {
	case s := <-idle:
		return s, nil
	default:
	}
	return open(ctx, Limits{})
}

// giveBack keeps a database for the next one to borrow, unless something went
// wrong in it, or it has left files behind that go when it is closed.
func (s *session) giveBack(err error) {
	if _, statErr := os.Stat(s.temp); err != nil || statErr == nil {
		s.close()
		return
	}
	select {
	case idle <- s:
	default:
		s.close()
	}
}

// restrict leaves only the given files within reach of a query, for good.
func (s *session) restrict(ctx context.Context, paths ...string) error {
	var quoted []string
	for _, p := range paths {
		quoted = append(quoted, quote(p))
		if g := globs.Replace(p); g != p {
			quoted = append(quoted, quote(g)) // DuckDB checks the spelling, then what it stands for
		}
	}
	return s.exec(ctx, "SET allowed_paths = ["+strings.Join(quoted, ", ")+
		"]; SET enable_external_access = false; SET lock_configuration = true")
}

func (s *session) exec(ctx context.Context, query string) error {
	if _, err := s.conn.ExecContext(ctx, query); err != nil {
		return sqlError(ctx, err, 0, -1)
	}
	return nil
}

// each runs a query and calls f for each row.
func (s *session) each(ctx context.Context, query string, f func(scan func(...any) error) error) error {
	rows, err := s.conn.QueryContext(ctx, query)
	if err != nil {
		return sqlError(ctx, err, 0, -1)
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows.Scan); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return sqlError(ctx, err, 0, -1)
	}
	return nil
}

// one runs a query and scans its only row.
func (s *session) one(ctx context.Context, query string, dest ...any) error {
	return s.each(ctx, query, func(scan func(...any) error) error { return scan(dest...) })
}

// describe returns the columns of a query that is known to be a single SELECT.
func (s *session) describe(ctx context.Context, query string) ([]duck.Column, error) {
	const prefix = "DESCRIBE "
	rows, err := s.conn.QueryContext(ctx, prefix+query)
	if err != nil {
		return nil, sqlError(ctx, err, len(prefix), len(query))
	}
	defer rows.Close()
	var cols []duck.Column
	for rows.Next() {
		var c duck.Column
		var null, key, def, extra any
		if err := rows.Scan(&c.Name, &c.Type, &null, &key, &def, &extra); err != nil {
			return nil, fmt.Errorf("describe: %w", err)
		}
		cols = append(cols, c)
	}
	if err := rows.Err(); err != nil {
		return nil, sqlError(ctx, err, len(prefix), len(query))
	}
	return cols, nil
}

// prepared returns the columns of a query, if DuckDB takes it and ir.Types has
// all of its types. What is wrong with others, describe says.
func (s *session) prepared(ctx context.Context, query string) (cols []duck.Column, ok bool) {
	_ = s.conn.Raw(func(conn any) error {
		p, err := conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
		if err != nil {
			return nil
		}
		stmt := p.(*duckdb.Stmt)
		defer stmt.Close()
		n, err := stmt.ColumnCount()
		if err != nil || stmt.NumInput() != 0 {
			return nil
		}
		cols = make([]duck.Column, n)
		for i := range cols {
			name, err := stmt.ColumnName(i)
			if err != nil {
				return nil
			}
			typ, err := stmt.ColumnType(i)
			if err != nil || plainTypes[typ] == "" {
				return nil
			}
			cols[i] = duck.Column{Name: name, Type: plainTypes[typ]}
		}
		ok = true
		return nil
	})
	return cols, ok
}

// writeParquet writes the rows of a query to path and returns their number. A
// file that could not be finished is removed.
func (s *session) writeParquet(ctx context.Context, query, path string) (int64, error) {
	res, err := s.conn.ExecContext(ctx, "COPY ("+query+"\n) TO "+quote(path)+
		" (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)")
	if err != nil {
		os.Remove(path)
		return 0, sqlError(ctx, err, 0, -1)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", path, err)
	}
	return n, nil
}

func (s *session) close() {
	if s.conn != nil {
		s.conn.Close()
	}
	s.db.Close()
	os.RemoveAll(s.temp)
}

// quote writes a string as a SQL literal.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// ident writes a name as a SQL identifier.
func ident(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

func idents(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = ident(n)
	}
	return strings.Join(quoted, ", ")
}

func columnNames(schema ir.Schema) []string {
	names := make([]string, len(schema))
	for i, c := range schema {
		names[i] = c.Name
	}
	return names
}
