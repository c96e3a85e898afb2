package edge

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
)

// An Entry is a line of the audit log. What a client has sent in it is escaped.
type Entry struct {
	Time    time.Time
	Took    time.Duration
	Env     string // the environment of the service, or ""
	Caller  string // "" if it was not known
	Address string
	ID      string // of the request, if it has one
	Method  string
	Path    string
	Version string // of the service that has answered, if it has a name
	Status  int
	Rows    int
}

// longestField is how much of a text of a client a line has, in bytes.
const longestField = 256

// appendTo appends the line.
func (e *Entry) appendTo(b []byte) []byte {
	b = append(b, `{"time":"`...)
	b = e.Time.UTC().AppendFormat(b, requests.AuditTime)
	b = append(b, `","status":`...)
	b = strconv.AppendInt(b, int64(e.Status), 10)
	b = append(b, `,"ms":`...)
	b = strconv.AppendFloat(b, float64(e.Took.Microseconds())/1000, 'f', 3, 64)
	for _, f := range [...]struct{ name, value string }{{"env", e.Env}, {"caller", e.Caller}, {"address", e.Address}, {"id", e.ID}, {"method", e.Method}, {"path", e.Path}, {"version", e.Version}} {
		if f.value != "" {
			b = append(append(append(b, `,"`...), f.name...), `":`...)
			b = Quote(b, f.value)
		}
	}
	if e.Rows > 0 {
		b = append(b, `,"rows":`...)
		b = strconv.AppendInt(b, int64(e.Rows), 10)
	}
	return append(b, "}\n"...)
}

// Quote appends a text as JSON in printable ASCII, so that it can do nothing to a terminal or to
// a program that reads lines. A long one is cut.
func Quote(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	unit := func(b []byte, r uint16) []byte {
		return append(b, '\\', 'u', hex[r>>12], hex[r>>8&15], hex[r>>4&15], hex[r&15])
	}
	b = append(b, '"')
	for i, r := range s {
		if i >= longestField {
			b = append(b, "..."...)
			break
		}
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r >= ' ' && r <= '~' && r != '<' && r != '>' && r != '&':
			b = append(b, byte(r))
		case r < 0x10000:
			b = unit(b, uint16(r))
		default:
			r -= 0x10000
			b = unit(unit(b, uint16(0xd800+r>>10)), uint16(0xdc00+r&0x3ff))
		}
	}
	return append(b, '"')
}

// Line is a text without anything that could be another line, or control a terminal.
func Line(s string) string {
	plain := utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r > '~' })
	if plain {
		return s
	}
	q := strconv.QuoteToASCII(s)
	return q[1 : len(q)-1]
}

// Audit says how an audit log is kept.
type Audit struct {
	Keep     string `json:"keep"`     // size of all files
	Interval string `json:"interval"` // how long a line waits until its file is complete, where files are moved
}

// An auditLog writes lines to files, in the background. A request never waits for it.
type auditLog struct {
	dir, instance string
	env           string // in each line
	keep, largest int64
	// interval is how long a file is written to, at most. 0 means that files stay where they are, and
	// have their names from the beginning. Otherwise, complete files are moved away.
	interval time.Duration
	log      func(string)

	lines            chan []byte
	done             chan struct{}
	ended            sync.WaitGroup
	written, dropped atomic.Uint64
	free             sync.Pool // of *[]byte

	file    *os.File
	path    string // of the file, once it is complete
	began   time.Time
	out     *bufio.Writer
	size    int64
	failing bool
}

const (
	// mostLines wait to be written. More are dropped and counted.
	mostLines    = 8192
	largestAudit = 64 << 20 // bytes of a file
	// largestMoved is that of a file that is moved: what uploads it has parts of it in memory.
	largestMoved = 8 << 20
)

func openAudit(dir, instance string, keep int64, interval time.Duration, log func(string)) (*auditLog, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	largest := int64(largestAudit)
	if interval > 0 {
		largest = largestMoved
	}
	a := &auditLog{dir: dir, instance: fileName(instance), keep: keep, interval: interval, largest: max(min(largest, keep/4), 1), log: log,
		lines: make(chan []byte, mostLines), done: make(chan struct{})}
	if interval > 0 {
		a.recover()
	}
	a.free.New = func() any { b := make([]byte, 0, 512); return &b }
	a.ended.Add(1)
	go a.run()
	return a, nil
}

