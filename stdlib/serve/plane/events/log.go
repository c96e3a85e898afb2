package events

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// File is the name of the log in its folder.
const File = "events.log"

// A frame is a head and its payload: the columns of the rows that follow, as JSON, or rows.
const (
	magic    = "TEV1"
	headSize = 20 // the magic, the size of the payload, the number of rows, the sums of payload and head
	// mostPayload is the largest payload that is written. A larger one is damage.
	mostPayload = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A log is an append-only file of events that several processes share.
type log struct {
	f       *os.File
	columns ir.Schema    // of the events that this process writes
	end     int64        // of what it has read or written
	own     atomic.Int64 // the end, with what it writes just now
	at      ir.Schema    // the columns of rows at the end
	warn    func(string)
	buffer  []byte
	sync    func() error
}

// openLog opens the log of a folder.
func openLog(dir string, columns ir.Schema, warn func(string)) (*log, error) {
	f, err := os.OpenFile(filepath.Join(dir, File), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of events: %w", err)
	}
	if d, err := os.Open(dir); err == nil { // so that the file is found after a crash
		_ = d.Sync()
		_ = d.Close()
	}
	return &log{f: f, columns: columns.Bare(), warn: warn, sync: f.Sync}, nil
}

// lock keeps other processes from appending. Its error wraps that of the system.
func (l *log) lock() error {
	for {
		err := syscall.Flock(int(l.f.Fd()), syscall.LOCK_EX)
		if err != syscall.EINTR {
			return err
		}
	}
}

func (l *log) unlock() { _ = syscall.Flock(int(l.f.Fd()), syscall.LOCK_UN) }

// behind reports whether other processes have written more than was read.
func (l *log) behind() bool {
	info, err := l.f.Stat()
	return err == nil && info.Size() > l.own.Load()
}

// read calls f for each event behind those that were read. The log is locked. What was not
// completely written at its end is cut off.
func (l *log) read(f func([]rowsql.Value) error) error {
	info, err := l.f.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	defer func() { l.own.Store(l.end) }()
	for l.end < size {
		payload, rows, ok, err := l.frame(l.end, size)
		if err != nil {
			return fmt.Errorf("read the log of events: %w", err)
		}
		if !ok {
			return l.cut(size)
		}
		if err := l.decode(payload, rows, f); err != nil {
			return fmt.Errorf("the log of events at byte %d: %w", l.end, err)
		}
		l.end += headSize + int64(len(payload))
	}
	return nil
}

// frame reads a frame. It is not ok if it is not a complete one.
func (l *log) frame(at, size int64) (payload []byte, rows uint32, ok bool, err error) {
	var head [headSize]byte
	if size-at < headSize {
		return nil, 0, false, nil
	}
	if _, err := l.f.ReadAt(head[:], at); err != nil {
		return nil, 0, false, err
	}
	n := binary.LittleEndian.Uint32(head[4:])
	if string(head[:4]) != magic || crc32.Checksum(head[:16], castagnoli) != binary.LittleEndian.Uint32(head[16:]) || n > mostPayload || size-at-headSize < int64(n) {
		return nil, 0, false, nil
	}
	if cap(l.buffer) < int(n) {
		l.buffer = make([]byte, n)
	}
	payload = l.buffer[:n]
	if _, err := l.f.ReadAt(payload, at+headSize); err != nil {
		return nil, 0, false, err
	}
	return payload, binary.LittleEndian.Uint32(head[8:]), crc32.Checksum(payload, castagnoli) == binary.LittleEndian.Uint32(head[12:]), nil
}

// cut cuts off what follows the last complete frame. If there is a complete one behind it, events
// that count would be lost: then it is an error.
func (l *log) cut(size int64) error {
	rest := make([]byte, size-l.end)
	if _, err := l.f.ReadAt(rest, l.end); err != nil && err != io.EOF {
		return fmt.Errorf("read the log of events: %w", err)
	}
	for i := 1; i+headSize <= len(rest); i++ {
		if string(rest[i:i+4]) != magic {
			continue
		}
		if _, _, ok, err := l.frame(l.end+int64(i), size); ok || err != nil {
			return fmt.Errorf("the log of events %s is damaged at byte %d: its checksum is wrong, and there are events behind it. Restore the file, or remove it if all its events are in the table of the history", l.f.Name(), l.end)
		}
	}
	if err := l.f.Truncate(l.end); err != nil {
		return fmt.Errorf("cut off the end of the log of events: %w", err)
	}
	l.warn(fmt.Sprintf("note: the last %d bytes of the log of events were not completely written, and are cut off: nobody was told that they count", size-l.end))
	return nil
}

// decode reads the rows of a frame, with the columns that this process has.
func (l *log) decode(payload []byte, rows uint32, f func([]rowsql.Value) error) error {
	if rows == 0 {
		l.at = nil
		return json.Unmarshal(payload, &l.at)
	}
	to := make([]int, len(l.at))
	found := make([]bool, len(l.columns))
	for i, c := range l.at {
		to[i] = -1
		for j, have := range l.columns {
			if have.Name == c.Name {
				if have.Type != c.Type {
					return fmt.Errorf("its column %s is %s, which is %s now: remove the log if its events are in the table of the history", c.Name, c.Type, have.Type)
				}
				to[i], found[j] = j, true
			}
		}
	}
	for j, ok := range found {
		if !ok && !l.columns[j].Nullable {
			return fmt.Errorf("its events have no column %s, which the features of this version need: remove the log if its events are in the table of the history", l.columns[j].Name)
		}
	}
	row := make([]rowsql.Value, len(l.columns))
	for range rows {
		for j := range row {
			row[j] = rowsql.Null
		}
		for i, c := range l.at {
			v, rest, ok := decodeValue(payload, c.Type)
			if !ok {
				return errors.New("a row is damaged")
			}
			if payload = rest; to[i] >= 0 {
				row[to[i]] = v
			}
		}
		if err := f(row); err != nil {
			return err
		}
	}
	return nil
}

// append writes rows, which encodeRow has written, and waits until the disk has them. The log is
// locked, and everything in it was read. Broken says that nobody knows what the log holds now.
func (l *log) append(rows []byte, n int) (broken bool, err error) {
	var all []byte
	if !equalColumns(l.at, l.columns) {
		schema, err := json.Marshal(l.columns)
		if err != nil {
			return false, err
		}
		all = appendFrame(all, schema, 0)
	}
	all = appendFrame(all, rows, n)
	l.own.Store(l.end + int64(len(all)))
	if _, err := l.f.WriteAt(all, l.end); err != nil {
		l.own.Store(l.end)
		return l.f.Truncate(l.end) != nil, fmt.Errorf("write the log of events: %w", err)
	}
	// After a failed sync, the system may have dropped what it was to write.
	if err := l.sync(); err != nil {
		return true, fmt.Errorf("write the log of events: %w", err)
	}
	l.end, l.at = l.end+int64(len(all)), l.columns
	return false, nil
}

func equalColumns(a, b ir.Schema) bool {
	if len(a) != len(b) || a == nil {
		return false
	}
	for i := range a {
		if a[i].Name != b[i].Name || a[i].Type != b[i].Type {
			return false
		}
	}
	return true
}

func appendFrame(b, payload []byte, rows int) []byte {
	from := len(b)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, uint32(rows))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(payload, castagnoli))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[from:], castagnoli))
	return append(b, payload...)
}

// encodeRow appends a row of some columns.
func encodeRow(b []byte, columns ir.Schema, row []rowsql.Value) []byte {
	for i, v := range row {
		switch typ := columns[i].Type; {
		case v.Null:
			b = append(b, 0)
		case typ == "string" || typ == "bytes":
			b = binary.AppendUvarint(append(b, 1), uint64(len(v.Text)))
			b = append(b, v.Text...)
		default:
			b = binary.LittleEndian.AppendUint64(append(b, 1), v.Bits)
		}
	}
	return b
}

// decodeValue reads a value, and returns what follows it.
func decodeValue(b []byte, typ string) (v rowsql.Value, rest []byte, ok bool) {
	if len(b) == 0 {
		return v, nil, false
	}
	null := b[0] == 0
	b = b[1:]
	if null {
		return rowsql.Null, b, true
	}
	if typ == "string" || typ == "bytes" {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return v, nil, false
		}
		b = b[size:]
		return rowsql.String(string(b[:n])), b[n:], true
	}
	if len(b) < 8 {
		return v, nil, false
	}
	v.Bits = binary.LittleEndian.Uint64(b)
	return v, b[8:], true
}
