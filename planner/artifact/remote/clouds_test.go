package remote_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
)

var fakes = map[string]func(*testing.T) *fake{"gcs": newGCS, "azure": newAzure}

func onFakes(t *testing.T, test func(t *testing.T, f *fake)) {
	for name, start := range fakes {
		t.Run(name, func(t *testing.T) { test(t, start(t)) })
	}
}

// isData reports whether a request carries part of a large file.
func isData(r *http.Request) bool {
	return r.Method == http.MethodPut && r.ContentLength > 1<<20
}

// Temporary failures are retried.
func TestCloudsRecover(t *testing.T) {
	status := func(code int, which func(*http.Request) bool) func() func(http.ResponseWriter, *http.Request) bool {
		return func() func(http.ResponseWriter, *http.Request) bool {
			now := times(2)
			return func(w http.ResponseWriter, r *http.Request) bool {
				if !which(r) || !now() {
					return false
				}
				http.Error(w, "in a test", code)
				return true
			}
		}
	}
	any := func(*http.Request) bool { return true }
	for name, fault := range map[string]func() func(w http.ResponseWriter, r *http.Request) bool{
		"errors of the server":    status(http.StatusInternalServerError, any),
		"a server that is busy":   status(http.StatusServiceUnavailable, any),
		"too many requests":       status(http.StatusTooManyRequests, any),
		"an error for every part": status(http.StatusBadGateway, isData),
		"connections that are cut": func() func(http.ResponseWriter, *http.Request) bool {
			now := times(2)
			return func(_ http.ResponseWriter, r *http.Request) bool {
				if isData(r) && now() {
					cutUpload(r, 1000)
				}
				return false
			}
		},
		"a server that does not answer": func() func(http.ResponseWriter, *http.Request) bool {
			now := times(1)
			return func(_ http.ResponseWriter, r *http.Request) bool {
				if isData(r) && now() {
					_, _ = io.Copy(io.Discard, r.Body)
					<-r.Context().Done()
					return true
				}
				return false
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			onFakes(t, func(t *testing.T, f *fake) {
				s := open(t, f.url)
				for _, size := range []int{100, remote.PartSize + 1000} {
					p := file(t, size)
					f.set(fault())
					ref, err := s.Put(t.Context(), p)
					ok(t, err)
					f.set(fault())
					to := filepath.Join(t.TempDir(), "to")
					ok(t, s.Get(t.Context(), ref, to))
					if digest(t, to) != ref.Digest {
						t.Errorf("%d bytes: it is not what was put", size)
					}
				}
			})
		})
	}
}

func TestDownloadsFromCloudsGoOn(t *testing.T) {
	onFakes(t, func(t *testing.T, f *fake) {
		s := open(t, f.url)
		ref, err := s.Put(t.Context(), file(t, 100_000))
		ok(t, err)
		f.cut.Store(10_001)
		before := f.requests.Load()
		to := filepath.Join(t.TempDir(), "to")
		ok(t, s.Get(t.Context(), ref, to))
		if digest(t, to) != ref.Digest {
			t.Error("it is not what was put")
		}
		if n := f.requests.Load() - before; n != 10 {
			t.Errorf("it asked %d times", n)
		}
	})
}

// A server that ignores the offset of a resumed download must not produce a note with its
// beginning twice.
func TestServersWithoutRangeRequests(t *testing.T) {
	onFakes(t, func(t *testing.T, f *fake) {
		s := open(t, f.url)
		ok(t, s.PutNote(t.Context(), "note", []byte(strings.Repeat("x", 1000))))
		f.cut.Store(100)
		f.set(func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("Range")+r.Header.Get("x-ms-range") != "" {
				f.cut.Store(0)
			}
			r.Header.Del("Range")
			r.Header.Del("x-ms-range")
			return false
		})
		if b, err := s.Note(t.Context(), "note"); err == nil {
			t.Errorf("read %d bytes", len(b))
		}
	})
}

