package worker_test

import (
	"os"
	"sync"
	"testing"
	"time"
)

// become waits until so many processes can predict.
func (x *tested) become(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); x.Processes() != n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("there are %d processes, want %d", x.Processes(), n)
		}
	}
}

// The number of processes goes up and down under 64 clients, each of which gets all its answers.
func TestNoRequestIsLostWhenProcessesComeAndGo(t *testing.T) {
	x := start(t, nil)
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for c := range 64 {
		clients.Go(func() {
			for i := 1.0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				n := float64(c)*1000 + i
				if got, err := x.ask(n); err != nil || got[0] != 2*n {
					t.Errorf("%v: %v %v", n, got, err)
					return
				}
				time.Sleep(time.Millisecond) // so that processes have nothing to do now and then
			}
		})
	}
	for _, n := range []int{4, 1, 3, 2, 1} {
		x.Resize(n)
		x.become(t, n)
	}
	close(stop)
	clients.Wait()
	if n := x.restarts.Load(); n != 0 {
		t.Errorf("%d processes count as started again", n)
	}
}

// If one more process cannot be started, those that there are go on.
func TestAProcessThatCannotBeAdded(t *testing.T) {
	x := start(t, nil)
	if err := os.WriteFile(x.how, []byte("exits"), 0o644); err != nil {
		t.Fatal(err)
	}
	x.Resize(3)
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if got, err := x.ask(4); err != nil || got[0] != 8 {
			t.Fatalf("%v %v", got, err)
		}
	}
	if x.Err() != nil || x.Processes() != 1 {
		t.Errorf("%d processes, %v", x.Processes(), x.Err())
	}
}
