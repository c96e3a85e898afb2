package executors_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/state"
)

// A locating executor knows the address of a service only once that is ready.
type locating struct {
	*fake
	failed error
}

func (l *locating) Located(_ context.Context, h state.Handle) (state.Handle, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if st := l.tasks[h.ID].state; st.Phase != state.Ready {
		return h, errors.New("it is asked before the service is ready")
	}
	h.Endpoint = "https://" + h.ID
	return h, l.failed
}

// The address of a service is recorded with it. A service without one is not deployed.
func TestTheAddressOfAServiceThatIsReady(t *testing.T) {
	b := newBench(t)
	units := system("1")
	for i := range units {
		b.ok(units[i].Define())
	}
	o := b.options()
	l := &locating{fake: b.fake, failed: errors.New("nobody knows")}
	o.Executor = l
	_, err := executors.Apply(t.Context(), b.plan(units), o)
	if u := failure(t, err, "deployments/late"); u.Err.Error() != "nobody knows" {
		t.Errorf("%v", u)
	}
	l.failed = nil
	if _, err = executors.Apply(t.Context(), b.plan(units), o); err != nil {
		t.Fatal(err)
	}
	h := b.current("deployments/late").Handle
	if h.Endpoint != "https://"+h.ID {
		t.Errorf("recorded is %+v", h)
	}
	for _, e := range b.events {
		if e.Type == executors.EventReady && e.Endpoint != h.Endpoint {
			t.Errorf("it is shown at %q", e.Endpoint)
		}
	}
}
