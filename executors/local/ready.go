package local

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// InstanceHeader is the header in which a service repeats its instance.
const InstanceHeader = "X-Tenon-Instance"

// probeTries is how often tenon asks for an answer of the right instance. During a
// takeover the kernel distributes connections over the old and the new service, so an
// answer of the wrong one says nothing.
const probeTries = 16

// probes never reuse a connection, which would reach the same service again. They use
// no proxy, because the service is on this machine.
var probes = &http.Client{
	Timeout: 2 * time.Second,
	Transport: &http.Transport{
		Proxy:             nil,
		DisableKeepAlives: true,
		DialContext:       (&net.Dialer{Timeout: time.Second}).DialContext,
		// The certificate is for the name by which clients reach the service. That the answer is
		// of this service is in its header.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// answers asks a running service whether it is ready. If it is not, why says what it
// answered.
func answers(ctx context.Context, at *ir.Endpoint, instance string) (ready bool, why string) {
	at = at.Probe()
	at.Host = reachable(at.Host)
	url := at.URL() + at.Ready
	for range probeTries {
		code, who, err := ask(ctx, url)
		switch {
		case err != nil:
			return false, fmt.Sprintf("not ready: %v", err)
		case who != instance:
			why = fmt.Sprintf("not ready: GET %s was answered by instance %q", url, who)
		case code != http.StatusOK:
			return false, fmt.Sprintf("not ready: GET %s answered %d", url, code)
		default:
			return true, ""
		}
	}
	return false, why
}

// alone returns nil if everybody who listens on a service's address belongs to it, or to a
// service that it replaces or is replaced by.
func alone(ctx context.Context, at *ir.Endpoint, c Claim) error {
	for _, one := range at.All() {
		c.Host, c.Port = one.Host, one.Port
		by, err := stranger(ctx, one, c.family())
		if err != nil {
			return err
		}
		if by != "" {
			return fmt.Errorf("%s also listens on %s, so requests may reach it instead: end it", by, one.Address())
		}
	}
	return nil
}

func ask(ctx context.Context, url string) (code int, instance string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := probes.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	return resp.StatusCode, resp.Header.Get(InstanceHeader), nil
}

// reachable returns an address at which a service that listens on host can be reached.
func reachable(host string) string {
	if host == "" {
		return "127.0.0.1"
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		if ip.To4() != nil {
			return "127.0.0.1"
		}
		return "::1"
	}
	return host
}
