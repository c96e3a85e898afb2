package plane

import (
	"errors"
	"io"
	"net/http"
)

// The memory for bodies is limited, too: over HTTP/2 a client needs one connection for a hundred
// of them, and a body is read before its request waits for a slot.

// leastBodies is the least limit of the memory for bodies, in bytes.
const leastBodies = 64 << 20

// mostBodies is the limit for the bodies of all requests. Those that are computed at the same
// time, and a few that wait, may have the largest size.
func mostBodies(largest int64, atOnce int) int64 {
	return max(leastBodies, int64(atOnce+4)*largest)
}

var errBusy = errors.New("the bodies of requests need too much memory")

// A bodyReader reads the body of a request, up to one byte more than it may have, and counts its memory.
type bodyReader struct {
	io.Reader
	of   *process
	most int64 // bytes that a body may have
	read int64
	held int64
}

func (b *bodyReader) Read(to []byte) (int, error) {
	left := b.most + 1 - b.read
	if left <= 0 {
		return 0, io.EOF
	}
	n, err := b.Reader.Read(to[:min(int64(len(to)), left)])
	b.read += int64(n)
	if !b.hold(b.read) {
		return n, errBusy
	}
	return n, err
}

// hold counts n bytes in all for the body. It returns false if bodies need too much memory.
func (b *bodyReader) hold(n int64) bool {
	if n <= b.held {
		return true
	}
	more := n - b.held
	b.held = n
	return b.of.bodies.Add(more) <= b.of.mostBodies
}

// release counts the body no more.
func (b *bodyReader) release() {
	if b.held > 0 {
		b.of.bodies.Add(-b.held)
	}
	*b = bodyReader{}
}

// busy answers that the client has to try again.
func busy(w http.ResponseWriter, says string) {
	w.Header().Set("Retry-After", "1")
	detail(w, http.StatusTooManyRequests, says)
}
