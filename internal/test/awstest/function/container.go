package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/stdlib/step"
)

// contain answers as the container of a service on Fargate does: with the name of its model, or as the route says with that
// of another version in it. It counts what each has answered.
func contain(s *step.Step) error {
	models := map[string]string{s.Name: modelOf(s)}
	for name, beside := range s.Beside {
		models[name] = modelOf(beside)
	}
	c := &container{Step: s, seen: step.Observed{Versions: map[string]step.Observation{}}}
	http.HandleFunc("GET "+s.Endpoint.Ready, func(w http.ResponseWriter, _ *http.Request) {
		if models[s.Name] == "never" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	http.HandleFunc("POST /predict", func(w http.ResponseWriter, _ *http.Request) {
		version := c.next()
		if models[version] == "failing" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		fmt.Fprint(w, models[version])
	})
	server := &http.Server{Addr: fmt.Sprintf("%s:%d", s.Endpoint.Host, s.Endpoint.Port), ReadHeaderTimeout: time.Minute}
	return server.ListenAndServe()
}

// modelOf returns the model of a version.
func modelOf(s *step.Step) string {
	var given struct{ Model string }
	_ = json.Unmarshal(s.Params, &given) // the test has written them
	return given.Model
}

type container struct {
	*step.Step
	mu   sync.Mutex
	n    int
	seen step.Observed
}

// next returns the version that answers the next request: of twenty, as many as its weight says.
func (c *container) next() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Route == "" {
		return c.Name
	}
	b, err := os.ReadFile(c.Route)
	var r step.Route
	if err != nil || json.Unmarshal(b, &r) != nil {
		return c.Name
	}
	if r.Serial != c.seen.Serial {
		c.n, c.seen = 0, step.Observed{Serial: r.Serial, Since: time.Now(), Versions: map[string]step.Observation{}}
	}
	at := c.n * 45 % 100 // in steps of five percent
	c.n++
	version := c.Name
	for _, v := range r.Versions {
		if at -= v.Weight; at < 0 {
			version = v.Name
			break
		}
	}
	o := c.seen.Versions[version]
	o.Requests++
	c.seen.Versions[version], c.seen.At = o, time.Now()
	if b, err = json.Marshal(c.seen); err == nil {
		err = cmp.Or(os.WriteFile(c.Observed+".new", b, 0o600), os.Rename(c.Observed+".new", c.Observed))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return version
}
