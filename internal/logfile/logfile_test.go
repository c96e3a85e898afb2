package logfile

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const small = 100 // the size of a part in these tests

func write(t *testing.T, path string) *Writer {
	t.Helper()
	w, err := Append(path)
	ok(t, err)
	w.partSize = small
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, path string) *Reader {
	t.Helper()
	r, err := Open(path)
	ok(t, err)
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func all(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	ok(t, err)
	return string(b)
}

// onDisk returns how many bytes the files of a log have.
func onDisk(t *testing.T, path string) (n int64) {
	t.Helper()
	later, err := laterParts(path)
	ok(t, err)
	for _, p := range append(later, part{path, 0}) {
		info, err := os.Stat(p.path)
		ok(t, err)
		n += info.Size()
	}
	return n
}

func lines(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "line %04d\n", i)
	}
	return b.String()
}

func TestAShortLogIsOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := write(t, path)
	fmt.Fprint(w, lines(0, 10))
	b, err := os.ReadFile(path)
	ok(t, err)
	if string(b) != lines(0, 10) || all(t, open(t, path)) != lines(0, 10) {
		t.Errorf("the file has %q", b)
	}
	if _, err := os.Stat(Folder(path)); err == nil {
		t.Error("there is a folder for later parts")
	}
}

func TestALongLogHasItsBeginningItsEndAndWhatIsMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := write(t, path)
	for i := range 1000 {
		fmt.Fprint(w, lines(i, i+1))
		if n := onDisk(t, path); n > (1+moreParts)*small {
			t.Fatalf("after %d lines the log has %d bytes, more than %d", i+1, n, (1+moreParts)*small)
		}
	}
	// Ten lines fill a part. The first part and the last three are left.
	want := lines(0, 10) + "tenon: 9600 bytes of the log were dropped here\n" + lines(970, 1000)
	if got := all(t, open(t, path)); got != want {
		t.Errorf("the log is %q", got)
	}
}

func TestAPartEndsWithALineIfItCan(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := write(t, path)
	text := strings.Repeat("0123456789abcdef\n", 12) // 17 bytes
	fmt.Fprint(w, text)
	b, err := os.ReadFile(path)
	ok(t, err)
	if len(b) != 5*17 || all(t, open(t, path)) != text {
		t.Errorf("the first part is %q", b)
	}
	long := filepath.Join(t.TempDir(), "log")
	w = write(t, long)
	fmt.Fprint(w, strings.Repeat("x", 3*small))
	if got := all(t, open(t, long)); got != strings.Repeat("x", 3*small) {
		t.Errorf("a line of three parts is %q", got)
	}
}

// A reader that keeps up sees every byte, whatever is dropped behind it.
func TestFollowingCrossesParts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := write(t, path)
	r := open(t, path)
	var want, got bytes.Buffer
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		piece := []byte(lines(0, 30))[:1+random.IntN(2*small)]
		want.Write(piece)
		w.Write(piece) //nolint:errcheck // it always succeeds
		got.WriteString(all(t, r))
	}
	if !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Errorf("%d bytes were read, %d were written", got.Len(), want.Len())
	}
}

func TestAReaderThatFallsBehindIsToldWhatItMissed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := write(t, path)
	fmt.Fprint(w, "begins ")
	r := open(t, path)
	if got := all(t, r); got != "begins " {
		t.Fatalf("it read %q", got)
	}
	fmt.Fprint(w, lines(0, 100))
	if got, part := all(t, r), "tenon: "; !strings.Contains(got, "\n"+part) || !strings.HasSuffix(got, lines(90, 100)) {
		t.Errorf("it read %q", got)
	}
}

func TestANewWriterContinuesTheLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var want string
	for i := range 20 {
		w := write(t, path)
		fmt.Fprint(w, lines(2*i, 2*i+2))
		ok(t, w.Close())
		want += lines(2*i, 2*i+2)
	}
	if got := all(t, open(t, path)); got != want {
		t.Errorf("the log is %q", got)
	}
}

func TestTheTailCrossesParts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := write(t, path)
	fmt.Fprint(w, lines(0, 25))
	for n, want := range map[int64]string{20: lines(23, 25), 100: lines(15, 25), 120: lines(13, 25), 1000: lines(0, 25)} {
		got, cut, err := Tail(path, n)
		if err != nil || string(got) != want || cut != (n < 250) {
			t.Errorf("the last %d bytes are %q, cut: %v, %v; want %q", n, got, cut, err, want)
		}
	}
	fmt.Fprint(w, lines(25, 100))
	if got, cut, err := Tail(path, 1000); err != nil || string(got) != lines(70, 100) || !cut {
		t.Errorf("the tail reaches over what was dropped: %q, cut: %v, %v", got, cut, err)
	}
}

// full is a file system on which nothing more can be written.
const full = "/dev/full"

func TestWhatCannotBeWrittenIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := write(t, path)
	fmt.Fprint(w, "before\n")
	disk := w.f
	none, err := os.OpenFile(full, os.O_WRONLY, 0)
	ok(t, err)
	defer none.Close()
	w.f = none
	if n, err := w.Write([]byte("lost\n")); n != 5 || err != nil {
		t.Errorf("a write to a full disk gave %d, %v", n, err)
	}
	w.f = disk
	fmt.Fprint(w, "after\n")
	if got, want := all(t, open(t, path)), "before\n\ntenon: 5 bytes of the log could not be written: write /dev/full: no space left on device\nafter\n"; got != want {
		t.Errorf("the log is %q, want %q", got, want)
	}
}

// A program in a container owns its log.
func TestNoLinkOrPipeIsRead(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"a link": func(path string) error { return os.Symlink("/etc/passwd", path) },
		"a pipe": func(path string) error { return syscall.Mkfifo(path, 0o644) },
	} {
		path := filepath.Join(t.TempDir(), "log")
		ok(t, put(path))
		if _, err := Open(path); err == nil {
			t.Errorf("the log is %s, and was opened", name)
		}
		path = filepath.Join(t.TempDir(), "log")
		ok(t, os.WriteFile(path, []byte("x\n"), 0o644))
		ok(t, os.Mkdir(Folder(path), 0o755))
		ok(t, put(partAt(path, 2).path))
		if b, err := io.ReadAll(open(t, path)); err == nil || string(b) != "x\n" {
			t.Errorf("a part is %s, and reading gave %q, %v", name, b, err)
		}
	}
}
