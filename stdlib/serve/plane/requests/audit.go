package requests

import (
	"bufio"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Audit is the folder of the audit log in the one that a service keeps. It has files of lines, whose
// names sort by the time at which they begin.
func Audit(kept string) string { return filepath.Join(kept, "audit") }

const (
	AuditPrefix = "audit-"
	AuditSuffix = ".jsonl"
)

// longestAuditLine is that of a line, in bytes; see [edge.Entry] for what it has.
const longestAuditLine = 1 << 16

// AuditTime is how a line of an audit log has the time, in UTC. Such texts sort by time.
const AuditTime = "2006-01-02T15:04:05.000000Z"

// An AuditLine is what a line of an audit log says.
type AuditLine struct {
	Time    string  `json:"time"` // as [AuditTime]
	Status  int     `json:"status"`
	MS      float64 `json:"ms"`
	Caller  string  `json:"caller"`
	Address string  `json:"address"`
	ID      string  `json:"id"`
	Method  string  `json:"method"`
	Path    string  `json:"path"`
	Version string  `json:"version"`
	Rows    int     `json:"rows"`
}

// An audited line, with what it says.
type audited struct {
	AuditLine
	text string
}

// AuditFiles returns the files of an audit log, sorted by the time at which they begin. A folder that does not
// exist has none.
func AuditFiles(dir string) (paths []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), AuditPrefix) && strings.HasSuffix(e.Name(), AuditSuffix) {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, err
}

// Audited calls f for lines of an audit log, as they are and as they read, the oldest first. Of the
// selection it knows Log, Since, ID and Limit. Lines that a crash has cut off are left out.
func Audited(ask Selection, f func(text string, line AuditLine) error) error {
	paths, err := AuditFiles(ask.Log)
	if err != nil {
		return err
	}
	since := ask.Since.UTC().Format(AuditTime)
	var all []audited
	newest := func() {
		slices.SortStableFunc(all, func(a, b audited) int { return strings.Compare(a.Time, b.Time) })
		if ask.Limit > 0 && len(all) > ask.Limit {
			all = slices.Delete(all, 0, len(all)-ask.Limit)
		}
	}
	for _, path := range paths {
		err := eachAudited(path, func(a audited) {
			if a.Time < since || ask.ID != "" && a.ID != ask.ID {
				return
			}
			if all = append(all, a); ask.Limit > 0 && len(all) >= 2*ask.Limit+1000 {
				newest()
			}
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // which the service has just deleted
			return err
		}
	}
	newest()
	for _, a := range all {
		if err := f(a.text, a.AuditLine); err != nil {
			return err
		}
	}
	return nil
}

func eachAudited(path string, f func(audited)) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, longestAuditLine)
	for lines.Scan() {
		a := audited{text: lines.Text()}
		if json.Unmarshal(lines.Bytes(), &a.AuditLine) == nil {
			f(a)
		}
	}
	return errors.Join(lines.Err(), file.Close())
}
