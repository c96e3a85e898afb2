package requestlog

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// List writes the rows as lines of JSON, the oldest first, or writes them to a table and says
// how many there are.
func List(ctx context.Context, s requests.Selection, to io.Writer) error {
	if s.Out != "" {
		n, err := export(ctx, &s)
		if err != nil {
			return err
		}
		return json.NewEncoder(to).Encode(requests.Exported{Rows: n})
	}
	paths, err := Files(s.Log)
	if err != nil {
		return fmt.Errorf("read the request log: %w", err)
	}
	if s.Limit == 0 {
		for _, path := range paths {
			err := eachOf(ctx, &s, path, func(r *Reader, row []rowsql.Value) error {
				line, err := r.line(row)
				if err == nil {
					_, err = to.Write(line)
				}
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
	var newest [][]byte // lines, in their order
	for _, path := range slices.Backward(paths) {
		var lines [][]byte
		err := eachOf(ctx, &s, path, func(r *Reader, row []rowsql.Value) error {
			line, err := r.line(row)
			lines = append(lines, line)
			return err
		})
		if err != nil {
			return err
		}
		if newest = append(lines, newest...); len(newest) >= s.Limit {
			newest = newest[len(newest)-s.Limit:]
			break
		}
	}
	_, err = to.Write(bytes.Join(newest, nil))
	return err
}

// eachOf calls f for the rows of a file that are selected.
func eachOf(ctx context.Context, s *requests.Selection, path string, f func(r *Reader, row []rowsql.Value) error) error {
	r, err := OpenFile(path)
	if err != nil {
		return err
	}
	defer r.Close()
	at, id := r.Index(Time), r.Index(RequestID)
	return r.Each(ctx, func(row []rowsql.Value) error {
		if time.UnixMicro(row[at].Int()).Before(s.Since) || s.ID != "" && row[id].Text != s.ID {
			return nil
		}
		return f(r, row)
	})
}

// export writes the rows to a table, with the columns of all files.
func export(ctx context.Context, s *requests.Selection) (rows int64, err error) {
	paths, err := Files(s.Log)
	if err != nil {
		return 0, fmt.Errorf("read the request log: %w", err)
	}
	var columns ir.Schema
	for i, path := range paths {
		r, err := OpenFile(path)
		if err != nil {
			return 0, err
		}
		here := r.Columns()
		r.Close()
		for j := range columns {
			if here.Column(columns[j].Name) == nil {
				columns[j].Nullable = true
			}
		}
		for _, c := range here {
			known := columns.Column(c.Name)
			switch {
			case known == nil:
				c.Nullable = c.Nullable || i > 0
				columns = append(columns, c)
			case known.Type != c.Type:
				return 0, fmt.Errorf("column %s is %s in older files and %s in newer ones: choose newer rows, with --since", c.Name, known.Type, c.Type)
			}
		}
	}
	if columns == nil {
		h := Head{Label: ir.Column{Type: "float64"}}
		columns = h.Columns()
	}
	w, err := CreateTable(s.Out, columns)
	if err != nil {
		return 0, err
	}
	for _, path := range paths {
		var at []int
		err := eachOf(ctx, s, path, func(r *Reader, row []rowsql.Value) error {
			if at == nil {
				for _, c := range columns {
					at = append(at, r.Index(c.Name))
				}
			}
			rows++
			return w.Add(func(i int) rowsql.Value {
				if at[i] < 0 {
					return rowsql.Null
				}
				return row[at[i]]
			})
		})
		if err != nil {
			w.Abort()
			return 0, err
		}
	}
	return rows, w.Close()
}

// line is a row as a line of JSON.
func (r *Reader) line(row []rowsql.Value) ([]byte, error) {
	get := func(name string) rowsql.Value { return row[r.Index(name)] }
	x := requests.Row{
		Time: time.UnixMicro(get(Time).Int()).UTC(), RequestID: get(RequestID).Text, Row: get(RowNumber).Int(), Version: get(Version).Int(), Digest: get(Digest).Text, LatencyUS: get(Latency).Int(),
		Request: r.fields(row, RequestPrefix), Features: r.fields(row, FeaturePrefix), Probabilities: r.fields(row, ProbabilityPrefix),
	}
	x.Pod = r.Pod
	if x.Request == nil {
		x.Request = json.RawMessage("{}")
	}
	for i, c := range r.Columns() {
		switch c.Name {
		case Prediction:
			x.Prediction = appendJSON(nil, c.Type, row[i])
		case Probability:
			p := row[i].Float()
			x.Probability = &p
		case Position:
			n := row[i].Int()
			x.Events = &n
		}
	}
	b, err := json.Marshal(x)
	return append(b, '\n'), err
}

// fields are the columns with a prefix as an object, or nil if there are none.
func (r *Reader) fields(row []rowsql.Value, prefix string) json.RawMessage {
	var b []byte
	for i, c := range r.Columns() {
		name, ok := strings.CutPrefix(c.Name, prefix)
		if !ok {
			continue
		}
		sep := byte(',')
		if b == nil {
			sep = '{'
		}
		text, _ := json.Marshal(name) // a text is always JSON
		b = appendJSON(append(append(append(b, sep), text...), ':'), c.Type, row[i])
	}
	if b == nil {
		return nil
	}
	return append(b, '}')
}

// appendJSON appends a value. Numbers that JSON lacks are texts.
func appendJSON(b []byte, typ string, v rowsql.Value) []byte {
	if v.Null {
		return append(b, "null"...)
	}
	number := func(x float64, size int) []byte {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return strconv.AppendQuote(b, strconv.FormatFloat(x, 'g', -1, size))
		}
		return strconv.AppendFloat(b, x, 'g', -1, size)
	}
	switch typ {
	case "bool":
		return strconv.AppendBool(b, v.Bool())
	case "int8", "int16", "int32", "int64":
		return strconv.AppendInt(b, v.Int(), 10)
	case "uint8", "uint16", "uint32", "uint64":
		return strconv.AppendUint(b, v.Bits, 10)
	case "float32":
		return number(float64(v.Float32()), 32)
	case "float64":
		return number(v.Float(), 64)
	case "bytes":
		return request.AppendBytes(b, v.Text)
	case "string":
		text, _ := json.Marshal(v.Text)
		return append(b, text...)
	}
	return request.AppendMoment(b, typ, v.Int())
}
