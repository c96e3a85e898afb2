package worker_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/worker"
)

// While no process can predict, others answer what waits, if there are any.
func TestOthersAnswerWhileNoProcessCan(t *testing.T) {
	for _, others := range []bool{true, false} {
		x := start(t, func(o *worker.Options) { o.Processes = 1 })
		x.Elsewhere(func() bool { return others })
		if !x.Alive() {
			t.Fatal("it has no process")
		}
		_, err := x.ask(dies)
		if errors.Is(err, worker.ErrAway) != others || err == nil {
			t.Errorf("others %v: %v", others, err)
		}
		for end := time.Now().Add(20 * time.Second); !x.Alive(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("no process is started again")
			}
		}
		if got, err := x.ask(4); err != nil || got[0] != 8 {
			t.Errorf("%v, %v", got, err)
		}
	}
}
