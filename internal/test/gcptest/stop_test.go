package gcptest

import (
	"net"
	"net/http"
	"sync"
	"testing"
)

// Listeners that requests open at the same time all end with the fake.
func TestStopEndsAllListeners(t *testing.T) {
	c, all := At("", "", t.TempDir()), make([]string, 64)
	var group sync.WaitGroup
	for i := range all {
		group.Go(func() {
			var err error
			if all[i], err = c.serve(http.NotFoundHandler()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	c.Stop()
	for _, address := range all {
		if conn, err := net.Dial("tcp", address); err == nil {
			t.Errorf("%s still answers", address)
			_ = conn.Close() // of the test
		}
	}
}
