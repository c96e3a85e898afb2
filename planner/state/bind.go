package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tenon-ml/tenon/internal/files"
)

// boundName names the file in a folder that says to which state its runs and artifacts
// belong, if the state is in a database. Earlier versions wrote formerBoundName.
const (
	boundName       = "database.json"
	formerBoundName = "record.json"
)

type bound struct {
	Lineage string `json:"lineage"`
	Where   string `json:"where"` // without a password
}

// An ElsewhereError means that a folder belongs to another state than the requested one,
// which would know nothing of what runs.
type ElsewhereError struct {
	Dir   string
	Where string // where it is
}

func (e *ElsewhereError) Error() string {
	return fmt.Sprintf("%s belongs to the state in %s", e.Dir, e.Where)
}

// Bind makes dir the folder in which this machine keeps what belongs to the state: runs,
// artifacts, caches. It returns an [ElsewhereError] if dir belongs to another state, and
// a [LostError] if no state knows its contents. A state in a folder uses that folder, and
// Bind returns a [StrayError] if it was last used with another one.
func (s *Store) Bind(ctx context.Context, dir string) error {
	p, ok := s.database.(*postgres)
	if !ok {
		return s.atHome(ctx)
	}
	meta, err := s.Meta(ctx)
	if err != nil {
		return err
	}
	b, err := boundTo(dir)
	switch {
	case err != nil:
		return err
	case hasFile(dir) && !leftBehind(ctx, dir, b != nil):
		return &ElsewhereError{Dir: dir, Where: filepath.Join(dir, fileName)}
	case b != nil && b.Lineage == meta.Lineage && b.Where == p.where:
		return nil
	case !used(dir):
	case b == nil:
		return &LostError{Path: p.where, Gone: filepath.Join(dir, boundName), Remedy: restoreFolder}
	case b.Lineage == meta.Lineage: // the state moved
	case b.Where == p.where:
		return &LostError{Path: p.where, Gone: "the state " + b.Lineage + " in " + p.where, Remedy: restoreSchema + " with " + dir + " moved away"}
	default:
		return &ElsewhereError{Dir: dir, Where: b.Where}
	}
	return bindTo(dir, meta.Lineage, p.where)
}

// bindTo records which state dir belongs to.
func bindTo(dir, lineage, where string) error {
	text, err := json.Marshal(bound{Lineage: lineage, Where: where})
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = files.WriteSynced(filepath.Join(dir, boundName), append(text, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("bind %s to the state: %w", dir, err)
	}
	return nil
}

// boundTo returns which state dir belongs to, or nil for none.
func boundTo(dir string) (*bound, error) {
	b, err := readNote[bound](filepath.Join(dir, boundName))
	if b == nil && err == nil {
		b, err = readNote[bound](filepath.Join(dir, formerBoundName))
	}
	if err != nil {
		return nil, fmt.Errorf("find the owner of the folder: %w", err)
	}
	return b, nil
}

// readNote reads a JSON file beside the state, or returns nil if there is none.
func readNote[T any](path string) (*T, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	note := new(T)
	if err == nil {
		err = json.Unmarshal(text, note)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return note, nil
}
