package plane

import (
	"context"
	"encoding/binary"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/openinference"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
)

// The Open Inference Protocol over gRPC: calls with one message, by HTTP/2 without encryption
// on the port of the service. They are requests like any other, with the same limits, metrics
// and end. What gRPC adds is five bytes before a message, and a status after the answer.

const (
	grpcService = "/inference.GRPCInferenceService/"
	// longestLife is how long a connection of HTTP/2 takes requests. Its client then connects
	// again, maybe to another replica.
	longestLife = 5 * time.Minute
	mostStreams = 100 // of a connection of HTTP/2
	pingAfter   = 30 * time.Second
	pingWait    = 15 * time.Second
)

// overHTTP2 are the protocols of the server, and limits of HTTP/2.
func overHTTP2() (*http.Protocols, *http.HTTP2Config) {
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	return &p, &http.HTTP2Config{MaxConcurrentStreams: mostStreams, SendPingTimeout: pingAfter, PingTimeout: pingWait}
}

type bornKey struct{}

// born notes when a connection began.
func born(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, bornKey{}, time.Now())
}

// askToReconnect makes the answer end the life of a connection of HTTP/2 that is old.
func askToReconnect(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor < 2 {
		return
	}
	if began, ok := r.Context().Value(bornKey{}).(time.Time); ok && time.Since(began) > longestLife {
		w.Header()["Connection"] = closing
	}
}

// handleGRPC adds the methods of the service.
func (p *Plane) handleGRPC() {
	says := func(message []byte) func([]byte, *work) ([]byte, bool) {
		return func([]byte, *work) ([]byte, bool) { return message, true }
	}
	ready := func(x *work) ([]byte, bool) {
		if p.unready() != "" {
			return nil, true // false is no field
		}
		return openinference.Yes(nil, 1), true
	}
	named := func(answer func(x *work) ([]byte, bool)) func([]byte, *work) ([]byte, bool) {
		return func(b []byte, x *work) ([]byte, bool) {
			r, err := openinference.ReadName(b)
			if err != nil {
				detail(&x.answered, http.StatusUnprocessableEntity, err.Error())
				return nil, false
			}
			if !p.isModel(&x.answered, r.Infer) {
				return nil, false
			}
			return answer(x)
		}
	}
	p.call("ServerLive", says(openinference.Yes(nil, 1)))
	p.call("ServerReady", func(_ []byte, x *work) ([]byte, bool) { return ready(x) })
	p.call("ModelReady", named(ready))
	version := strconv.Itoa(p.About.Version)
	p.call("ServerMetadata", says(openinference.Text(openinference.Text(nil, 1, serverName), 2, version)))
	metadata := openinference.Text(openinference.Text(openinference.Text(nil, 1, p.About.Name), 2, version), 3, serverName)
	for n, all := range [][]tensorOf{p.inputs(), p.outputs()} {
		for _, t := range all {
			metadata = openinference.Bytes(metadata, [...]openinference.Number{4, 5}[n], openinference.Tensor(nil, t.Name, t.Datatype, t.Shape))
		}
	}
	p.call("ModelMetadata", named(func(*work) ([]byte, bool) { return metadata, true }))
	p.handle(grpcService+"ModelInfer", http.MethodPost, p.inferGRPC)
}

// isModel reports whether a request is for this model, or answers that there is no other one.
func (p *Plane) isModel(w *answer, r request.Infer) bool {
	if p.names(r) {
		return true
	}
	detail(w, http.StatusNotFound, "there is no such model: wanted "+p.About.Name+", version "+strconv.Itoa(p.About.Version))
	return false
}

// call adds a method that needs no model.
func (p *Plane) call(method string, answer func(message []byte, x *work) ([]byte, bool)) {
	p.handle(grpcService+method, http.MethodPost, func(x *work, r *http.Request) {
		if !p.isGRPC(x, r) {
			return
		}
		if !p.readBody(x, r) {
			return
		}
		message, ok := unframed(x)
		if !ok {
			return
		}
		if b, ok := answer(message, x); ok {
			x.text = append(append(x.text[:0], 0, 0, 0, 0, 0), b...)
			x.sendGRPC()
		}
	})
}

// isGRPC reports whether a request is a call of gRPC, or answers that it is none.
func (p *Plane) isGRPC(x *work, r *http.Request) bool {
	if r.ProtoMajor < 2 || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		detail(&x.answered, http.StatusUnsupportedMediaType, "wanted a call of gRPC")
		return false
	}
	x.answered.protocol = grpcErrors
	return true
}

// unframed returns the message of a call without the bytes before it.
func unframed(x *work) ([]byte, bool) {
	b := x.body.Bytes()
	switch {
	case len(b) < 5 || uint64(binary.BigEndian.Uint32(b[1:])) != uint64(len(b)-5):
		detail(&x.answered, http.StatusUnprocessableEntity, "wanted one message")
		return nil, false
	case b[0] != 0:
		detail(&x.answered, http.StatusNotImplemented, "wanted a message without compression")
		return nil, false
	}
	return b[5:], true
}

