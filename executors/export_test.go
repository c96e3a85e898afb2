package executors

import "errors"

// ErrStopped is the error of a collection that was stopped.
var ErrStopped = errors.New("stopped")

// StopAfter stops a collection after it has removed n things, as a kill would.
func StopAfter(c *Collection, n int) {
	c.removing = func(Garbage) error {
		if n--; n < 0 {
			return ErrStopped
		}
		return nil
	}
}
