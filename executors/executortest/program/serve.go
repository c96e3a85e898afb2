package program

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/internal/replicas"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Incubation is for how long a service that was asked to sicken says that it is not ready, while it still answers. It
// fails requests for as long again, and is well after that.
const Incubation = 12 * time.Second

// serve is a service that keeps the contract: it takes over the port, says who
// it is, and on SIGTERM finishes what it has begun. With "never" it is never
// ready.
func serve(s *step.Step, ready string) error {
	began := time.Now()
	var sick atomic.Int64 // since when, in nanoseconds after began
	ill := func() time.Duration {
		since := time.Duration(sick.Load())
		if since == 0 || time.Since(began)-since > 2*Incubation {
			return 0
		}
		return time.Since(began) - since
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /sicken", func(http.ResponseWriter, *http.Request) { sick.Store(int64(time.Since(began))) })
	mux.HandleFunc("GET "+s.Endpoint.Ready, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(InstanceHeader, s.Instance)
		if ready == "never" || time.Since(began) < duration(ready) || ill() > 0 {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET /write", func(w http.ResponseWriter, _ *http.Request) {
		if err := os.WriteFile(s.Metrics, []byte("{}"), 0o644); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("GET /keep", func(w http.ResponseWriter, r *http.Request) {
		if err := keepFile(s, r.FormValue("file")); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("GET /versions", func(w http.ResponseWriter, _ *http.Request) {
		if err := versions(s, w); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("GET /die", func(http.ResponseWriter, *http.Request) { os.Exit(7) })
	var load replicas.Load
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%s{deployment=\"it\"} %v\n", replicas.InFlightMetric, load.Seconds())
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		load.Begin()
		defer load.End()
		time.Sleep(max(duration(r.FormValue("takes")), 2*time.Millisecond))
		if ill() > Incubation {
			http.Error(w, "it is sick", http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, s.Instance)
	})
	l, err := inherit(s.Endpoint.Port)
	if err != nil {
		l, err = Listen(net.JoinHostPort(s.Endpoint.Host, strconv.Itoa(s.Endpoint.Port)))
	}
	if err != nil {
		return err
	}
	handOver(l, s.Endpoint.Port)
	// Shutdown would drop a connection whose first request it has not read yet, so
	// the end is done by hand: no new connections, and then none at all.
	var open atomic.Int64
	srv := &http.Server{Handler: mux, ConnState: func(_ net.Conn, st http.ConnState) {
		switch st {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		<-term
		srv.SetKeepAlivesEnabled(false)
		l.Close()
	}()
	fmt.Println("serving")
	if err := srv.Serve(l); !errors.Is(err, net.ErrClosed) {
		return err
	}
	for open.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
	if s.Kept == "" {
		return nil
	}
	return keepFile(s, "last")
}

// Kept is the folder, in the one that a service keeps, that [keepFile] writes to.
const Kept = "files"

// keepFile writes a file that later versions of the service get too.
func keepFile(s *step.Step, name string) error {
	to := filepath.Join(s.Kept, Kept)
	return errors.Join(os.MkdirAll(to, 0o755), os.WriteFile(filepath.Join(to, ".new-"+name), []byte(name), 0o644),
		os.Rename(filepath.Join(to, ".new-"+name), filepath.Join(to, name)))
}

// InstanceHeader is the header in which a service says which start of it answers.
const InstanceHeader = "X-Tenon-Instance"

// Listen shares the port with whoever else listens there in this way.
func Listen(addr string) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}), err)
	}}
	return lc.Listen(context.Background(), "tcp", addr)
}

// Sharing a port by SO_REUSEPORT alone is not enough for a takeover without
// loss: whoever closes a listener resets the connections that wait in it. So the
// test's service gives the listener itself to its successor, which asks for it
// at a name made of the port.
func handOverAddr(port int) *net.UnixAddr {
	return &net.UnixAddr{Net: "unix", Name: "@tenon-executortest-" + strconv.Itoa(port)}
}

// handOver gives the listener to whoever asks for it, unless a predecessor
// still has the name.
func handOver(l net.Listener, port int) {
	u, err := net.ListenUnix("unix", handOverAddr(port))
	if err != nil {
		return
	}
	go func() {
		for {
			c, err := u.AcceptUnix()
			if err != nil {
				return
			}
			// Not File, whose Fd would make the accepts of both block.
			if conn, err := l.(*net.TCPListener).SyscallConn(); err == nil {
				_ = conn.Control(func(fd uintptr) {
					_, _, _ = c.WriteMsgUnix([]byte{0}, unix.UnixRights(int(fd)), nil)
				})
			}
			c.Close()
		}
	}()
}

// inherit asks a predecessor for its listener.
func inherit(port int) (net.Listener, error) {
	c, err := net.DialUnix("unix", nil, handOverAddr(port))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := c.ReadMsgUnix(make([]byte, 1), oob)
	if err != nil {
		return nil, err
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(msgs) == 0 {
		return nil, fmt.Errorf("no listener was handed over: %w", errors.Join(err, io.ErrUnexpectedEOF))
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fds[0]), "listener")
	defer f.Close()
	return net.FileListener(f)
}

// versions says what the service finds of its route and of the versions beside it, and observes
// the route.
func versions(s *step.Step, w io.Writer) error {
	b, err := os.ReadFile(s.Route)
	if err != nil {
		return err
	}
	var route step.Route
	if err := json.Unmarshal(b, &route); err != nil {
		return err
	}
	fmt.Fprintf(w, "%s: route %d", s.Name, route.Serial)
	for name, other := range s.Beside {
		b, err := os.ReadFile(other.Inputs["x"].Path)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, ", %s reads %s", name, b)
	}
	b, err = json.Marshal(step.Observed{Serial: route.Serial, Versions: map[string]step.Observation{s.Name: {Requests: 7}}})
	if err != nil {
		return err
	}
	return os.WriteFile(s.Observed, b, 0o644)
}