// add adds a line.
func (a *auditLog) add(e *Entry) {
	e.Env = a.env
	b := *a.free.Get().(*[]byte)
	b = e.appendTo(b[:0])
	select {
	case a.lines <- b:
	default:
		a.dropped.Add(1)
		a.free.Put(&b)
	}
}

// close writes the lines that wait.
func (a *auditLog) close() {
	close(a.done)
	a.ended.Wait()
}

func (a *auditLog) run() {
	defer a.ended.Done()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case b := <-a.lines:
			a.write(b)
		case <-tick.C:
			a.flush()
			if a.interval > 0 && a.file != nil && time.Since(a.began) >= a.interval {
				a.complete()
			}
		case <-a.done:
			for len(a.lines) > 0 {
				a.write(<-a.lines)
			}
			a.flush()
			a.complete()
			return
		}
	}
}

func (a *auditLog) write(b []byte) {
	defer a.free.Put(&b)
	err := a.open()
	if err == nil {
		_, err = a.out.Write(b)
	}
	if err != nil {
		a.fail(err)
		a.dropped.Add(1)
		return
	}
	a.written.Add(1)
	if a.size += int64(len(b)); a.size >= a.largest {
		a.flush()
		a.complete()
	}
}

// complete ends the file, if there is one.
func (a *auditLog) complete() {
	if a.file == nil {
		return
	}
	_ = a.file.Close()
	if a.file.Name() != a.path {
		if err := os.Rename(a.file.Name(), a.path); err != nil {
			a.log("note: a file of the audit log is not stored: " + err.Error())
		}
	}
	a.file = nil
}

// recover completes the files that an earlier start of the program has left, which was killed. There
// is one program at a time where files are moved.
func (a *auditLog) recover() {
	left, _ := filepath.Glob(filepath.Join(a.dir, files.HalfWritten+requests.AuditPrefix+"*"))
	for _, path := range left {
		to := filepath.Join(a.dir, strings.TrimPrefix(filepath.Base(path), files.HalfWritten))
		if err := os.Rename(path, to); err != nil {
			a.log("note: a file of the audit log is not stored: " + err.Error())
		}
	}
}

// open opens a file, if none is.
func (a *auditLog) open() error {
	if a.file != nil {
		return nil
	}
	if a.failing {
		// A disk that is full is not asked again for every line.
		return errors.New("it failed before")
	}
	a.tidy() // also what earlier lives have left, none of which may have filled a file
	now := time.Now()
	name := fmt.Sprintf("%s%s-%s%s", requests.AuditPrefix, now.UTC().Format("20060102T150405.000000"), a.instance, requests.AuditSuffix)
	at := filepath.Join(a.dir, name)
	a.path = at
	if a.interval > 0 {
		at = filepath.Join(a.dir, files.HalfWritten+name)
	}
	f, err := os.OpenFile(at, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	a.file, a.began, a.out, a.size = f, now, bufio.NewWriterSize(f, 64<<10), 0
	return nil
}

func (a *auditLog) flush() {
	if a.file == nil {
		a.failing = false // another try
		return
	}
	if err := a.out.Flush(); err != nil {
		a.fail(err)
		return
	}
}

// fail leaves the file.
func (a *auditLog) fail(err error) {
	if !a.failing {
		a.log("note: lines of the audit log are lost: " + err.Error())
	}
	a.failing = true
	a.complete()
}

// tidy deletes the oldest files, so that one more fits. Where files are moved, those are lost.
func (a *auditLog) tidy() {
	entries, _ := os.ReadDir(a.dir)
	type aged struct {
		name string
		size int64
	}
	var all []aged
	total := a.largest
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !strings.HasPrefix(e.Name(), requests.AuditPrefix) || !strings.HasSuffix(e.Name(), requests.AuditSuffix) {
			continue
		}
		all = append(all, aged{e.Name(), info.Size()})
		total += info.Size()
	}
	slices.SortFunc(all, func(x, y aged) int { return strings.Compare(x.name, y.name) }) // by their times
	for _, f := range all {
		if total <= a.keep {
			return
		}
		lines := 0
		if a.interval > 0 {
			b, _ := os.ReadFile(filepath.Join(a.dir, f.name))
			lines = bytes.Count(b, []byte("\n"))
		}
		if os.Remove(filepath.Join(a.dir, f.name)) == nil {
			total -= f.size
			a.dropped.Add(uint64(lines))
		}
	}
}
