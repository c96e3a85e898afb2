package rowsql

import (
	"bytes"
	"errors"
	"fmt"
)

// ErrMissing says that a row of a store is needed that is not fetched yet. Of [Fetched.Wanted],
// all that is known to be needed can be fetched at once. Then the row is computed again.
var ErrMissing = errors.New("a row of a store is missing")

// A Want is an entry that a row needs.
type Want struct {
	// Key is the key of the entry. If there is an End, it is that of any from Key up to End,
	// without it: the last of them, or the first.
	Key, End []byte
	Last     bool
	Size     int // of its key in bytes
}

// Fetched are rows of a lookup that are in a store: those which one goroutine has fetched for
// its request. A table in memory has none.
type Fetched struct {
	lookup *lookup
	codec  rowCodec
	after  class
	asof   string
	rows   map[string]*fetched
	wants  []Want
	to     []*fetched // of the wants
}

// fetched is what a store has for a key, or for a key and a time.
type fetched struct {
	there bool // it has been fetched
	row   []Value
	after Value
}

// NewFetched returns memory for the rows of a lookup, which a [Row] takes by its field Fetched.
func (p *Program) NewFetched(lookup int) (*Fetched, error) {
	x := p.lookups[lookup]
	if says := x.plan.Outside(); says != "" {
		return nil, errors.New(says)
	}
	f := &Fetched{lookup: x, rows: map[string]*fetched{}}
	var err error
	if f.codec, err = x.codec(); err != nil {
		return nil, err
	}
	if x.after == nil {
		return f, nil
	}
	t, _ := parseType(x.plan.After.Type)
	f.after = t.class
	for _, s := range p.plan.Steps {
		if s.Join != nil && s.Join.Lookup == lookup {
			f.asof = s.Join.Asof
		}
	}
	if f.asof == "" {
		return nil, fmt.Errorf("no join reads %q", x.plan.Input.Name)
	}
	return f, nil
}

// Reset forgets all rows.
func (f *Fetched) Reset() {
	clear(f.rows)
	f.wants, f.to = f.wants[:0], f.to[:0]
}

// Wanted are the entries to fetch.
func (f *Fetched) Wanted() []Want { return f.wants }

// Set sets what the store has for a want: an entry, or none, whose key is nil. After all of
// them, Done forgets the wants.
func (f *Fetched) Set(want int, key, row []byte) error {
	to := f.to[want]
	to.there, to.row = true, nil
	if key == nil {
		return nil
	}
	w := f.wants[want]
	if w.End == nil && !bytes.Equal(key, w.Key) || w.End != nil && (len(key) != w.Size || bytes.Compare(key, w.Key) < 0 || bytes.Compare(key, w.End) >= 0) {
		return errDamaged
	}
	var err error
	if to.row, err = f.codec.read(row); err == nil && w.End != nil {
		to.after = orderedValue(key[len(key)-OrderSize:], f.after)
	}
	return err
}

// Done says that all wants are set.
func (f *Fetched) Done() { f.wants, f.to = f.wants[:0], f.to[:0] }

// find returns what the store has for the key of r, and at of an ASOF join.
func (f *Fetched) find(r *Row, at Value) *fetched {
	prefix := len(r.key)
	if f.lookup.after != nil {
		r.key = appendOrdered(r.key, at, f.after)
	}
	x := f.rows[string(r.key)]
	if x == nil {
		x = new(fetched)
		f.rows[string(r.key)] = x
		f.want(r.key, prefix, x)
	}
	return x
}

// beyond is greater than all bytes that follow a key: the order of an ASOF join, or the first
// byte of a row.
var beyond = bytes.Repeat([]byte{0xff}, OrderSize+1)

func (f *Fetched) want(key []byte, prefix int, to *fetched) {
	w := Want{Size: len(key)}
	switch key := bytes.Clone(key); f.asof {
	case "":
		w.Key = key
	case ">=":
		w.Key, w.End, w.Last = key[:prefix:prefix], append(key, 0xff), true
	case ">":
		w.Key, w.End, w.Last = key[:prefix:prefix], key, true
	case "<=":
		w.Key, w.End = key, append(key[:prefix:prefix], beyond...)
	case "<":
		w.Key, w.End = append(key, 0xff), append(key[:prefix:prefix], beyond...)
	}
	f.wants, f.to = append(f.wants, w), append(f.to, to)
}

// fetch returns the row of a lookup in a store for the key of r, or nil. It is not there if it
// is not fetched yet.
func (r *Row) fetch(index int, at eval) (x *fetched, there bool) {
	var v Value
	if at != nil {
		if v = at(r); v.Null {
			return nil, true
		}
	}
	x = r.Fetched[index].find(r, v)
	if x.row == nil {
		return nil, x.there
	}
	if at != nil {
		r.asof[index] = [2]Value{v, x.after}
	}
	return x, true
}