// A part of an upload to Google whose response is lost is not sent again, and one that
// arrived in part is continued.
func TestUploadsToGoogleGoOn(t *testing.T) {
	f := newGCS(t)
	s := open(t, f.url)
	var lost, partly atomic.Bool
	var sent atomic.Int64
	f.set(func(w http.ResponseWriter, r *http.Request) bool {
		if !isData(r) {
			return false
		}
		switch {
		case lost.CompareAndSwap(false, true):
			f.handler.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case partly.CompareAndSwap(false, true):
			r.Body = &cutBody{io.LimitReader(r.Body, 3<<20), r.Body}
			f.handler.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		sent.Add(r.ContentLength)
		return false
	})
	p := file(t, 3*remote.PartSize)
	ref, err := s.Put(t.Context(), p)
	ok(t, err)
	if want := int64(2*remote.PartSize - 3<<20); sent.Load() != want {
		t.Errorf("%d bytes were sent, want %d", sent.Load(), want)
	}
	ok(t, s.Get(t.Context(), ref, filepath.Join(t.TempDir(), "to")))
}

// After a failed Put, nothing is incomplete, no upload is open, and the next Put
// succeeds.
func TestFailedPutToAnObjectStore(t *testing.T) {
	for name, fault := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"errors of the server": func(w http.ResponseWriter, r *http.Request) bool {
			if isData(r) {
				http.Error(w, "in a test", http.StatusInternalServerError)
			}
			return isData(r)
		},
		"connections that are cut": func(_ http.ResponseWriter, r *http.Request) bool {
			if isData(r) {
				cutUpload(r, 1000)
			}
			return false
		},
		"no permission": func(w http.ResponseWriter, r *http.Request) bool {
			is := r.Method == http.MethodPut || r.Method == http.MethodPost
			if is {
				http.Error(w, "in a test", http.StatusForbidden)
			}
			return is
		},
	} {
		t.Run(name, func(t *testing.T) {
			onFakes(t, func(t *testing.T, f *fake) {
				s := open(t, f.url)
				dir := folder(t, map[string]string{"a": "a", "b": "b", "c/d": "d"})
				ok(t, os.Rename(file(t, 2*remote.PartSize), filepath.Join(dir, "big")))
				f.set(fault)
				ref, err := s.Put(t.Context(), dir)
				if err == nil {
					t.Fatal("it was put")
				}
				if strings.Contains(err.Error(), "upload_id") {
					t.Errorf("%q contains the name of an upload", err)
				}
				f.mend()
				if has, err := s.Has(t.Context(), ref); has || err != nil {
					t.Errorf("has it: %v, %v", has, err)
				}
				wholeOrNot(t, s)
				if n := len(f.uploads); n > 0 {
					t.Errorf("%d uploads have no end", n)
				}
				again, err := s.Put(t.Context(), dir)
				ok(t, err)
				ok(t, s.Get(t.Context(), again, filepath.Join(t.TempDir(), "to")))
			})
		})
	}
}

func TestCanceledPutToAnObjectStore(t *testing.T) {
	onFakes(t, func(t *testing.T, f *fake) {
		s := open(t, f.url)
		ctx, stop := context.WithCancel(t.Context())
		now := times(1)
		f.set(func(_ http.ResponseWriter, r *http.Request) bool {
			if isData(r) && !now() { // the second part
				stop()
			}
			return false
		})
		if _, err := s.Put(ctx, file(t, 3*remote.PartSize)); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		f.mend()
		wholeOrNot(t, s)
		if n := len(f.uploads); n > 0 {
			t.Errorf("%d uploads have no end", n)
		}
	})
}

