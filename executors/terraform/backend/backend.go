// Package backend serves the state of OpenTofu or Terraform to them, over HTTP on this machine, while
// they run: their `http` backend.
package backend

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// most is how large a state may be, in bytes.
const most = 256 << 20

// A Store keeps a state.
type Store interface {
	// Read returns the state, or nil if there is none.
	Read(ctx context.Context) ([]byte, error)
	// Write replaces the state. It returns an error if somebody else may write it now.
	Write(ctx context.Context, state []byte) error
	// Check returns an error if somebody else may write the state now.
	Check(ctx context.Context) error
}

// A Server serves a state to clients that know its password.
type Server struct {
	store    Store
	writable bool
	password string
	http     *http.Server
	address  string

	mu   sync.Mutex
	lock json.RawMessage // what the holder says of itself, or nil
	err  error           // the first error of the store
}

// Serve serves the state of a store at a port of the loopback interface. Unless it is writable, it
// refuses locks and writes. Close it.
func Serve(store Store, writable bool) (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("serve the state of the infrastructure: %w", err)
	}
	s := &Server{store: store, writable: writable, password: rand.Text(), address: "http://" + l.Addr().String() + "/state"}
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = s.http.Serve(l) }() // until it is closed
	return s, nil
}

// Environ are the variables with which the tool finds the server, as "NAME=value".
func (s *Server) Environ() []string {
	return []string{
		"TF_HTTP_ADDRESS=" + s.address, "TF_HTTP_LOCK_ADDRESS=" + s.address, "TF_HTTP_UNLOCK_ADDRESS=" + s.address,
		"TF_HTTP_USERNAME=tenon", "TF_HTTP_PASSWORD=" + s.password, "TF_HTTP_RETRY_MAX=0",
	}
}

// Err returns the first error of the store, which the tool only knows as a status.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close ends the server, and waits for writes in progress.
func (s *Server) Close() error {
	err := s.http.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writable = false
	return err
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	if user != "tenon" || subtle.ConstantTimeCompare([]byte(password), []byte(s.password)) != 1 {
		http.Error(w, "unknown user or password", http.StatusUnauthorized)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.Method {
	case http.MethodGet:
		s.get(w, r)
	case http.MethodPost:
		s.post(w, r)
	case "LOCK":
		s.take(w, r)
	case "UNLOCK":
		s.release(w, r)
	default: // also DELETE: an empty state is written
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

func (s *Server) get(w http.ResponseWriter, r *http.Request) {
	b, err := s.store.Read(r.Context())
	switch {
	case err != nil:
		s.fail(w, err, http.StatusInternalServerError)
	case b == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(b)
	}
}

func (s *Server) post(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("ID")
	if !s.writable || s.lock == nil || id != holder(s.lock) {
		http.Error(w, "the state is not locked by "+id, http.StatusConflict)
		return
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	if !json.Valid(b) {
		http.Error(w, "a state is JSON", http.StatusBadRequest)
		return
	}
	// It is recorded even if the tool has given up waiting: it is newer than what is recorded.
	if err := s.store.Write(context.WithoutCancel(r.Context()), b); err != nil {
		s.fail(w, err, http.StatusConflict)
	}
}

func (s *Server) take(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	switch {
	case err != nil || holder(b) == "":
		http.Error(w, "a lock has an ID", http.StatusBadRequest)
	case !s.writable:
		http.Error(w, "the state is read only", http.StatusForbidden)
	case s.lock != nil:
		w.WriteHeader(http.StatusLocked)
		_, _ = w.Write(s.lock)
	default:
		if err := s.store.Check(r.Context()); err != nil {
			s.fail(w, err, http.StatusConflict)
			return
		}
		s.lock = b
	}
}

func (s *Server) release(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil || s.lock == nil || holder(b) != holder(s.lock) {
		http.Error(w, "somebody else holds the lock", http.StatusConflict)
		return
	}
	s.lock = nil
}

// holder returns the ID of a lock, or "".
func holder(lock []byte) string {
	var l struct{ ID string }
	if json.Unmarshal(lock, &l) != nil {
		return ""
	}
	return l.ID
}

func (s *Server) fail(w http.ResponseWriter, err error, status int) {
	s.err = errors.Join(s.err, err)
	http.Error(w, err.Error(), status)
}
