package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"sync"
	"time"

	version "github.com/containerd/containerd/api/services/version/v1"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tenon-ml/tenon/executors/local"
)

// connect returns the connection to containerd, which recovers when containerd
// restarts.
func (e *Executor) connect(ctx context.Context) (*client.Client, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.client != nil {
		return e.client, nil
	}
	// The client itself would only report a timeout.
	conn, err := (&net.Dialer{Timeout: e.silence()}).DialContext(ctx, "unix", e.opts.Address)
	if err != nil {
		return nil, e.explain(err)
	}
	_ = conn.Close()
	c, err := client.New(e.opts.Address, client.WithDefaultNamespace(e.opts.Namespace), client.WithExtraDialOpts([]grpc.DialOption{
		grpc.WithChainUnaryInterceptor(e.watch), grpc.WithChainStreamInterceptor(e.watchStream),
		// Reconnect soon after a restart.
		grpc.WithConnectParams(grpc.ConnectParams{
			MinConnectTimeout: e.silence(),
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
		}),
	}))
	if err != nil {
		return nil, e.explain(err)
	}
	e.client = c
	return c, nil
}

// An unreachable error means that containerd does not answer.
type unreachable struct {
	address, why string
	err          error
}

func (u *unreachable) Error() string { return fmt.Sprintf("containerd at %s %s", u.address, u.why) }
func (u *unreachable) Unwrap() error { return u.err }

// explain adds to an error of containerd what to do about it.
func (e *Executor) explain(err error) error {
	known := (*unreachable)(nil)
	switch {
	case err == nil || errors.As(err, &known) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, fs.ErrPermission) && isDial(err) || strings.Contains(err.Error(), "connect: permission denied"):
		return &unreachable{e.opts.Address, "refuses access to this user: run tenon as root, or give the user access to the socket", err}
	case errors.Is(err, fs.ErrNotExist) && isDial(err):
		return &unreachable{e.opts.Address, "does not exist: install and start containerd, or set address in the target", err}
	case errors.Is(err, unix.ECONNREFUSED) || strings.Contains(err.Error(), "connect: connection refused"):
		return &unreachable{e.opts.Address, "is not running: start it and run tenon apply again, which finds the containers again", err}
	case away(err):
		return &unreachable{e.opts.Address, "does not answer: check that it runs, and run tenon apply again, which finds the containers again", err}
	case errors.Is(err, unix.ENOSPC):
		return err // an error of the run folder, which it names
	case strings.Contains(err.Error(), unix.ENOSPC.Error()):
		return fmt.Errorf("no space left on the disk of containerd: free some, for example with `tenon gc`, and run tenon apply again: %w", err)
	case strings.Contains(err.Error(), "exec: \"runc\": executable file not found"):
		return fmt.Errorf("containerd does not find runc: install it and run tenon apply again: %w", err)
	}
	return err
}

func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// away reports whether an error means that containerd is not running now.
func away(err error) bool {
	return errdefs.IsUnavailable(err) || errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) && isDial(err)
}

// shimDied reports whether an error means that a container's shim ended during a call.
func shimDied(err error) bool { return strings.Contains(err.Error(), "ttrpc: closed") }

const shimSilent = "the container's shim has not answered for "

// shimHangs reports whether an error means that a container's shim exists but does not
// answer. When a client cancels the creation of a task, containerd 1.6 may leave such a
// shim, and it hands that shim to the next task of the same name.
func shimHangs(err error) bool { return err != nil && strings.Contains(err.Error(), shimSilent) }

