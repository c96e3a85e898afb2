package cache

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"sync"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// Describe types a query, see [duck.Engine].
type Describe = func(ctx context.Context, tables map[string]ir.Schema, query string) (duck.Description, error)

// Typings are the descriptions of sound queries, each by the question that it answers. A
// compilation asks DuckDB only what the one before it did not ask. What it does not ask is
// not kept for the next one.
type Typings struct {
	before map[string]duck.Description

	mu   sync.Mutex
	used map[string]duck.Description
	new  bool // used has what before has not
}

// typed is the form of typings in a file.
type typed struct{ Queries map[string]duck.Description }

// Describe returns a function that answers from the typings, and asks describe otherwise.
func (t *Typings) Describe(describe Describe) Describe {
	return func(ctx context.Context, tables map[string]ir.Schema, query string) (duck.Description, error) {
		// All that describe is given. What answers it is part of the key of the entry.
		question, err := json.Marshal(struct {
			Tables map[string]ir.Schema
			Query  string
		}{tables, query})
		if err != nil {
			return duck.Description{}, err
		}
		sum := sha256.Sum256(question)
		key := string(sum[:])
		d, known := t.before[key]
		if !known {
			if d, err = describe(ctx, tables, query); err != nil {
				return d, err
			}
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		t.used[key] = d
		t.new = t.new || !known
		return d, nil
	}
}

// GetTypings returns the typings of the last compilation that succeeded.
func (e *Entry) GetTypings() *Typings {
	var r typed
	e.getPart(e.typings(), func(b []byte) error { return decode(b, &r) })
	return &Typings{before: r.Queries, used: map[string]duck.Description{}}
}

// PutTypings stores the typings that a compilation has used, unless they are already there.
func (e *Entry) PutTypings(t *Typings) {
	if !t.new && len(t.used) == len(t.before) {
		return
	}
	e.putPart(e.typings(), func() ([]byte, error) { return encode(&typed{t.used}) })
}

func (e *Entry) typings() string { return e.path + ".typings" }
