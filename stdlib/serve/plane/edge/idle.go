package edge

import (
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

// Idle closes connections on which nothing is asked, the oldest first, where there are too many.
type Idle struct {
	most   int
	mu     sync.Mutex
	order  *list.List // of net.Conn
	at     map[net.Conn]*list.Element
	closed atomic.Uint64
}

// NewIdle allows so many.
func NewIdle(most int) *Idle {
	return &Idle{most: most, order: list.New(), at: map[net.Conn]*list.Element{}}
}

// State is for the ConnState of a server.
func (i *Idle) State(c net.Conn, s http.ConnState) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if e := i.at[c]; e != nil {
		i.order.Remove(e)
		delete(i.at, c)
	}
	if s != http.StateNew && s != http.StateIdle {
		return
	}
	i.at[c] = i.order.PushBack(c)
	for i.order.Len() > i.most {
		oldest := i.order.Remove(i.order.Front()).(net.Conn)
		delete(i.at, oldest)
		i.closed.Add(1)
		// The server notices, and ends what it has for it. A last word of TLS could take long.
		if t, ok := oldest.(*tls.Conn); ok {
			oldest = t.NetConn()
		}
		_ = oldest.Close()
	}
}

// Now is how many there are, and how many were closed.
func (i *Idle) Now() (open int, closed uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.order.Len(), i.closed.Load()
}
