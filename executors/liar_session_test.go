package executors_test

import (
	"context"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/state"
)

// A session is an executor as one apply sees it. Once it is cut, no call returns until
// the world ends.
type session struct {
	*liar
	pass func() // called before and after every call
	cut  chan struct{}
}

func (s *session) hold() bool {
	select {
	case <-s.cut:
		<-s.end
		return true
	default:
		return false
	}
}

func (s *session) Apply(ctx context.Context, t executors.Task, prior *state.Handle) (state.Handle, error) {
	if s.pass(); s.hold() {
		return state.Handle{}, errLiar
	}
	h, err := s.liar.Apply(ctx, t, prior)
	if s.pass(); s.hold() {
		return state.Handle{}, errLiar
	}
	return h, err
}

func (s *session) Find(ctx context.Context, name, dir string) (*state.Handle, error) {
	if s.pass(); s.hold() {
		return nil, errLiar
	}
	h, err := s.liar.Find(ctx, name, dir)
	if s.pass(); s.hold() {
		return nil, errLiar
	}
	return h, err
}

func (s *session) Inspect(ctx context.Context, h state.Handle) (state.Status, error) {
	if s.hold() {
		return state.Status{}, errLiar
	}
	return s.liar.Inspect(ctx, h)
}

func (s *session) Wait(ctx context.Context, h state.Handle) (state.Status, error) {
	if s.hold() {
		return state.Status{}, errLiar
	}
	st, err := s.liar.Wait(ctx, h)
	if s.pass(); s.hold() {
		return state.Status{}, errLiar
	}
	return st, err
}

func (s *session) Destroy(ctx context.Context, h state.Handle) error {
	if s.pass(); s.hold() {
		return errLiar
	}
	err := s.liar.Destroy(ctx, h)
	if s.pass(); s.hold() {
		return errLiar
	}
	return err
}
