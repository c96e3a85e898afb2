package live

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
)

const (
	// mostDifferences is how many differences of a file are kept, mostSaid how many are logged.
	mostDifferences = 100
	mostSaid        = 10
	// mostKept is the size of the file of differences. Then another one begins, and there is one
	// before it.
	mostKept = 1 << 20
)

// report logs and keeps differences, and writes what was found in all.
func (c *Check) report(counts *Counts, found *requests.Replayed, differences []requests.Differing) error {
	for i, d := range differences {
		if i == mostSaid {
			c.Say(fmt.Sprintf("parity: %d rows differ", found.Differing))
			break
		}
		c.Say("parity: " + d.String())
	}
	var lines bytes.Buffer
	out := json.NewEncoder(&lines)
	for _, d := range differences {
		if err := out.Encode(d); err != nil {
			return err
		}
	}
	path := filepath.Join(c.Kept, requests.DifferencesFile)
	if info, err := os.Stat(path); err == nil && info.Size() > mostKept {
		_ = os.Rename(path, path+requests.OlderDifferences) // or it grows
	}
	var err error
	if lines.Len() > 0 {
		err = appendTo(path, lines.Bytes())
	}
	b, failed := json.Marshal(requests.Parity{
		Instance: c.Head.Instance, Checked: counts.Checked, Different: counts.Different, Columns: counts.Columns, Last: counts.Last, Notes: found.Notes,
	})
	if failed == nil {
		failed = files.Write(filepath.Join(c.Kept, requests.ParityFile), append(b, '\n'), 0o600)
	}
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("keep what was found: %w", err)
	}
	return nil
}

func appendTo(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}
