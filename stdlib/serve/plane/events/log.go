package events

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// File is the name of the file in a folder that events are appended to. lockFile is locked while
// a process appends, or changes which files there are. Before there was more than one file, the
// file itself was locked, as it still is.
const (
	File     = "events.log"
	lockFile = "events.lock"
)

// mostFile is the size in bytes from which the log goes on in another file.
const mostFile = 64 << 20

// A log is the events of a service in files that several processes share.
type log struct {
	dir     string
	columns ir.Schema     // of the events that this process writes
	every   time.Duration // after which the log goes on in another file; 0 is only by its size
	most    int64         // bytes of a file
	warn    func(string)
	sync    func(*os.File) error

	locked  *os.File
	file    *frames                 // that is appended to; nil until it is read
	current atomic.Pointer[os.File] // that of it
	n       int64                   // events that were read or written: the number of the next one
	own     atomic.Int64            // the size of the file, with what this process writes just now
	others  atomic.Int64            // the size of the other files
	begins  begins
	parts   []part // that were read, in their order
	time    int    // the column of an event with its time, or -1
}

// openLog opens the log of a folder.
func openLog(dir string, columns ir.Schema, warn func(string)) (*log, error) {
	l := &log{dir: dir, columns: columns.Bare(), most: mostFile, warn: warn, sync: (*os.File).Sync, time: -1}
	var err error
	if l.locked, err = os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, fmt.Errorf("open the log of events: %w", err)
	}
	return l, nil
}

func (l *log) close() {
	if l.file != nil {
		_ = l.file.f.Close() // what counts is on the disk
	}
	_ = l.locked.Close()
}

func (l *log) path() string { return filepath.Join(l.dir, File) }

// flock locks a file, or unlocks it. Its error wraps that of the system.
func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if err != syscall.EINTR {
			return err
		}
	}
}

// lock keeps other processes from changing the log.
func (l *log) lock() error {
	err := flock(l.locked, syscall.LOCK_EX)
	if err == nil && l.file != nil {
		err = flock(l.file.f, syscall.LOCK_EX)
	}
	if err != nil {
		return fmt.Errorf("lock the log of events: %w", err)
	}
	return nil
}

func (l *log) unlock() {
	if l.file != nil {
		_ = flock(l.file.f, syscall.LOCK_UN)
	}
	_ = flock(l.locked, syscall.LOCK_UN)
}

// behind reports whether other processes have written more than was read.
func (l *log) behind() bool {
	info, err := l.current.Load().Stat()
	return err != nil || info.Size() > l.own.Load() // an error is that the log goes on in another file just now
}

// size is that of all files in bytes.
func (l *log) size() int64 { return l.own.Load() + l.others.Load() }

// read calls f for each event behind those that were read. The log is locked. What was not
// completely written at its end is cut off.
func (l *log) read(f func([]rowsql.Value) error) error {
	each := mapped(l.columns, f)
	if l.file == nil {
		var err error
		if l.begins, err = readBegins(l.dir); err != nil {
			return err
		}
		l.n = l.begins.From
		if err := l.follow(each); err != nil {
			return err
		}
	}
	for {
		info, err := l.file.f.Stat()
		if err != nil {
			return err
		}
		before := l.file.rows
		end, err := l.file.each(info.Size(), each)
		l.n += l.file.rows - before
		l.own.Store(end)
		switch {
		case err != nil:
			return err
		case l.file.head.Sealed:
			if err := l.follow(each); err != nil {
				return err
			}
		case end < info.Size():
			return l.cut(info.Size())
		default:
			return l.named()
		}
	}
}

// cut cuts off what follows the last complete frame. If there is a complete one behind it, events
// that count would be lost: then it is an error.
func (l *log) cut(size int64) error {
	end := l.file.end
	rest := make([]byte, size-end)
	if _, err := l.file.f.ReadAt(rest, end); err != nil && err != io.EOF {
		return fmt.Errorf("read the log of events: %w", err)
	}
	for i := 1; i+headSize <= len(rest); i++ {
		if string(rest[i:i+4]) != magic {
			continue
		}
		if _, _, ok, err := l.file.at(end+int64(i), size); ok || err != nil {
			return fmt.Errorf("the log of events %s is damaged at byte %d: its checksum is wrong, and there are events behind it. Restore the file, or remove the log, events*, if all its events are in the table of the history", l.file.f.Name(), end)
		}
	}
	if err := l.file.f.Truncate(end); err != nil {
		return fmt.Errorf("cut off the end of the log of events: %w", err)
	}
	l.warn(fmt.Sprintf("note: the last %d bytes of the log of events were not completely written, and are cut off: nobody was told that they count", size-end))
	return l.named()
}

// named gives the log a name, if it has none: it is empty, or of an older version of this program.
func (l *log) named() error {
	if l.file.head.Log != "" {
		return nil
	}
	head := fileHead{Columns: l.columns, From: l.n, Log: rand.Text(), Begun: time.Now().UTC()}
	if l.file.rows > 0 {
		_, err := l.rotate(head)
		return err
	}
	b, err := head.frame()
	if err == nil {
		_, err = l.write(b)
	}
	l.file.head = head
	return err
}