func (p *Plane) inferGRPC(x *work, r *http.Request) {
	if !p.isGRPC(x, r) {
		return
	}
	ctx, ok := p.receive(x, r)
	if !ok {
		return
	}
	if p.computeGRPC(ctx, x) {
		p.metrics.predicted(x.classes, x.numbers)
		x.sendGRPC()
	}
}

// computeGRPC writes the answer into x.text, or answers with what is wrong. It frees the slot
// of the request.
func (p *Plane) computeGRPC(ctx context.Context, x *work) bool {
	defer func() { <-p.slots }()
	w := &x.answered
	message, ok := unframed(x)
	if !ok {
		return false
	}
	asked, errs, err := openinference.Read(message, p.columnar.tensors, &x.rows)
	switch {
	case err != nil:
		detail(w, http.StatusUnprocessableEntity, err.Error())
		return false
	case !p.isModel(w, asked.Infer):
		return false
	case len(errs) > 0:
		detail(w, http.StatusUnprocessableEntity, errs)
		return false
	}
	results, ok := p.asked(w, asked.Outputs)
	if !ok {
		return false
	}
	if err := p.ask(ctx, x); err != nil {
		p.refuseRow(w, err)
		return false
	}
	p.classify(x)
	p.writeMessage(x, asked, results)
	return true
}

// writeMessage writes a ModelInferResponse into x.text, with the bytes before it.
func (p *Plane) writeMessage(x *work, asked openinference.Request, results []*result) {
	b := append(x.text[:0], 0, 0, 0, 0, 0)
	b = openinference.Text(openinference.Text(b, 1, p.About.Name), 2, strconv.Itoa(p.About.Version))
	if asked.ID != "" {
		b = openinference.Text(b, 3, asked.ID)
	}
	b = openinference.Parameter(b, 4, "digest", p.About.Digest)
	var raws [][]byte
	for _, r := range results {
		var values []byte
		var nulls string
		if asked.Raw {
			values, nulls = r.raw(nil, x)
			raws = append(raws, values)
		} else {
			values, nulls = r.contents(nil, x)
		}
		tensor := openinference.Tensor(nil, r.Name, request.Datatype(r.Type), r.shape(x.rows.Len()))
		if nulls != "" {
			tensor = openinference.Parameter(tensor, 4, "nulls", nulls)
		}
		if !asked.Raw {
			tensor = openinference.Bytes(tensor, 5, values)
		}
		b = openinference.Bytes(b, 5, tensor)
	}
	for _, raw := range raws {
		b = openinference.Bytes(b, 6, raw)
	}
	x.text = b
}

var grpcType = []string{"application/grpc"}

// sendGRPC answers a call with x.text, which begins with room for the bytes before a message.
func (x *work) sendGRPC() {
	binary.BigEndian.PutUint32(x.text[1:], uint32(len(x.text)-5))
	w := &x.answered
	w.Header()["Content-Type"] = grpcType
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(x.text) // the client may be gone
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
}

// grpcCodes are the codes of gRPC for statuses of HTTP.
var grpcCodes = map[int]int{
	http.StatusBadRequest: 3, http.StatusUnprocessableEntity: 3, // invalid argument
	http.StatusRequestTimeout: 4, http.StatusGatewayTimeout: 4, // deadline exceeded
	http.StatusNotFound:              5,                                // not found
	http.StatusRequestEntityTooLarge: 8, http.StatusTooManyRequests: 8, // resource exhausted
	http.StatusNotImplemented:      12, // unimplemented
	http.StatusInternalServerError: 13, // internal
	http.StatusForbidden:           7,  // permission denied
	http.StatusUnauthorized:        16, // unauthenticated
	http.StatusServiceUnavailable:  14, // unavailable
}

// longestMessage limits the error message of a call, in bytes, because it is sent in a header.
const longestMessage = 4 << 10

// refuseGRPC answers a call with what is wrong. Metrics count the status of HTTP.
func (a *answer) refuseGRPC(status int, says string) {
	code, ok := grpcCodes[status]
	if !ok {
		code = 2 // unknown
	}
	h := a.Header()
	h["Content-Type"] = grpcType
	a.status = status
	a.WriteHeader(http.StatusOK)
	h.Set(http.TrailerPrefix+"Grpc-Status", strconv.Itoa(code))
	h.Set(http.TrailerPrefix+"Grpc-Message", percentEncoded(says))
}

// percentEncoded is a text as gRPC has it in a header.
func percentEncoded(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s) && b.Len() < longestMessage; i++ {
		if c := s[i]; c >= ' ' && c <= '~' && c != '%' {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}
