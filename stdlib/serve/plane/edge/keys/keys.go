// Package keys has API keys: how they are made, and the list with which a service knows them.
// The list has the hash of each key, so that whoever reads it cannot ask the service.
package keys

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Scopes say what a caller may ask.
type Scopes uint8

// The scopes. Each is for some of the paths of a service.
const (
	Predict Scopes = 1 << iota
	Explain
	Events
	Metrics
	All = Predict | Explain | Events | Metrics
)

// Names are those of the scopes, in their order.
var Names = []string{"predict", "explain", "events", "metrics"}

// ParseScopes returns the scopes with some names.
func ParseScopes(names []string) (Scopes, error) {
	var all Scopes
	for _, name := range names {
		i := slices.Index(Names, name)
		if i < 0 {
			return 0, fmt.Errorf("%q is no scope: wanted %s", name, strings.Join(Names, ", "))
		}
		all |= 1 << i
	}
	return all, nil
}

func (s Scopes) String() string {
	var names []string
	for i, name := range Names {
		if s&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// Prefix begins every key, so that tools that look for secrets in files find them.
const Prefix = "tenon_"

const hashed = "sha256:"

// New makes a key of 256 random bits.
func New() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return Prefix + hex.EncodeToString(b)
}

// Line is the line of a list for a key.
func Line(name, key string, may Scopes) (string, error) {
	if !goodName(name) {
		return "", fmt.Errorf("%q is not the name of a caller: wanted up to %d letters, digits, \".\", \"_\" and \"-\"", cut(name), longestName)
	}
	if may == 0 {
		return "", fmt.Errorf("the caller %s may ask nothing: name scopes of %s", name, strings.Join(Names, ", "))
	}
	sum := sha256.Sum256([]byte(key))
	return name + " " + hashed + hex.EncodeToString(sum[:]) + " " + may.String(), nil
}

const longestName = 64

func goodName(s string) bool {
	return s != "" && len(s) <= longestName && !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '_' || r == '-')
	})
}

// A Key is a key of a list.
type Key struct {
	Name   string
	Scopes Scopes
	sum    [sha256.Size]byte
}

// A List finds keys.
type List struct {
	// byHead has keys by the first bytes of their hashes.
	byHead map[uint64][]*Key
}

// Read reads a list: a line "NAME sha256:HEX SCOPE,SCOPE" for each key, empty lines, and lines
// that begin with #. A name may have several keys, so that a new one can be introduced. An
// error says which line is wrong, and repeats nothing of it.
func Read(text []byte) (*List, error) {
	l := &List{byHead: map[uint64][]*Key{}}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		line := strings.TrimSpace(string(line))
		if line == "" || line[0] == '#' {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil, fmt.Errorf("line %d of the list of keys: wanted NAME %sHEX SCOPE,SCOPE", n, hashed)
		}
		k := &Key{Name: fields[0]}
		if !goodName(k.Name) {
			return nil, fmt.Errorf("line %d of the list of keys: wanted a name of up to %d letters, digits, \".\", \"_\" and \"-\"", n, longestName)
		}
		digits, ok := strings.CutPrefix(fields[1], hashed)
		if sum, err := hex.DecodeString(digits); !ok || err != nil || copy(k.sum[:], sum) != sha256.Size || len(sum) != sha256.Size {
			return nil, fmt.Errorf("line %d of the list of keys: wanted the hash of a key, %s and %d hexadecimal digits, as tenon key new prints it", n, hashed, 2*sha256.Size)
		}
		var err error
		if k.Scopes, err = ParseScopes(strings.Split(fields[2], ",")); err != nil {
			return nil, fmt.Errorf("line %d of the list of keys: wanted scopes of %s, separated by commas", n, strings.Join(Names, ", "))
		}
		head := binary.BigEndian.Uint64(k.sum[:])
		for _, other := range l.byHead[head] {
			if other.sum == k.sum {
				return nil, fmt.Errorf("line %d of the list of keys: an earlier line has this key, too", n)
			}
		}
		l.byHead[head] = append(l.byHead[head], k)
	}
	return l, nil
}

// Find returns the key of the list that a client has sent, or nil. How long that takes tells
// nothing about a key, only about the hash of what was sent.
func (l *List) Find(sent string) *Key {
	if l == nil {
		return nil
	}
	sum := sha256.Sum256([]byte(sent))
	var found *Key
	for _, k := range l.byHead[binary.BigEndian.Uint64(sum[:])] {
		if subtle.ConstantTimeCompare(k.sum[:], sum[:]) == 1 {
			found = k
		}
	}
	return found
}

func cut(s string) string {
	if len(s) > longestName {
		return s[:longestName] + "..."
	}
	return s
}
