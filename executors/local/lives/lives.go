// Package lives decides whether the program of a service is started again when it ends, and
// reports what happened. cmd/tenon-run asks it, in and outside of containers, so all
// services of a machine are kept in the same way.
package lives

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Short is a life after which a program is likely to end again.
	Short = time.Minute
	// Pause is how long to wait after a short life. It doubles with each in a row.
	Pause, LongestPause = 500 * time.Millisecond, 8 * time.Second
	// MostShort is how many short lives in a row are a failure of the service.
	MostShort = 5
)

// Files in the folder of a run that record lives of programs.
const (
	File     = "notes/lives"    // by tenon-run: of the program of a service
	Replicas = "notes/replicas" // by that program: of its replicas, all together; the first start of each does not count
	Count    = "notes/count"    // by that program: how many replicas there are, if that follows the load
	Asleep   = "notes/asleep"   // by tenon-run: it is there while the program need not run
)

// Lives are the lives of a program until now.
type Lives struct {
	Starts int       // how often it was started, or is about to be
	Since  time.Time // when it was started last, or when it will be
	Why    string    // why it was started again, as in "killed by SIGKILL"

	short int
}

// First returns the first life of a program.
func First(now time.Time) Lives { return Lives{Starts: 1, Since: now} }

// Again reports whether a program that has ended is started again, which it may be at
// l.Since. A status above 128 stands for a signal. If a program ends by itself soon after
// its first start, it would do so again.
func (l *Lives) Again(now time.Time, status int) bool {
	if l.short++; now.Sub(l.Since) >= Short {
		l.short = 0
	}
	bySignal := status > 128
	if l.short >= MostShort || l.short > 0 && l.Starts == 1 && !bySignal {
		return false
	}
	pause := time.Duration(0)
	if l.short > 0 {
		pause = min(Pause<<(l.short-1), LongestPause)
	}
	l.Starts, l.Since, l.Why = l.Starts+1, now.Add(pause), How(status)
	return true
}

// How says how a program ended. A status above 128 stands for a signal.
func How(status int) string {
	if status <= 128 {
		return fmt.Sprintf("ended with status %d", status)
	}
	if name := unix.SignalName(syscall.Signal(status - 128)); name != "" {
		return "was killed by " + name
	}
	return fmt.Sprintf("was killed by signal %d", status-128)
}

// Write replaces a file by one with a short line about them, so that who reads it finds the
// lives before or after, whenever the writer is interrupted. Nothing is written through a link,
// because a program in a container could have put one there.
func (l Lives) Write(path string) error {
	part := path + ".part"
	if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%d %d %s\n", l.Starts, l.Since.UnixNano(), l.Why)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(part, path)
	}
	return err
}

// Read reads what was written. Until a program is started again there is nothing.
func Read(path string) (l Lives, ok bool) {
	line, whole := readLine(path)
	starts, rest, _ := strings.Cut(line, " ")
	since, why, _ := strings.Cut(rest, " ")
	n, err1 := strconv.Atoi(starts)
	at, err2 := strconv.ParseInt(since, 10, 64)
	if !whole || err1 != nil || err2 != nil || n < 2 || strings.ContainsFunc(why, func(c rune) bool { return c < ' ' || c > '~' }) {
		return l, false
	}
	return Lives{Starts: n, Since: time.Unix(0, at), Why: why}, true
}

// ReadCount reads how many replicas there are, if their program has noted that.
func ReadCount(path string) (n int, ok bool) {
	line, whole := readLine(path)
	n, err := strconv.Atoi(line)
	return n, whole && err == nil && n > 0
}

// readLine reads a file of one short line. A program in a container could have put anything there.
func readLine(path string) (line string, whole bool) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", false
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", false
	}
	b, err := io.ReadAll(io.LimitReader(f, 200))
	if err != nil {
		return "", false
	}
	return strings.CutSuffix(string(b), "\n")
}

// OfReplicas says how often a service started one of its replicas again, and why.
func (l Lives) OfReplicas() string {
	if l.Starts == 2 {
		return "a replica was started again once, because it " + l.Why
	}
	return fmt.Sprintf("replicas were started again %d times, last because one %s", l.Starts-1, l.Why)
}

// String says how often a program was started again, and why.
func (l Lives) String() string {
	if l.Starts == 2 {
		return "started again once, because it " + l.Why
	}
	return fmt.Sprintf("started again %d times, last because it %s", l.Starts-1, l.Why)
}
