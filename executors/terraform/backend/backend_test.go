package backend_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/executors/terraform/backend"
)

type memory struct {
	state []byte
	lost  error // that somebody else holds the lock of tenon
}

func (m *memory) Read(context.Context) ([]byte, error) { return m.state, nil }

func (m *memory) Write(_ context.Context, b []byte) error {
	if m.lost != nil {
		return m.lost
	}
	m.state = b
	return nil
}

func (m *memory) Check(context.Context) error { return m.lost }

// asked is what a server is asked, and its answer.
type asked struct {
	method, query, body string
	status              int
	answer              string // a part of it
}

func ask(t *testing.T, s *backend.Server, all ...asked) {
	t.Helper()
	env := map[string]string{}
	for _, kv := range s.Environ() {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	for _, a := range all {
		r, err := http.NewRequest(a.method, env["TF_HTTP_ADDRESS"]+a.query, strings.NewReader(a.body))
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth(env["TF_HTTP_USERNAME"], env["TF_HTTP_PASSWORD"])
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != a.status || !strings.Contains(string(b), a.answer) {
			t.Errorf("%s%s %s: got %d %q, want %d %q", a.method, a.query, a.body, resp.StatusCode, b, a.status, a.answer)
		}
	}
}

func serve(t *testing.T, m *memory, writable bool) *backend.Server {
	s, err := backend.Serve(m, writable)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

const lockA, lockB = `{"ID":"a"}`, `{"ID":"b"}`

func TestStateIsWrittenByTheHolderOfItsLock(t *testing.T) {
	m := &memory{}
	ask(t, serve(t, m, true),
		asked{method: "GET", status: http.StatusNoContent},
		asked{"POST", "", `{"serial":1}`, http.StatusConflict, "not locked"},
		asked{"LOCK", "", `{}`, http.StatusBadRequest, ""},
		asked{"LOCK", "", lockA, http.StatusOK, ""},
		asked{"LOCK", "", lockB, http.StatusLocked, lockA},
		asked{"POST", "?ID=b", `{"serial":1}`, http.StatusConflict, "not locked by b"},
		asked{"POST", "?ID=a", `{"serial"`, http.StatusBadRequest, ""},
		asked{"POST", "?ID=a", `{"serial":1}`, http.StatusOK, ""},
		asked{method: "GET", status: http.StatusOK, answer: `{"serial":1}`},
		asked{method: "DELETE", status: http.StatusMethodNotAllowed},
		asked{"UNLOCK", "", lockB, http.StatusConflict, ""},
		asked{"UNLOCK", "", lockA, http.StatusOK, ""},
		asked{"LOCK", "", lockB, http.StatusOK, ""},
	)
}

func TestAPlanWritesNothing(t *testing.T) {
	ask(t, serve(t, &memory{state: []byte("{}")}, false),
		asked{method: "GET", status: http.StatusOK, answer: "{}"},
		asked{"LOCK", "", lockA, http.StatusForbidden, "read only"},
		asked{"POST", "?ID=a", "{}", http.StatusConflict, ""},
	)
}

// Somebody who has lost the lock of tenon writes no state, and says why.
func TestWhoLostTheLockWritesNothing(t *testing.T) {
	m := &memory{state: []byte("{}")}
	s := serve(t, m, true)
	ask(t, s, asked{"LOCK", "", lockA, http.StatusOK, ""})
	m.lost = errors.New("another apply took over")
	ask(t, s, asked{"POST", "?ID=a", `{"serial":2}`, http.StatusConflict, "another apply"}, asked{"UNLOCK", "", lockA, http.StatusOK, ""},
		asked{"LOCK", "", lockB, http.StatusConflict, "another apply"})
	if string(m.state) != "{}" || !errors.Is(s.Err(), m.lost) {
		t.Errorf("the state is %s, the error %v", m.state, s.Err())
	}
}

func TestOnlyWhoKnowsThePasswordReadsTheState(t *testing.T) {
	s := serve(t, &memory{state: []byte("{}")}, true)
	address := strings.TrimPrefix(s.Environ()[0], "TF_HTTP_ADDRESS=")
	for _, password := range []string{"", "guess"} {
		r, err := http.NewRequest(http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("tenon", password)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("password %q: got %s", password, resp.Status)
		}
	}
}
