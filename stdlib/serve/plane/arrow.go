package plane

import (
	"bytes"
	"errors"
	"net/http"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/arrow"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

var arrowType = []string{"application/vnd.apache.arrow.stream"}

// columnar is what a plane needs for bodies and answers that have columns.
type columnar struct {
	results []result
	arrowIn *arrow.Reader
	// By whether an answer has the probabilities of all classes.
	arrowOut map[bool]*arrow.Writer
	tensors  *request.Tensors
}

func (p *Plane) newColumnar() error {
	c := &p.columnar
	c.results = p.newResults()
	var err error
	if c.arrowIn, err = arrow.NewReader(p.columns); err != nil {
		return err
	}
	if c.tensors, err = request.NewTensors(p.columns, p.MaxRows); err != nil {
		return err
	}
	c.arrowOut = map[bool]*arrow.Writer{}
	for _, every := range []bool{false, true} {
		var columns ir.Schema
		for _, r := range c.results {
			if r.wide == 0 {
				columns = append(columns, r.Column)
			}
			for i := range r.wide {
				if every {
					columns = append(columns, ir.Column{Name: probabilitiesName + "." + p.className(i), Type: r.Type})
				}
			}
		}
		if c.arrowOut[every], err = arrow.NewWriter(columns); err != nil {
			return err
		}
	}
	return nil
}

// arrowAsked says whether the body of a request is an Arrow stream, and whether its answer is
// one: as the client accepts, or as it has sent.
func arrowAsked(h http.Header) (in, out bool) {
	for _, kind := range h["Content-Type"] {
		in = strings.HasPrefix(kind, arrowType[0])
	}
	accept := h["Accept"]
	if len(accept) == 0 {
		return in, in
	}
	switch all := strings.Join(accept, ","); {
	case strings.Contains(all, arrowType[0]):
		return in, true
	case strings.Contains(all, jsonType[0]):
		return in, false
	}
	return in, in
}

// readArrow reads the rows of a body.
func (p *Plane) readArrow(stream []byte, rows *request.Rows) []request.Error {
	body := bytes.NewReader(stream)
	rows.Columns = len(p.columns)
	var n int
	var err error
	rows.Values, n, err = p.columnar.arrowIn.Read(body, rows.Values[:0], arrow.Limits{Rows: p.MaxRows, Bytes: p.MaxBytes})
	var wrong arrow.Errors
	switch {
	case errors.As(err, &wrong):
		return wrong
	case err != nil:
		panic(err) // the body is in memory
	case body.Len() > 0:
		return []request.Error{request.Fault{Type: "value_error", Msg: "there is more after the end of the Arrow stream"}.At()}
	case n == 0:
		return []request.Error{request.Fault{Type: "value_error", Msg: "the list has to have at least 1 item"}.At("instances")}
	}
	return nil
}

// writeArrow writes the answer into x.text, or answers with what is wrong.
func (p *Plane) writeArrow(x *work, every bool) bool {
	p.classify(x)
	var values []rowsql.Value
	for row := range x.rows.Len() {
		for _, r := range p.columnar.results {
			if r.wide == 0 {
				values = append(values, r.value(x, row, 0))
			}
			for i := range r.wide {
				if every {
					values = append(values, r.value(x, row, i))
				}
			}
		}
	}
	var err error
	if x.text, err = p.columnar.arrowOut[every].Append(x.text[:0], values); err != nil {
		p.Log("error: " + err.Error())
		p.failed(&x.answered)
		return false
	}
	h := x.answered.Header()
	h.Set("X-Tenon-Model", string(p.about))
	return true
}
