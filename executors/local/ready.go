package local

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/state"
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
	},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// answers asks a running service whether it is ready. If it is not, why says what it
// answered.
func answers(ctx context.Context, at *ir.Endpoint, instance string) (ready bool, why string) {
	url := "http://" + net.JoinHostPort(reachable(at.Host), strconv.Itoa(at.Port)) + at.Ready
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

// PortFree returns an error if a stranger answers on the port of a service. The kernel
// would let both listen and send requests to either. A service of the same system,
// whose run folder is next to the task's, may be taken over. ours reports whether a run
// folder belongs to a deployed service.
func PortFree(ctx context.Context, t executors.Task, prior *state.Handle, ours func(dir string) bool) error {
	at := t.Unit.Endpoint
	if t.Unit.Kind != ir.Service || at == nil {
		return nil
	}
	address := net.JoinHostPort(reachable(at.Host), strconv.Itoa(at.Port))
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil // nobody listens
	}
	_ = conn.Close()
	_, instance, err := ask(ctx, "http://"+address+at.Ready)
	if err == nil && prior != nil && prior.ID == instance {
		return nil
	}
	if err == nil && instance != "" && filepath.IsLocal(instance) {
		if ours(filepath.Join(filepath.Dir(t.Dir), instance)) {
			return nil
		}
		return fmt.Errorf("%s is in use by a service of another system, %s: destroy that system, or choose another port", address, instance)
	}
	return fmt.Errorf("%s is in use by another program: stop it, or choose another port", address)
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
