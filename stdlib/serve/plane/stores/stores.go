package stores

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/internal/duration"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// A Spec is how a system declares a store.
type Spec struct {
	Kind string `json:"kind"` // "redis" or "postgres"
	URL  string `json:"url"`
	// Password is the variable with the password, or with the path of its file.
	Password    string `json:"password,omitempty"`
	As          string `json:"as,omitempty"`      // "file"
	Cluster     bool   `json:"cluster,omitempty"` // of Redis
	Prefix      string `json:"prefix,omitempty"`  // of keys of Redis
	Schema      string `json:"schema,omitempty"`  // of PostgreSQL
	Timeout     string `json:"timeout"`           // of a fetch
	Connections int    `json:"connections"`
	// Keep is how long a version stays that nobody has used.
	Keep string `json:"keep"`
	// Cache is how many entries a service keeps in memory.
	Cache int `json:"cache"`
}

// Info is what a store knows about a version.
type Info struct {
	Rows    int64 `json:"rows"`
	Ordered bool  `json:"ordered"` // the keys are those of an ASOF join
	Buckets int   `json:"buckets,omitempty"`
}

// ErrNone says that a version is not in the store.
var ErrNone = errors.New("it is not there")

// errLost says that part of a version is not in the store any more.
var errLost = errors.New("part of it was lost")

// A Store is safe for concurrent use.
type Store interface {
	// Use says that a version is in use. Its error is [ErrNone] if it is not there, or not
	// all of it.
	Use(ctx context.Context, version string) (Info, error)
	// Write writes a version and removes those that nobody uses. next returns a nil key at the
	// end.
	Write(ctx context.Context, version string, info Info, next func() (key, row []byte, err error)) error
	// Get calls set with the entry of each want, whose key is nil if there is none.
	Get(ctx context.Context, version string, info Info, wants []rowsql.Want, set func(want int, key, row []byte) error) error
	Close()
}

// Open returns a store. It connects when it is asked.
func Open(s Spec) (Store, error) {
	password := ""
	if s.Password != "" {
		var given bool
		if password, given = os.LookupEnv(s.Password); !given {
			return nil, fmt.Errorf("the password of %s is not given", s.URL)
		}
		if s.As == "file" {
			b, err := os.ReadFile(password)
			if err != nil {
				return nil, fmt.Errorf("the password of %s: %w", s.URL, err)
			}
			password = strings.TrimSuffix(string(b), "\n")
		}
	}
	c := common{spec: s, password: password, timeout: duration.Parse(s.Timeout), keep: duration.Parse(s.Keep)}
	if c.timeout <= 0 || c.keep < time.Minute {
		return nil, fmt.Errorf("%s has the timeout %q and keeps versions for %q, wanted lengths of time, the latter of at least a minute", s.URL, s.Timeout, s.Keep)
	}
	switch s.Kind {
	case "redis":
		return openRedis(c)
	case "postgres":
		return openPostgres(c)
	}
	return nil, fmt.Errorf("there is no kind of store %q", s.Kind)
}

// common is what both kinds of stores have.
type common struct {
	spec     Spec
	password string
	timeout  time.Duration
	keep     time.Duration
}

func (c *common) connections() int { return cmp.Or(c.spec.Connections, 16) }

// A Table is a lookup whose rows are in a store.
type Table struct {
	Name    string
	Version string
	// Observe is called after each fetch, if it is set: how long it took, and for how many
	// rows.
	Observe func(took time.Duration, rows int, err error)

	store   Store
	spec    Spec
	info    Info
	keep    time.Duration
	timeout time.Duration
	cache   *cache
}

// NewTable returns a table of which a store has a version.
func NewTable(ctx context.Context, store Store, s Spec, name, version string) (*Table, error) {
	t := &Table{Name: name, Version: version, store: store, spec: s, keep: duration.Parse(s.Keep), timeout: duration.Parse(s.Timeout)}
	if s.Cache > 0 {
		t.cache = newCache(s.Cache)
	}
	var err error
	t.info, err = t.use(ctx)
	return t, err
}

// Use says that the version is in use, which has to be said about every [Table.Every].
func (t *Table) Use(ctx context.Context) error {
	_, err := t.use(ctx)
	return err
}

func (t *Table) use(ctx context.Context) (Info, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	info, err := t.store.Use(ctx, t.Version)
	if err != nil {
		return info, &Error{t.Name, t.spec.URL, err}
	}
	return info, nil
}

// patience is for what no client waits for.
const patience = 30 * time.Second

// Every is how often a service says that it uses the table.
func (t *Table) Every() time.Duration { return max(t.keep/8, 10*time.Second) }

// Fetch fetches what rows need. Its error is an [*Error], or that of ctx.
func (t *Table) Fetch(ctx context.Context, f *rowsql.Fetched) error {
	wants := f.Wanted()
	if len(wants) == 0 {
		return nil
	}
	set := f.Set
	var asked []int // of wants, those that are not in the cache
	if t.cache != nil {
		var left []rowsql.Want
		for i, w := range wants {
			if key, row, known := t.cache.get(w); !known {
				left, asked = append(left, w), append(asked, i)
			} else if err := f.Set(i, key, row); err != nil {
				return &Error{t.Name, t.spec.URL, err}
			}
		}
		if len(left) == 0 {
			f.Done()
			return nil
		}
		all := wants
		wants, set = left, func(i int, key, row []byte) error {
			t.cache.put(all[asked[i]], key, row)
			return f.Set(asked[i], key, row)
		}
	}
	start := time.Now()
	within, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	err := t.store.Get(within, t.Version, t.info, wants, set)
	if t.Observe != nil {
		t.Observe(time.Since(start), len(wants), err)
	}
	if err != nil {
		if ended := ctx.Err(); ended != nil {
			return ended // the client does not wait longer
		}
		return &Error{t.Name, t.spec.URL, err}
	}
	f.Done()
	return nil
}

// An Error is a table that cannot be read from its store.
type Error struct {
	Table string
	URL   string
	Err   error
}

func (e *Error) Error() string {
	if errors.Is(e.Err, ErrNone) {
		return fmt.Sprintf("the table %q is not in %s as this service needs it: run tenon apply with --rerun for the unit that publishes it", e.Table, e.URL)
	}
	return fmt.Sprintf("the table %q cannot be read from %s: %v", e.Table, e.URL, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

func (i Info) json() []byte {
	b, err := json.Marshal(i)
	if err != nil {
		panic(err) // numbers have JSON
	}
	return b
}
