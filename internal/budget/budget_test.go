package budget_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/internal/budget"
)

func TestRunReturnsTheResult(t *testing.T) {
	failure := errors.New("no")
	for _, want := range []error{nil, failure} {
		got, err := budget.Run(t.Context(), budget.Limits{Memory: 1 << 30, Time: time.Minute}, func() (int, error) { return 7, want })
		if got != 7 || err != want {
			t.Errorf("got %d, %v", got, err)
		}
	}
}

func TestRunGivesUp(t *testing.T) {
	hang := func(stop <-chan struct{}) func() (int, error) {
		return func() (int, error) { <-stop; return 0, nil }
	}
	grow := func(stop <-chan struct{}) func() (int, error) {
		return func() (int, error) {
			var all [][]byte
			for range 64 {
				all = append(all, make([]byte, 4<<20))
				time.Sleep(time.Millisecond)
			}
			<-stop
			return len(all), nil
		}
	}
	cancelled, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	cancel(interrupted)
	for _, tt := range []struct {
		name   string
		ctx    context.Context
		limits budget.Limits
		work   func(<-chan struct{}) func() (int, error)
		want   string
	}{
		{"time", t.Context(), budget.Limits{Time: 50 * time.Millisecond}, hang, "it takes longer than 50ms"},
		{"memory", t.Context(), budget.Limits{Memory: 64 << 20, Time: time.Minute}, grow, "it takes more than 0.1 GiB of memory"},
		{"a signal", cancelled, budget.Limits{}, hang, "interrupted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stop := make(chan struct{})
			defer close(stop)
			if _, err := budget.Run(tt.ctx, tt.limits, tt.work(stop)); err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}
