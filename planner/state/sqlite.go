package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/tenon-ml/tenon/internal/batch"
)

const (
	fileName = "state.db"
	// application marks the file as Tenon's in SQLite's header: "tenn".
	application  = 0x74656e6e
	folderRights = "the folder and its files must be writable by the user who runs tenon"
	// restoreFolder is the remedy when the state in a folder is lost.
	restoreFolder = "restore it from a backup, with its -wal if it has one; without one, stop what still runs and move the folder away to start over"
)

// An sqlite is a database in a folder.
type sqlite struct {
	path  string
	used  bool // the folder contained results of units when the database was opened
	write *sql.DB
	files map[string]os.FileInfo // the files that the first write went to
	log   *os.File               // the write-ahead log
	syncs batch.Batcher[*error]
}

func openSQLite(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	f := &sqlite{path: filepath.Join(dir, fileName), used: used(dir)}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, f.explain("open state", err)
	}
	if b, err := boundTo(dir); err != nil {
		return nil, f.explain("open state", err)
	} else if b != nil && lost(dir) {
		return nil, &ElsewhereError{Dir: dir, Where: b.Where}
	}
	if lost(dir) {
		return nil, &LostError{Path: f.path, Gone: f.path, Remedy: restoreFolder}
	}
	return openFile(f, dir)
}

// openFile opens the database of a folder, whatever else the folder contains.
func openFile(f *sqlite, dir string) (s *Store, err error) {
	f.syncs.Run = f.syncAll
	s = &Store{where: dir, database: f, layout: f, now: time.Now, mu: new(sync.Mutex)}
	if s.write, err = f.open("_txlock=immediate"); err != nil {
		return nil, f.explain("open state", err)
	}
	f.write = s.write
	s.write.SetMaxOpenConns(1)
	if s.read, err = f.open("_query_only=true" + f.asItIs()); err != nil {
		return nil, errors.Join(f.explain("open state", err), s.Close())
	}
	s.read.SetMaxOpenConns(4)
	s.read.SetMaxIdleConns(4)
	return s, nil
}

// asItIs returns the parameters with which the database can be read on a file system that is read-only.
// Without a log, everything is in the database, and nobody can change it here.
func (f *sqlite) asItIs() string {
	if !errors.Is(syscall.Access(filepath.Dir(f.path), writable), syscall.EROFS) {
		return ""
	}
	if info, err := os.Stat(f.path + "-wal"); err == nil && info.Size() > 0 {
		return "&mode=ro"
	}
	return "&mode=ro&immutable=1"
}

// writable is W_OK of access(2).
const writable = 2

func (f *sqlite) open(params string) (*sql.DB, error) {
	// Use a file: URI, escaped, because a path may contain a question mark. With NORMAL a
	// commit does not wait for the disk; [sqlite.sync] makes durable what must survive a
	// power failure.
	u := url.URL{Path: f.path}
	dsn := "file:" + u.EscapedPath() + "?_busy_timeout=" + strconv.FormatInt(busyTimeout.Milliseconds(), 10) +
		"&_synchronous=NORMAL&_foreign_keys=true&_stmt_cache_size=64&" + params
	return sql.Open("sqlite3", dsn)
}

// hasFile reports whether dir contains a database.
func hasFile(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, fileName))
	return !errors.Is(err, fs.ErrNotExist)
}

// lost reports whether dir contains results of units, but no state. A new state would
// start a second copy of every service that still runs.
func lost(dir string) bool {
	// The database is created first, so look for it last.
	return used(dir) && !hasFile(dir)
}

// used reports whether dir contains results of units.
func used(dir string) bool {
	if _, err := os.Lstat(filepath.Join(dir, "runs")); err == nil {
		return true
	}
	artifacts, _ := os.ReadDir(filepath.Join(dir, "artifacts"))
	return slices.ContainsFunc(artifacts, func(e os.DirEntry) bool { return e.Name() != "tmp" })
}

// found returns the files that make up the open database.
func (f *sqlite) found() (map[string]os.FileInfo, error) {
	files := map[string]os.FileInfo{}
	for _, path := range []string{f.path, f.path + "-wal"} {
		info, err := os.Stat(path)
		if err != nil {
			return nil, &LostError{Path: f.path, Gone: path, Used: true, Remedy: restoreFolder}
		}
		files[path] = info
	}
	return files, nil
}

