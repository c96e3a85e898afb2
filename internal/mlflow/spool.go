package mlflow

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// IDTag is the tag with [Run.ID].
const IDTag = "tenon.run"

// A Run is what a run in MLflow is created with.
type Run struct {
	URI        string            `json:"uri"` // of the server
	Experiment string            `json:"experiment"`
	ID         string            `json:"id"` // unique; no two runs in an experiment have the same one
	Name       string            `json:"name"`
	Started    int64             `json:"started"` // milliseconds since 1970
	Tags       map[string]string `json:"tags,omitempty"`
	Params     map[string]string `json:"params,omitempty"`
	Parent     string            `json:"parent,omitempty"` // the ID of the run in which it is nested
	// Token is where the token is kept, in a form that only the caller reads. The token itself is never written.
	Token json.RawMessage `json:"token,omitempty"`
}

// An Entry is one line of a spool. One of its fields is set.
type Entry struct {
	Run     *Run              `json:"run,omitempty"` // of the first line
	Metrics *Metrics          `json:"metrics,omitempty"`
	Tags    map[string]string `json:"tags,omitempty"`
	File    *File             `json:"file,omitempty"`
	End     *End              `json:"end,omitempty"`
	Closed  bool              `json:"closed,omitempty"` // nothing follows
}

// Metrics are values at a step.
type Metrics struct {
	Step   int64                 `json:"step"`
	Time   int64                 `json:"time"` // milliseconds since 1970
	Values map[string]step.Value `json:"values"`
}

// A File is a small artifact.
type File struct {
	Name    string `json:"name"` // a relative path with slashes
	Content []byte `json:"content"`
}

// An End is how a run ended.
type End struct {
	Status string `json:"status"` // "FINISHED", "FAILED" or "KILLED"
	Time   int64  `json:"time"`   // milliseconds since 1970
}

// A Spool is a folder with what is still to be sent: a file of [Entry] lines for each run, by a number of the caller's.
// Files are appended to by one process, and sent by one process at a time.
type Spool struct{ Dir string }

// maxFile limits the file of a run, in bytes, whether it was sent or not. Values beyond it are left out.
const maxFile = 64 << 20

// ErrFull is the error of an append to a file that is too large for more values.
var ErrFull = fmt.Errorf("it has logged more than %d MiB, further values are not sent", maxFile>>20)

func (s Spool) path(run int64) string { return filepath.Join(s.Dir, fmt.Sprintf("%d.jsonl", run)) }
func (s Spool) sent(run int64) string { return filepath.Join(s.Dir, fmt.Sprintf("%d.sent", run)) }

