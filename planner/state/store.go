package state

import (
	"context"
	"crypto/rand"
	"database/sql"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/mattn/go-sqlite3"
)

const (
	fileName    = "state.db"
	busyTimeout = 10 * time.Second
	busyPoll    = 10 * time.Millisecond
	// application marks the file as Tenon's in SQLite's header: "tenn".
	application = 0x74656e6e
)

//go:embed schema.sql
var schema string

// migrations bring layout n to layout n+1, from 1 on.
//
//go:embed migrate1.sql
var migrate1 string

//go:embed migrate2.sql
var migrate2 string

var migrations = []string{migrate1, migrate2}

// A Store is an open state. Its methods read; they are safe for concurrent use
// and see what other processes committed.
type Store struct {
	// OnWrite, if set, is told what is about to be written, and when it has been
	// committed or has failed. It must be set before the first write.
	OnWrite func(doing string, ended bool)

	dir  string
	path string
	// Readers and the writer have connections of their own, so that a long
	// read never makes a write wait. There is one writer per process.
	read  *sql.DB
	write *sql.DB
	now   func() time.Time // of the lock
	mu    sync.Mutex       // a setting of the writer and the transaction it is for go together
}

// Open opens the state in dir and makes it where there is none. The errors it
// returns include [NewerError], [DamagedError], [LostError] and [AccessError].
func Open(ctx context.Context, dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	path := filepath.Join(dir, fileName)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, explain(path, "open state", err)
	}
	if Lost(dir) {
		return nil, &LostError{Path: path, Gone: path}
	}
	s := &Store{dir: dir, path: path, now: time.Now}
	if s.write, err = openDB(path, "_txlock=immediate"); err != nil {
		return nil, explain(path, "open state", err)
	}
	s.write.SetMaxOpenConns(1)
	if s.read, err = openDB(path, "_query_only=true"); err != nil {
		return nil, errors.Join(explain(path, "open state", err), s.Close())
	}
	s.read.SetMaxOpenConns(4)
	s.read.SetMaxIdleConns(4)
	if err := s.init(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Lost reports whether dir holds what units made, and no record of it. To begin a
// new record there would start a second one of every service that still runs.
func Lost(dir string) bool {
	// The database is made first: so it is looked for last.
	_, err := os.Lstat(filepath.Join(dir, "runs"))
	ran := err == nil
	artifacts, _ := os.ReadDir(filepath.Join(dir, "artifacts"))
	ran = ran || slices.ContainsFunc(artifacts, func(e os.DirEntry) bool { return e.Name() != "tmp" })
	_, err = os.Lstat(filepath.Join(dir, fileName))
	return ran && errors.Is(err, fs.ErrNotExist)
}

// files are those that make up the database while it is open.
func (s *Store) files() (map[string]os.FileInfo, error) {
	files := map[string]os.FileInfo{}
	for _, path := range []string{s.path, s.path + "-wal"} {
		info, err := os.Stat(path)
		if err != nil {
			return nil, &LostError{Path: s.path, Gone: path, Used: true}
		}
		files[path] = info
	}
	return files, nil
}

// Close closes the state. A lease that is still held is not released.
func (s *Store) Close() error {
	var errs []error
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// Dir is the folder of the state, absolute.
func (s *Store) Dir() string { return s.dir }

func openDB(path, params string) (*sql.DB, error) {
	// A file: URI, escaped, because a path may hold a question mark. NORMAL
	// is the base; writes that must outlive a power failure raise it, see
	// [Lease].
	u := url.URL{Path: path}
	dsn := "file:" + u.EscapedPath() + "?_busy_timeout=" + strconv.FormatInt(busyTimeout.Milliseconds(), 10) +
		"&_synchronous=NORMAL&_foreign_keys=true&_stmt_cache_size=64&" + params
	return sql.Open("sqlite3", dsn)
}

// init makes the tables where there are none, brings an older layout up to date
// and refuses those it does not know.
func (s *Store) init(ctx context.Context) error {
	version, err := s.layout(ctx, s.write)
	if err != nil {
		return err
	}
	var mode string
	if err := s.write.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil {
		return explain(s.path, "open state", err)
	}
	if version == Version && mode == "wal" {
		return nil
	}
	// A copy that a backup made has its tables and need not be in this mode. Two
	// processes may find the folder empty at once: the second one waits for the
	// first and finds the tables made.
	if err := s.useWAL(ctx); err != nil {
		return explain(s.path, "make state", err)
	}
	if version == Version {
		return nil
	}
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return explain(s.path, "make state", err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing
	if version, err = s.layout(ctx, tx); err != nil || version == Version {
		return err
	}
	if version == 0 {
		err = create(ctx, tx)
	} else {
		err = s.upgrade(ctx, tx, version)
	}
	if held := (*HeldError)(nil); errors.As(err, &held) {
		return err
	} else if err != nil {
		return explain(s.path, "make state", err)
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id=%d; PRAGMA user_version=%d", application, Version)); err != nil {
		return explain(s.path, "make state", err)
	}
	return explain(s.path, "make state", tx.Commit())
}

func (s *Store) tell(doing string, ended bool) {
	if s.OnWrite != nil {
		s.OnWrite(doing, ended)
	}
}

// useWAL sets the mode of the database. SQLite does not wait for others to do so.
func (s *Store) useWAL(ctx context.Context) error {
	for deadline := time.Now().Add(busyTimeout); ; {
		var mode string
		err := s.write.QueryRowContext(ctx, "PRAGMA journal_mode=WAL").Scan(&mode)
		var se sqlite3.Error
		if !errors.As(err, &se) || se.Code != sqlite3.ErrBusy || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(busyPoll):
		}
	}
}

// upgrade brings an older layout up to date, unless an older tenon works on it.
func (s *Store) upgrade(ctx context.Context, tx *sql.Tx, version int) error {
	held, err := s.holder(ctx, tx, nil)
	if err != nil {
		return err
	}
	if held != nil {
		return held
	}
	for _, m := range migrations[version-1:] {
		if _, err := tx.ExecContext(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func create(ctx context.Context, tx *sql.Tx) error {
	lineage := make([]byte, 16)
	if _, err := rand.Read(lineage); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, schema); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO meta(id, lineage, serial, system, fence) VALUES (1, ?, 0, '', 0)", hex.EncodeToString(lineage))
	return err
}

type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// layout returns the version of the tables, 0 for an empty database.
func (s *Store) layout(ctx context.Context, q querier) (int, error) {
	var app, version, tables int
	err := q.QueryRowContext(ctx, "SELECT (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_schema)").
		Scan(&app, &version, &tables)
	switch {
	case err != nil:
		return 0, explain(s.path, "open state", err)
	case app == 0 && version == 0 && tables == 0:
		return 0, nil
	case app != application:
		return 0, &DamagedError{Path: s.path, Err: errors.New("it is the database of another program")}
	case version > Version:
		return 0, &NewerError{Path: s.path, Version: version}
	case version < 1 || tables == 0:
		return 0, &DamagedError{Path: s.path, Err: fmt.Errorf("layout %d is not known", version)}
	}
	return version, nil
}