// there returns a [LostError] if the open files are not those that others find under
// their names. SQLite would not notice.
func (f *sqlite) there() error {
	now, err := f.found()
	if err != nil {
		return err
	}
	for path, info := range now {
		if !os.SameFile(info, f.files[path]) {
			return &LostError{Path: f.path, Gone: path, Used: true, Remedy: restoreFolder}
		}
	}
	return nil
}

func (f *sqlite) begin(ctx context.Context) (*sql.Tx, error) {
	if f.files == nil {
		// A copy from a backup has its tables, but may not be in WAL mode.
		if err := f.useWAL(ctx); err != nil {
			return nil, err
		}
	} else if err := f.there(); err != nil {
		return nil, err
	}
	tx, err := f.write.BeginTx(ctx, nil)
	if err != nil || f.files != nil {
		return tx, err
	}
	files, err := f.found()
	if err == nil {
		f.log, err = os.Open(f.path + "-wal")
	}
	if err != nil {
		return nil, errors.Join(err, tx.Rollback())
	}
	f.files = files
	return tx, nil
}

// sync makes all commits durable: they are in the log, or were moved from there into the
// database, for which SQLite waits itself. Syncing outside of the transaction lets others
// commit in the meantime, and one wait serves all of them.
func (f *sqlite) sync() error {
	var err error
	f.syncs.Do(&err)
	return err
}

// Close closes the open files.
func (f *sqlite) Close() error {
	if f.log == nil {
		return nil
	}
	return f.log.Close()
}

func (f *sqlite) syncAll(waiting []*error) {
	err := f.log.Sync()
	for _, w := range waiting {
		*w = err
	}
}

// try calls do once: SQLite itself waits for other processes.
func (f *sqlite) try(ctx context.Context, do func(context.Context) error) error { return do(ctx) }

func (f *sqlite) version(ctx context.Context, q querier) (int, error) {
	var app, version, tables int
	err := q.QueryRowContext(ctx, "SELECT (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_schema)").
		Scan(&app, &version, &tables)
	switch {
	case err != nil:
		return 0, f.explain("open state", err)
	case app == 0 && version == 0 && tables == 0 && f.used:
		if b, err := boundTo(filepath.Dir(f.path)); err == nil && b != nil { // a move to here had just begun
			return 0, &ElsewhereError{Dir: filepath.Dir(f.path), Where: b.Where}
		}
		return 0, &DamagedError{Path: f.path, Err: errors.New("it is empty"), Remedy: restoreFolder}
	case app == 0 && version == 0 && tables == 0:
		return 0, nil
	case app != application:
		return 0, &DamagedError{Path: f.path, Err: errors.New("it is the database of another program"), Remedy: restoreFolder}
	case tables == 0:
		return 0, &DamagedError{Path: f.path, Err: errors.New("it has no tables"), Remedy: restoreFolder}
	}
	return known(f.path, restoreFolder, version)
}

func (f *sqlite) alone(ctx context.Context) (*sql.Tx, error) {
	if err := f.useWAL(ctx); err != nil {
		return nil, err
	}
	return f.write.BeginTx(ctx, nil)
}

func (f *sqlite) mark(ctx context.Context, tx *sql.Tx, version int) error {
	_, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id=%d; PRAGMA user_version=%d", application, version))
	return err
}

// useWAL switches the database to WAL mode. SQLite does not wait for other processes
// here.
func (f *sqlite) useWAL(ctx context.Context) error {
	for deadline := time.Now().Add(busyTimeout); ; {
		var mode string
		err := f.write.QueryRowContext(ctx, "PRAGMA journal_mode=WAL").Scan(&mode)
		if faultOf(err) != faultBusy || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(busyPoll):
		}
	}
}

func (f *sqlite) explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	if lost := (*LostError)(nil); errors.As(err, &lost) {
		return lost
	}
	if errors.Is(err, errReplaced) {
		return &LostError{Path: f.path, Gone: f.path, Used: true, Remedy: restoreFolder}
	}
	switch faultOf(err) {
	case faultFull:
		return fmt.Errorf("%s: no space left on the disk of %s: free some and try again: %w", doing, f.path, err)
	case faultDamaged:
		return &DamagedError{Path: f.path, Err: err, Remedy: restoreFolder}
	case faultDenied:
		return &AccessError{Path: f.path, Err: err, Remedy: folderRights}
	case faultBusy, faultLocked:
		return fmt.Errorf("%s: %s is busy: another process has been writing for longer than %s: %w", doing, f.path, busyTimeout, err)
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return &AccessError{Path: f.path, Err: err, Remedy: folderRights}
	}
	return fmt.Errorf("%s: %w", doing, err)
}
