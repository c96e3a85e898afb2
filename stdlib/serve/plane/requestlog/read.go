package requestlog

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/parquet-go/parquet-go"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/table"
)

// A Reader reads the rows of a file, in their order.
type Reader struct {
	Head
	*table.Reader
	index map[string]int
}

// OpenFile opens a file to read all its columns.
func OpenFile(path string) (*Reader, error) {
	r := &Reader{index: map[string]int{}}
	if err := r.head(path); err != nil {
		return nil, fmt.Errorf("read the request log %s: %w", path, err)
	}
	columns := r.Columns()
	for i, c := range columns {
		r.index[c.Name] = i
	}
	var err error
	r.Reader, err = table.Open(path, columns)
	return r, err
}

func (r *Reader) head(path string) error {
	text, ok, err := Metadata(path, metadata)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("it is not a request log")
	}
	if err := json.Unmarshal([]byte(text), &r.Head); err != nil {
		return err
	}
	if r.Format != Format {
		return fmt.Errorf("it has the format %d, and this program reads %d", r.Format, Format)
	}
	return nil
}

// Metadata returns a text in the metadata of a file of Parquet, if it has it.
func Metadata(path, key string) (text string, ok bool, err error) {
	defer recovered(&err)
	f, err := os.Open(path)
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", false, err
	}
	p, err := parquet.OpenFile(f, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return "", false, err
	}
	text, ok = p.Lookup(key)
	return text, ok, nil
}

// rowsIn returns how many rows a file has, or 0 if it cannot be read.
func rowsIn(path string) int {
	r, err := OpenFile(path)
	if err != nil {
		return 0
	}
	defer r.Close()
	return int(r.Rows())
}

// Index returns where a column is, or -1 if the file does not have it.
func (r *Reader) Index(column string) int {
	if i, ok := r.index[column]; ok {
		return i
	}
	return -1
}

// Each calls f for each row. The values are overwritten by those of the next row, but their
// texts may be kept.
func (r *Reader) Each(ctx context.Context, f func(row []rowsql.Value) error) error {
	const batch = 1024
	var b table.Batch
	for done := int64(0); done < r.Rows(); done += int64(b.Len()) {
		if err := r.Read(ctx, &b, batch); err != nil {
			return err
		}
		for i := range b.Len() {
			if err := f(b.Row(i)); err != nil {
				return err
			}
		}
	}
	return nil
}
