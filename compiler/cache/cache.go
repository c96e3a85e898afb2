package cache

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/internal/fingerprint"
	"github.com/tenon-ml/tenon/lang"
)

// most is the number of files to keep: three for each way to compile a system, such as with
// other tags.
const most = 24

// An Entry is the place of one result.
type Entry struct {
	path   string
	report func(error)
}

// Open returns the entry for a key below a folder, which Put creates. The key is
// marshalled data: everything on which a result depends besides what is read. report
// receives the reason when an entry is dropped or cannot be stored.
func Open(dir string, key any, report func(error)) (*Entry, error) {
	b, err := json.Marshal(key)
	if err != nil {
		return nil, fmt.Errorf("open the cache %s: %w", dir, err)
	}
	sum := sha256.Sum256(b)
	return &Entry{filepath.Join(dir, hex.EncodeToString(sum[:16])), report}, nil
}

// Get returns the result, or nil if there is none or if a compilation would now read
// something else.
func (e *Entry) Get() *compiler.Result {
	b, err := os.ReadFile(e.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var inputs []fingerprint.Read
	var body []byte
	if err == nil {
		inputs, body, err = open(b)
	}
	if err != nil {
		return e.drop(err)
	}
	renewed := false
	for i := range inputs {
		before := inputs[i].Looks
		if !inputs[i].Same() {
			return nil
		}
		renewed = renewed || inputs[i].Looks != before
	}
	r := new(compiler.Result)
	if err := decode(body, r); err != nil {
		return e.drop(err)
	}
	if renewed {
		e.write(inputs, body)
	}
	return r
}

// Put stores a result with what was read for it. Without inputs it stores nothing.
func (e *Entry) Put(inputs []fingerprint.Read, r *compiler.Result) {
	if len(inputs) == 0 {
		return
	}
	body, err := encode(r)
	if err != nil {
		e.report(fmt.Errorf("cannot cache the compiled system: %w", err))
		return
	}
	e.write(inputs, body)
}

// Entities are what a compilation has decoded, for the next one: that does not evaluate
// again what cannot have changed. They are used after one file of the system has changed.
type Entities struct {
	Parts   *lang.Parts
	Decoded map[string]compiler.Decoded
}

// GetEntities returns the entities of the last compilation that succeeded, or nil.
func (e *Entry) GetEntities() *Entities {
	r := new(Entities)
	if !e.getPart(e.entities(), func(b []byte) error { return decode(b, r) }) {
		return nil
	}
	return r
}

// PutEntities stores the entities of a compilation.
func (e *Entry) PutEntities(r *Entities) {
	e.putPart(e.entities(), func() ([]byte, error) { return encode(r) })
}

// getPart reads what is kept beside a result, and reports whether there is any that is
// whole.
func (e *Entry) getPart(path string, decode func([]byte) error) bool {
	b, err := os.ReadFile(path)
	if err != nil {
		return false // Get reports a folder that cannot be read
	}
	_, body, err := open(b)
	if err == nil {
		err = decode(body)
	}
	if err != nil {
		e.report(fmt.Errorf("drop the cache %s: %w", path, err))
		_ = os.Remove(path)
		return false
	}
	return true
}

// putPart writes what is kept beside a result. Put reports a folder that cannot be written.
func (e *Entry) putPart(path string, encoded func() ([]byte, error)) {
	var none []fingerprint.Read
	head, err := encode(&none)
	var body []byte
	if err == nil {
		body, err = encoded()
	}
	if err != nil {
		e.report(fmt.Errorf("cannot cache a part of the compilation: %w", err))
		return
	}
	_ = write(path, seal(head, body))
}

func (e *Entry) entities() string { return e.path + ".entities" }

func (e *Entry) drop(why error) *compiler.Result {
	e.report(fmt.Errorf("drop the cache %s: %w", e.path, why))
	_ = os.Remove(e.path) // otherwise it is overwritten
	return nil
}

func (e *Entry) write(inputs []fingerprint.Read, body []byte) {
	head, err := encode(&inputs)
	if err == nil {
		err = write(e.path, seal(head, body))
	}
	if err != nil {
		e.report(fmt.Errorf("cannot cache the compiled system: %w", err))
	}
}

// seal joins the two parts of an entry behind their checksum.
func seal(head, body []byte) []byte {
	b := make([]byte, sha256.Size, sha256.Size+binary.MaxVarintLen64+len(head)+len(body))
	b = binary.AppendUvarint(b, uint64(len(head)))
	b = append(append(b, head...), body...)
	sum := sha256.Sum256(b[sha256.Size:])
	copy(b, sum[:])
	return b
}

// open splits an entry.
func open(b []byte) (inputs []fingerprint.Read, body []byte, err error) {
	if len(b) < sha256.Size {
		return nil, nil, errDamaged
	}
	sum, b := b[:sha256.Size], b[sha256.Size:]
	if sha256.Sum256(b) != [sha256.Size]byte(sum) {
		return nil, nil, errDamaged
	}
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return nil, nil, errDamaged
	}
	head, body := b[used:used+int(n)], b[used+int(n):]
	err = decode(head, &inputs)
	return inputs, body, err
}

// write writes an entry atomically. It does not wait for the disk: the checksum detects
// an incomplete entry.
func write(path string, b []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := files.Write(path, b, 0o600); err != nil {
		return err
	}
	return prune(dir)
}

// prune keeps the newest entries, and removes the partial files of older writers that
// were killed.
func prune(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) <= most {
		return err
	}
	infos := make([]fs.FileInfo, 0, len(entries))
	for _, e := range entries {
		if info, err := e.Info(); err == nil { // otherwise another process removed it
			infos = append(infos, info)
		}
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int {
		return cmp.Or(b.ModTime().Compare(a.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	for _, old := range infos[min(most, len(infos)):] {
		if err := os.Remove(filepath.Join(dir, old.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
