package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/parquet-go/parquet-go"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requestlog"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/table"
)

// A part is a file of the log that nothing is appended to any more: at first of frames, and then of
// Parquet.
type part struct {
	path    string
	from    int64 // its first event
	to      int64 // the one behind its last; -1 if the name does not say it
	parquet bool
	newest  int64 // the latest time of its events
}

func rawName(from int64) string         { return fmt.Sprintf("events-%012d.log", from) }
func parquetName(from, to int64) string { return fmt.Sprintf("events-%012d-%012d.parquet", from, to) }

// partsOf lists the parts in a folder by their first event. Of one that has both forms, it is the
// frames, which are removed once the other form has proven to be equal.
func partsOf(dir string) ([]part, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the log of events: %w", err)
	}
	active, _ := os.Stat(filepath.Join(dir, File))
	var all []part
	for _, e := range entries {
		p := part{path: filepath.Join(dir, e.Name()), to: -1, newest: math.MinInt64}
		if n, _ := fmt.Sscanf(e.Name(), "events-%d-%d.parquet", &p.from, &p.to); n == 2 && e.Name() == parquetName(p.from, p.to) {
			p.parquet = true
		} else if n, _ := fmt.Sscanf(e.Name(), "events-%d.log", &p.from); n != 1 || e.Name() != rawName(p.from) {
			continue
		}
		if info, err := e.Info(); err != nil || active != nil && os.SameFile(info, active) {
			continue // it is still appended to
		}
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b part) int {
		if a.from != b.from {
			return int(max(-1, min(1, a.from-b.from)))
		}
		if a.parquet { // behind the frames
			return 1
		}
		return -1
	})
	return slices.CompactFunc(all, func(a, b part) bool { return a.from == b.from }), nil
}

