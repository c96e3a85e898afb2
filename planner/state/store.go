package state

import (
	"context"
	"crypto/rand"
	"database/sql"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	busyTimeout = 10 * time.Second
	busyPoll    = 10 * time.Millisecond
)

//go:embed schema.sql
var schema string

// migrations bring layout n to layout n+1, from 1 on.
//
//go:embed migrate1.sql
var migrate1 string

//go:embed migrate2.sql
var migrate2 string

//go:embed migrate3.sql
var migrate3 string

//go:embed migrate4.sql
var migrate4 string

//go:embed migrate5.sql
var migrate5 string

var migrations = []string{migrate1, migrate2, migrate3, migrate4, migrate5}

// A Store is an open state as one environment sees it. Its methods read; they are safe for
// concurrent use and see what other processes committed.
type Store struct {
	// OnWrite, if set, is called before each write, and again when it has been committed
	// or has failed. Set it before the first write.
	OnWrite func(doing string, ended bool)

	where string // for display: it contains no password
	env   string
	database
	layout
	// Readers and the writer have separate connections, so that a long read never blocks
	// a write. There is one writer per process.
	read  *sql.DB
	write *sql.DB
	now   func() time.Time // clock of the lock
	mu    *sync.Mutex      // serializes writes
}

// A database is what SQLite and PostgreSQL do differently. Statements are the same for
// both, see [translate].
type database interface {
	// begin starts a transaction that excludes all other writers.
	begin(ctx context.Context) (*sql.Tx, error)
	// sync returns once all earlier commits are on disk.
	sync() error
	// try calls f, and repeats it for a bounded time while the database cannot be
	// reached. So f must be safe to repeat.
	try(ctx context.Context, f func(context.Context) error) error
	// explain turns an error of the database into one that says what to do.
	explain(doing string, err error) error
}

