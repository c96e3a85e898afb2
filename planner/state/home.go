package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tenon-ml/tenon/internal/files"
)

// homeName is the file in the folder of a state that says where the folder is and how far
// the state had come. A copy of the folder, or of the database alone, differs from it.
const homeName = "home.json"

type home struct {
	Dir     string `json:"dir"` // absolute, without links
	Lineage string `json:"lineage"`
	Serial  int64  `json:"serial"`
}

// A StrayError means that a state is not where, or what, the folder was last used with.
// What it records may be run by another state, or miss what runs. [Lease.Adopt] resolves
// it.
type StrayError struct {
	Dir string
	// Copied is the folder that this one is a copy of, Moved the one where it was. If both
	// are empty, the database is older than the folder.
	Copied, Moved string
	Serial, Was   int64
}

func (e *StrayError) Error() string {
	switch {
	case e.Copied != "":
		return fmt.Sprintf("%s is a copy of %s, but what runs belongs to the original: work there, or run tenon adopt to make the copy an independent system", e.Dir, e.Copied)
	case e.Moved != "":
		return fmt.Sprintf("%s was moved from %s, where it started services: move it back, or run tenon adopt, which stops them; the next apply starts them here", e.Dir, e.Moved)
	}
	return fmt.Sprintf("%s is older than what was last used here (serial %d, not %d), as if it was restored from a backup: restore the newer one, or run tenon adopt, which stops what still runs; the next apply starts it again",
		filepath.Join(e.Dir, fileName), e.Serial, e.Was)
}

// atHome returns a [StrayError] if the state is not the one that its folder was last used
// with, or if the folder is somewhere else. A folder that started nothing may move. A state that
// moved to a database is an [ElsewhereError].
func (s *Store) atHome(ctx context.Context) error {
	if err := s.notMoved(ctx); err != nil {
		return err
	}
	h, err := readHome(s.where)
	if h == nil || err != nil {
		return err
	}
	var lineage string
	var serial int64
	if err := s.row(ctx, "read state", []any{&lineage, &serial}, "SELECT lineage, serial FROM meta"); err != nil {
		return err
	}
	if lineage != h.Lineage || serial < h.Serial {
		return &StrayError{Dir: s.where, Serial: serial, Was: h.Serial}
	}
	here, err := filepath.EvalSymlinks(s.where)
	if err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	if here == h.Dir || same(here, h.Dir) {
		return nil
	}
	if original, err := readHome(h.Dir); err == nil && original != nil && original.Lineage == h.Lineage {
		return &StrayError{Dir: s.where, Copied: h.Dir}
	}
	var running int
	if err := s.row(ctx, "read state", []any{&running}, "SELECT (SELECT count(*) FROM current WHERE handle <> '') + (SELECT count(*) FROM pending)"); err != nil {
		return err
	}
	if running > 0 {
		return &StrayError{Dir: s.where, Moved: h.Dir}
	}
	return nil
}

// notMoved returns an [ElsewhereError] if the state has moved to a database, and a copy from
// before took its place.
func (s *Store) notMoved(ctx context.Context) error {
	b, err := boundTo(s.where)
	if b == nil || err != nil {
		return err
	}
	meta, err := s.Meta(ctx)
	if err == nil && meta.Lineage == b.Lineage {
		err = &ElsewhereError{Dir: s.where, Where: b.Where}
	}
	return err
}

// same reports whether two paths are one folder, as with a bind mount.
func same(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

func readHome(dir string) (*home, error) {
	h, err := readNote[home](filepath.Join(dir, homeName))
	if err != nil {
		return nil, fmt.Errorf("find the former place of the state: %w", err)
	}
	return h, nil
}

// noteHome records where the state is and how far it has come. A power failure may bring
// back an older note, which refuses less.
func (l *Lease) noteHome() error {
	if l.s.Shared() {
		return nil
	}
	here, err := filepath.EvalSymlinks(l.s.where)
	if err != nil {
		return fmt.Errorf("record the place of the state: %w", err)
	}
	b, err := json.Marshal(home{Dir: here, Lineage: l.lineage, Serial: l.total})
	if err == nil {
		err = files.Write(filepath.Join(here, homeName), append(b, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("record the place of the state: %w", err)
	}
	return nil
}

// Adopt makes the state the one of its folder. It forgets services and what was being
// started: end what still runs before, unless it belongs to the original of a copy. With
// apart set, the state gets a lineage of its own. It needs the lease of [All].
func (l *Lease) Adopt(ctx context.Context, apart bool) error {
	lineage := l.lineage
	if apart {
		var err error
		if lineage, err = newLineage(); err != nil {
			return err
		}
	}
	err := l.change(ctx, true, "adopt the state", func(ctx context.Context, tx *sql.Tx) error {
		for _, q := range []string{
			"DELETE FROM applied WHERE (env, unit) IN (SELECT env, unit FROM current WHERE handle <> '')",
			"DELETE FROM current WHERE handle <> ''",
			"DELETE FROM pending",
		} {
			if _, err := tx.ExecContext(ctx, q); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, "UPDATE meta SET lineage = ?", lineage)
		return err
	})
	if err != nil {
		return err
	}
	l.lineage = lineage
	return l.noteHome()
}