// each calls f for the rows of a part, and returns how many there are.
func (p *part) each(ctx context.Context, f func(columns ir.Schema, row []rowsql.Value) error) (rows int64, err error) {
	if p.parquet {
		return p.eachOfParquet(ctx, f)
	}
	file, err := os.Open(p.path)
	if err != nil {
		return 0, fmt.Errorf("read the log of events: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return 0, fmt.Errorf("read the log of events: %w", err)
	}
	x := frames{f: file}
	end, err := x.each(info.Size(), f)
	if err == nil && (end < info.Size() || !x.head.Sealed) {
		err = fmt.Errorf("the log of events %s is damaged at byte %d. Restore the file, or remove the log, events*, if all its events are in the table of the history", p.path, end)
	}
	return x.rows, err
}

// columnsKey names the columns of a part in its metadata.
const columnsKey = "tenon.events"

func (p *part) eachOfParquet(ctx context.Context, f func(columns ir.Schema, row []rowsql.Value) error) (rows int64, err error) {
	text, _, err := requestlog.Metadata(p.path, columnsKey)
	var columns ir.Schema
	if err == nil {
		err = json.Unmarshal([]byte(text), &columns)
	}
	if err != nil {
		return 0, fmt.Errorf("read the log of events %s: %w", p.path, err)
	}
	r, err := table.Open(p.path, columns)
	if err != nil {
		return 0, fmt.Errorf("read the log of events: %w", err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for b := new(table.Batch); ; rows += int64(b.Len()) {
		err := r.Read(ctx, b, 1024)
		if err == io.EOF {
			if rows != p.to-p.from {
				err = fmt.Errorf("the log of events %s has %d events", p.path, rows)
			} else {
				err = nil
			}
			return rows, err
		}
		if err != nil {
			return rows, fmt.Errorf("read the log of events %s: %w", p.path, err)
		}
		for i := range b.Len() {
			if err := f(columns, b.Row(i)); err != nil {
				return rows, err
			}
		}
	}
}

// follow reads the files behind what was read, and opens the one that is appended to. The log is
// locked.
func (l *log) follow(each func(columns ir.Schema, row []rowsql.Value) error) error {
	if l.file != nil { // another process may have been killed before it put the next one there
		here, err := os.Stat(l.path())
		sealed, err2 := l.file.f.Stat()
		if err := errors.Join(err, err2); err != nil {
			return fmt.Errorf("open the log of events: %w", err)
		}
		if os.SameFile(here, sealed) {
			head := l.file.head
			head.From = l.n
			if err := errors.Join(l.keepName(), l.prepare(head)); err != nil {
				return err
			}
			if err := l.replace(); err != nil {
				return err
			}
		}
	}
	all, err := partsOf(l.dir)
	if err != nil {
		return err
	}
	size := int64(0)
	for _, p := range all {
		if info, err := os.Stat(p.path); err == nil {
			size += info.Size()
		}
		if p.from < l.n {
			continue
		}
		if err := l.continues(filepath.Base(p.path), p.from); err != nil {
			return err
		}
		rows, err := p.each(context.Background(), func(columns ir.Schema, row []rowsql.Value) error {
			if l.time >= 0 {
				if i := slices.IndexFunc(columns, func(c ir.Column) bool { return c.Name == l.columns[l.time].Name }); i < 0 || row[i].Null {
					p.newest = math.MaxInt64
				} else {
					p.newest = max(p.newest, row[i].Int())
				}
			}
			return each(columns, row)
		})
		if err != nil {
			return err
		}
		l.n += rows
		p.to = l.n
		l.parts = append(l.parts, p)
	}
	l.others.Store(size)
	return l.open()
}

// errElsewhere says that another version of the service makes Parquet of a part.
var errElsewhere = errors.New("another process makes Parquet of it")

// tidy makes Parquet of parts that are frames, which is smaller, and which others read as well. The
// log is not locked: nothing is appended to them. It reports whether parts are left, because others
// make Parquet of them, who may be stopped.
func (l *log) tidy(ctx context.Context) (left bool, err error) {
	all, err := partsOf(l.dir)
	for _, p := range all {
		if err != nil || ctx.Err() != nil {
			return left, err
		}
		if p.parquet {
			continue
		}
		switch err = l.toParquet(ctx, p); {
		case errors.Is(err, fs.ErrNotExist): // another version of the service has done it
			err = nil
		case errors.Is(err, errElsewhere):
			left, err = true, nil
		}
	}
	return left, err
}

// toParquet writes a part as Parquet, and removes its frames once they are equal.
func (l *log) toParquet(ctx context.Context, p part) error {
	var columns ir.Schema
	rows, sum, err := p.sum(ctx, &columns)
	if err != nil {
		return err
	}
	to := part{path: filepath.Join(l.dir, parquetName(p.from, p.from+rows)), from: p.from, to: p.from + rows, parquet: true}
	b, err := json.Marshal(columns)
	if err != nil {
		return err
	}
	if _, err := os.Stat(to.path); err != nil {
		w, err := requestlog.CreateTable(to.path, columns, parquet.KeyValueMetadata(columnsKey, string(b)))
		if errors.Is(err, fs.ErrExist) {
			return errElsewhere
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", to.path, err)
		}
		_, err = p.each(ctx, func(_ ir.Schema, row []rowsql.Value) error {
			row = slices.Clone(row)
			return errors.Join(ctx.Err(), w.Add(func(i int) rowsql.Value { return row[i] }))
		})
		if err != nil {
			w.Abort()
			return err
		}
		if err := w.Close(); err != nil {
			return fmt.Errorf("write %s: %w", to.path, err)
		}
	}
	n, found, err := to.sum(ctx, nil)
	if ctx.Err() != nil {
		return ctx.Err() // the next start looks at it again
	}
	// Whoever reads the log now may be about to open it.
	if err := l.lock(); err != nil {
		return err
	}
	defer l.unlock()
	before, failed := os.Stat(p.path)
	switch {
	case errors.Is(failed, fs.ErrNotExist):
		return nil // another version of the service has compared them, and has removed the frames
	case err != nil || n != rows || found != sum:
		return errors.Join(fmt.Errorf("%s does not have the events of %s, which is kept", to.path, p.path), err, os.Remove(to.path))
	case failed == nil:
		failed = os.Remove(p.path)
	}
	if after, err := os.Stat(to.path); err == nil && failed == nil {
		l.others.Add(after.Size() - before.Size())
	}
	return failed
}

// sum returns how many events a part has, and a checksum of them. columns become theirs.
func (p *part) sum(ctx context.Context, columns *ir.Schema) (rows int64, sum uint32, err error) {
	var b []byte
	rows, err = p.each(ctx, func(of ir.Schema, row []rowsql.Value) error {
		if columns != nil {
			*columns = of
		}
		b = encodeRow(b[:0], of, row)
		sum = crc32.Update(sum, castagnoli, b)
		return ctx.Err()
	})
	return rows, sum, err
}
