package plane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/traces"
)

// work is the memory of a request, which later ones use again.
type work struct {
	answered answer
	began    time.Time
	id       [1]string // of the request, if requests are logged
	body     bytes.Buffer
	reader   bodyReader
	rows     request.Rows
	computer RowComputer
	computed []rowsql.Value // rows of the model, if features are computed
	returned []rowsql.Value // that the answer repeats, row by row
	outputs  []float64      // of the model, row by row
	// How many events of the log the history had for each row.
	positions []int64
	// Why each row was answered by a fallback, or "": only with features.
	missed  []string
	instead bool // of a version that cannot answer
	// Of each row and each sum that is explained, the contributions of the columns of the model.
	contributions []float64
	buffer        model.Buffer
	text          []byte // of the answer
	length        [1]string
	cancel        context.CancelFunc // of the deadline
	arrowIn       bool               // the body is an Arrow stream
	arrowOut      bool               // the answer is one
	span          *traces.Span       // nil if the request is not traced
	received      bool               // rows are those of the request
	// What the metrics count: of each row its class, and its probability or predicted number.
	classes []int
	numbers []float64
}

// mostAhead is the memory for a body before any of it has arrived, in bytes.
const mostAhead = 64 << 10

// mostKept is the memory for a body or an answer that is kept for later requests, in bytes.
const mostKept = 1 << 20

func (p *Plane) newWork() *work {
	x := new(work)
	if p.Features != nil {
		x.computer = p.Features.NewRow()
	}
	return x
}

func (p *Plane) putBack(x *work) {
	x.answered, x.span, x.began, x.id[0] = answer{}, nil, time.Time{}, ""
	x.received = false
	if x.cancel != nil {
		x.cancel()
		x.cancel = nil
	}
	if x.body.Cap() <= mostKept && cap(x.text) <= mostKept && cap(x.rows.Values) <= mostKept/8 && cap(x.computed) <= mostKept/8 && cap(x.contributions) <= mostKept/8 {
		p.work.Put(x)
	}
}

func (p *Plane) predict(x *work, r *http.Request) {
	every, ok := asksEvery(x, r)
	if !ok {
		return
	}
	x.arrowIn, x.arrowOut = arrowAsked(r.Header)
	ctx, ok := p.receive(x, r)
	if !ok || !p.compute(ctx, x, every) {
		return
	}
	kind := jsonType
	if x.arrowOut {
		kind = arrowType
	}
	p.predicted(x, kind)
}

// predicted counts predictions and answers with x.text.
func (p *Plane) predicted(x *work, kind []string) {
	p.metrics.predicted(x.classes, x.numbers)
	x.send(kind)
}

// send answers with x.text.
func (x *work) send(kind []string) {
	h := x.answered.Header()
	h["Content-Type"] = kind
	x.length[0] = strconv.Itoa(len(x.text))
	h["Content-Length"] = x.length[:]
	x.answered.WriteHeader(http.StatusOK)
	_, _ = x.answered.Write(x.text) // the client may be gone
}

// receive reads the body and waits until the request may be computed, or answers why it may
// not be. The context ends with the deadline of the request. Only requests that are received
// here are traced, so that health checks and unknown paths make no spans.
func (p *Plane) receive(x *work, r *http.Request) (context.Context, bool) {
	w := &x.answered
	x.span = p.Tracer.Start(r, x.began)
	p.identify(x, r)
	ctx, ok := p.deadline(x, r)
	if !ok {
		return nil, false
	}
	if !p.readBody(x, r) {
		return nil, false
	}
	ok = p.admit(ctx, w)
	x.received = ok
	x.span.Phase("receive")
	return ctx, ok
}

// asksEvery reports whether a request asks for the probabilities of all classes. It answers if
// that is not clear.
func asksEvery(x *work, r *http.Request) (every, ok bool) {
	if r.URL.RawQuery == "" {
		return false, true
	}
	if every, ok = wantsEvery(r); !ok {
		detail(&x.answered, http.StatusUnprocessableEntity, []request.Error{{Type: "bool_parsing", Loc: []any{"query", "probabilities"},
			Msg: "Input should be a valid boolean, unable to interpret input"}})
	}
	return every, ok
}