// append writes rows, which encodeRow has written, and waits until the disk has them. The log is
// locked, and everything in it was read. Broken says that nobody knows what the log holds now.
func (l *log) append(rows []byte, n int) (broken bool, err error) {
	head := l.file.head
	columns := equalColumns(head.Columns, l.columns)
	head.Columns = l.columns
	old := l.every > 0 && time.Since(head.Begun) > l.every
	var all []byte
	switch {
	case l.file.rows > 0 && (!columns || old || l.file.end+int64(len(rows)) > l.most):
		if broken, err := l.rotate(head); err != nil {
			return broken, err
		}
	case !columns:
		if all, err = head.frame(); err != nil {
			return false, err
		}
	}
	if broken, err = l.write(appendFrame(all, rows, n)); err != nil {
		return broken, err
	}
	l.file.head.Columns = l.columns
	l.file.rows += int64(n)
	l.n += int64(n)
	return false, nil
}

// write appends to the file, and waits until the disk has it.
func (l *log) write(b []byte) (broken bool, err error) {
	l.own.Store(l.file.end + int64(len(b)))
	if _, err := l.file.f.WriteAt(b, l.file.end); err != nil {
		l.own.Store(l.file.end)
		return l.file.f.Truncate(l.file.end) != nil, fmt.Errorf("write the log of events: %w", err)
	}
	// After a failed sync, the system may have dropped what it was to write.
	if err := l.sync(l.file.f); err != nil {
		return true, fmt.Errorf("write the log of events: %w", err)
	}
	l.file.end += int64(len(b))
	return false, nil
}

// rotate makes the log go on in another file with a head. That is on the disk first, since nothing
// can be appended to the file so far once it has ended. Then the file so far gets a second name and a
// last frame, by which other processes notice, and the new one takes its name. A process that is
// killed in between leaves a log that goes on in the file so far, or that the next one rotates again.
func (l *log) rotate(head fileHead) (broken bool, err error) {
	head.From = l.n
	if err := errors.Join(l.prepare(head), l.keepName()); err != nil {
		return false, err
	}
	b, err := fileHead{Sealed: true}.frame()
	if err != nil {
		return false, err
	}
	if broken, err := l.write(b); err != nil {
		return broken, err
	}
	l.file.head.Sealed = true
	if err := l.replace(); err != nil {
		return true, err
	}
	if err := l.open(); err != nil {
		return true, err
	}
	info, err := l.file.f.Stat()
	if err == nil {
		_, _, _, err = l.file.next(info.Size())
	}
	return true, err
}

// keepName gives the file the name that it has once another one is appended to.
func (l *log) keepName() error {
	to := filepath.Join(l.dir, rawName(l.n-l.file.rows))
	err := os.Link(l.path(), to)
	if errors.Is(err, fs.ErrExist) {
		var a, b os.FileInfo
		if a, err = os.Stat(l.path()); err == nil {
			b, err = os.Stat(to)
		}
		if err == nil && !os.SameFile(a, b) {
			err = fmt.Errorf("%s is another file", to)
		}
	}
	if err != nil {
		return fmt.Errorf("make the log of events go on in another file: %w", err)
	}
	return nil
}

// prepared is the path of a file that takes the place of the one that is appended to.
func (l *log) prepared() string { return filepath.Join(l.dir, files.HalfWritten+File) }

// prepare writes an empty file with a head. The log is locked, so nobody else writes it.
func (l *log) prepare(head fileHead) error {
	head.Begun, head.Sealed = time.Now().UTC(), false
	b, err := head.frame()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(l.prepared(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err == nil {
		if _, err = f.Write(b); err == nil {
			err = l.sync(f)
		}
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("make the log of events go on in another file: %w", err)
	}
	return nil
}

// replace puts the prepared file in the place of the one that is sealed.
func (l *log) replace() error {
	if err := os.Rename(l.prepared(), l.path()); err != nil {
		return fmt.Errorf("make the log of events go on in another file: %w", err)
	}
	l.syncFolder()
	return nil
}

// syncFolder waits until the disk has the names of files. Some file systems cannot do that.
func (l *log) syncFolder() {
	if dir, err := os.Open(l.dir); err == nil {
		_ = dir.Sync()
		_ = dir.Close()
	}
}

// open opens the file that events are appended to. Its first event has to be the next one.
func (l *log) open() error {
	f, err := os.OpenFile(l.path(), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) && l.n == 0 {
		f, err = os.OpenFile(l.path(), os.O_RDWR|os.O_CREATE, 0o600)
		l.syncFolder()
	}
	if err != nil {
		return fmt.Errorf("open the log of events: %w", err)
	}
	if err := flock(f, syscall.LOCK_EX); err != nil {
		return errors.Join(fmt.Errorf("lock the log of events: %w", err), f.Close())
	}
	l.own.Store(0)
	l.current.Store(f)
	if l.file != nil {
		_ = l.file.f.Close()
	}
	l.file = &frames{f: f}
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open the log of events: %w", err)
	}
	first := frames{f: f} // its head, unless nothing was written yet
	if _, _, _, err := first.next(info.Size()); err != nil {
		return err
	}
	return l.continues(File, first.head.From)
}

// continues reports an error unless a file begins with the next event.
func (l *log) continues(name string, from int64) error {
	if from == l.n {
		return nil
	}
	return fmt.Errorf("%s in %s begins with event %d of the log of events, and the files before it end with event %d: restore the missing files, or remove the log, events*, if all its events are in the table of the history", name, l.dir, from, l.n)
}
