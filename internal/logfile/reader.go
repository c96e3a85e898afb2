package logfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// A Reader reads a log from its beginning. At the end of what has been written it returns
// [io.EOF], and when it is asked again it returns what was written since.
type Reader struct {
	path   string
	f      *os.File
	offset int64  // in the whole log, of what is read next
	notice []byte // to return before anything else
	mid    bool   // the last byte did not end a line
}

// Open opens a log to read it.
func Open(path string) (*Reader, error) {
	f, err := part{path, 0}.open()
	if err != nil {
		return nil, err
	}
	return &Reader{path: path, f: f}, nil
}

// Read reads the log. Where parts of it were dropped it says so, in a line of its own.
func (r *Reader) Read(b []byte) (int, error) {
	for len(b) > 0 {
		if len(r.notice) > 0 {
			n := copy(b, r.notice)
			r.notice = r.notice[n:]
			return n, nil
		}
		if n, err := r.read(b); n > 0 || err != nil {
			return n, err
		}
		// A part is complete once there is a next one, so ask for that one first.
		later, err := laterParts(r.path)
		if err != nil {
			return 0, err
		}
		if n, err := r.read(b); n > 0 || err != nil {
			return n, err
		}
		if err := r.advance(later); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// read reads from the current part. It returns 0 at its end.
func (r *Reader) read(b []byte) (int, error) {
	n, err := r.f.Read(b)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if n > 0 {
		r.offset += int64(n)
		r.mid = b[n-1] != '\n'
	}
	return n, err
}

// advance opens the part that follows the current one, which has been read to its end. It
// returns [io.EOF] if there is none.
func (r *Reader) advance(later []part) error {
	for _, p := range later {
		if p.offset < r.offset {
			continue
		}
		f, err := p.open()
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has been dropped meanwhile
		}
		if err != nil {
			return err
		}
		_ = r.f.Close() // it was only read
		if dropped := p.offset - r.offset; dropped > 0 {
			if r.mid {
				r.notice = append(r.notice, '\n')
			}
			r.notice = fmt.Appendf(r.notice, "tenon: %d bytes of the log were dropped here\n", dropped)
		}
		r.f, r.offset, r.mid = f, p.offset, false
		return nil
	}
	return io.EOF
}

// Close closes the log.
func (r *Reader) Close() error { return r.f.Close() }

// Tail returns the last bytes of a log, at most n of them, and whether it has more.
func Tail(path string, n int64) (tail []byte, cut bool, err error) {
	later, err := laterParts(path)
	if err != nil {
		return nil, false, err
	}
	parts := append([]part{{path, 0}}, later...)
	next := int64(-1) // offset of the part after the one that is read
	for i := len(parts) - 1; i >= 0; i-- {
		f, err := parts[i].open()
		if errors.Is(err, fs.ErrNotExist) && i > 0 {
			return tail, true, nil // it has been dropped meanwhile
		}
		if err != nil {
			return nil, false, err
		}
		b, more, err := end(f, n-int64(len(tail)))
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, false, err
		}
		if next >= 0 && parts[i].offset+more+int64(len(b)) < next {
			return tail, true, nil // a part between the two was dropped
		}
		tail, next = append(b, tail...), parts[i].offset
		if more > 0 || int64(len(tail)) >= n && i > 0 {
			return tail, true, nil
		}
	}
	return tail, false, nil
}

// end reads at most the last n bytes of a file, and says how many it has before them.
func end(f *os.File, n int64) (b []byte, before int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	before = max(0, info.Size()-n)
	b, err = io.ReadAll(io.NewSectionReader(f, before, n))
	return b, before, err
}
