package logfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// A Writer appends to a log. Its errors are lines of the log: a program must be able to
// print, whatever becomes of it.
type Writer struct {
	path     string
	f        *os.File
	offset   int64 // of the part that f is
	size     int64 // of that part
	mid      bool  // the last byte did not end a line
	partSize int64

	lost int64 // bytes that could not be written since the last success
	why  error
}

// Append opens a log to continue it.
func Append(path string) (*Writer, error) {
	w := &Writer{path: path, partSize: PartSize}
	later, err := laterParts(path)
	if err != nil {
		return nil, err
	}
	last := part{path, 0}
	if len(later) > 0 {
		last = later[len(later)-1]
	}
	if w.f, err = last.append(); err != nil {
		return nil, err
	}
	w.offset = last.offset
	info, err := w.f.Stat()
	if err != nil {
		return nil, errors.Join(err, w.f.Close())
	}
	w.size = info.Size()
	return w, nil
}

func (p part) append() (*os.File, error) {
	return os.OpenFile(p.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NOFOLLOW, 0o644)
}

// Write appends b. It always succeeds: what cannot be written, because the disk is full, is
// counted and reported once there is room again.
func (w *Writer) Write(b []byte) (int, error) {
	all := len(b)
	if w.lost > 0 {
		line := fmt.Appendf(nil, "\ntenon: %d bytes of the log could not be written: %v\n", w.lost, w.why)
		if n, err := w.put(line); err == nil {
			w.lost = 0
		} else if n > 0 {
			w.why = err // a piece of the line is in the log; the next one is whole
		}
	}
	for len(b) > 0 {
		n, err := w.put(b)
		b = b[n:]
		if err != nil {
			w.lost, w.why = w.lost+int64(len(b)), err
			break
		}
	}
	return all, nil
}

// put appends what fits into the current part, or into the next one if it is full.
func (w *Writer) put(b []byte) (int, error) {
	room := w.partSize - w.size
	if int64(len(b)) > room {
		// A part ends with a line, if it can.
		if i := bytes.LastIndexByte(b[:max(0, room)], '\n'); i >= 0 {
			room = int64(i) + 1
		} else if w.size > w.partSize/2 && !w.mid {
			room = 0
		}
		if room <= 0 {
			if err := w.next(); err != nil {
				return 0, err
			}
			room = w.partSize
		}
		b = b[:min(int64(len(b)), room)]
	}
	n, err := w.f.Write(b)
	if w.size += int64(n); n > 0 {
		w.mid = b[n-1] != '\n'
	}
	return n, err
}

// next begins a new part, and first removes the oldest ones, so that the bound holds
// at any time.
func (w *Writer) next() error {
	later, err := laterParts(w.path)
	if err != nil {
		return err
	}
	for ; len(later) >= moreParts; later = later[1:] {
		if err := os.Remove(later[0].path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Mkdir(Folder(w.path), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	p := partAt(w.path, w.offset+w.size)
	f, err := p.append()
	if err != nil {
		return err
	}
	_ = w.f.Close() // every write has reported its own error
	w.f, w.offset, w.size = f, p.offset, 0
	return nil
}

// Close closes the log.
func (w *Writer) Close() error { return w.f.Close() }
