package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tenon-ml/tenon/internal/files"
)

// A database that a state has left, or in which it has not completely arrived, has one of
// these layouts, so that no version of tenon opens it as a state.
const (
	movedLayout = 1<<20 + iota
	arrivingLayout
)

// moving lists the tables that move, with the columns of their keys, each after those that
// it refers to. Locks and controllers do not move: they are processes that use this database.
var moving = []struct{ name, key string }{
	{"meta", "id"},
	{"environment", "env"},
	{"revision", "env, number"},
	{"approval", "env, plan, identity"},
	{"run", "id"},
	{"output", "run, port"},
	{"pending", "run"},
	{"current", "env, unit"},
	{"applied", "env, unit"},
	{"took", "unit"},
	{"model", "model, version"},
	{"registered", "env, model, version"},
	{"unstable", "unit"},
	{"measurement", "env, monitor, number"},
	{"loop_act", "env, loop, number"},
	{"pin", "env, unit, made"},
}

// movedTable is in both databases of a move: what each knows of the other one. The number
// identifies the move.
const movedTable = `CREATE TABLE moved (
	id      TEXT NOT NULL,
	lineage TEXT NOT NULL,
	serial  INTEGER NOT NULL,
	place   TEXT NOT NULL, -- the other database
	host    TEXT NOT NULL  -- of the folder that it is, or empty
)`

type movedNote struct {
	id, lineage string
	serial      int64
	place, host string
}

// Moved is what [Lease.MoveTo] has done.
type Moved struct {
	From    string       `json:"from"`
	To      string       `json:"to"`
	Lineage string       `json:"lineage"`
	Serial  int64        `json:"serial"`
	Tables  []MovedTable `json:"tables"` // empty if an earlier move was only completed
}

// A MovedTable is one table of a move. The digest is that of its rows, in both databases.
type MovedTable struct {
	Name   string `json:"name"`
	Rows   int64  `json:"rows"`
	Digest string `json:"digest"`
}

// A MovedError means that the state is somewhere else now.
type MovedError struct {
	Where string
	To    string
	Host  string // of the folder To, or empty
}

func (e *MovedError) Error() string {
	return fmt.Sprintf("the state in %s was moved to %s", e.Where, placeOn(e.To, e.Host))
}

// An ArrivingError means that a move of the state to here has not come to its end.
type ArrivingError struct {
	Where string
	From  string
	Host  string // of the folder From, or empty
	Err   error  // why nobody knows whether the state has left From, or nil: it is still there
}

func (e *ArrivingError) Error() string {
	from := placeOn(e.From, e.Host)
	if e.Err == nil {
		return fmt.Sprintf("a move of the state to %s was interrupted, and the state is still in %s: use it there, or run tenon state move again", e.Where, from)
	}
	return fmt.Sprintf("a move of the state from %s to %s was interrupted, and may be complete except for the last step: run the same tenon state move again (%v)", from, e.Where, e.Err)
}

func (e *ArrivingError) Unwrap() error { return e.Err }

func placeOn(place, host string) string {
	if here, _ := os.Hostname(); host == "" || host == here {
		return place
	}
	return place + " on " + host
}

// MoveTo moves the state to an empty or absent database: from a folder to the URL of a
// database, from there to another one, or to the folder of this machine's runs. It needs the lease of
// [All]. What runs goes on, and its handles stay valid. Progress is called with the number of
// rows that were copied, of all.
//
// The copy is marked as arriving until the source is marked as moved. That mark is the one
// step that decides where the state is. If the process is killed before, the state is where
// it was, and the next move replaces the copy. If it is killed after, whoever opens the copy
// removes its mark, once it sees that of the source.
func (l *Lease) MoveTo(ctx context.Context, to string, progress func(done, total int64)) (*Moved, error) {
	if l.s.env != All {
		return nil, errors.New("move the state: not all environments are locked")
	}
	if !l.s.Shared() && !IsURL(to) {
		return nil, errors.New("move the state: it does not move between two folders")
	}
	d, err := destination(to)
	if err != nil {
		return nil, err
	}
	if d.where == l.s.where {
		return nil, errors.Join(fmt.Errorf("the state is in %s already", d.where), d.Close())
	}
	d.OnWrite = l.s.OnWrite
	m, err := l.moveTo(ctx, d, progress)
	return m, errors.Join(err, d.Close())
}

