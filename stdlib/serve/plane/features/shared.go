package features

import (
	"encoding/json"
	"sync"
	"weak"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// shared are the rows of lookups that are in memory, by the lookup and the digest of its table, so
// that versions of a service with the same table share them. They go with the last of their users.
var shared = sharedRows{rows: map[string]weak.Pointer[rowsql.Rows]{}}

type sharedRows struct {
	mu   sync.Mutex
	rows map[string]weak.Pointer[rowsql.Rows]
}

// get returns nil if the rows are not there. A table without a digest shares none.
func (s *sharedRows) get(name, digest string) *rowsql.Rows {
	s.mu.Lock()
	defer s.mu.Unlock()
	if digest == "" {
		return nil
	}
	return s.rows[name].Value()
}

func (s *sharedRows) put(name, digest string, r *rowsql.Rows) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, p := range s.rows {
		if p.Value() == nil {
			delete(s.rows, name)
		}
	}
	if digest != "" {
		s.rows[name] = weak.Make(r)
	}
}

// sharedName says what the rows of a lookup are made of: the plan of the lookup, and the columns and
// the digest of its table.
func sharedName(l *rowsql.Lookup, columns ir.Schema, digest string) (string, error) {
	name, err := version(l, digest)
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(columns)
	return name + string(b), err
}
