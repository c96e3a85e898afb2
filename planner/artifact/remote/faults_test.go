package remote_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/test/s3test"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
)

// A faulty is a real S3 server behind an unreliable proxy.
type faulty struct {
	*s3test.Server
	url   string // of a bucket, through the proxy
	proxy *httputil.ReverseProxy
	// fault sees a request before it is forwarded and may answer it; nil does nothing.
	fault atomic.Pointer[func(w http.ResponseWriter, r *http.Request) (answered bool)]
	// cut is how many bytes of the next responses are passed on; 0 means all.
	cut      atomic.Int64
	requests atomic.Int64
}

func newFaulty(t *testing.T) *faulty {
	t.Helper()
	f := &faulty{Server: s3test.Start(t)}
	f.Setenv(t)
	target, err := url.Parse(f.Endpoint)
	ok(t, err)
	f.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // it is signed
		},
		ModifyResponse: func(r *http.Response) error {
			if n := f.cut.Load(); n > 0 && r.Request.Method == http.MethodGet {
				r.Body = &cutBody{io.LimitReader(r.Body, n), r.Body}
			}
			return nil
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}
	at := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.requests.Add(1)
		if fault := f.fault.Load(); fault != nil && (*fault)(w, r) {
			return
		}
		f.proxy.ServeHTTP(w, r)
	}))
	at.Config.ErrorLog = log.New(io.Discard, "", 0)
	at.Start()
	t.Cleanup(at.Close)
	f.Bucket(t, "bucket")
	q := url.Values{"endpoint": {at.URL}, "region": {s3test.Region}, "use_path_style": {"true"}}
	f.url = "s3://bucket?" + q.Encode()
	return f
}

// A cutBody ends too early.
type cutBody struct {
	io.Reader
	io.Closer
}

func (b *cutBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		err = errors.New("cut")
	}
	return n, err
}

func (f *faulty) set(fault func(w http.ResponseWriter, r *http.Request) bool) {
	f.fault.Store(&fault)
}

func (f *faulty) mend() { f.fault.Store(nil) }

// uploads returns how many unfinished multipart uploads the server has.
func (f *faulty) uploads(t *testing.T) int {
	t.Helper()
	out, err := f.Client().ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: aws.String("bucket")})
	ok(t, err)
	return len(out.Uploads)
}

func isPart(r *http.Request) bool { return r.URL.Query().Has("partNumber") }

// cutUpload reads some of a request and hangs up.
func cutUpload(r *http.Request, bytes int64) {
	_, _ = io.CopyN(io.Discard, r.Body, bytes)
	panic(http.ErrAbortHandler)
}

func refuse(w http.ResponseWriter, status int, code string) bool {
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>in a test</Message></Error>", code)
	return true
}

// times returns true for the first few calls.
func times(n int64) func() bool {
	var calls atomic.Int64
	return func() bool { return calls.Add(1) <= n }
}

// Temporary failures are retried without any effect.
func TestWhatPasses(t *testing.T) {
	for name, fault := range map[string]func() func(w http.ResponseWriter, r *http.Request) bool{
		"errors of the server": func() func(w http.ResponseWriter, r *http.Request) bool {
			now := times(2)
			return func(w http.ResponseWriter, r *http.Request) bool {
				return now() && refuse(w, http.StatusInternalServerError, "InternalError")
			}
		},
		"a server that is busy": func() func(w http.ResponseWriter, r *http.Request) bool {
			now := times(2)
			return func(w http.ResponseWriter, r *http.Request) bool {
				return now() && refuse(w, http.StatusServiceUnavailable, "SlowDown")
			}
		},
		"an error for every part": func() func(w http.ResponseWriter, r *http.Request) bool {
			now := times(3)
			return func(w http.ResponseWriter, r *http.Request) bool {
				return isPart(r) && now() && refuse(w, http.StatusBadGateway, "")
			}
		},
		"connections that are cut": func() func(w http.ResponseWriter, r *http.Request) bool {
			now := times(2)
			return func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPut && now() {
					cutUpload(r, 1000)
				}
				return false
			}
		},
		"a server that does not answer": func() func(w http.ResponseWriter, r *http.Request) bool {
			now := times(1)
			return func(w http.ResponseWriter, r *http.Request) bool {
				if isPart(r) && now() {
					_, _ = io.Copy(io.Discard, r.Body)
					<-r.Context().Done()
					return true
				}
				return false
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFaulty(t)
			s := open(t, f.url)
			p := file(t, 3*remote.PartSize)
			f.set(fault())
			ref, err := s.Put(t.Context(), p)
			ok(t, err)
			f.set(fault())
			to := filepath.Join(t.TempDir(), "to")
			ok(t, s.Get(t.Context(), ref, to))
			if digest(t, to) != ref.Digest {
				t.Error("it is not what was put")
			}
		})
	}
}

