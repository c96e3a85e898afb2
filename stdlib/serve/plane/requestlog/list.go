package requestlog

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// List writes the rows as lines of JSON, or writes them to a table and says how many there are. The
// oldest come first: those of a limit by their time, all rows by the time at which their files begin.
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
	lines, err := newest(ctx, &s, paths)
	if err != nil {
		return err
	}
	_, err = to.Write(bytes.Join(lines, nil))
	return err
}

// coarse is how much earlier a file system may note that a file was complete.
const coarse = time.Second

// newest returns the lines of the newest rows, the oldest first. Files of several pods overlap, so
// a file is left out only if it was complete before the oldest of the rows.
func newest(ctx context.Context, s *requests.Selection, paths []string) (lines [][]byte, err error) {
	type file struct {
		path string
		ends int64 // microseconds: no row is later
	}
	var files []file
	for _, path := range paths {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the service has just deleted it
		}
		if err != nil {
			return nil, fmt.Errorf("read the request log: %w", err)
		}
		files = append(files, file{path, info.ModTime().Add(coarse).UnixMicro()})
	}
	slices.SortStableFunc(files, func(a, b file) int { return cmp.Compare(b.ends, a.ends) })
	type found struct {
		at   int64
		line []byte
	}
	var rows []found
	for _, f := range files {
		if len(rows) == s.Limit && f.ends < rows[0].at {
			break
		}
		err := eachOf(ctx, s, f.path, func(r *Reader, row []rowsql.Value) error {
			line, err := r.line(row)
			rows = append(rows, found{row[r.Index(Time)].Int(), line})
			return err
		})
		if err != nil {
			return nil, err
		}
		slices.SortStableFunc(rows, func(a, b found) int { return cmp.Compare(a.at, b.at) })
		rows = slices.Delete(rows, 0, max(len(rows)-s.Limit, 0))
	}
	for _, r := range rows {
		lines = append(lines, r.line)
	}
	return lines, nil
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
		case Fallback:
			x.Fallback = row[i].Text
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
