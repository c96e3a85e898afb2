package events

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// A Kept says what a folder has of a log.
type Kept struct {
	Name string // "" if there is no log
	// From is the number of the first event that is there. If it is not 0, events before a time may
	// be missing: that of a column of some type, in its unit.
	From, Before int64
	Time, Type   string
}

// Look returns what a folder has of a log.
func Look(dir string) (k Kept, err error) {
	s, err := look(dir)
	if s == nil || err != nil {
		return k, err
	}
	defer s.active.f.Close()
	_, _, _, err = s.active.next(s.size)
	b := s.begins
	return Kept{Name: s.active.head.Log, From: b.From, Before: b.Before, Time: b.Time, Type: b.Type}, err
}

// A snapshot is what a log has at a moment.
type snapshot struct {
	begins begins
	parts  []part
	active frames
	size   int64 // of that
}

// look returns what a log has now; nil if there is none of this version of the program. The log is
// locked meanwhile, and not while it is read: then a service could take no events.
func look(dir string) (s *snapshot, err error) {
	if _, err := os.Stat(filepath.Join(dir, lockFile)); err != nil {
		return nil, nil
	}
	l, err := openLog(dir, nil, nil)
	if err != nil {
		return nil, err
	}
	defer l.close()
	if err := l.lock(); err != nil {
		return nil, err
	}
	defer l.unlock()
	s = &snapshot{}
	if s.begins, err = readBegins(dir); err != nil {
		return nil, err
	}
	if s.parts, err = partsOf(dir); err != nil {
		return nil, err
	}
	f, err := os.Open(l.path())
	if err != nil {
		return nil, fmt.Errorf("read the log of events: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the log of events: %w", err), f.Close())
	}
	s.active.f, s.size = f, info.Size()
	return s, nil
}

// Read calls f for the events that the log in a folder has, with their numbers. A service may
// append to it meanwhile.
func Read(ctx context.Context, dir string, columns ir.Schema, f func(number int64, event []rowsql.Value) error) error {
	s, err := look(dir)
	if s == nil || err != nil {
		return err
	}
	defer s.active.f.Close()
	number := s.begins.From - 1
	each := mapped(columns, func(event []rowsql.Value) error {
		number++
		return errors.Join(ctx.Err(), f(number, event))
	})
	for _, p := range s.parts {
		if p.from < s.begins.From {
			continue
		}
		_, err := p.each(ctx, each)
		if errors.Is(err, fs.ErrNotExist) { // it has just become Parquet
			all, failed := partsOf(dir)
			if i := slices.IndexFunc(all, func(x part) bool { return x.from == p.from }); i >= 0 && failed == nil {
				_, err = all[i].each(ctx, each)
			}
		}
		if err != nil {
			return err
		}
	}
	_, err = s.active.each(s.size, each)
	return err
}
