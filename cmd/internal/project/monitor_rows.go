package project

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/tenon-ml/tenon/stdlib/monitor/window"
)

// MonitorRowsOptions say which compared rows are written, and where.
type MonitorRowsOptions struct {
	// At is the time as of which they are those that a measurement compares. The zero time is that of
	// the last measurement, or now if there is none.
	At        time.Time
	Out       string // path of the rows of the window, as Parquet
	Reference string // path of the rows of the reference, if not empty
	Force     bool   // replace what is there
}

// MonitorRows are the rows that were written.
type MonitorRows struct {
	Unit  string    `json:"unit"`
	Begin time.Time `json:"begin"` // of the window, which contains it
	End   time.Time `json:"end"`   // which the window does not contain
	window.Written
}

// WriteMonitorRows writes the rows that a monitor compares to files.
func (w *Workspace) WriteMonitorRows(ctx context.Context, name string, o MonitorRowsOptions) (*MonitorRows, error) {
	s, err := w.deployed(ctx)
	if err != nil {
		return nil, err
	}
	u, err := s.monitor(name)
	if err != nil {
		return nil, err
	}
	if u.Monitor.Drift == nil {
		return nil, &RequestError{fmt.Errorf("%s compares no rows: only a monitor.#Drift and a monitor.#Predictions do", u.ID)}
	}
	for _, path := range []string{o.Out, o.Reference} {
		if path != "" && !o.Force && exists(path) {
			return nil, existsError(path)
		}
	}
	at := o.At
	if at.IsZero() {
		at = time.Now()
		last, err := w.store.Measurements(ctx, u.ID, time.Time{}, 1)
		if err != nil {
			return nil, err
		}
		if len(last) > 0 {
			at = last[0].At
		}
	}
	q := windowAt(u.Monitor, at)
	q.Write = new(window.Files)
	made := &MonitorRows{Unit: u.ID, Begin: q.Begin, End: q.End}
	ask := func() error { return w.askWindow(ctx, s, u, &q, &made.Written) }
	if o.Reference != "" {
		ask = writing(o.Reference, &q.Write.Reference, o.Force, ask)
	}
	return made, writing(o.Out, &q.Write.Requests, o.Force, ask)()
}

// writing wraps what writes a file, whose path it sets, so that the file is complete or not there.
func writing(to string, path *string, force bool, write func() error) func() error {
	return func() error {
		return inPlace(to, "write to "+to, force, func(made string) (err error) {
			*path, err = filepath.Abs(made)
			return errors.Join(err, write())
		})
	}
}
