package aws_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/batch"
	"github.com/aws/smithy-go/middleware"

	"github.com/tenon-ml/tenon/executors/aws"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
	"github.com/tenon-ml/tenon/planner/state"
)

// A mortal is a service of AWS as seen by a tenon that is killed at one of its calls: before AWS gets
// it, or after, without its answer. From then on it calls nothing.
type mortal struct {
	service string // "Batch", or "" over HTTP for all whose calls have a target
	at      int    // number of the call, from 1
	before  bool

	mu sync.Mutex
	n  int
}

var errKilled = errors.New("killed")

// overHTTP puts the mortal between a client of SageMaker and AWS.
func (m *mortal) overHTTP(cfg *sdk.Config) {
	cfg.HTTPClient = mortalHTTP{cfg.HTTPClient, m}
}

type mortalHTTP struct {
	sdk.HTTPClient
	*mortal
}

func (m mortalHTTP) Do(r *http.Request) (*http.Response, error) {
	target := r.Header.Get("X-Amz-Target")
	if target == "" || m.service != "" && !strings.HasPrefix(target, m.service+".") {
		return m.HTTPClient.Do(r)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.n++; m.n > m.at || m.n == m.at && m.before {
		return nil, errKilled
	}
	resp, err := m.HTTPClient.Do(r)
	if err == nil && m.n == m.at {
		return nil, errors.Join(errKilled, resp.Body.Close())
	}
	return resp, err
}

// configure puts the mortal between clients of the SDK and AWS.
func (m *mortal) configure(cfg *sdk.Config) {
	intercept(cfg, m.service, func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.n++; m.n > m.at || m.n == m.at && m.before {
			return middleware.InitializeOutput{}, middleware.Metadata{}, errKilled
		}
		out, meta, err := next.HandleInitialize(ctx, in)
		if m.n == m.at {
			return middleware.InitializeOutput{}, meta, errKilled
		}
		return out, meta, err
	})
}

// intercept puts something between clients and a service of AWS.
func intercept(cfg *sdk.Config, service string, do func(context.Context, middleware.InitializeInput, middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error)) {
	cfg.APIOptions = append(cfg.APIOptions, func(s *middleware.Stack) error {
		return s.Initialize.Add(middleware.InitializeMiddlewareFunc("tenon", func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
			if awsmiddleware.GetServiceID(ctx) != service {
				return next.HandleInitialize(ctx, in)
			}
			return do(ctx, in, next)
		}), middleware.After)
	})
}

// An apply and a destroy are killed at each call of AWS Batch. The job runs once, and a sweep by
// tags finds nothing of it.
func TestKilledAtEachCall(t *testing.T) {
	l := newLab(t)
	doomed := func(t *testing.T, system string, at int, before bool) *aws.Executor {
		e := l.executor(t, func(o *aws.Options) { o.System = system })
		aws.Configure(e, (&mortal{service: "Batch", at: at, before: before}).configure)
		return e
	}
	const applies, calls = 7, 9 // calls of an apply, and at most of a destroy
	for at := 1; at <= calls; at++ {
		for _, before := range []bool{true, false} {
			name := fmt.Sprintf("%d-%v", at, before)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				system := "killed-" + name
				task := cloudtest.Task(t, name, "exit", "0")
				ok(t, l.provision(t.Context(), system, task))
				if _, err := doomed(t, system, at, before).Apply(t.Context(), task, nil); (err == nil) != (at > applies) {
					t.Errorf("an apply that is killed at call %d gives %v, and it makes %d", at, err, applies)
				}
				e := l.executor(t, func(o *aws.Options) { o.System = system })
				h, err := e.Apply(t.Context(), task, nil)
				ok(t, err)
				st, err := e.Wait(t.Context(), h)
				ok(t, err)
				if st.Phase != state.Succeeded || l.Starts(t, task) != 1 {
					t.Errorf("%+v after %d starts", st, l.Starts(t, task))
				}
				_ = doomed(t, system, at, before).Destroy(t.Context(), h) // which may come to its end
				ok(t, e.Destroy(t.Context(), h))
				left, err := l.Left(t.Context(), system)
				ok(t, err)
				if len(left) > 0 {
					t.Errorf("it has left %v", left)
				}
			})
		}
	}
}

// forgetful makes the next lists of jobs empty, as many as lists says.
func forgetful(lists *atomic.Int32) func(*sdk.Config) {
	return func(cfg *sdk.Config) {
		intercept(cfg, "Batch", func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
			if _, is := in.Parameters.(*batch.ListJobsInput); is && lists.Add(-1) >= 0 {
				return middleware.InitializeOutput{Result: &batch.ListJobsOutput{}}, middleware.Metadata{}, nil
			}
			return next.HandleInitialize(ctx, in)
		})
	}
}

// AWS Batch may list a job some time after it was submitted. A destroy ends it all the same, also if
// the apply was killed before it knew the job.
func TestDestroyOfAJobThatIsNotListedYet(t *testing.T) {
	l := newLab(t)
	for name, known := range map[string]bool{"known": true, "unknown": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			system := "listed-" + name
			task := cloudtest.Task(t, system, "sleep", "1h")
			ok(t, l.provision(t.Context(), system, task))
			e := l.executor(t, func(o *aws.Options) { o.System = system })
			h, err := e.Apply(t.Context(), task, nil)
			ok(t, err)
			late := l.executor(t, func(o *aws.Options) { o.System = system })
			var lists atomic.Int32
			lists.Store(2)
			aws.Configure(late, forgetful(&lists))
			if !known {
				found, err := late.Find(t.Context(), task.Name, task.Dir)
				ok(t, err)
				h = *found
				lists.Store(1)
			}
			ok(t, late.Destroy(t.Context(), h))
			left, err := l.Left(t.Context(), system)
			ok(t, err)
			if len(left) > 0 {
				t.Errorf("it has left %v", left)
			}
		})
	}
}
