package features

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/stores"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/table"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Publish writes the tables of a step into their stores, unless they are there. It writes the
// output [Published], with their digests.
func Publish(ctx context.Context, s *step.Step, spec Spec) error {
	out, ok := s.Outputs[Published]
	if !ok {
		return fmt.Errorf("%s has no output %q", s.Component, Published)
	}
	f := &Features{columns: spec.Columns}
	if err := f.plans(spec, nil); err != nil {
		return err
	}
	if err := f.inputs(s, spec, func(l Lookup) bool { return l.Store != nil }); err != nil {
		return err
	}
	doc := published{Digests: map[string]string{}}
	rows := 0.0
	for _, x := range f.files {
		for _, u := range x.uses {
			look := &f.links[u.link].plan.Lookups[u.lookup]
			as := spec.Lookups[look.Input.Name]
			n, err := f.publish(ctx, x, u, *as.Store)
			if err != nil {
				return fmt.Errorf("publish %q in %s: %w", look.Input.Name, as.Store.URL, err)
			}
			doc.Digests[as.Port], rows = x.port.Digest, rows+float64(n)
		}
	}
	if s.Metrics != "" {
		if err := s.WriteMetrics(map[string]float64{"rows": rows}); err != nil {
			return err
		}
	}
	b, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out.Path, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out.Path, publishedFile), append(b, '\n'), 0o644)
}

// publish writes the entries of a lookup, and returns how many there are.
func (f *Features) publish(ctx context.Context, x *file, u use, spec stores.Spec) (rows int64, err error) {
	l := f.links[u.link]
	look := &l.plan.Lookups[u.lookup]
	if x.port.Digest == "" {
		return 0, errors.New("the digest of the table is not known")
	}
	name, err := version(look, x.port.Digest)
	if err != nil {
		return 0, err
	}
	spec.Timeout = "30s" // of many rows at once
	store, err := stores.Open(spec)
	if err != nil {
		return 0, err
	}
	defer store.Close()
	info, err := store.Use(ctx, name)
	if err == nil {
		fmt.Printf("%q is there already as %s, with %d rows\n", look.Input.Name, name, info.Rows)
		return info.Rows, nil
	}
	if !errors.Is(err, stores.ErrNone) {
		return 0, err
	}
	r, err := table.Open(x.port.Path, f.columnsOf(x, u))
	if err != nil {
		return 0, err
	}
	defer r.Close()
	entries, err := l.NewEntries(u.lookup)
	if err != nil {
		return 0, err
	}
	e := &entryReader{entries: entries, keys: rowsql.NewIndex(), name: look.Input.Name}
	e.read = func(b *table.Batch) error {
		if err := r.Read(ctx, b, batch); err != nil {
			return err
		}
		columns := f.columnsOf(x, u)
		for i := range b.Len() {
			row := b.Row(i)
			for j := range row {
				rowsql.Store(&columns[j], &row[j])
			}
		}
		return nil
	}
	if err := store.Write(ctx, name, stores.Info{Rows: r.Rows(), Ordered: look.After != nil}, e.next); err != nil {
		return 0, err
	}
	fmt.Printf("published %q as %s, with %d rows\n", look.Input.Name, name, e.keys.Len())
	return int64(e.keys.Len()), nil
}

// An entryReader makes entries of the rows of a file.
type entryReader struct {
	read    func(*table.Batch) error
	batch   table.Batch
	at      int // in the batch
	entries *rowsql.Entries
	keys    *rowsql.Index
	name    string
}

// next returns the next entry. Its key is nil after the last.
func (e *entryReader) next() (key, row []byte, err error) {
	for {
		if e.at == e.batch.Len() {
			if err := e.read(&e.batch); errors.Is(err, io.EOF) {
				return nil, nil, nil
			} else if err != nil {
				return nil, nil, err
			}
			e.at = 0
		}
		in := e.batch.Row(e.at)
		e.at++
		key, row, found, err := e.entries.Entry(in)
		if err != nil {
			return nil, nil, err
		}
		if !found {
			continue
		}
		_, added, err := e.keys.Add(key)
		if err != nil {
			return nil, nil, err
		}
		if !added {
			return nil, nil, fmt.Errorf("two rows of %q have the same keys", e.name)
		}
		return key, row, nil
	}
}