// Append adds entries for a run. If the file is too large, values are left out and the error is [ErrFull]: other entries, such as
// the end, are still added.
func (s Spool) Append(run int64, all ...Entry) (err error) {
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(s.path(run), os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	var lines []byte
	var last [1]byte
	if _, err := f.ReadAt(last[:], info.Size()-1); info.Size() > 0 && (err != nil || last[0] != '\n') {
		lines = append(lines, '\n') // the last writer was killed: what follows is not part of its line
	}
	var full error
	for _, e := range all {
		if e.Metrics != nil && info.Size() > maxFile {
			full = ErrFull
			continue
		}
		b, err := json.Marshal(e)
		if err != nil {
			return err
		}
		lines = append(append(lines, b...), '\n')
	}
	_, err = f.Write(lines)
	return errors.Join(full, err)
}

// Has reports whether anything waits for a run.
func (s Spool) Has(run int64) bool {
	_, err := os.Stat(s.path(run))
	return err == nil
}

// Closed reports whether the last entry for a run is in its file.
func (s Spool) Closed(run int64) (bool, error) {
	f, err := os.Open(s.path(run))
	if err != nil {
		return false, err
	}
	defer f.Close()
	for r := bufio.NewReader(f); ; {
		e, _, err := readEntry(r)
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err == nil && e.Closed {
			return true, nil
		}
	}
}

// Runs returns the numbers of runs for which something waits, sorted.
func (s Spool) Runs() ([]int64, error) {
	list, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []int64
	for _, f := range list {
		name, ok := strings.CutSuffix(f.Name(), ".jsonl")
		if n, err := strconv.ParseInt(name, 10, 64); ok && err == nil {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, err
}

// A sentTo is how far the file of a run was sent.
type sentTo struct {
	Offset  int64  `json:"offset"`
	Run     string `json:"run"`               // its id in MLflow, or ""
	Refused bool   `json:"refused,omitempty"` // by the server, which does not accept the run
}

func (s Spool) sentTo(run int64) (at sentTo, err error) {
	b, err := os.ReadFile(s.sent(run))
	if errors.Is(err, fs.ErrNotExist) {
		return at, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &at)
	}
	return at, err
}

func (s Spool) setSent(run int64, at sentTo) error {
	b, err := json.Marshal(at)
	if err != nil {
		return err
	}
	return files.Write(s.sent(run), b, 0o644)
}

// remove removes a file that was sent.
func (s Spool) remove(run int64) error {
	return errors.Join(os.Remove(s.path(run)), removeIfThere(s.sent(run)))
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// First returns the run that the first line of a file describes.
func (s Spool) First(run int64) (*Run, error) {
	f, err := os.Open(s.path(run))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	e, _, err := readEntry(bufio.NewReader(f))
	if err == nil && e.Run == nil {
		err = errors.New("its first line describes no run")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.path(run), err)
	}
	return e.Run, nil
}

// readEntry reads a line, and returns its length. A line without its end is [io.EOF]: its writer was killed.
func readEntry(r *bufio.Reader) (e Entry, n int64, err error) {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return e, 0, io.EOF
	}
	return e, int64(len(line)), json.Unmarshal(line, &e)
}

// pairs returns what MLflow accepts as parameters or tags, sorted.
func pairs(of map[string]string, longest int) []pair {
	out := make([]pair, 0, len(of))
	for _, key := range slices.Sorted(maps.Keys(of)) {
		value := []rune(of[key])
		if len(value) > longest {
			value = append(value[:longest-3], []rune("...")...)
		}
		out = append(out, pair{Name(key), string(value)})
	}
	return out
}

// marked matches the names that Tenon gives to parts and ends of metrics, "roc_auc [origin=JFK]" and "roc_auc [lower]". A
// name that matches looksMarked is what one of these may become.
var (
	marked      = regexp.MustCompile(`^[^][:=]+ \[(lower|upper|[^][:= ]+=[^][=]*)\]$`)
	looksMarked = regexp.MustCompile(`^[^:]+ (lower|upper|[^: ]+:.*)$`)
)

// Name returns the name that MLflow accepts in place of another: "roc_auc [origin=JFK]" becomes "roc_auc origin:JFK". Where
// two names could become the same one, it ends with the beginning of the digest of the original.
func Name(of string) string {
	replaced := false
	name := strings.Map(func(r rune) rune {
		switch {
		case r == '=':
			return ':'
		case r == '[' || r == ']':
			return -1
		case unicode.IsLetter(r), unicode.IsDigit(r), strings.ContainsRune("/_.- :", r):
			return r
		}
		replaced = true
		return '_'
	}, of)
	if clean := path.Clean(name); clean != name || strings.HasPrefix(name, "/") || strings.HasPrefix(name, "..") || name == "." {
		name = strings.ReplaceAll(strings.ReplaceAll(name, "/", "_"), "..", "_")
		replaced = true
	}
	distinct := !replaced && len(name) <= maxName && (marked.MatchString(of) || name == of && !looksMarked.MatchString(of))
	if distinct {
		return name
	}
	end := fmt.Sprintf("-%.4x", sha256.Sum256([]byte(of)))
	for len(name) > maxName-len(end) {
		name = name[:strings.LastIndexFunc(name, func(rune) bool { return true })]
	}
	return name + end
}
