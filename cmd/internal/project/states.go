package project

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/planner/artifact/remote"
)

// states reads states of Terraform at URLs, each once.
type states struct {
	lookup func(variable string) (string, bool) // of the environment

	mu  sync.Mutex
	all map[string]func() ([]byte, error)
}

// stateTime is how long reading a state may take.
const stateTime = time.Minute

// read returns the content of a state, of at most that many bytes.
func (s *states) read(ctx context.Context, at string, most int64) ([]byte, error) {
	s.mu.Lock()
	if s.all == nil {
		s.all = map[string]func() ([]byte, error){}
	}
	if s.all[at] == nil {
		s.all[at] = sync.OnceValues(func() ([]byte, error) {
			ctx, cancel := context.WithTimeout(ctx, stateTime)
			defer cancel()
			if strings.HasPrefix(at, "https://") || strings.HasPrefix(at, "http://") {
				return s.served(ctx, http.DefaultTransport, at, most)
			}
			return remote.Object(ctx, at, most)
		})
	}
	get := s.all[at]
	s.mu.Unlock()
	return get()
}

// served reads a state from a server that implements the backend `http` of Terraform, with its credentials:
// $TF_HTTP_USERNAME and $TF_HTTP_PASSWORD. Errors have no settings of the URL, which may be secrets.
func (s *states) served(ctx context.Context, transport http.RoundTripper, at string, most int64) ([]byte, error) {
	u, err := url.Parse(at)
	if err != nil || u.Host == "" {
		return nil, errors.New("it is not a URL")
	}
	if u.User != nil {
		return nil, errors.New("the URL has credentials: set TF_HTTP_USERNAME and TF_HTTP_PASSWORD instead")
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme != "https" && u.Hostname() != "localhost" && !ip.IsLoopback() {
		return nil, errors.New("it would be read without TLS: use https")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, errors.New("it is not a URL")
	}
	if name, _ := s.lookup("TF_HTTP_USERNAME"); name != "" {
		password, _ := s.lookup("TF_HTTP_PASSWORD")
		r.SetBasicAuth(name, password)
	}
	answer, err := (&http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(r)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return nil, err
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusOK:
	case http.StatusNoContent, http.StatusNotFound:
		return nil, errors.New("the server has no state there")
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, fmt.Errorf("the server refuses it (%s): set TF_HTTP_USERNAME and TF_HTTP_PASSWORD", answer.Status)
	default:
		return nil, fmt.Errorf("the server answers %s", answer.Status)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("it has more than %d MiB", most>>20)
	}
	return text, err
}
