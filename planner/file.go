package planner

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/files"
)

// ErrEdited means that a plan file changed after it was written.
var ErrEdited = errors.New("plan file was modified after it was written: write it again with tenon plan --out")

// planFile is the content of a plan file. The digest covers the bytes of the plan as they
// are in the file.
type planFile struct {
	Version int             `json:"tenon_plan"`
	Digest  string          `json:"digest"`
	Plan    json.RawMessage `json:"plan"`
}

// Write writes a plan to a file that only its owner may read: it contains the whole
// system, though not its secrets. The same plan gives the same bytes. The file is written
// completely or not at all.
func Write(path string, p *Plan) error {
	content, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	b, err := json.Marshal(planFile{Version: Version, Digest: ir.Sum(content), Plan: content})
	if err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	if err := files.WriteSynced(path, append(b, '\n'), 0o600); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write plan %s: no such folder: %s", path, filepath.Dir(path))
	} else if err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	return nil
}

// Read reads a plan that [Write] wrote. It returns [ErrEdited] if the file has changed
// since.
func Read(path string) (*Plan, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read plan: %w", err)
	}
	var f planFile
	if err := strictly(b, &f); err != nil || f.Version == 0 {
		if bytes.HasPrefix(b, []byte(`{"tenon_plan":`)) {
			return nil, fmt.Errorf("%s: %w", path, ErrEdited) // truncated, or something was appended
		}
		return nil, fmt.Errorf("%s is not a plan file", path)
	}
	if f.Version > Version {
		return nil, fmt.Errorf("%s: plan was written by a newer tenon (version %d, this one supports %d): upgrade tenon", path, f.Version, Version)
	}
	if ir.Sum(f.Plan) != f.Digest {
		return nil, fmt.Errorf("%s: %w", path, ErrEdited)
	}
	p := new(Plan)
	if err := strictly(f.Plan, p); err != nil {
		return nil, fmt.Errorf("read plan %s: %w", path, err)
	}
	p.Saved = f.Digest
	if p.System == nil {
		return nil, fmt.Errorf("read plan %s: it has no system", path)
	}
	if err := p.valid(); err != nil {
		return nil, fmt.Errorf("read plan %s: %w", path, err)
	}
	return p, nil
}

// strictly decodes JSON. A field that it does not know is an error: another tenon wrote
// it, and it means something.
func strictly(b []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("trailing data after the plan")
	}
	return nil
}
