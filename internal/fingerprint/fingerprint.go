package fingerprint

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// racy is how old a change must be before a file's times prove that there was
// none since: a file system's clock may be that coarse.
const racy = 2 * time.Second

// A Kind says what was read at a path.
type Kind int

const (
	File    Kind = iota // the content of a file
	Absent              // that nothing is there
	Link                // what the path is without links
	Sources             // the names of .cue files in a folder
	Names               // the names in a folder, see [Counts]
	Looked              // what the file system says about a file that was read in part
	Line                // the first line of a file
)

// A Read is one thing that was read.
type Read struct {
	Path   string // absolute
	Kind   Kind
	Digest string // of a content or a list of names, as bytes; of a link, its end
	// Looks is what a file looks like as long as it has the digest. The zero value
	// proves nothing.
	Looks Looks
}

// Looks are what the file system says about a file without reading it.
type Looks struct {
	Size   int64  `json:"size"`
	Mtime  int64  `json:"mtime"`
	Ctime  int64  `json:"ctime"`
	Inode  uint64 `json:"inode"`
	Device uint64 `json:"device"`
}

func (l Looks) String() string {
	return fmt.Sprintf("%d %d %d %d %d", l.Size, l.Mtime, l.Ctime, l.Inode, l.Device)
}

// Settled reports whether the last change is so old that the times prove that
// there was none since begin.
func (l Looks) Settled(begin time.Time) bool {
	return max(l.Mtime, l.Ctime) < begin.Add(-racy).UnixNano()
}

// A Tracker collects reads. It is safe for concurrent use; nil takes all and
// keeps nothing.
type Tracker struct {
	begin time.Time

	mu     sync.Mutex
	reads  map[key]Read
	cannot string
}

type key struct {
	kind Kind
	path string
}

// New returns a tracker. What changes from now on is not taken for old.
func New() *Tracker { return &Tracker{begin: time.Now(), reads: map[key]Read{}} }

// File notes a file with the content that was read.
func (r *Tracker) File(path string, content []byte) {
	if r == nil {
		return
	}
	r.note(Read{Path: path, Kind: File, Digest: sum(content), Looks: settled(path, r.begin)})
}

// Absent notes that there is nothing at a path.
func (r *Tracker) Absent(path string) { r.note(Read{Path: path, Kind: Absent}) }

// Link notes what a path is without links.
func (r *Tracker) Link(path, end string) { r.note(Read{Path: path, Kind: Link, Digest: end}) }

// Sources notes the names of the .cue files that were read of a folder.
func (r *Tracker) Sources(path string, names []string) {
	r.note(Read{Path: path, Kind: Sources, Digest: list(names)})
}

// Names notes the names that were found in a folder, see [Counts].
func (r *Tracker) Names(path string, names []string) {
	r.note(Read{Path: path, Kind: Names, Digest: list(names)})
}

// Looks notes a file of which a part was read: it is taken for the same as long as it looks
// the same. A file that changed just now is never taken for the same, because its times do
// not tell whether it changes again.
func (r *Tracker) Looks(path string, info fs.FileInfo) {
	if r == nil {
		return
	}
	l := Look(info)
	x := Read{Path: path, Kind: Looked, Digest: l.String()}
	if l.Settled(r.begin) {
		x.Looks = l
	}
	r.note(x)
}

// FirstLine notes a file of which only the first line counts.
func (r *Tracker) FirstLine(path string) {
	if r == nil {
		return
	}
	line, err := firstLine(path)
	if err != nil {
		r.Cannot(err.Error())
		return
	}
	r.note(Read{Path: path, Kind: Line, Digest: sum(line), Looks: settled(path, r.begin)})
}

// firstLine returns the first line of a file, or the beginning of a very long one.
func firstLine(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const most = 64 << 10
	line, err := bufio.NewReader(io.LimitReader(f, most)).ReadBytes('\n')
	if err == io.EOF { //nolint:errorlint // it is returned bare
		err = nil
	}
	return line, err
}