// A layout recognizes Tenon's tables.
type layout interface {
	// version returns the layout of the tables, or 0 if there are none.
	version(ctx context.Context, q querier) (int, error)
	// alone starts a transaction that excludes other creation and migration of tables.
	alone(ctx context.Context) (*sql.Tx, error)
	// mark notes the layout of the tables.
	mark(ctx context.Context, tx *sql.Tx, version int) error
	// lastRun and setLastRun read and set the largest number that a run ever had.
	lastRun(ctx context.Context, q querier) (int64, error)
	setLastRun(ctx context.Context, tx *sql.Tx, n int64) error
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Open opens the environment without a name of a state, see [OpenIn].
func Open(ctx context.Context, where string) (*Store, error) { return OpenIn(ctx, where, "") }

// OpenIn opens an environment of a state, and creates the state if there is none. where is a
// folder or, see [IsURL], the URL of a PostgreSQL database. An environment exists once it was
// locked; any other is empty. The errors that OpenIn returns include [DamagedError],
// [LostError], [AccessError], [UnreachableError], [ElsewhereError], [MovedError] and
// [ArrivingError].
func OpenIn(ctx context.Context, where, env string) (*Store, error) {
	s, err := opened(where)
	if err != nil {
		return nil, err
	}
	s.env = env
	if err := s.init(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// OpenOther opens a state of another system to read it. It neither creates nor migrates tables: a state of an older tenon is
// refused. The other errors are those of [OpenIn].
func OpenOther(ctx context.Context, where string) (*Store, error) {
	s, err := opened(where)
	if err != nil {
		return nil, err
	}
	version, err := s.version(ctx, s.read)
	switch {
	case err != nil || version == layoutVersion:
	case version >= movedLayout:
		err = s.onTheMove(ctx, version)
	default:
		err = &olderError{Path: s.where, Version: version}
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// In returns the state as another environment sees it. It needs no Close of its own.
func (s *Store) In(env string) *Store {
	if env == s.env {
		return s
	}
	other := *s
	other.env = env
	return &other
}

// Env returns the environment, "" for the one without a name.
func (s *Store) Env() string { return s.env }

// EnvironmentNamed names an environment in a sentence.
func EnvironmentNamed(env string) string {
	if env == "" {
		return "the environment without a name"
	}
	return "the environment " + env
}

// All is the environment whose lock excludes the holders of all others. What it changes is a
// change of each of them.
const All = "*"

// Environments returns the environments that exist, sorted. The one without a name comes
// first and always exists.
func (s *Store) Environments(ctx context.Context) ([]string, error) {
	all := []string{""}
	err := s.each(ctx, func(rows *sql.Rows) error {
		var env string
		if err := rows.Scan(&env); err != nil {
			return err
		}
		all = append(all, env)
		return nil
	}, "SELECT env FROM environment WHERE env <> '' AND env <> ? ORDER BY env", All)
	return all, err
}

// Exists reports whether there is a state to open, even one that is lost or elsewhere. It
// creates nothing.
func Exists(ctx context.Context, where string) (bool, error) {
	if !IsURL(where) {
		b, err := boundTo(where)
		return b != nil || err != nil || hasFile(where) || lost(where), nil
	}
	s, err := openPostgres(where)
	if err != nil {
		return false, err
	}
	version, err := s.version(ctx, s.read)
	return version > 0, errors.Join(err, s.Close())
}

func opened(where string) (*Store, error) {
	if IsURL(where) {
		return openPostgres(where)
	}
	return openSQLite(where)
}

// Close closes the state. It does not release a lease that is still held.
func (s *Store) Close() error {
	var errs []error
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if c, ok := s.database.(io.Closer); ok {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// Shared reports whether other machines can reach the state and continue what this one
// began.
func (s *Store) Shared() bool {
	_, is := s.database.(*postgres)
	return is
}

// Where returns where the state is: the absolute folder, or the URL of the database
// without its password.
func (s *Store) Where() string { return s.where }

// init creates missing tables, migrates an older layout and refuses an unknown one. Two
// processes may find no tables at once: the second one waits for the first and then finds
// them.
func (s *Store) init(ctx context.Context) error {
	version, err := s.version(ctx, s.read)
	if err != nil || version == layoutVersion {
		return err
	}
	if version >= movedLayout {
		return s.onTheMove(ctx, version)
	}
	tx, err := s.alone(ctx)
	if err != nil {
		return s.explain("make state", err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing
	if version, err = s.version(ctx, tx); err != nil || version == layoutVersion {
		return err
	}
	if version >= movedLayout { // it was moved in the meantime
		return errors.Join(tx.Rollback(), s.onTheMove(ctx, version))
	}
	if version == 0 {
		err = create(ctx, tx)
	} else {
		err = s.upgrade(ctx, tx, version)
	}
	if held := (*HeldError)(nil); errors.As(err, &held) {
		return err
	} else if err != nil {
		return s.explain("make state", err)
	}
	if err := s.mark(ctx, tx, layoutVersion); err != nil {
		return s.explain("make state", err)
	}
	return s.explain("make state", tx.Commit())
}

// known refuses a layout that this version of tenon does not know.
func known(where, remedy string, version int) (int, error) {
	switch {
	case version == movedLayout, version == arrivingLayout:
	case version > layoutVersion:
		return 0, &newerError{Path: where, Version: version}
	case version < 1:
		return 0, &DamagedError{Path: where, Err: fmt.Errorf("unknown layout %d", version), Remedy: remedy}
	}
	return version, nil
}

func (s *Store) notify(doing string, ended bool) {
	if s.OnWrite != nil {
		s.OnWrite(doing, ended)
	}
}

// upgrade migrates an older layout, unless an older version of tenon is using it.
func (s *Store) upgrade(ctx context.Context, tx *sql.Tx, version int) error {
	held, err := s.In(All).holder(ctx, tx, nil)
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

// newLineage returns the random name of a state.
func newLineage() (string, error) {
	b := make([]byte, 16)
	_, err := rand.Read(b)
	return hex.EncodeToString(b), err
}

func create(ctx context.Context, tx *sql.Tx) error {
	lineage, err := newLineage()
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, schema); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO meta(id, lineage, serial, system, fence) VALUES (1, ?, 0, '', 0)", lineage)
	return err
}
