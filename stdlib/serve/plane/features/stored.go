package features

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/stores"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Published is the output of the step that publishes tables, and the input of those that read
// them.
const Published = "tables"

// published says which tables have been published: their digests by port.
type published struct {
	Digests map[string]string `json:"digests"`
}

// publishedFile is in the folder of the output.
const publishedFile = "tables.json"

// stored is a lookup whose rows are in a store.
type stored struct {
	*stores.Table
	use
}

// version names what the entries of a lookup are made of. Positions in the query are no part
// of a plan that is served.
func version(l *rowsql.Lookup, digest string) (string, error) {
	b, err := json.Marshal(struct {
		Encoding int
		Lookup   *rowsql.Lookup
		Digest   string
	}{rowsql.EntryVersion, l, digest})
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16]), err
}

// open finds the lookups that are in stores.
func (f *Features) open(ctx context.Context, s *step.Step, spec Spec) error {
	var tables *published
	opened := map[stores.Spec]stores.Store{}
	for i, l := range f.links {
		for j := range l.plan.Lookups {
			look := &l.plan.Lookups[j]
			as := spec.Lookups[look.Input.Name]
			if as.Store == nil {
				continue
			}
			if tables == nil {
				b, err := os.ReadFile(filepath.Join(s.Inputs[Published].Path, publishedFile))
				if err != nil {
					return fmt.Errorf("read what was published: %w", err)
				}
				if err := json.Unmarshal(b, &tables); err != nil {
					return fmt.Errorf("read what was published: %w", err)
				}
			}
			digest := tables.Digests[as.Port]
			if digest == "" {
				return fmt.Errorf("%q is looked up in a store, but not published", look.Input.Name)
			}
			name, err := version(look, digest)
			if err != nil {
				return err
			}
			store := opened[*as.Store]
			if store == nil {
				if store, err = stores.Open(*as.Store); err != nil {
					return err
				}
				opened[*as.Store] = store
			}
			t, err := stores.NewTable(ctx, store, *as.Store, look.Input.Name, name)
			if err != nil {
				return err
			}
			if _, err := l.NewFetched(j); err != nil {
				return fmt.Errorf("%q cannot be in a store: %w", look.Input.Name, err)
			}
			f.tables = append(f.tables, &stored{t, use{i, j}})
		}
	}
	return nil
}

// Tables are those that are in stores.
func (f *Features) Tables() (all []*stores.Table) {
	for _, t := range f.tables {
		all = append(all, t.Table)
	}
	return all
}

// Use says that the tables in stores are in use, again and again until ctx ends.
func (f *Features) Use(ctx context.Context, log func(string)) {
	if len(f.tables) == 0 {
		return
	}
	every := f.tables[0].Every()
	for _, t := range f.tables {
		every = min(every, t.Every())
	}
	for tick := time.NewTicker(every); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
		for _, t := range f.tables {
			if err := t.Table.Use(ctx); err != nil && ctx.Err() == nil {
				log("error: " + err.Error())
			}
		}
	}
}

// fetched makes the memory for rows of stores.
func (r *Row) fetched() {
	for _, t := range r.f.tables {
		l := r.f.links[t.link]
		x, err := l.NewFetched(t.lookup)
		if err != nil {
			panic(err) // open has tried
		}
		row := r.links[t.link].row
		if row.Fetched == nil {
			row.Fetched = make([]*rowsql.Fetched, len(l.plan.Lookups))
		}
		row.Fetched[t.lookup], r.stored = x, append(r.stored, x)
	}
}

// Fetch fetches the rows of stores that the rows of a request need, and asks functions in Python
// for them: n of them, of which row returns one. wait is called around what takes time and no
// processor. The error is a [*stores.Error], or that of a [Function] about all rows.
func (r *Row) Fetch(ctx context.Context, n int, row func(int) []rowsql.Value, wait func(func() error) error) error {
	if len(r.stored) == 0 && !r.f.calls() {
		return nil
	}
	clear(r.asked)
	r.wants = nil
	for _, x := range r.stored {
		x.Reset()
	}
	for {
		missing := false
		for i := range n {
			_, _, err := r.Results(row(i))
			missing = missing || errors.Is(err, rowsql.ErrMissing)
		}
		if !missing {
			return nil
		}
		if err := wait(func() error { return r.fetchOnce(ctx) }); err != nil {
			return err
		}
	}
}

// fetchOnce fetches what is missing in all tables, side by side, and asks functions.
func (r *Row) fetchOnce(ctx context.Context) error {
	if len(r.wants) == 0 && len(r.stored) == 1 {
		return r.f.tables[0].Fetch(ctx, r.stored[0])
	}
	if len(r.stored) == 0 {
		return r.ask(ctx)
	}
	g, within := errgroup.WithContext(ctx)
	for i, x := range r.stored {
		if len(x.Wanted()) > 0 {
			g.Go(func() error { return r.f.tables[i].Fetch(within, x) })
		}
	}
	if len(r.wants) > 0 {
		g.Go(func() error { return r.ask(within) })
	}
	return g.Wait()
}
