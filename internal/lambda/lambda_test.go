package lambda

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// echo answers with the request, as /predict would with a prediction.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	switch r.URL.Path {
	case "/predict", "/a b":
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"got":%q,"at":%q,"query":%q,"type":%q,"cookie":%q,"length":%d}`, b, r.Method+" "+r.URL.Path, r.URL.RawQuery, r.Header.Get("Content-Type"), r.Header.Get("Cookie"), r.ContentLength)
	case "/binary":
		_, _ = w.Write([]byte{0xff, 0})
	case "/leaves":
		panic(http.ErrAbortHandler)
	default:
		http.Error(w, "Not Found", http.StatusNotFound)
	}
})

func TestEvents(t *testing.T) {
	http2 := func(method, path, more string) string {
		return fmt.Sprintf(`{"version":"2.0","rawPath":%q,"requestContext":{"stage":"$default","http":{"method":%q}}%s}`, path, method, more)
	}
	for _, tt := range []struct{ name, event, want, fault string }{
		{"direct", `{"instances":[]}`, `{"got":"{\"instances\":[]}","at":"POST /predict","query":"","type":"application/json","cookie":"","length":16}`, ""},
		{"no JSON", `x`, `{"got":"x","at":"POST /predict","query":"","type":"application/json","cookie":"","length":1}`, ""},
		{"a list", `[1]`, `{"got":"[1]","at":"POST /predict","query":"","type":"application/json","cookie":"","length":3}`, ""},
		{"a URL", http2("POST", "/predict", `,"rawQueryString":"probabilities=true","headers":{"content-type":"a/b"},"cookies":["a=1","b=2"],"body":"xyz"`),
			`{"statusCode":200,"headers":{"Content-Type":"application/json"},"body":"{\"got\":\"xyz\",\"at\":\"POST /predict\",\"query\":\"probabilities=true\",\"type\":\"a/b\",\"cookie\":\"a=1; b=2\",\"length\":3}","isBase64Encoded":false}`, ""},
		{"base64", http2("POST", "/a%20b", `,"body":"eHl6","isBase64Encoded":true`),
			`{"statusCode":200,"headers":{"Content-Type":"application/json"},"body":"{\"got\":\"xyz\",\"at\":\"POST /a b\",\"query\":\"\",\"type\":\"\",\"cookie\":\"\",\"length\":3}","isBase64Encoded":false}`, ""},
		{"binary", http2("GET", "/binary", ""), `{"statusCode":200,"body":"/wA=","isBase64Encoded":true}`, ""},
		{"a stage", `{"rawPath":"/prod/binary","requestContext":{"stage":"prod","http":{"method":"GET"}}}`, `{"statusCode":200,"body":"/wA=","isBase64Encoded":true}`, ""},
		{"no stage", `{"rawPath":"/product","requestContext":{"stage":"prod","http":{"method":"GET"}}}`, `{"statusCode":404,"headers":{"Content-Type":"text/plain; charset=utf-8","X-Content-Type-Options":"nosniff"},"body":"Not Found\n","isBase64Encoded":false}`, ""},
		{"bad base64", http2("POST", "/predict", `,"body":"!","isBase64Encoded":true`), "", "Tenon.Event: the body of the event is no base64"},
		{"bad method", http2("A B", "/predict", ""), "", "Tenon.Event: the method of the event is none"},
		{"format 1.0", `{"httpMethod":"GET","path":"/","requestContext":{}}`, "", "Tenon.Format: "},
		{"left", http2("GET", "/leaves", ""), "", "Tenon.NoAnswer: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := answerTo(context.Background(), echo, "/predict", []byte(tt.event))
			if tt.fault != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tt.fault) {
					t.Errorf("%v, want %s", err, tt.fault)
				}
				return
			}
			if err != nil || string(got) != tt.want {
				t.Errorf("%s, %v\nwant %s", got, err, tt.want)
			}
		})
	}
	_, err := answerTo(context.Background(), echo, "/nowhere", []byte("{}"))
	if err == nil || err.Error() != "Tenon.Status404: Not Found" {
		t.Errorf("a direct event that is refused: %v", err)
	}
}

// api is the documented runtime API, with some events.
type api struct {
	events  []string
	refuses bool // a response is too large
	got     []string
	end     context.CancelFunc
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, "/2018-06-01/runtime/")
	b, _ := io.ReadAll(r.Body)
	switch {
	case !ok:
		w.WriteHeader(http.StatusNotFound)
	case path == "invocation/next" && len(a.events) > 0:
		w.Header().Set("Lambda-Runtime-Aws-Request-Id", fmt.Sprint("id", len(a.events)))
		w.Header().Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(time.Now().Add(200*time.Millisecond).UnixMilli()))
		fmt.Fprint(w, a.events[0])
		a.events = a.events[1:]
	case path == "invocation/next":
		a.end()
		<-r.Context().Done()
	case strings.HasSuffix(path, "/response") && a.refuses:
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	default:
		a.got = append(a.got, path+" "+r.Header.Get("Lambda-Runtime-Function-Error-Type")+" "+string(b))
		w.WriteHeader(http.StatusAccepted)
	}
}

func (a *api) run(t *testing.T, start func(context.Context) (http.Handler, error)) error {
	t.Helper()
	server := httptest.NewServer(a)
	defer server.Close()
	t.Setenv(API, strings.TrimPrefix(server.URL, "http://"))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	a.end = cancel
	return Run(ctx, start, "/predict", nil)
}

func TestRunAnswersInvocations(t *testing.T) {
	a := &api{events: []string{"one", `{"httpMethod":"GET"}`}}
	if err := a.run(t, func(context.Context) (http.Handler, error) { return echo, nil }); err != nil {
		t.Fatal(err)
	}
	if len(a.got) != 2 || !strings.HasPrefix(a.got[0], `invocation/id2/response  {"got":"one",`) || !strings.HasPrefix(a.got[1], `invocation/id1/error Tenon.Format {"errorMessage":"events of payload format 1.0`) {
		t.Errorf("%q", a.got)
	}
}

func TestRunSaysWhyItCannotStart(t *testing.T) {
	a := &api{}
	err := a.run(t, func(context.Context) (http.Handler, error) { return nil, errors.New("the model is damaged") })
	if err == nil || len(a.got) != 1 || a.got[0] != `init/error Tenon.Init {"errorMessage":"the model is damaged","errorType":"Tenon.Init"}` {
		t.Errorf("%v, %q", err, a.got)
	}
}

func TestAnAnswerThatIsTooLargeIsAnError(t *testing.T) {
	a := &api{events: []string{"one"}, refuses: true}
	if err := a.run(t, func(context.Context) (http.Handler, error) { return echo, nil }); err != nil {
		t.Fatal(err)
	}
	if len(a.got) != 1 || !strings.HasPrefix(a.got[0], "invocation/id1/error Tenon.TooLarge ") {
		t.Errorf("%q", a.got)
	}
}

// A handler that knows the deadline of the invocation ends before AWS kills the function.
func TestTheDeadlineOfAnInvocation(t *testing.T) {
	a := &api{events: []string{"one"}}
	err := a.run(t, func(context.Context) (http.Handler, error) {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		}), nil
	})
	var f fault
	if err != nil || len(a.got) != 1 || json.Unmarshal([]byte(a.got[0][strings.IndexByte(a.got[0], '{'):]), &f) != nil || f.Type != "Tenon.Timeout" {
		t.Errorf("%v, %q", err, a.got)
	}
}