func TestCloudsThatRefuse(t *testing.T) {
	onFakes(t, func(t *testing.T, f *fake) {
		s := open(t, f.url)
		for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
			f.set(func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("x-ms-error-code", "InTest")
				http.Error(w, `{"error": {"message": "InTest"}}`, status)
				return true
			})
			before := f.requests.Load()
			_, err := s.PutBytes(t.Context(), []byte("x"))
			if refused := (*remote.RefusedError)(nil); !errors.As(err, &refused) || refused.Why != "InTest" {
				t.Errorf("%d: got %v", status, err)
			}
			if _, err := s.Has(t.Context(), artifact.Ref{Digest: ir.Sum(nil)}); err == nil {
				t.Errorf("%d: a refusal reads as absence", status)
			}
			if n := f.requests.Load() - before; n != 2 {
				t.Errorf("%d: it asked %d times", status, n)
			}
		}
	})
}

func TestCloudsWithoutTheBucket(t *testing.T) {
	onFakes(t, func(t *testing.T, f *fake) {
		url := strings.NewReplacer("gs://bucket", "gs://other", "azblob://container", "azblob://other").Replace(f.url)
		if _, err := remote.OpenHasty(t.Context(), url); err == nil || !strings.Contains(err.Error(), `"other": create it, or correct the URL`) {
			t.Errorf("got %v", err)
		}
	})
}

// The SAS token is in the query of every URL.
func TestErrorsHideSASTokens(t *testing.T) {
	f := newAzure(t)
	t.Setenv("AZURE_STORAGE_KEY", "")
	t.Setenv("AZURE_STORAGE_SAS_TOKEN", "?sv=2024-01-01&sig=hunter2")
	f.set(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("sig") != "hunter2" {
			http.Error(w, "no SAS", http.StatusForbidden)
			return true
		}
		return false
	})
	s := open(t, f.url)
	for name, fault := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"a refusal": func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, "in a test", http.StatusForbidden)
			return true
		},
		"an error": func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, "in a test", http.StatusConflict)
			return true
		},
		"a connection that is cut": func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) },
	} {
		f.set(fault)
		if _, err := s.PutBytes(t.Context(), []byte("x")); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Google's credentials are found where its own tools find them.
func TestGoogleCredentials(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ok := strings.HasSuffix(r.URL.Path, "/service-accounts/default/token") && r.Header.Get("Metadata-Flavor") == "Google" ||
			r.URL.Path == "/token" && r.FormValue("assertion") != "" && r.FormValue("grant_type") == "urn:ietf:params:oauth:grant-type:jwt-bearer"
		if !ok {
			http.Error(w, `{"error": "invalid_grant", "error_description": "in a test"}`, http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token": "token of %s", "expires_in": 3600, "token_type": "Bearer"}`, r.URL.Path)
	}))
	defer server.Close()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	ok(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	ok(t, err)
	account := func(tokens string) string {
		text, err := json.Marshal(map[string]string{
			"type": "service_account", "client_email": "a@b.c", "private_key_id": "1", "token_uri": server.URL + tokens,
			"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		})
		ok(t, err)
		p := filepath.Join(t.TempDir(), "key.json")
		ok(t, os.WriteFile(p, text, 0o600))
		return p
	}
	for name, tt := range map[string]struct{ file, metadata, token, refused string }{
		"the key of a service account": {file: account("/token"), token: "token of /token"},
		"a key that was revoked":       {file: account("/revoked"), refused: "invalid_grant"},
		"no file":                      {file: "/none", refused: "no credentials"},
		"a machine of Google":          {metadata: strings.TrimPrefix(server.URL, "http://"), token: "token of /computeMetadata/v1/instance/service-accounts/default/token"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("HOME", t.TempDir())
			t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", tt.file)
			t.Setenv("GCE_METADATA_HOST", tt.metadata)
			token, err := remote.GoogleToken(t.Context())
			if tt.refused != "" {
				refused := (*remote.RefusedError)(nil)
				if !errors.As(err, &refused) || !strings.Contains(err.Error(), tt.refused) || !strings.Contains(err.Error(), "GOOGLE_APPLICATION_CREDENTIALS") {
					t.Errorf("got %v", err)
				}
			} else if err != nil || token != tt.token {
				t.Errorf("got %q, %v, want %q", token, err, tt.token)
			}
		})
	}
}
