package image_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/internal/test/registrytest"
)

// isLayer reports whether a request is for a layer.
func isLayer(h *hub, t *testing.T, r *http.Request) bool {
	return strings.HasSuffix(r.URL.Path, "/blobs/"+layers(t, h.img)[0].Digest.String())
}

func TestABlobIsKeptOnlyIfItIsWhatItsNameSays(t *testing.T) {
	h := newHub(t, registrytest.Options{})
	l := layers(t, h.img)[0]
	dir := t.TempDir()
	s := image.New(image.Options{Dir: dir, Hosts: h.hosts, Credentials: credentials("", "")})
	img, err := s.Open(t.Context(), h.pinned)
	if err != nil {
		t.Fatal(err)
	}
	sound, err := os.ReadFile(h.Blob(l.Digest.String()))
	if err != nil {
		t.Fatal(err)
	}
	read := func() error {
		all, err := img.Layers()
		if err != nil {
			return err
		}
		r, err := all[0].Compressed()
		if err != nil {
			return err
		}
		return r.Close()
	}
	for what, b := range map[string][]byte{"other bytes": []byte(strings.Repeat("x", len(sound))), "less": sound[:len(sound)-1], "more": append(sound, 'x')} {
		if err := os.WriteFile(h.Blob(l.Digest.String()), b, 0o644); err != nil {
			t.Fatal(err)
		}
		err := read()
		wantError(t, err, "other content than "+l.Digest.String())
		if _, err := os.Stat(filepath.Join(dir, "blobs", "sha256", l.Digest.Hex)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s are kept: %v", what, err)
		}
	}
	if err := os.WriteFile(h.Blob(l.Digest.String()), sound[:len(sound):len(sound)], 0o644); err != nil {
		t.Fatal(err)
	}
	if err := read(); err != nil {
		t.Errorf("once it is sound again: %v", err)
	}
}

// through returns a hub whose requests pass a handler.
func through(t *testing.T, h *hub, handle func(w http.ResponseWriter, r *http.Request, next http.Handler)) *hub {
	t.Helper()
	next := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: h.Host})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handle(w, r, next) }))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	return &hub{Registry: &registrytest.Registry{Host: host}, img: h.img, hosts: t.TempDir(), pinned: host + "/team/app:1@" + digest(t, h.img)}
}

func TestARegistryThatIsGoneMidway(t *testing.T) {
	h := newHub(t, registrytest.Options{})
	cut := through(t, h, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if !isLayer(h, t, r) {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(layers(t, h.img)[0].Size))
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	dir := t.TempDir()
	s := image.New(image.Options{Dir: dir, Hosts: cut.hosts, Credentials: credentials("", "")})
	_, err := s.Build(t.Context(), image.Recipe{Base: cut.pinned, Python: "3.11"})
	wantError(t, err, cut.Host+" closed the connection: try again")
	left, globErr := filepath.Glob(filepath.Join(dir, "work", "*"))
	if globErr != nil {
		t.Fatal(globErr)
	}
	for _, l := range left {
		if !strings.HasSuffix(l, ".lock") {
			t.Errorf("%s is left", l)
		}
	}
}

func TestFetchingEndsWithTheContext(t *testing.T) {
	h := newHub(t, registrytest.Options{})
	asked := make(chan struct{}, 10)
	stuck := through(t, h, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if isLayer(h, t, r) {
			asked <- struct{}{}
			<-r.Context().Done()
			return
		}
		next.ServeHTTP(w, r)
	})
	ctx, cancel := context.WithCancelCause(t.Context())
	img, err := stuck.store(t, credentials("", "")).Open(ctx, stuck.pinned)
	if err != nil {
		t.Fatal(err)
	}
	stopped := errors.New("stopped")
	go func() {
		<-asked
		cancel(stopped)
	}()
	all, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := all[0].Compressed(); !errors.Is(err, stopped) {
		t.Errorf("it ended with %v", err)
	}
}

func TestRegistryMessagesArePassedOn(t *testing.T) {
	for code, want := range map[int]string{
		http.StatusForbidden:       "(you are banned): log in with docker login",
		http.StatusTooManyRequests: "limits the rate of requests",
		http.StatusBadGateway:      "(502 Bad Gateway): try again later",
		http.StatusTeapot:          "answers 418 I'm a teapot",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			_, _ = io.WriteString(w, `{"errors": [{"code": "DENIED", "message": "you are banned"}]}`)
		}))
		t.Cleanup(server.Close)
		_, port, err := net.SplitHostPort(server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		s := image.New(image.Options{Dir: t.TempDir(), Hosts: t.TempDir(), Credentials: credentials("", "")})
		_, err = s.Pin(t.Context(), "127.0.0.1:"+port+"/team/app:1", false)
		wantError(t, err, want)
	}
}
