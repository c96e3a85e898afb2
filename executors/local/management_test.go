package local

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// withManagement is an endpoint with another port.
func withManagement(port, management int) *ir.Endpoint {
	return &ir.Endpoint{Host: "127.0.0.1", Port: port, Ready: "/readyz", Management: &ir.Listen{Host: "127.0.0.1", Port: management}}
}

// A service has both of its ports: no other service gets one of them, neither as its own nor
// for management, and both are free after it.
func TestBothPortsAreClaimed(t *testing.T) {
	apart(t)
	port, management, third := unusedPort(t), unusedPort(t), unusedPort(t)
	id, end := running(t)
	first := serviceAt("/a/.tenon/runs/api-1", "deployments/api", "127.0.0.1", port)
	first.Unit.Endpoint = withManagement(port, management)
	claim(t, first, id)
	for name, at := range map[string]*ir.Endpoint{
		"as its own": {Host: "127.0.0.1", Port: management}, "for management": withManagement(third, management), "the first": withManagement(port, third),
	} {
		other := serviceAt("/b/.tenon/runs/api-1", "deployments/api", "127.0.0.1", 0)
		other.Unit.Endpoint = at
		if by, err := Taken(t.Context(), other, nil); err != nil || by != "deployments/api of /a" {
			t.Errorf("%s: taken by %q, %v", name, by, err)
		}
		if _, err := Reserve(t.Context(), other, nil); err == nil || !strings.Contains(err.Error(), "is in use by deployments/api of /a") {
			t.Errorf("%s: %v", name, err)
		}
	}
	next := first
	next.Dir = "/a/.tenon/runs/api-2"
	if by, err := Taken(t.Context(), next, nil); err != nil || by != "" {
		t.Errorf("its next version: taken by %q, %v", by, err)
	}
	end()
	other := serviceAt("/b/.tenon/runs/api-1", "deployments/api", "127.0.0.1", management)
	if a, err := Reserve(t.Context(), other, nil); err != nil {
		t.Error(err)
	} else {
		a.Close()
	}
}

// Two starts with the same ports in another order do not wait for each other.
func TestPortsAreReservedInOneOrder(t *testing.T) {
	apart(t)
	a, b := unusedPort(t), unusedPort(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan error, 2)
	for i, at := range []*ir.Endpoint{withManagement(a, b), withManagement(b, a)} {
		go func() {
			var err error
			for range 50 {
				task := serviceAt("/"+string(rune('a'+i))+"/.tenon/runs/api-1", "deployments/api", "127.0.0.1", 0)
				task.Unit.Endpoint = at
				r, e := Reserve(ctx, task, nil)
				if err = errors.Join(err, e); e == nil {
					r.Close()
				}
			}
			done <- err
		}()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// A service is asked where it says whether it is ready: over TLS with any certificate, and on
// the port for management if it has one.
func TestServicesAreAskedOverTLSAndForManagement(t *testing.T) {
	ready := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Header().Set(InstanceHeader, "i") })
	secure, plain := httptest.NewTLSServer(ready), httptest.NewServer(ready)
	defer secure.Close()
	defer plain.Close()
	port := func(s *httptest.Server) int { return s.Listener.Addr().(*net.TCPAddr).Port }
	for name, tt := range map[string]struct {
		at   *ir.Endpoint
		want bool
	}{
		"TLS":                            {&ir.Endpoint{Host: "127.0.0.1", Port: port(secure), Ready: "/readyz", TLS: true}, true},
		"TLS that is not spoken":         {&ir.Endpoint{Host: "127.0.0.1", Port: port(plain), Ready: "/readyz", TLS: true}, false},
		"TLS that is not expected":       {&ir.Endpoint{Host: "127.0.0.1", Port: port(secure), Ready: "/readyz"}, false},
		"management":                     {withManagement(1, port(plain)), true},
		"management beside TLS":          {&ir.Endpoint{Host: "127.0.0.1", Port: port(secure), Ready: "/readyz", TLS: true, Management: &ir.Listen{Host: "127.0.0.1", Port: port(plain)}}, true},
		"management that is not reached": {withManagement(port(plain), 1), false},
	} {
		if got, why := answers(t.Context(), tt.at, "i"); got != tt.want {
			t.Errorf("%s: ready %v, %s", name, got, why)
		}
	}
}
