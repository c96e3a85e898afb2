package plane

import (
	"encoding/binary"
	"net/http"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/openinference"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// A heldBody is the body of a request that was read to choose a version. The version takes it
// over without a copy.
type heldBody struct {
	from *Plane // nil if it was not read
	x    *work  // of from, with the body
	err  error
}

// hold reads the body of a request, with the memory of a plane.
func (h *heldBody) hold(p *Plane, r *http.Request, most int64) {
	h.from, h.x = p, p.work.Get().(*work)
	h.err = p.read(h.x, r, most)
	r.Body = h
}

// give moves the body to the work of a version, or returns why it has none.
func (h *heldBody) give(x *work, most int64) error {
	h.x.body, x.body = x.body, h.x.body
	x.reader, h.x.reader = h.x.reader, bodyReader{}
	if h.err == nil && int64(x.body.Len()) > most {
		return errTooLarge
	}
	return h.err
}

// drop frees what is left of it.
func (h *heldBody) drop() {
	if h.from != nil {
		h.x.reader.release()
		h.from.putBack(h.x)
	}
	*h = heldBody{}
}

// Read and Close make it a body. Nobody calls them: [Plane.read] takes it over.
func (h *heldBody) Read(b []byte) (int, error) { return h.x.body.Read(b) }
func (h *heldBody) Close() error               { return nil }

// body returns the body of a request, which is read once.
func (t *turn) body(r *http.Request) ([]byte, bool) {
	h := &t.held
	if h.from == nil {
		h.hold(t.routing.versions[t.routing.reader].plane, r, t.of.most)
	}
	return h.x.body.Bytes(), h.err == nil
}

// sticky returns the key by which a route chooses: a value of the first row. It is not ok if the
// request has none that is valid.
func (t *turn) sticky(r *http.Request) (key []byte, ok bool) {
	body, ok := t.body(r)
	if !ok {
		return nil, false
	}
	s, x := t.routing, t.held.x
	p := s.versions[s.reader].plane
	var row []rowsql.Value
	switch kind, after := kindOf(r); {
	case kind == jsonBody:
		row = p.decoder.First(body, &x.rows)
	case p.decode(kind, after, body, &x.rows) && x.rows.Len() > 0:
		row = x.rows.Row(0)
	}
	if row == nil {
		return nil, false
	}
	t.key = rowsql.AppendKey(t.key[:0], row[s.column], ir.Types[p.columns[s.column].Type])
	return t.key, true
}

// named returns which model a call of gRPC asks. It is not ok if the call says nothing that is valid.
func (t *turn) named(r *http.Request) (asked openinference.Request, ok bool) {
	body, ok := t.body(r)
	if !ok {
		return asked, false
	}
	message, ok := framed(body)
	if !ok {
		return asked, false
	}
	asked, err := openinference.ReadName(message)
	return asked, err == nil
}

// names reports whether a request that names a model means this one.
func (p *Plane) names(r request.Infer) bool {
	return r.Model == p.About.Name && (r.Version == "" || r.Version == strconv.Itoa(p.About.Version))
}

// A kind says how a body has its rows.
type kind uint8

const (
	jsonBody kind = iota
	arrowBody
	inferBody // of the Open Inference Protocol over REST
	grpcBody
)

// kindOf returns the kind of the body of a request that asks a model, and how many bytes of it are
// JSON, -1 if all are.
func kindOf(r *http.Request) (k kind, length int) {
	switch path := r.URL.Path; {
	case path == modelInfer:
		return grpcBody, -1
	case strings.HasPrefix(path, "/v2/"):
		if given := r.Header.Get(lengthHeader); given != "" {
			if n, err := strconv.Atoi(given); err == nil && n >= 0 {
				return inferBody, n
			}
		}
		return inferBody, -1
	}
	if in, _ := arrowAsked(r.Header); in && r.URL.Path == "/predict" {
		return arrowBody, -1
	}
	return jsonBody, -1
}

// decode reads the rows of a body. It reports whether all of it is valid.
func (p *Plane) decode(k kind, length int, body []byte, rows *request.Rows) bool {
	switch k {
	case arrowBody:
		return len(p.readArrow(body, rows)) == 0
	case inferBody:
		var after []byte
		if length >= 0 && length <= len(body) {
			body, after = body[:length], body[length:]
		}
		_, errs := p.columnar.tensors.Decode(body, after, rows)
		return len(errs) == 0
	case grpcBody:
		message, ok := framed(body)
		if !ok {
			return false
		}
		_, errs, err := openinference.Read(message, p.columnar.tensors, rows)
		return err == nil && len(errs) == 0
	}
	return len(p.decoder.Decode(body, rows)) == 0
}

// framed returns the message of a call of gRPC.
func framed(b []byte) ([]byte, bool) {
	if len(b) < 5 || b[0] != 0 || uint64(binary.BigEndian.Uint32(b[1:])) != uint64(len(b)-5) {
		return nil, false
	}
	return b[5:], true
}
