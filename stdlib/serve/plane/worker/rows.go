package worker

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// Rows is a pool whose processes do not predict, but compute rows: with a function of the user's
// in Python, see serve/http/tenon_row_worker.py.
type Rows struct {
	*Pool
	name string
}

// StartRows starts processes that compute rows of some columns from the columns of Options.Signature.
// name is that of the function, for errors.
func StartRows(o Options, name string, results ir.Schema) (*Rows, error) {
	o.results = results
	p, err := Start(o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &Rows{p, name}, nil
}

// A FailedError is a function that failed for a row, with something else than a refusal.
type FailedError struct{ Name, Says string }

func (e *FailedError) Error() string { return e.Name + ": " + e.Says }

// A LateError is a function that took too long.
type LateError struct{ Name string }

func (e *LateError) Error() string   { return e.Name + " did not answer in time" }
func (e *LateError) Is(t error) bool { return t == ErrTimeout }

// Compute computes n rows. Results follow one another; those of a row with an error are null.
// The error of a row is nil, a [*model.ValueError] or another refusal of its values, or a
// [*FailedError]. An error about all rows is a [*LateError], that of ctx, or a fault of the
// function.
func (r *Rows) Compute(ctx context.Context, values []rowsql.Value, n int) (results []rowsql.Value, errs []error, err error) {
	j := newJob(values, n, nil)
	j.results, j.errs = make([]rowsql.Value, n*len(r.results)), make([]error, n)
	switch err := r.do(ctx, j); {
	case errors.Is(err, ErrTimeout):
		return nil, nil, &LateError{r.name}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return nil, nil, err
	case errors.Is(err, errModel):
		return nil, nil, &FailedError{r.name, "its worker failed; the log of the service says why"}
	case err != nil:
		return nil, nil, fmt.Errorf("%s: %w", r.name, err)
	}
	for i, e := range j.errs {
		if f := (*FailedError)(nil); errors.As(e, &f) {
			j.errs[i] = &FailedError{r.name, f.Says}
		}
	}
	return j.results, j.errs, nil
}

// mostResults limits an answer with rows, in bytes.
const mostResults = 1 << 30

// A rowRefusal is why a row has no results.
type rowRefusal struct {
	Row    int    `json:"row"`
	Column string `json:"column"`
	Says   string `json:"says"`
	Failed bool   `json:"failed"`
}

func (r *rowRefusal) err() error {
	switch {
	case r.Failed:
		return &FailedError{Says: r.Says}
	case r.Column != "":
		return &model.ValueError{Column: r.Column, Reason: r.Says}
	}
	return errors.New(r.Says)
}

// readRows reads an answer with rows into the results of jobs.
func readRows(answer []byte, jobs []*job, columns ir.Schema) (err error) {
	if len(answer) < 5 || answer[0] != answered {
		return errModel
	}
	said, stream := answer[5:], answer[5:]
	n := int(binary.LittleEndian.Uint32(answer[1:]))
	if n > len(said) {
		return errors.New("a worker answered with a damaged list of refusals")
	}
	said, stream = said[:n], stream[n:]
	var refusals []rowRefusal
	if err := json.Unmarshal(said, &refusals); err != nil {
		return fmt.Errorf("read what a worker refused: %w", err)
	}
	for i := range refusals {
		j, row := jobOf(jobs, refusals[i].Row)
		if j == nil {
			return errors.New("a worker refused a row that it was not asked for")
		}
		j.errs[row] = refusals[i].err()
	}
	r, err := ipc.NewReader(bytes.NewReader(stream))
	if err != nil {
		return fmt.Errorf("read the rows of a worker: %w", err)
	}
	defer r.Release()
	if !r.Next() {
		return fmt.Errorf("read the rows of a worker: %w", errors.Join(r.Err(), io.ErrUnexpectedEOF))
	}
	batch := r.RecordBatch()
	rows := 0
	for _, j := range jobs {
		rows += j.rows
	}
	if int(batch.NumRows()) != rows || int(batch.NumCols()) != len(columns) {
		return fmt.Errorf("a worker answered with %d rows of %d columns, wanted %d of %d", batch.NumRows(), batch.NumCols(), rows, len(columns))
	}
	for i, c := range columns {
		if !arrow.TypeEqual(batch.Column(i).DataType(), types[c.Type]) {
			return fmt.Errorf("a worker answered with %s for column %s, wanted %s", batch.Column(i).DataType(), c.Name, types[c.Type])
		}
		row := 0
		for _, j := range jobs {
			for k := range j.rows {
				j.results[k*len(columns)+i] = valueOf(batch.Column(i), row)
				row++
			}
		}
	}
	return nil
}

// jobOf returns the job that a row of a batch is of, and its number there.
func jobOf(jobs []*job, row int) (*job, int) {
	for _, j := range jobs {
		if row >= 0 && row < j.rows {
			return j, row
		}
		row -= j.rows
	}
	return nil, 0
}

// valueOf is a value of one of the types that workers are sent. Texts are copies: the memory of
// an answer is used again.
func valueOf(column arrow.Array, row int) rowsql.Value {
	if column.IsNull(row) {
		return rowsql.Null
	}
	switch a := column.(type) {
	case *array.Boolean:
		return rowsql.Bool(a.Value(row))
	case *array.Int8:
		return rowsql.Int(int64(a.Value(row)))
	case *array.Int16:
		return rowsql.Int(int64(a.Value(row)))
	case *array.Int32:
		return rowsql.Int(int64(a.Value(row)))
	case *array.Int64:
		return rowsql.Int(a.Value(row))
	case *array.Uint8:
		return rowsql.Uint(uint64(a.Value(row)))
	case *array.Uint16:
		return rowsql.Uint(uint64(a.Value(row)))
	case *array.Uint32:
		return rowsql.Uint(uint64(a.Value(row)))
	case *array.Uint64:
		return rowsql.Uint(a.Value(row))
	case *array.Float32:
		return rowsql.Float32(a.Value(row))
	case *array.Float64:
		return rowsql.Float(a.Value(row))
	case *array.String:
		return rowsql.String(strings.Clone(a.Value(row)))
	case *array.Binary:
		return rowsql.String(string(a.Value(row)))
	case *array.Date32:
		return rowsql.Int(int64(a.Value(row)))
	case *array.Time64:
		return rowsql.Int(int64(a.Value(row)))
	case *array.Timestamp:
		return rowsql.Int(int64(a.Value(row)))
	}
	panic(fmt.Sprintf("no values of %s", column.DataType()))
}