func (l *Lease) moveTo(ctx context.Context, d *Store, progress func(done, total int64)) (*Moved, error) {
	id, err := newLineage()
	if err != nil {
		return nil, err
	}
	m := &Moved{From: l.s.where, To: d.where, Lineage: l.lineage, Serial: l.total}
	n := movedNote{id: id, lineage: l.lineage, serial: l.total, place: l.s.where, host: l.s.host()}
	if m.Tables, err = l.copyTo(ctx, d, n, progress); err != nil {
		return nil, err
	}
	n.place, n.host = d.where, d.host()
	if err := l.leave(ctx, n); err != nil {
		return nil, fmt.Errorf("%w; run the same command again", err)
	}
	n.place, n.host = l.s.where, l.s.host()
	if err := d.arrive(ctx, n); err != nil {
		return nil, fmt.Errorf("%w; the state has moved: run the same command again to complete it", err)
	}
	return m, nil
}

// FinishMove completes an earlier move from one place to another, if it was interrupted
// after the state had left. It returns the [MovedError] if the state has moved somewhere
// else.
func FinishMove(ctx context.Context, from, to string, moved *MovedError) (_ *Moved, err error) {
	d, err := destination(to)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if d.where != moved.To {
		return nil, moved
	}
	version, err := d.version(ctx, d.read)
	if err != nil {
		return nil, err
	}
	switch version {
	case arrivingLayout:
		n, err := d.movedNote(ctx, d.read)
		if err != nil {
			return nil, err
		}
		left, err := hasLeft(ctx, from, n)
		if err != nil {
			return nil, err
		}
		if !left {
			return nil, moved
		}
		if err := d.arrive(ctx, n); err != nil {
			return nil, err
		}
		return &Moved{From: moved.Where, To: d.where, Lineage: n.lineage, Serial: n.serial, Tables: []MovedTable{}}, nil
	default:
		return nil, moved
	}
}

// destination opens a database to move to, without making any tables.
func destination(to string) (*Store, error) {
	if IsURL(to) {
		return openPostgres(to)
	}
	dir, err := filepath.Abs(to)
	if err != nil {
		return nil, fmt.Errorf("move the state: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("move the state: %w", err)
	}
	return openFile(&sqlite{path: filepath.Join(dir, fileName)}, dir)
}

// host is the machine of a state in a folder.
func (s *Store) host() string {
	if s.Shared() {
		return ""
	}
	host, _ := os.Hostname()
	return host
}

// copyTo copies all tables in one transaction, and compares what it finds afterwards.
func (l *Lease) copyTo(ctx context.Context, d *Store, n movedNote, progress func(done, total int64)) ([]MovedTable, error) {
	var total, done int64
	for _, t := range moving {
		var rows int64
		if err := l.s.row(ctx, "move the state", []any{&rows}, "SELECT count(*) FROM "+t.name); err != nil {
			return nil, err
		}
		total += rows
	}
	last, err := l.s.lastRun(ctx, l.s.read)
	if err != nil {
		return nil, l.s.explain("move the state", err)
	}
	copied := make([]MovedTable, 0, len(moving))
	err = d.durably(ctx, "copy the state", func(ctx context.Context, tx *sql.Tx) error {
		if err := d.clear(ctx, tx, n); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, schema); err != nil {
			return err
		}
		for _, t := range moving {
			table, err := copyTable(ctx, l.s.read, tx, t.name, t.key, func(rows int64) {
				if done += rows; progress != nil {
					progress(done, total)
				}
			})
			if err != nil {
				return fmt.Errorf("table %s: %w", t.name, err)
			}
			copied = append(copied, table)
		}
		if err := d.setLastRun(ctx, tx, last); err != nil {
			return err
		}
		return d.note(ctx, tx, n, arrivingLayout)
	})
	if err != nil {
		return nil, err
	}
	for i, t := range moving {
		found, err := readTable(ctx, d.read, t.name, t.key, func([]string, []any) error { return nil })
		if err != nil {
			return nil, d.explain("verify the copy of the state", err)
		}
		if found != copied[i] {
			return nil, fmt.Errorf("verify the copy of the state: table %s has %d rows (%s) in %s, but %d (%s) in %s: the state stays there",
				t.name, found.Rows, found.Digest, d.where, copied[i].Rows, copied[i].Digest, l.s.where)
		}
	}
	if found, err := d.lastRun(ctx, d.read); err != nil || found != last {
		return nil, d.explain("verify the copy of the state", errors.Join(err, fmt.Errorf("the last run is %d, not %d", found, last)))
	}
	return copied, nil
}