// wantsEvery reports whether the query asks for the probabilities of all classes. It is not
// ok if that is no bool. Of several, the last one counts.
func wantsEvery(r *http.Request) (every, ok bool) {
	all, asked := r.URL.Query()["probabilities"]
	if !asked {
		return false, true
	}
	switch strings.ToLower(all[len(all)-1]) {
	case "true", "1", "t", "y", "yes", "on":
		return true, true
	case "false", "0", "f", "n", "no", "off":
		return false, true
	}
	return false, false
}

var errTooLarge = errors.New("too large")

// readBody reads the body, or answers why it cannot be read.
func (p *Plane) readBody(x *work, r *http.Request) bool {
	w := &x.answered
	switch err := p.read(x, r, p.MaxBytes); {
	case err == nil:
		return true
	case err == errTooLarge:
		detail(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the request is larger than %d bytes", p.MaxBytes))
	case err == errBusy:
		busy(w, err.Error())
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.Header()["Connection"] = closing
		detail(w, http.StatusRequestTimeout, "the request did not arrive in time")
	default:
		w.status = clientLeft
	}
	return false
}

// read reads the body, which may have most bytes. One that was read before is taken over.
func (p *Plane) read(x *work, r *http.Request, most int64) error {
	x.body.Reset()
	if h, ok := r.Body.(*heldBody); ok {
		return h.give(x, most)
	}
	if r.ContentLength > most {
		return errTooLarge
	}
	x.reader = bodyReader{Reader: r.Body, of: p.process, most: most}
	if r.ContentLength > 0 {
		// A client may announce more than it ever sends.
		ahead := min(r.ContentLength, mostAhead)
		if !x.reader.hold(ahead) {
			return errBusy
		}
		x.body.Grow(int(ahead) + bytes.MinRead)
	}
	if _, err := x.body.ReadFrom(&x.reader); err != nil {
		return err
	}
	if int64(x.body.Len()) > most {
		return errTooLarge
	}
	return nil
}

// admit waits until a request may be computed. If too many wait already, one more would only
// make all of them late: it is refused at once.
func (p *Plane) admit(ctx context.Context, w *answer) bool {
	if ctx.Err() != nil {
		p.tooLate(ctx, w)
		return false
	}
	select {
	case p.slots <- struct{}{}:
		return true
	default:
	}
	if p.waiting.Add(1) > int64(p.Waiting) {
		p.waiting.Add(-1)
		busy(w, "too many requests wait for an answer")
		return false
	}
	defer p.waiting.Add(-1)
	select {
	case p.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		p.tooLate(ctx, w)
		return false
	}
}

// compute writes the answer into x.text, or answers with what is wrong. It frees the slot of
// the request.
func (p *Plane) compute(ctx context.Context, x *work, every bool) bool {
	defer func() { <-p.slots }()
	w := &x.answered
	var errs []request.Error
	if x.arrowIn {
		errs = p.readArrow(x.body.Bytes(), &x.rows)
	} else {
		errs = p.decoder.Decode(x.body.Bytes(), &x.rows)
	}
	if len(errs) > 0 {
		detail(w, http.StatusUnprocessableEntity, errs)
		return false
	}
	if err := p.ask(ctx, x); err != nil {
		p.refuseRow(w, err)
		return false
	}
	if x.arrowOut {
		return p.writeArrow(x, every)
	}
	x.text = append(x.text[:0], `{"predictions":[`...)
	p.classify(x)
	for i := range x.rows.Len() {
		if i > 0 {
			x.text = append(x.text, ',')
		}
		p.append(x, i, every)
	}
	x.text = append(append(append(x.text, `],"model":`...), p.about...), '}')
	return true
}

// ask makes the predictions for x.rows, in x.outputs. The error is a [*model.RowError] if a
// row has none, a [*stores.Error], or a fault of the model.
func (p *Plane) ask(ctx context.Context, x *work) error {
	x.span.Phase("decode")
	x.span.Rows(x.rows.Len())
	rows := x.rows.Values
	if p.Events != nil {
		p.Events.Follow()
	}
	if x.computer != nil {
		var err error
		if err = p.fetch(ctx, x); err != nil {
			return err
		}
		if rows, err = p.computeFeatures(x); err != nil {
			return err
		}
		x.span.Phase("features")
	}
	n := p.Model.Outputs()
	x.outputs = resized(x.outputs, x.rows.Len()*n)
	if err := p.Model.Predict(ctx, rows, x.outputs, &x.buffer); err != nil {
		return err
	}
	x.span.Phase("predict")
	for i, v := range x.outputs {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return &model.RowError{Row: i / n, Err: noPrediction(v)}
		}
	}
	p.keep(x, rows)
	return nil
}