// Cannot notes why the result depends on more than can be recorded.
func (r *Tracker) Cannot(why string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cannot = why
}

func (r *Tracker) note(x Read) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	k := key{x.Kind, x.Path}
	if before, ok := r.reads[k]; ok && before.Digest != x.Digest {
		r.cannot = x.Path + " changed while it was read"
	}
	r.reads[k] = x
}

// Files are the names of the files that were read in a folder.
func (r *Tracker) Files(folder string) []string {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for k := range r.reads {
		if k.kind == File && filepath.Dir(k.path) == folder {
			names = append(names, filepath.Base(k.path))
		}
	}
	return names
}

// Reads returns everything in order, or nothing if that is not all that counts.
func (r *Tracker) Reads() []Read {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cannot != "" {
		return nil
	}
	reads := make([]Read, 0, len(r.reads))
	for _, x := range r.reads {
		reads = append(reads, x)
	}
	slices.SortFunc(reads, func(a, b Read) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), cmp.Compare(a.Kind, b.Kind))
	})
	return reads
}

// Same reports whether the same would be read now. Where it had to read a file
// for that, it notes what the file looks like, for the next time.
func (x *Read) Same() bool {
	switch x.Kind {
	case File:
		return x.sameFile(time.Now(), os.ReadFile)
	case Absent:
		_, err := os.Lstat(x.Path)
		return errors.Is(err, fs.ErrNotExist)
	case Link:
		end, err := filepath.EvalSymlinks(x.Path)
		return err == nil && end == x.Digest
	case Sources:
		return x.sameNames(isSource)
	case Looked:
		return x.Looks != Looks{} && x.Looks == LooksOf(x.Path)
	case Line:
		return x.sameFile(time.Now(), firstLine)
	case Names:
		return x.sameNames(Counts)
	}
	return false
}

func (x *Read) sameFile(now time.Time, read func(string) ([]byte, error)) bool {
	info, err := os.Stat(x.Path)
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	if x.Looks == Look(info) {
		return true
	}
	b, err := read(x.Path)
	if err != nil || sum(b) != x.Digest {
		return false
	}
	x.Looks = settled(x.Path, now)
	return true
}

func (x *Read) sameNames(counts func(string) bool) bool {
	entries, err := os.ReadDir(x.Path)
	if err != nil {
		return false
	}
	var names []string
	for _, e := range entries {
		if counts(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return list(names) == x.Digest
}

// isSource reports whether CUE takes a file of a folder for a source.
func isSource(name string) bool {
	return filepath.Ext(name) == ".cue" && !strings.HasPrefix(name, ".") && !strings.HasPrefix(name, "_")
}

// Counts reports whether a file or folder belongs to the folder that has it: it is not
// hidden, and not what Python leaves beside its sources.
func Counts(name string) bool { return name != "__pycache__" && !strings.HasPrefix(name, ".") }

// LooksOf is what the file system says about a file, the zero value if it says
// nothing.
func LooksOf(path string) Looks {
	info, err := os.Stat(path)
	if err != nil {
		return Looks{}
	}
	return Look(info)
}

// settled is what a file looks like, if its last change is so old that its
// times prove that what was read since begin is its content. Otherwise it is
// the zero value.
func settled(path string, begin time.Time) Looks {
	if l := LooksOf(path); l.Settled(begin) {
		return l
	}
	return Looks{}
}

// Identity tells files apart at a path: by what the file system says, or by the content of a
// file that changed just now.
func Identity(path string) (string, error) {
	if l := settled(path, time.Now()); l != (Looks{}) {
		return l.String(), nil
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return string(h[:])
}

// list is the digest of names, in any order.
func list(names []string) string {
	sorted := slices.Sorted(slices.Values(names))
	return sum([]byte(strings.Join(sorted, "\x00")))
}