// clear makes the destination empty, or refuses it. What may be there is a state that was
// never used, or what an earlier move of the same state has left.
func (s *Store) clear(ctx context.Context, tx *sql.Tx, n movedNote) error {
	version, err := s.version(ctx, tx)
	if err != nil || version == 0 {
		return err
	}
	refused := fmt.Errorf("%s already holds a state: move to an empty place", s.where)
	if version < layoutVersion {
		return refused
	}
	if version >= movedLayout {
		left, err := s.movedNote(ctx, tx)
		if err != nil {
			return err
		}
		if left.lineage != n.lineage || left.serial > n.serial {
			return fmt.Errorf("%s holds what a move has left of another, or of a newer, state: move to an empty place", s.where)
		}
	} else {
		var used int64
		if err := tx.QueryRowContext(ctx, "SELECT serial + fence FROM meta").Scan(&used); err != nil {
			return err
		}
		if used > 0 {
			return refused
		}
	}
	for i := len(moving) - 1; i >= 0; i-- {
		if _, err := tx.ExecContext(ctx, "DROP TABLE "+moving[i].name); err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, "DROP TABLE lease; DROP TABLE IF EXISTS controller; DROP TABLE IF EXISTS moved")
	return err
}

// leave marks the state as moved. From then on it is at the destination. Whoever waits for
// the lock, even with an older version, finds no row in meta.
func (l *Lease) leave(ctx context.Context, n movedNote) error {
	const doing = "mark the state as moved"
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.s.notify(doing, false)
	defer l.s.notify(doing, true)
	tx, err := l.s.begin(ctx)
	if err != nil {
		return l.s.explain(doing, err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing
	var token, serial int64
	if err := tx.QueryRowContext(ctx, "SELECT token, serial FROM lease, meta WHERE env = ?", All).Scan(&token, &serial); errors.Is(err, sql.ErrNoRows) || err == nil && token != l.token {
		l.fence()
		return ErrFenced
	} else if err != nil {
		return l.s.explain(doing, err)
	}
	if serial != n.serial {
		return l.s.explain(doing, errReplaced)
	}
	if err := l.s.note(ctx, tx, n, movedLayout); err != nil {
		return l.s.explain(doing, err)
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM meta"); err != nil {
		return l.s.explain(doing, err)
	}
	if err := tx.Commit(); err != nil {
		return l.s.explain(doing, err)
	}
	return l.s.explain(doing, l.s.sync())
}

// arrive makes the copy the state, after the source was marked as moved. The notes in the
// folder come first, because a state without them would be refused. Between two databases,
// [Store.Bind] writes them on each machine.
func (s *Store) arrive(ctx context.Context, n movedNote) error {
	if p, ok := s.database.(*postgres); ok {
		if !IsURL(n.place) {
			if err := bindTo(n.place, n.lineage, p.where); err != nil {
				return err
			}
		}
	} else {
		here, err := filepath.EvalSymlinks(s.where)
		if err != nil {
			return fmt.Errorf("record the place of the state: %w", err)
		}
		b, err := json.Marshal(home{Dir: here, Lineage: n.lineage, Serial: n.serial})
		if err == nil {
			err = files.WriteSynced(filepath.Join(here, homeName), append(b, '\n'), 0o600)
		}
		if err != nil {
			return fmt.Errorf("record the place of the state: %w", err)
		}
		for _, name := range []string{boundName, formerBoundName} {
			if err := os.Remove(filepath.Join(here, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("record the place of the state: %w", err)
			}
		}
		if err := syncDir(here); err != nil {
			return fmt.Errorf("record the place of the state: %w", err)
		}
	}
	return s.durably(ctx, "complete the move of the state", func(ctx context.Context, tx *sql.Tx) error {
		version, err := s.version(ctx, tx)
		if err != nil || version != arrivingLayout { // another process was faster
			return err
		}
		if _, err := tx.ExecContext(ctx, "DROP TABLE moved"); err != nil {
			return err
		}
		return s.mark(ctx, tx, layoutVersion)
	})
}

// onTheMove returns why a database with a mark cannot be used, or completes the move to it.
func (s *Store) onTheMove(ctx context.Context, version int) error {
	n, err := s.movedNote(ctx, s.read)
	if err != nil {
		return err
	}
	if version == movedLayout {
		return &MovedError{Where: s.where, To: n.place, Host: n.host}
	}
	left, err := hasLeft(ctx, n.place, n)
	if err != nil || !left {
		return &ArrivingError{Where: s.where, From: n.place, Host: n.host, Err: err}
	}
	return s.arrive(ctx, n)
}

// hasLeft reports whether the source of a move is marked as moved.
func hasLeft(ctx context.Context, from string, n movedNote) (_ bool, err error) {
	if here, _ := os.Hostname(); n.host != "" && n.host != here {
		return false, fmt.Errorf("%s is on %s", n.place, n.host)
	}
	if !IsURL(from) && !hasFile(from) {
		return false, &LostError{Path: filepath.Join(from, fileName), Gone: filepath.Join(from, fileName), Remedy: restoreFolder}
	}
	s, err := destination(from)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	version, err := s.version(ctx, s.read)
	if err != nil || version != movedLayout {
		return false, err
	}
	source, err := s.movedNote(ctx, s.read)
	return err == nil && source.id == n.id, err
}

// leftBehind reports whether the database in a folder is no state: one has moved away, or
// has not arrived. A folder that is bound to a state may also have an empty one, from a move
// that had just begun.
func leftBehind(ctx context.Context, dir string, bound bool) bool {
	s, err := openFile(&sqlite{path: filepath.Join(dir, fileName)}, dir)
	if err != nil {
		return false
	}
	defer s.Close()
	version, err := s.version(ctx, s.read)
	return err == nil && (version >= movedLayout || version == 0 && bound)
}

func (s *Store) note(ctx context.Context, tx *sql.Tx, n movedNote, version int) error {
	if _, err := tx.ExecContext(ctx, movedTable); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO moved(id, lineage, serial, place, host) VALUES (?, ?, ?, ?, ?)", n.id, n.lineage, n.serial, n.place, n.host); err != nil {
		return err
	}
	return s.mark(ctx, tx, version)
}

func (s *Store) movedNote(ctx context.Context, q querier) (n movedNote, err error) {
	err = q.QueryRowContext(ctx, "SELECT id, lineage, serial, place, host FROM moved").Scan(&n.id, &n.lineage, &n.serial, &n.place, &n.host)
	return n, s.explain("read state", err)
}

// durably makes one transaction that excludes everybody else, and returns when it is on
// disk.
func (s *Store) durably(ctx context.Context, doing string, f func(ctx context.Context, tx *sql.Tx) error) error {
	s.notify(doing, false)
	defer s.notify(doing, true)
	if f, ok := s.database.(*sqlite); ok { // otherwise a commit does not wait for the disk
		if _, err := f.write.ExecContext(ctx, "PRAGMA synchronous=FULL"); err != nil {
			return s.explain(doing, err)
		}
	}
	tx, err := s.alone(ctx)
	if err != nil {
		return s.explain(doing, err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing
	if err := f(ctx, tx); err != nil {
		return s.explain(doing, err)
	}
	if err := tx.Commit(); err != nil {
		return s.explain(doing, err)
	}
	if s.Shared() {
		return nil
	}
	return s.explain(doing, syncDir(s.where)) // which names the files
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