// computeFeatures makes the rows of the model from those of a request.
func (p *Plane) computeFeatures(x *work) ([]rowsql.Value, error) {
	n, k := len(p.Model.Columns()), len(p.repeated)
	x.computed, x.returned = resized(x.computed, x.rows.Len()*n), resized(x.returned, x.rows.Len()*k)
	x.positions, x.missed = resized(x.positions, x.rows.Len()), resized(x.missed, x.rows.Len())
	for i := range x.rows.Len() {
		kept, err := x.computer.Compute(x.rows.Row(i), x.computed[i*n:(i+1)*n], x.returned[i*k:(i+1)*k])
		if err == nil && !kept {
			err = errDropped
		}
		if err != nil {
			return nil, &model.RowError{Row: i, Err: err}
		}
		x.positions[i], x.missed[i] = x.computer.Position(), x.computer.Missed()
	}
	return x.computed, nil
}

// resized returns a slice of n elements, which is s if it is long enough.
func resized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// append adds the answer for a row, which is classified.
func (p *Plane) append(x *work, row int, every bool) {
	b := append(x.text, `{"prediction":`...)
	n := p.Model.Outputs()
	outputs := x.outputs[row*n : (row+1)*n]
	if classes := p.Model.Classes(); len(classes) == 0 {
		b = request.AppendFloat(b, outputs[0])
	} else {
		b = append(b, classes[x.classes[row]]...)
		known := !math.IsNaN(x.numbers[row])
		if known {
			b = request.AppendFloat(append(b, `,"probability":`...), x.numbers[row])
		}
		if every && known {
			b = append(b, `,"probabilities":{`...)
			for i, name := range p.Model.ClassNames() {
				if i > 0 {
					b = append(b, ',')
				}
				b = request.AppendFloat(append(append(b, name...), ':'), outputs[i])
			}
			b = append(b, '}')
		}
	}
	for i, name := range p.returns {
		b = value(append(append(b, ','), name...), p.repeated[i].Type, &x.returned[row*len(p.returns)+i])
	}
	x.text = append(b, '}')
}

// value appends a value of a request as JSON, in which what is no finite number is null.
func value(b []byte, kind string, v *rowsql.Value) []byte {
	finite := !v.Null
	switch kind {
	case "float32":
		finite = finite && !math.IsNaN(float64(v.Float32())) && !math.IsInf(float64(v.Float32()), 0)
	case "float64":
		finite = finite && !math.IsNaN(v.Float()) && !math.IsInf(v.Float(), 0)
	}
	if !finite {
		return append(b, "null"...)
	}
	switch kind {
	case "bool":
		return strconv.AppendBool(b, v.Bits == 1)
	case "int8", "int16", "int32", "int64":
		return strconv.AppendInt(b, v.Int(), 10)
	case "uint8", "uint16", "uint32", "uint64":
		return strconv.AppendUint(b, v.Bits, 10)
	case "float32":
		return strconv.AppendFloat(b, float64(v.Float32()), 'g', -1, 32)
	case "float64":
		return request.AppendFloat(b, v.Float())
	case "bytes":
		return request.AppendBytes(b, v.Text)
	case "string":
		return quoted(b, v.Text)
	}
	return request.AppendMoment(b, kind, v.Int())
}

// quoted appends a text as JSON.
func quoted(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ':
			b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}
