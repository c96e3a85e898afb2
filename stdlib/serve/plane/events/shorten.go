package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/features"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A begins is where a log begins of which parts were removed. The file is there before they go.
type begins struct {
	From   int64  `json:"from"`   // the first event that is there
	Before int64  `json:"before"` // events before this time may be missing, in the unit of the column
	Time   string `json:"time"`   // the column with the times of events
	Type   string `json:"type"`   // of that column
}

const beginsFile = "events.begins"

func readBegins(dir string) (b begins, err error) {
	text, err := os.ReadFile(filepath.Join(dir, beginsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &b)
	}
	if err != nil {
		return b, fmt.Errorf("read where the log of events begins: %w", err)
	}
	return b, nil
}

// mostDropped is how many events are dropped by one start at most, whose keys are in memory.
const mostDropped = 5_000_000

// shorten removes the oldest parts of the log, as far as all their events are older than the
// history keeps them and the table has their keys. The log is locked.
func (f *Feed) shorten(ctx context.Context, s *step.Step, newest int64) error {
	h, l := f.history, f.log
	column, keep := h.Times()
	if column < 0 || keep == 0 {
		return nil
	}
	missing := map[string]int{} // keys of events that the table lacks, by the part
	n := 0
	for n < len(l.parts) && l.parts[n].newest < newest-keep && l.parts[n].to-l.begins.From <= mostDropped {
		var key []byte
		_, err := l.parts[n].each(ctx, mapped(l.columns, func(event []rowsql.Value) error {
			key = h.AppendKey(key[:0], event)
			if _, ok := missing[string(key)]; !ok {
				missing[string(key)] = n
			}
			return nil
		}))
		if err != nil {
			return err
		}
		n++
	}
	if n == 0 {
		return nil
	}
	var key []byte
	err := h.ReadTable(ctx, s, func(_ int64, row []rowsql.Value) error {
		key = h.AppendKey(key[:0], row)
		delete(missing, string(key))
		return nil
	})
	if err != nil {
		return err
	}
	for _, i := range missing {
		n = min(n, i)
	}
	if n == 0 {
		return nil
	}
	b := l.begins
	b.From, b.Time, b.Type = l.parts[n-1].to, h.Time(), l.columns[column].Type
	for _, p := range l.parts[:n] {
		b.Before = max(b.Before, p.newest+1)
	}
	text, err := json.Marshal(b)
	if err == nil {
		err = files.WriteSynced(filepath.Join(l.dir, beginsFile), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("shorten the log of events: %w", err)
	}
	l.begins, l.parts = b, l.parts[n:]
	return nil
}

// removed removes parts that the log does not begin with any more, also those that a killed
// process has left.
func (l *log) removed() {
	all, err := partsOf(l.dir)
	for _, p := range all {
		if err != nil || p.from >= l.begins.From {
			return
		}
		if info, err := os.Stat(p.path); err == nil && os.Remove(p.path) == nil {
			l.others.Add(-info.Size())
		}
	}
}

// complete makes the history refuse what needs events that were dropped and that the table lacks.
// It refuses a history whose windows would need such events for every row.
func (b begins) complete(h *features.History, newest int64, table int64, hasTable bool) error {
	if b.From == 0 || h.Time() == b.Time && hasTable && h.Covers(table, b.Before) {
		return nil
	}
	if h.Time() == b.Time && h.Reaches(newest, b.Before) {
		h.Begin(b.Before)
		return nil
	}
	reaches := "is empty"
	if hasTable {
		reaches = "reaches to " + b.text(table)
	}
	return fmt.Errorf("events before %s are needed and not kept: the log of events begins there, by its column %s, and the table of the history %s, so events between may be in neither. Let the table reach further, with what is newer in its source, or let the windows look back less far", b.text(b.Before), b.Time, reaches)
}

// text is a time as text.
func (b begins) text(at int64) string {
	text, err := rowsql.Int(at).Format(ir.Types[b.Type])
	if err != nil {
		return "another time"
	}
	return text
}
