package project

import (
	"os/exec"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/internal/protect"
	"github.com/tenon-ml/tenon/stdlib/duck/worker"
)

// Settings say where a project is and configure the engine.
type Settings struct {
	Dir       string   // folder of the system; "" means the current one
	State     string   // folder, or postgres://...; "" means Dir/.tenon
	Artifacts string   // URL of an artifact store that other machines can reach, or ""
	Tags      []string // CUE tags
	Env       string   // the environment of the system, "" for the one without a name
	Cache     string   // folder for what all systems of a user share: environments, images
	UV        []string // paths or names of uv; the first that exists is used
	// SQL types and runs queries and reads tables. Its program runs builtin components.
	SQL *worker.Client
	all.Config
	// By is who acts, in place of who runs this program, or "": a controller in a cluster acts for
	// the person who started it.
	By string
	// Packed is what a controller in a cluster was sent with.
	Packed executors.Packed

	// Notify receives what a person may want to know while the engine works. It may be
	// nil. Nothing depends on it.
	Notify func(Notice)
	// Faults make an apply fail, for tests.
	Faults Faults
}

// A Notice is something that a person may want to know.
type Notice struct {
	Text    string
	Warning bool // something is wrong, and the engine continues without it
}

// Faults let tests make an apply fail.
type Faults struct {
	OnWrite  func(doing string, ended bool)              // see [state.Store]
	Executor func(executors.Executor) executors.Executor // wraps each executor
	Lease    time.Duration                               // how long a lock outlives its last renewal
	Backoff  time.Duration                               // the pause before a first retry
}

func (s *Settings) notify(n Notice) {
	if s.Notify != nil {
		s.Notify(n)
	}
}

// warn reports an error despite which the engine continues.
func (s *Settings) warn(err error) { s.notify(Notice{Text: err.Error(), Warning: true}) }

// uv returns the uv to run.
func (s *Settings) uv() string {
	if len(s.UV) == 1 {
		return s.UV[0]
	}
	for _, uv := range s.UV {
		if _, err := exec.LookPath(uv); err == nil {
			return uv
		}
	}
	return ""
}

// identity returns who acts.
func (s *Settings) identity() (string, error) {
	if s.By != "" {
		return s.By, nil
	}
	return protect.Identity(s.lookup, protect.User())
}

// lookup looks up an environment variable.
func (s *Settings) lookup(name string) (string, bool) {
	for _, v := range s.Environ {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value, true
		}
	}
	return "", false
}

// notices passes lines of text on as notices.
type notices struct{ *Settings }

func (n notices) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		n.notify(Notice{Text: strings.TrimSuffix(line, "\n")})
	}
	return len(b), nil
}
