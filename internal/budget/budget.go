// Package budget bounds work that cannot be interrupted, such as the evaluation of CUE.
package budget

import (
	"context"
	"fmt"
	"runtime/metrics"
	"time"
)

// Limits bound a piece of work. Zero means no limit.
type Limits struct {
	Memory uint64 // bytes that the heap of this process may grow by
	Time   time.Duration
}

// An ExceededError means that work was given up because it exceeded a limit.
type ExceededError struct {
	Memory uint64        // the limit, if memory was exceeded
	Time   time.Duration // the limit, if time was exceeded
}

func (e *ExceededError) Error() string {
	if e.Memory > 0 {
		return fmt.Sprintf("it takes more than %.1f GiB of memory", float64(e.Memory)/(1<<30))
	}
	return fmt.Sprintf("it takes longer than %s", e.Time)
}

// interval is how often the limits are compared. Memory that doubles can exceed its limit
// by as much as it grows in between.
const interval = 10 * time.Millisecond

// Run calls f and returns its result. It returns an [ExceededError] once f exceeds a
// limit, and the cause of ctx once that is done. In both cases f continues to run: the
// process has to end.
func Run[T any](ctx context.Context, l Limits, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	before := heap()
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var late <-chan time.Time
	if l.Time > 0 {
		late = time.After(l.Time)
	}
	var none T
	for {
		select {
		case r := <-done:
			return r.value, r.err
		case <-ctx.Done():
			return none, context.Cause(ctx)
		case <-late:
			return none, &ExceededError{Time: l.Time}
		case <-tick.C:
			if now := heap(); l.Memory > 0 && now > before && now-before > l.Memory {
				return none, &ExceededError{Memory: l.Memory}
			}
		}
	}
}

// heap returns the bytes of objects on the heap, including those that are not collected
// yet.
func heap() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