func TestDownloadsThatAreCutGoOn(t *testing.T) {
	f := newFaulty(t)
	s := open(t, f.url)
	ref, err := s.Put(t.Context(), file(t, 100_000))
	ok(t, err)
	f.cut.Store(10_001) // of every response: more often than retries without progress are allowed
	to := filepath.Join(t.TempDir(), "to")
	ok(t, s.Get(t.Context(), ref, to))
	if digest(t, to) != ref.Digest {
		t.Error("it is not what was put")
	}
}

func TestDownloadsThatStallGoOn(t *testing.T) {
	f := newFaulty(t)
	s := open(t, f.url)
	ref, err := s.Put(t.Context(), file(t, 100_000))
	ok(t, err)
	now := times(1)
	f.set(func(w http.ResponseWriter, r *http.Request) bool {
		if !now() {
			return false
		}
		w.Header().Set("Content-Length", "100000")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return true
	})
	ok(t, s.Get(t.Context(), ref, filepath.Join(t.TempDir(), "to")))
}

// After a failed Put, nothing is incomplete, the server keeps no parts, and the next Put
// succeeds.
func TestPutThatFails(t *testing.T) {
	for name, fault := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"errors of the server": func(w http.ResponseWriter, r *http.Request) bool {
			return r.Method == http.MethodPut && refuse(w, http.StatusInternalServerError, "InternalError")
		},
		"connections that are cut": func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut {
				cutUpload(r, 1000)
			}
			return false
		},
		"no end to the parts": func(w http.ResponseWriter, r *http.Request) bool {
			return r.Method == http.MethodPost && r.URL.Query().Has("uploadId") && refuse(w, http.StatusInternalServerError, "InternalError")
		},
		"one file of many": func(w http.ResponseWriter, r *http.Request) bool {
			return strings.HasSuffix(r.URL.Path, ir.Sum([]byte("b"))[len("sha256:")+2:]) && r.Method == http.MethodPut && refuse(w, http.StatusInternalServerError, "InternalError")
		},
		"no permission": func(w http.ResponseWriter, r *http.Request) bool {
			return r.Method != http.MethodHead && r.Method != http.MethodDelete && refuse(w, http.StatusForbidden, "AccessDenied")
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFaulty(t)
			s := open(t, f.url)
			dir := folder(t, map[string]string{"a": "a", "b": "b", "c/d": "d"})
			ok(t, os.Rename(file(t, 2*remote.PartSize), filepath.Join(dir, "big")))
			f.set(fault)
			ref, err := s.Put(t.Context(), dir)
			if err == nil {
				t.Fatal("it was put")
			}
			f.mend()
			if has, err := s.Has(t.Context(), ref); has || err != nil {
				t.Errorf("has it: %v, %v", has, err)
			}
			wholeOrNot(t, s)
			if n := f.uploads(t); n > 0 {
				t.Errorf("%d uploads were not removed", n)
			}
			again, err := s.Put(t.Context(), dir)
			ok(t, err)
			ok(t, s.Get(t.Context(), again, filepath.Join(t.TempDir(), "to")))
		})
	}
}

// An upload that is cancelled before the server has named it is removed, too.
func TestPutThatFailsWhileAnUploadBegins(t *testing.T) {
	f := newFaulty(t)
	s := open(t, f.url)
	dir := folder(t, map[string]string{"b": "b"})
	ok(t, os.Rename(file(t, 2*remote.PartSize), filepath.Join(dir, "big")))
	begun, refused, named := make(chan struct{}), make(chan struct{}), make(chan struct{})
	b := ir.Sum([]byte("b"))[len("sha256:")+2:]
	f.set(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Method == http.MethodPost && r.URL.Query().Has("uploads"):
			close(begun)
			<-refused
			time.Sleep(100 * time.Millisecond)               // until Put has failed
			f.proxy.ServeHTTP(w, r.WithContext(t.Context())) // although the client has gone
			close(named)
			return true
		case r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, b):
			<-begun
			refuse(w, http.StatusForbidden, "AccessDenied")
			close(refused)
			return true
		}
		return false
	})
	if _, err := s.Put(t.Context(), dir); err == nil {
		t.Fatal("it was put")
	}
	<-named
	f.mend()
	if n := f.uploads(t); n > 0 {
		t.Errorf("%d uploads were not removed", n)
	}
}

