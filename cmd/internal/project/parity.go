package project

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
)

// Differences calls f for the differences that a deployment has found in its requests while it
// runs, the oldest first, and returns what it has found in all; nil before its first check. Without
// a name it is the only deployment that checks requests.
func (w *Workspace) Differences(ctx context.Context, name string, since time.Time, f func(requests.Differing) error) (unit string, found *requests.Parity, err error) {
	s, err := w.deployed(ctx)
	if err != nil {
		return "", nil, err
	}
	u, err := s.checking(name)
	if err != nil {
		return "", nil, err
	}
	dir := w.checksDir(u.ID)
	for _, suffix := range []string{requests.OlderDifferences, ""} {
		file, err := os.Open(filepath.Join(dir, requests.DifferencesFile+suffix))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return u.ID, nil, err
		}
		err = eachLine(file, func(line []byte) error {
			var d requests.Differing
			if json.Unmarshal(line, &d) != nil || d.Time.Before(since) {
				return nil // a line that a crash has cut off, or an older one
			}
			return f(d)
		})
		if err = errors.Join(err, file.Close()); err != nil {
			return u.ID, nil, err
		}
	}
	found, err = readParity(dir)
	return u.ID, found, err
}

func (w *Workspace) checksDir(unit string) string {
	return requests.Checks(executors.KeptDir(w.dir, w.set.Env, unit))
}

func eachLine(file *os.File, f func(line []byte) error) error {
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		if err := f(lines.Bytes()); err != nil {
			return err
		}
	}
	return lines.Err()
}

// readParity reads what checks have found, or returns nil before the first one.
func readParity(dir string) (*requests.Parity, error) {
	b, err := os.ReadFile(filepath.Join(dir, requests.ParityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var found requests.Parity
	if err == nil {
		err = json.Unmarshal(b, &found)
	}
	if err != nil {
		return nil, fmt.Errorf("read what checks have found: %w", err)
	}
	return &found, nil
}

// checksParity reports whether a service checks requests while it runs.
func checksParity(u *ir.Unit) bool {
	var params struct {
		Parity float64 `json:"parity"`
	}
	return u.Kind == ir.Service && json.Unmarshal(u.Params, &params) == nil && params.Parity > 0
}

// checking returns the deployment of a name, which checks requests.
func (s *snapshot) checking(name string) (*ir.Unit, error) {
	return s.deployment(name, checksParity, "checks", "parity: 0.001")
}

// differs says which requests of a service differ from training, or returns "". Instance is the
// start of the service that runs.
func (w *Workspace) differs(u *ir.Unit, instance string) string {
	if !checksParity(u) {
		return ""
	}
	found, err := readParity(w.checksDir(u.ID))
	if err != nil || found == nil || found.Different == 0 || found.Instance != instance {
		return ""
	}
	return fmt.Sprintf("%d of %d checked rows differ from training: tenon requests %s --different", found.Different, found.Checked, u.ID)
}
