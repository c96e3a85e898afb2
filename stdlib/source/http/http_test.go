package http

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/internal/test/steptest"
	"github.com/tenon-ml/tenon/stdlib/step"
)

var component = steptest.Component(Run)

func TestMain(m *testing.M) {
	firstPause = time.Millisecond
	os.Exit(m.Run())
}

const content = "id,name\n1,a\n2,b\n"

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

// httpStep serves with f, which gets the number of the request, from 1.
func httpStep(t *testing.T, f func(n int64, w http.ResponseWriter, r *http.Request)) (*step.Step, *atomic.Int64) {
	t.Helper()
	var n atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f(n.Add(1), w, r) }))
	t.Cleanup(srv.Close)
	return steptest.New(t, "source.http", fmt.Sprintf(`{"url": "%s/data/a.csv?x=1", "sha256": "sha256:%s", "format": "csv", "csv": {"delimiter": ",", "nulls": [""]}}`, srv.URL, sum(content)), "out"), &n
}

func TestHTTPReadsThePinnedFile(t *testing.T) {
	s, _ := httpStep(t, func(_ int64, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/moved" {
			http.Redirect(w, r, "/moved", http.StatusFound)
			return
		}
		fmt.Fprint(w, content)
	})
	component.Run(t, s)
	if diff := cmp.Diff([]string{"1|a", "2|b"}, steptest.Rows(t, s.Outputs["out"].Path)); diff != "" {
		t.Error(diff)
	}
	if got := steptest.Progress(t, s)[0]; got != "downloaded 16 bytes" && got != "downloaded 0 bytes" {
		t.Errorf("progress %q", got)
	}
}

func TestHTTPTriesAgainAfterWhatMayPass(t *testing.T) {
	for name, trouble := range map[string]func(http.ResponseWriter, *http.Request){
		"500": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"429": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) },
		"a cut connection": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "16")
			fmt.Fprint(w, content[:5])
		},
		"a connection cut before an answer": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			s, n := httpStep(t, func(n int64, w http.ResponseWriter, r *http.Request) {
				if n < 3 {
					trouble(w, r)
					return
				}
				fmt.Fprint(w, content)
			})
			component.Run(t, s)
			if n.Load() != 3 {
				t.Errorf("%d requests, want 3", n.Load())
			}
			if got := steptest.Progress(t, s)[0]; !strings.HasPrefix(got, "attempt 1 failed") && !strings.HasPrefix(got, "downloaded") {
				t.Errorf("progress %q", got)
			}
		})
	}
}

func TestHTTPGivesUp(t *testing.T) {
	for _, tt := range []struct {
		name     string
		serve    func(http.ResponseWriter, *http.Request)
		requests int64
		want     string
	}{
		{"at once if the file is not there", http.NotFound, 1, "the server returned 404 Not Found"},
		{"after five errors", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, 5, "the server returned 503 Service Unavailable (after 5 attempts)"},
		{"after five cut connections", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "16")
			fmt.Fprint(w, content[:5])
		}, 5, "the connection was cut after 5 of 16 bytes (after 5 attempts)"},
		{"at once if it is another file", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "other") }, 1, "does not match its sha256: got " + sum("other") + ", wanted " + sum(content)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, n := httpStep(t, func(_ int64, w http.ResponseWriter, r *http.Request) { tt.serve(w, r) })
			component.Fails(t, s, tt.want)
			if n.Load() != tt.requests {
				t.Errorf("%d requests, want %d", n.Load(), tt.requests)
			}
		})
	}
}

func TestHTTPDoesNotWaitForASilentServer(t *testing.T) {
	old := stall
	stall = 20 * time.Millisecond
	defer func() { stall = old }()
	s, _ := httpStep(t, func(_ int64, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	component.Fails(t, s, "no data for 20ms (after 5 attempts)")
}

func TestHTTPStopsWhenItsContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	s, n := httpStep(t, func(_ int64, _ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	if err := Run(ctx, s); !errors.Is(err, context.Canceled) || n.Load() != 1 {
		t.Errorf("%v after %d requests", err, n.Load())
	}
}

func TestHTTPNamesTheAddressOfABadFile(t *testing.T) {
	bad := "id,name\nx,a\n"
	s, _ := httpStep(t, func(_ int64, w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, bad) })
	s.Params = []byte(strings.Replace(string(s.Params), sum(content), sum(bad), 1))
	component.Fails(t, s, `/data/a.csv?x=1:2: column "id": "x" is not an int64`)
}

func TestHTTPRefusesBadParameters(t *testing.T) {
	component.Fails(t, steptest.New(t, "source.http", `{"url": "ftp://x/y", "sha256": ""}`, "out"), `url "ftp://x/y" is not an http or https URL`)
	component.Fails(t, steptest.New(t, "source.http", `{"url": "http://x/y", "sha256": "abc"}`, "out"), `sha256 "abc" is not 64 hexadecimal digits`)
}

// A look reads a part of the file only: the beginning of a text, or the end of Parquet.
func TestALookComparesTheHead(t *testing.T) {
	long := "id,name\n" + strings.Repeat("1,a\n", 1<<20)
	for name, tt := range map[string]struct {
		content string
		want    string // what is written to the output, in part
	}{
		"as declared":     {long, `{"columns":null}`},
		"another column":  {strings.Replace(long, "name", "title", 1), `"column":"name","missing":true`},
		"another header":  {"1,a\n2,b\n", `"missing":true`},
		"a short file":    {content, `{"columns":null}`},
		"no names at all": {strings.Repeat("x", 64), `"missing":true`},
	} {
		t.Run(name, func(t *testing.T) {
			for _, parts := range []bool{true, false} {
				var sent atomic.Int64
				s, _ := httpStep(t, func(_ int64, w http.ResponseWriter, r *http.Request) {
					if parts {
						http.ServeContent(&counted{w, &sent}, r, "a.csv", time.Time{}, strings.NewReader(tt.content))
					} else {
						fmt.Fprint(w, tt.content)
					}
				})
				s.Params = []byte(strings.Replace(string(s.Params), `"format"`, `"look": true, "format"`, 1))
				component.Run(t, s)
				b, err := os.ReadFile(s.Outputs["out"].Path)
				if err != nil || !strings.Contains(string(b), tt.want) {
					t.Errorf("parts %t: %s, %v, want %s", parts, b, err, tt.want)
				}
				if sent.Load() > headBytes {
					t.Errorf("it reads %d bytes", sent.Load())
				}
			}
		})
	}
}

// counted counts the bytes of a response.
type counted struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *counted) Write(b []byte) (int, error) {
	c.n.Add(int64(len(b)))
	return c.ResponseWriter.Write(b)
}