// wholeOrNot checks that everything in a store matches its name.
func wholeOrNot(t *testing.T, s *remote.Store) {
	t.Helper()
	all, err := s.All(t.Context())
	ok(t, err)
	for _, d := range all {
		if _, err := s.Bytes(t.Context(), artifact.Ref{Digest: d}); err != nil {
			t.Errorf("half-written: %v", err)
		}
	}
}

// If the response to the last request of an upload is lost, the request is repeated.
// Whatever a server does then, the store has what Put reports as stored.
func TestLostAnswer(t *testing.T) {
	f := newFaulty(t)
	s := open(t, f.url)
	now := times(1)
	f.set(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost && r.URL.Query().Has("uploadId") && now() {
			f.proxy.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		return false
	})
	p := file(t, 2*remote.PartSize)
	ref, err := s.Put(t.Context(), p)
	if err != nil {
		t.Logf("the server does not take it twice: %v", err)
		ref, err = s.Put(t.Context(), p)
		ok(t, err)
	}
	ok(t, s.Get(t.Context(), ref, filepath.Join(t.TempDir(), "to")))
}

func TestServerThatIsKilledWhilePartsAreSent(t *testing.T) {
	f := newFaulty(t)
	s := open(t, f.url)
	now := times(1)
	f.set(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("partNumber") == "2" && now() {
			_, _ = io.CopyN(io.Discard, r.Body, 1000)
			f.Stop()
		}
		return false
	})
	p := file(t, 4*remote.PartSize)
	if _, err := s.Put(t.Context(), p); err == nil {
		t.Fatal("it was put")
	}
	f.mend()
	f.restart(t)
	want := artifact.Ref{Digest: digest(t, p), Size: 4 * remote.PartSize}
	if has, err := s.Has(t.Context(), want); has || err != nil {
		t.Errorf("has it: %v, %v", has, err)
	}
	wholeOrNot(t, s)
	ref, err := s.Put(t.Context(), p)
	ok(t, err)
	ok(t, s.Get(t.Context(), ref, filepath.Join(t.TempDir(), "to")))
}

// restart runs the stopped server again, at its address with its data.
func (f *faulty) restart(t *testing.T) {
	t.Helper()
	cmd, err := f.Command()
	ok(t, err)
	ok(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for f.Ready() != nil {
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestCanceledPut(t *testing.T) {
	f := newFaulty(t)
	s := open(t, f.url)
	ctx, stop := context.WithCancel(t.Context())
	f.set(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("partNumber") == "2" {
			stop()
		}
		return false
	})
	p := file(t, 3*remote.PartSize)
	if _, err := s.Put(ctx, p); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	f.mend()
	wholeOrNot(t, s)
	if n := f.uploads(t); n > 0 {
		t.Errorf("%d uploads were not removed", n)
	}
}

// A file that changes after it was digested is not stored under that digest.
func TestFileThatChangesIsNotStored(t *testing.T) {
	onEveryService(t, func(t *testing.T, at place) {
		s := open(t, at.url)
		for _, size := range []int64{0, 100, 3 * remote.PartSize} {
			p := file(t, int(size))
			if err := s.PutAs(t.Context(), ir.Sum([]byte("before")), p, size); !errors.Is(err, artifact.ErrChanged) {
				t.Errorf("%d bytes: %v", size, err)
			}
		}
		if all, err := s.All(t.Context()); err != nil || len(all) > 0 {
			t.Errorf("there are %q, %v", all, err)
		}
		if at.dir == "" {
			return
		}
		ok(t, filepath.WalkDir(at.dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				t.Errorf("it left %s", path)
			}
			return nil
		}))
	})
}

