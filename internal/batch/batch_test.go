package batch

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestEveryCallIsDoneOnceBeforeItReturns(t *testing.T) {
	const callers, calls = 8, 500
	var running atomic.Bool
	done := make([]atomic.Int32, callers*calls)
	groups := 0
	b := &Batcher[int]{Run: func(group []int) {
		if running.Swap(true) {
			t.Error("two groups run at once")
		}
		groups++
		for _, i := range group {
			done[i].Add(1)
		}
		running.Store(false)
	}}
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range calls {
				n := c*calls + i
				if b.Do(n); done[n].Load() != 1 {
					t.Errorf("call %d was done %d times when it returned", n, done[n].Load())
				}
			}
		})
	}
	wg.Wait()
	if groups > callers*calls {
		t.Errorf("%d groups for %d calls", groups, callers*calls)
	}
}

func TestCallsDuringARunFormOneGroup(t *testing.T) {
	began, goOn := make(chan int), make(chan bool)
	b := &Batcher[int]{Run: func(group []int) {
		began <- len(group)
		<-goOn
	}}
	var wg sync.WaitGroup
	for _, n := range []int{1, 5, 1} {
		for range n {
			wg.Go(func() { b.Do(0) })
		}
		for n > 1 && b.waiting() < n {
			time.Sleep(time.Millisecond)
		}
		if n > 1 {
			goOn <- true
		}
		if got := <-began; got != n {
			t.Errorf("%d calls make a group of %d", n, got)
		}
		if n > 1 {
			goOn <- true
			wg.Wait()
		}
	}
	goOn <- true
	wg.Wait()
}

func (b *Batcher[T]) waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.next)
}