// patiently repeats do, which must be idempotent, while containerd is away and likely
// to come back. It does not wait for a containerd that was unreachable from the start.
func (e *Executor) patiently(ctx context.Context, do func(*client.Client) error) error {
	c, err := e.connect(ctx)
	if err != nil {
		return err
	}
	began, broken := time.Now(), time.Time{}
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := do(c)
		switch {
		case err == nil || ctx.Err() != nil:
			return e.explain(err)
		case shimDied(err): // containerd is about to clean up after it
			if broken.IsZero() {
				broken = time.Now()
			}
			if time.Since(broken) > local.KillPatience {
				return err
			}
		case !away(err) || time.Since(began) > e.opts.Patience && time.Since(time.Unix(0, e.heard.Load())) > e.opts.Patience:
			return e.explain(err)
		}
		select {
		case <-ctx.Done():
			return errors.Join(e.explain(err), ctx.Err())
		case <-time.After(pause):
		}
	}
}

// silence is how long containerd may be silent before tenon checks whether it is still
// there.
func (e *Executor) silence() time.Duration { return e.opts.Patience / 6 }

// Methods with special treatment.
const (
	methodTasks   = "/containerd.services.tasks.v1.Tasks/"
	methodCreate  = methodTasks + "Create"
	methodWait    = methodTasks + "Wait"
	methodVersion = "/containerd.services.version.v1.Version/Version"
)

// watch bounds a call. The call may take as long as containerd answers other calls. A
// call that containerd forwards to a shim has a shorter limit, except for Wait.
func (e *Executor) watch(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if method == methodVersion {
		return invoke(ctx, method, req, reply, conn, opts...)
	}
	call, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limit := time.Duration(0)
	switch {
	case method == methodWait:
	case method == methodCreate: // nothing runs yet, so another shim can take over
		limit = e.opts.Patience / 3
	case strings.HasPrefix(method, methodTasks):
		limit = e.opts.Patience
	}
	defer e.guard(call, conn, limit, cancel)()
	err := invoke(call, method, req, reply, conn, opts...)
	if status.Code(err) != codes.Unavailable && call.Err() == nil {
		e.heard.Store(time.Now().UnixNano())
	}
	if err != nil && call.Err() != nil && ctx.Err() == nil {
		return context.Cause(call)
	}
	return err
}

// guard checks repeatedly whether containerd is there. It cancels a call if containerd
// is gone or if the call exceeds the limit, if there is one. It runs until it is
// stopped.
func (e *Executor) guard(ctx context.Context, conn *grpc.ClientConn, limit time.Duration, cancel context.CancelCauseFunc) (stop func()) {
	began := time.Now()
	var timer *time.Timer
	var mu sync.Mutex
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(e.silence(), func() {
		ask, done := context.WithTimeout(ctx, e.silence())
		defer done()
		if _, err := version.NewVersionClient(conn).Version(ask, &emptypb.Empty{}); err != nil {
			cancel(status.Error(codes.Unavailable, "no answer"))
			return
		}
		e.heard.Store(time.Now().UnixNano())
		if limit > 0 && time.Since(began) > limit {
			cancel(status.Error(codes.Internal, shimSilent+limit.String()))
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() == nil {
			timer.Reset(e.silence())
		}
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		timer.Stop()
	}
}

// watchStream does the same for a stream, such as the content of an image.
func (e *Executor) watchStream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	call, cancel := context.WithCancelCause(ctx)
	stop := e.guard(call, conn, 0, cancel)
	s, err := open(call, desc, conn, method, opts...)
	if err != nil {
		stop()
		cancel(nil)
		return nil, err
	}
	context.AfterFunc(call, stop)
	return &watched{s, call, stop, cancel}, nil
}

// watched is a stream that returns the cause when it was cancelled.
type watched struct {
	grpc.ClientStream
	call   context.Context
	stop   func()
	cancel context.CancelCauseFunc
}

// RecvMsg returns the error or the end of a stream, and then releases the stream.
func (w *watched) RecvMsg(m any) error {
	err := w.end(w.ClientStream.RecvMsg(m))
	if err != nil {
		w.cancel(nil)
	}
	return err
}

func (w *watched) SendMsg(m any) error { return w.end(w.ClientStream.SendMsg(m)) }

func (w *watched) end(err error) error {
	if err == nil {
		return nil
	}
	w.stop()
	if cause := context.Cause(w.call); cause != nil && !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return err
}
