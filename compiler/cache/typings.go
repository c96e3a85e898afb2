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

// Bind returns the plan of a query, see [duck.Engine].
type Bind = func(ctx context.Context, tables map[string]ir.Schema, query string) ([]byte, error)

// Typings are the descriptions and the plans of sound queries, each by the question that it
// answers. A compilation asks DuckDB only what the one before it did not ask. What it does
// not ask is not kept for the next one.
type Typings struct {
	queries answers[duck.Description]
	plans   answers[string]
}

// typed is the form of typings in a file.
type typed struct {
	Queries map[string]duck.Description
	Plans   map[string]string
}

// Describe returns a function that answers from the typings, and asks describe otherwise.
func (t *Typings) Describe(describe Describe) Describe { return t.queries.from(describe) }

// Bind returns a function that answers from the typings, and asks bind otherwise.
func (t *Typings) Bind(bind Bind) Bind {
	ask := t.plans.from(func(ctx context.Context, tables map[string]ir.Schema, query string) (string, error) {
		plan, err := bind(ctx, tables, query)
		return string(plan), err
	})
	return func(ctx context.Context, tables map[string]ir.Schema, query string) ([]byte, error) {
		plan, err := ask(ctx, tables, query)
		return []byte(plan), err
	}
}

// Answers to one kind of question.
type answers[T any] struct {
	before map[string]T

	mu   sync.Mutex
	used map[string]T
	new  bool // used has what before has not
}

func (a *answers[T]) from(ask func(context.Context, map[string]ir.Schema, string) (T, error)) func(context.Context, map[string]ir.Schema, string) (T, error) {
	return func(ctx context.Context, tables map[string]ir.Schema, query string) (answer T, err error) {
		// All that is given. What answers it is part of the key of the entry.
		question, err := json.Marshal(struct {
			Tables map[string]ir.Schema
			Query  string
		}{tables, query})
		if err != nil {
			return answer, err
		}
		sum := sha256.Sum256(question)
		key := string(sum[:])
		answer, known := a.before[key]
		if !known {
			if answer, err = ask(ctx, tables, query); err != nil {
				return answer, err
			}
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.used[key] = answer
		a.new = a.new || !known
		return answer, nil
	}
}

// same reports whether exactly the answers of before were used.
func (a *answers[T]) same() bool { return !a.new && len(a.used) == len(a.before) }

// GetTypings returns the typings of the last compilation that succeeded.
func (e *Entry) GetTypings() *Typings {
	var r typed
	e.getPart(e.typings(), func(b []byte) error { return decode(b, &r) })
	return &Typings{
		queries: answers[duck.Description]{before: r.Queries, used: map[string]duck.Description{}},
		plans:   answers[string]{before: r.Plans, used: map[string]string{}},
	}
}

// PutTypings stores the typings that a compilation has used, unless they are already there.
func (e *Entry) PutTypings(t *Typings) {
	if t.queries.same() && t.plans.same() {
		return
	}
	e.putPart(e.typings(), func() ([]byte, error) { return encode(&typed{t.queries.used, t.plans.used}) })
}

func (e *Entry) typings() string { return e.path + ".typings" }
