package lambda

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// event is what events of HTTP have. Others have none of it.
type event struct {
	Version         string            `json:"version"`
	RawPath         string            `json:"rawPath"`
	RawQueryString  string            `json:"rawQueryString"`
	Cookies         []string          `json:"cookies"`
	Headers         map[string]string `json:"headers"`
	Body            string            `json:"body"`
	IsBase64Encoded bool              `json:"isBase64Encoded"`
	HTTPMethod      string            `json:"httpMethod"` // only of payload format 1.0
	RequestContext  struct {
		Stage string `json:"stage"`
		HTTP  *struct {
			Method   string `json:"method"`
			SourceIP string `json:"sourceIp"`
		} `json:"http"`
		ELB json.RawMessage `json:"elb"`
	} `json:"requestContext"`
}

// An answer of an event of HTTP.
type answer struct {
	StatusCode      int               `json:"statusCode"`
	Headers         map[string]string `json:"headers,omitempty"`
	Body            string            `json:"body"`
	IsBase64Encoded bool              `json:"isBase64Encoded"`
}

// A fault is an error of the function.
type fault struct {
	Message string `json:"errorMessage"`
	Type    string `json:"errorType"`
}

func (f *fault) Error() string { return f.Type + ": " + f.Message }

// answerTo lets h answer an event. direct is the path for events that are not of HTTP.
func answerTo(ctx context.Context, h http.Handler, direct string, payload []byte) ([]byte, error) {
	var e event
	// What is no such object is the body of a request, which says itself what is wrong with it.
	if err := json.Unmarshal(payload, &e); err != nil {
		e = event{}
	}
	switch {
	case e.RequestContext.HTTP != nil:
		return e.answer(ctx, h)
	case e.HTTPMethod != "":
		return nil, &fault{"events of payload format 1.0 and of load balancers are not read: let API Gateway send format 2.0, or use a function URL", "Tenon.Format"}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, direct, bytes.NewReader(payload))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	w, err := serve(h, r)
	if err != nil {
		return nil, err
	}
	if w.status != http.StatusOK {
		return nil, &fault{strings.TrimSpace(w.body.String()), fmt.Sprintf("Tenon.Status%d", w.status)}
	}
	return w.body.Bytes(), nil
}

// answer lets h answer an event of HTTP.
func (e *event) answer(ctx context.Context, h http.Handler) ([]byte, error) {
	body := []byte(e.Body)
	if e.IsBase64Encoded {
		var err error
		if body, err = base64.StdEncoding.DecodeString(e.Body); err != nil {
			return nil, &fault{"the body of the event is no base64", "Tenon.Event"}
		}
	}
	at := e.RawPath
	if stage := e.RequestContext.Stage; stage != "" && stage != "$default" {
		if rest, ok := strings.CutPrefix(at, "/"+stage); ok && (rest == "" || rest[0] == '/') {
			at = rest
		}
	}
	path, err := url.PathUnescape(at)
	if err != nil {
		path = at
	}
	if path == "" {
		path = "/"
	}
	r, err := http.NewRequestWithContext(ctx, e.RequestContext.HTTP.Method, "/", bytes.NewReader(body))
	if err != nil {
		return nil, &fault{"the method of the event is none", "Tenon.Event"}
	}
	r.URL = &url.URL{Path: path, RawQuery: e.RawQueryString}
	r.RequestURI = r.URL.RequestURI()
	for name, value := range e.Headers {
		r.Header.Set(name, value)
	}
	if len(e.Cookies) > 0 {
		r.Header.Set("Cookie", strings.Join(e.Cookies, "; "))
	}
	r.Host, r.RemoteAddr = r.Header.Get("Host"), e.RequestContext.HTTP.SourceIP+":0"
	w, err := serve(h, r)
	if err != nil {
		return nil, err
	}
	a := answer{StatusCode: w.status, Headers: map[string]string{}}
	for name, values := range w.header {
		if name != "Connection" && name != "Content-Length" {
			a.Headers[name] = strings.Join(values, ", ")
		}
	}
	if b := w.body.Bytes(); utf8.Valid(b) {
		a.Body = string(b)
	} else {
		a.Body, a.IsBase64Encoded = base64.StdEncoding.EncodeToString(b), true
	}
	return json.Marshal(a)
}

// recorded is an answer in memory.
type recorded struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorded) Header() http.Header { return w.header }

func (w *recorded) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
}

func (w *recorded) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}

var _ io.Writer = (*recorded)(nil)

// serve lets h answer a request.
func serve(h http.Handler, r *http.Request) (w *recorded, err error) {
	w = &recorded{header: http.Header{}}
	defer func() {
		if said := recover(); said != nil {
			err = &fault{"the request was not answered", "Tenon.NoAnswer"}
			if r.Context().Err() != nil {
				err = &fault{"the request was not answered in time", "Tenon.Timeout"}
			} else if e, ok := said.(error); !ok || !errors.Is(e, http.ErrAbortHandler) {
				panic(said)
			}
		}
	}()
	h.ServeHTTP(w, r)
	w.WriteHeader(http.StatusOK)
	return w, nil
}