func TestRefusedCredentials(t *testing.T) {
	f := newFaulty(t)
	for name, set := range map[string]func(t *testing.T){
		"a key that nobody knows": func(t *testing.T) { t.Setenv("AWS_ACCESS_KEY_ID", "AKIAUNKNOWN") },
		"a wrong secret":          func(t *testing.T) { t.Setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret") },
		"none": func(t *testing.T) {
			for _, v := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"} {
				t.Setenv(v, "")
			}
			for _, v := range []string{"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"} {
				t.Setenv(v, filepath.Join(t.TempDir(), "none"))
			}
			t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
		},
	} {
		t.Run(name, func(t *testing.T) {
			set(t)
			before := f.requests.Load()
			_, err := remote.OpenHasty(t.Context(), f.url)
			refused := (*remote.RefusedError)(nil)
			if !errors.As(err, &refused) {
				t.Fatalf("got %v", err)
			}
			for _, want := range []string{"s3://bucket", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "http://127.0.0.1"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %s", err, want)
				}
			}
			if strings.Contains(err.Error(), f.SecretKey) || strings.Contains(err.Error(), "not-the-secret") {
				t.Errorf("%q contains the secret", err)
			}
			if n := f.requests.Load() - before; n > 1 {
				t.Errorf("it asked %d times", n)
			}
		})
	}
}

// After one refusal, Put does not try every file of a folder.
func TestRefusalEndsAPut(t *testing.T) {
	f := newFaulty(t)
	s := open(t, f.url)
	content := map[string]string{}
	for i := range 500 {
		content[fmt.Sprint(i)] = fmt.Sprint(i)
	}
	dir := folder(t, content)
	var puts atomic.Int64
	f.set(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			puts.Add(1)
			return refuse(w, http.StatusForbidden, "ExpiredToken")
		}
		return false
	})
	_, err := s.Put(t.Context(), dir)
	if refused := (*remote.RefusedError)(nil); !errors.As(err, &refused) || !strings.Contains(err.Error(), "ExpiredToken") {
		t.Errorf("got %v", err)
	}
	if n := puts.Load(); n > 40 {
		t.Errorf("it asked %d times", n)
	}
}

func TestBucketThatIsNotThere(t *testing.T) {
	f := newFaulty(t)
	_, err := remote.OpenHasty(t.Context(), strings.Replace(f.url, "bucket", "other", 1))
	if err == nil || !strings.Contains(err.Error(), `no bucket "other"`) {
		t.Errorf("got %v", err)
	}
}

func TestServerThatIsNotThere(t *testing.T) {
	f := newFaulty(t) // for the credentials
	f.Stop()
	if _, err := remote.OpenHasty(t.Context(), f.url); err == nil || !strings.Contains(err.Error(), "store s3://bucket") {
		t.Errorf("behind a proxy that is there: got %v", err)
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	for endpoint, why := range map[string]string{
		gone.URL:            "connection refused",
		"http://s3.invalid": "unknown host s3.invalid",
	} {
		_, err := remote.OpenHasty(t.Context(), "s3://bucket?region=us-east-1&use_path_style=true&endpoint="+endpoint)
		if err == nil {
			t.Fatalf("a store at %s was opened", endpoint)
		}
		for _, want := range []string{"cannot reach store s3://bucket", why, "endpoint=http://HOST:PORT"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("got %q, want %q", err, want)
			}
		}
		if strings.Contains(err.Error(), "RequestID") {
			t.Errorf("%q is in the words of a library", err)
		}
	}
}

// A program that may only write needs no other right.
func TestWriteOnly(t *testing.T) {
	f := newFaulty(t)
	f.set(func(w http.ResponseWriter, r *http.Request) bool {
		return (r.Method == http.MethodGet || r.Method == http.MethodHead) && refuse(w, http.StatusForbidden, "AccessDenied")
	})
	s, err := remote.OpenWriteOnly(t.Context(), f.url)
	ok(t, err)
	t.Cleanup(func() { ok(t, s.Close()) })
	dir := t.TempDir()
	for name, size := range map[string]int{"small": 1, "same": 1, "large": 2*remote.PartSize + 1} {
		ok(t, os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o644))
	}
	ref, err := s.Put(t.Context(), dir)
	ok(t, err)
	ok(t, s.PutNote(t.Context(), "note", []byte("text")))
	f.mend()
	whole, err := remote.Open(t.Context(), f.url)
	ok(t, err)
	t.Cleanup(func() { ok(t, whole.Close()) })
	ok(t, whole.Get(t.Context(), ref, filepath.Join(t.TempDir(), "out")))
	if b, err := whole.Note(t.Context(), "note"); err != nil || string(b) != "text" {
		t.Errorf("the note is %q, %v", b, err)
	}
}
