package image

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/tenon-ml/tenon/internal/lazyregexp"
)

// explain turns an error of the registry client into one that says what to do. It
// quotes no URLs of the original, because some contain tokens.
func (s *Store) explain(ctx context.Context, n named, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", n, context.Cause(ctx))
	}
	host, failed := n.host, err
	var address *url.Error
	if errors.As(err, &address) {
		if u, bad := url.Parse(address.URL); bad == nil && u.Host != "" {
			host = u.Host
		}
		failed = address.Err
	}
	dir := filepath.Join(s.opts.Hosts, n.host)
	var status remoteerrors.ErrUnexpectedStatus
	code := 0
	if errors.As(err, &status) {
		code = status.StatusCode
		if u, bad := url.Parse(status.RequestURL); bad == nil && u.Host != "" {
			host = u.Host
		}
	}
	var invalid *tls.CertificateVerificationError
	var faulty *hostsError
	switch {
	case errors.As(err, &faulty):
		return fmt.Errorf("cannot read the settings of %s from %s: %w", n.host, dir, faulty.error)
	case errors.Is(err, docker.ErrInvalidAuthorization), code == http.StatusUnauthorized, code == http.StatusForbidden:
		return s.denied(n, host, status)
	case (errdefs.IsNotFound(err) || code == http.StatusNotFound) && n.digest != (v1.Hash{}):
		return fmt.Errorf("image %s no longer exists: plan with --pull to use the current digest of %s, or use another image", n, n.name())
	case errdefs.IsNotFound(err), code == http.StatusNotFound:
		return fmt.Errorf("image %s does not exist: check its name and tag, or import an image with that name with tenon image import", n)
	case errors.As(err, &invalid):
		return fmt.Errorf("%s: %w", n, untrusted(host, dir, invalid.Err))
	case code == http.StatusTooManyRequests:
		return fmt.Errorf("%s limits the rate of requests: log in with %s, or add a mirror to %s", host, login(host), filepath.Join(dir, "hosts.toml"))
	case code >= 500:
		return fmt.Errorf("%s: %s is failing (%s): try again later", n, host, status.Status)
	case code != 0:
		return fmt.Errorf("%s: %s answers %s%s", n, host, status.Status, said(status.Body))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s: %s closed the connection: try again", n, host)
	case address != nil && n.host == "localhost": // no port: only imported images have such a name
		return fmt.Errorf("image %s was not imported: import it with tenon image import", n)
	case errors.Is(failed, http.ErrSchemeMismatch):
		return fmt.Errorf("%s: %s uses HTTP without TLS: to allow that, add [host.\"http://%s\"] to %s", n, host, host, filepath.Join(dir, "hosts.toml"))
	case address != nil:
		return fmt.Errorf("%s: cannot reach %s: %s; add a mirror or another address to %s", n, host, clean(failed), filepath.Join(dir, "hosts.toml"))
	}
	return fmt.Errorf("%s: %s: %s", n, host, clean(failed))
}

// denied says what to do when a registry denies access.
func (s *Store) denied(n named, host string, status remoteerrors.ErrUnexpectedStatus) error {
	asks := host
	if host == "docker.io" {
		asks = "registry-1.docker.io"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.given[asks] {
		return fmt.Errorf("%s: %s rejects the stored credentials%s: log in with %s as a user with access", n, host, said(status.Body), login(host))
	}
	if why := s.why[asks]; why != nil {
		return fmt.Errorf("%s: %s requires authentication%s, and there are no credentials for it: %w; or log in with %s", n, host, said(status.Body), why, login(host))
	}
	return fmt.Errorf("%s: %s requires authentication%s: log in with %s", n, host, said(status.Body), login(host))
}

func login(host string) string {
	if host == "registry-1.docker.io" || host == "auth.docker.io" || host == "docker.io" {
		return "docker login"
	}
	return "docker login " + host
}

// untrusted says what to do about a certificate that cannot be verified.
func untrusted(host, dir string, err error) error {
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return fmt.Errorf("the certificate of %s is signed by an unknown authority: put the authority's certificate into %s, or set ca in hosts.toml in that folder", host, filepath.Join(dir, "ca.crt"))
	}
	return fmt.Errorf("the certificate of %s is not trusted: %w", host, err)
}

// said returns the message in a registry's error response, or "".
func said(body []byte) string {
	var b struct {
		Errors []struct{ Message string }
	}
	if json.Unmarshal(body, &b) != nil || len(b.Errors) == 0 || b.Errors[0].Message == "" {
		return ""
	}
	return " (" + clean(errors.New(b.Errors[0].Message)) + ")"
}

var query = lazyregexp.New(`\?[^\s"]*`)

// clean returns an error's text on one line, without the query of a URL.
func clean(err error) string { return query.ReplaceAllString(err.Error(), "") }
