package gcptest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/internal/test/containers"
)

// States of conditions.
const (
	conditionReconciling = "CONDITION_RECONCILING"
	conditionSucceeded   = "CONDITION_SUCCEEDED"
	conditionFailed      = "CONDITION_FAILED"
)

// A revision has one instance, which is started again when it ends. Cloud Run has as many as there are requests for.
type revision struct {
	name          string // full
	spec          serviceSpec
	created       time.Time
	state, reason string // of its condition
	message       string
	asked         sync.WaitGroup // requests that it answers
	ended         chan struct{}  // closed once it was removed
	instance      *httputil.ReverseProxy
	lives         int
	close         sync.Once
}

func (r *revision) json() object {
	c := object{"type": "Ready", "state": r.state}
	for k, v := range map[string]string{"message": r.message, "revisionReason": r.reason} {
		if v != "" {
			c[k] = v
		}
	}
	if r.reason == "CONTAINER_MISSING" || r.reason == "SECRETS_ACCESS_CHECK_FAILED" {
		c["reason"] = r.reason
		delete(c, "revisionReason")
	}
	return object{"name": r.name, "createTime": stamp(r.created), "conditions": []any{c}}
}

// end removes a revision, once it has answered its requests.
func (r *revision) end() {
	r.close.Do(func() { go func() { r.asked.Wait(); close(r.ended) }() })
}

// proxy leads to the instance, or returns nil if there is none now.
func (r *revision) proxy(s *server) *httputil.ReverseProxy {
	s.mu.Lock()
	defer s.mu.Unlock()
	return r.instance
}

// newRevision checks the template of a service. The caller has locked the fake.
func (s *server) newRevision(x *service) (*revision, error) {
	t, id := x.spec.Template, filepath.Base(x.name)
	switch {
	case !strings.HasPrefix(t.Revision, id+"-") || !revisionID.MatchString(t.Revision):
		return nil, invalid("the name %q of a revision is not valid", t.Revision)
	case len(t.Containers) != 1 || len(t.Containers[0].Ports) != 1:
		return nil, invalid("a revision needs one container with one port")
	case t.Node.Accelerator != "" && (t.Containers[0].Resources.Idle == nil || *t.Containers[0].Resources.Idle):
		return nil, invalid("a revision with a GPU has its cores all the time")
	case t.Containers[0].StartupProbe.Period*t.Containers[0].StartupProbe.Failures > 240:
		return nil, invalid("a startup probe may take 240 s")
	case !s.accounts[t.ServiceAccount]:
		return nil, &problem{http.StatusForbidden, "PERMISSION_DENIED", "Permission 'iam.serviceaccounts.actAs' denied on service account " + t.ServiceAccount + " (or it may not exist)."}
	}
	if err := t.fits(filepath.Base(filepath.Dir(filepath.Dir(x.name))), t.Containers[0].Resources); err != nil {
		return nil, err
	}
	return &revision{name: x.name + "/revisions/" + t.Revision, spec: x.spec, created: time.Now(), state: conditionReconciling, ended: make(chan struct{})}, nil
}

// run runs instances of a revision until it is removed.
func (s *server) run(x *service, r *revision) {
	fail := func(reason, message string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		r.state, r.reason, r.message = conditionFailed, reason, message
		x.settle()
	}
	s.mu.Lock()
	if len(s.refusals) > 0 {
		no := s.refusals[0]
		s.refusals = s.refusals[1:]
		s.mu.Unlock()
		fail(no[0], no[1])
		return
	}
	env, err := s.environ(r.spec.Template.ServiceAccount, r.spec.Template.Containers[0].Env)
	s.mu.Unlock()
	if err != nil {
		fail("SECRETS_ACCESS_CHECK_FAILED", err.Error())
		return
	}
	root, config, err := s.images.Pull(context.Background(), r.spec.Template.Containers[0].Image)
	if errors.Is(err, containers.ErrNoImage) {
		fail("CONTAINER_MISSING", "Image '"+r.spec.Template.Containers[0].Image+"' not found.")
		return
	}
	if err != nil {
		fail("", err.Error())
		return
	}
	env = append(append(config.Config.Env, "K_SERVICE="+filepath.Base(x.name), "K_REVISION="+filepath.Base(r.name)), env...)
	if err := s.keep(x, r, root, env); err != nil {
		fail("HEALTH_CHECK_CONTAINER_ERROR", "The user-provided container failed to start and listen on the port defined provided by the PORT="+
			strconv.Itoa(r.spec.Template.Containers[0].Ports[0].Port)+" environment variable within the allocated timeout. "+err.Error())
	}
}

// keep starts the container of a revision again when it ends, until the revision is removed. It returns why the container ended
// before it was ready.
func (s *server) keep(x *service, r *revision, root string, env []string) error {
	for {
		err := s.live(x, r, root, env)
		s.mu.Lock()
		ready := r.state == conditionSucceeded
		r.instance = nil
		s.mu.Unlock()
		switch {
		case errors.Is(err, containers.ErrEnded):
			return nil
		case !ready:
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// environ returns the variables of a container with a service account. The caller has locked the fake.
func (s *server) environ(account string, all []envSpec) ([]string, error) {
	storage, err := s.storageOf(account)
	if err != nil {
		return nil, err
	}
	env := []string{"STORAGE_EMULATOR_HOST=" + storage}
	for _, e := range all {
		of := e.Source.Secret
		value, ok := s.secretValue(of.Secret, of.Version)
		if !ok {
			return nil, fmt.Errorf("secret %s/versions/%s was not found", of.Secret, of.Version)
		}
		env = append(env, e.Name+"="+value)
	}
	return env, nil
}

// live runs one instance to its end, in a network of its own.
func (s *server) live(x *service, r *revision, root string, env []string) error {
	c := r.spec.Template.Containers[0]
	r.lives++
	of := filepath.Base(r.name)
	id := of + "-" + strconv.Itoa(r.lives)
	work := filepath.Join(s.dir, "jobs", id)
	if err := errors.Join(os.MkdirAll(work, 0o755), os.WriteFile(work+".name", []byte(of), 0o644)); err != nil {
		return err
	}
	s.mu.Lock()
	storage, err := s.storageOf(r.spec.Template.ServiceAccount)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return containers.Replica{
		Root: root, Work: work, Argv: append(c.Command, c.Args...), Env: env, Log: &containers.Lines{Line: func(text string) { s.log(of, text) }},
		Port: c.Ports[0].Port, Ready: c.StartupProbe.HTTP.Path, Reaches: strings.TrimPrefix(storage, "http://"), Grace: grace,
	}.Run(r.ended, func(to *httputil.ReverseProxy) {
		s.mu.Lock()
		defer s.mu.Unlock()
		r.state, r.message, r.reason = conditionSucceeded, "", ""
		r.instance = to
		x.settle()
	})
}

// Services returns the names of all services that there are now.
func (c *Cloud) Services() ([]string, error) { return c.left("services") }

// URL returns where a service answers, or "".
func (c *Cloud) ServiceURL(service string) (string, error) {
	urls, err := c.left("urls")
	for _, u := range urls {
		if at, is := strings.CutPrefix(u, service+" "); is {
			return at, err
		}
	}
	return "", err
}
