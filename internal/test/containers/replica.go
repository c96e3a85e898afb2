package containers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// A Replica is a container that answers requests, in a network of its own, from which it reaches one address of this
// machine.
type Replica struct {
	Root, Work string // folders, see [Command]
	Argv, Env  []string
	Log        *Lines
	Port       int
	Ready      string        // path that answers 200 once it is ready
	Reaches    string        // HOST:PORT on the loopback
	Grace      time.Duration // between SIGTERM and SIGKILL
}

// ErrEnded means that a replica was asked to end.
var ErrEnded = errors.New("the replica was asked to end")

// Run starts the replica and waits for its end, for which the caller asks by closing end. Once the replica is ready, it
// calls ready with what leads requests there, and not after it has returned.
func (r Replica) Run(end <-chan struct{}, ready func(*httputil.ReverseProxy)) error {
	cmd := Command(r.Root, r.Work, r.Argv, append([]string{"PORT=" + strconv.Itoa(r.Port)}, r.Env...), r.Log)
	cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWNET
	cmd.Args[2] = "read go\nexec </dev/null\n" + cmd.Args[2] // until its network works
	begin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	runtime.LockOSThread() // the container ends with the thread that starts it
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return err
	}
	stop, err := connect(cmd.Process.Pid, r.Reaches)
	if err != nil {
		_ = cmd.Process.Kill()
		return errors.Join(err, cmd.Wait())
	}
	defer stop()
	_, _ = begin.Write([]byte("go\n")) // it may have ended
	_ = begin.Close()
	lives, over := context.WithCancel(context.Background())
	var both sync.WaitGroup
	both.Go(func() { r.probe(lives, cmd.Process.Pid, ready) })
	both.Go(func() { r.end(lives, cmd, end) })
	err = cmd.Wait()
	over()
	both.Wait()
	r.Log.End()
	select {
	case <-end:
		return ErrEnded
	default:
	}
	return fmt.Errorf("the container has exited: %v", err)
}

// end ends the replica once that is asked for.
func (r Replica) end(lives context.Context, cmd *exec.Cmd, end <-chan struct{}) {
	select {
	case <-lives.Done():
		return
	case <-end:
	}
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-lives.Done():
	case <-time.After(r.Grace):
		_ = cmd.Process.Kill()
	}
}

// probe asks the replica until it is ready.
func (r Replica) probe(lives context.Context, pid int, ready func(*httputil.ReverseProxy)) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialIn(ctx, pid, r.Port)
	}, DisableKeepAlives: true}
	client := &http.Client{Transport: transport, Timeout: time.Second}
	for !r.answers(lives, client) {
		select {
		case <-lives.Done():
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
	ready(&httputil.ReverseProxy{Transport: transport, Rewrite: func(p *httputil.ProxyRequest) { p.Out.URL.Scheme, p.Out.URL.Host = "http", "instance" }})
}

func (r Replica) answers(lives context.Context, client *http.Client) bool {
	ask, err := http.NewRequestWithContext(lives, http.MethodGet, "http://instance"+r.Ready, nil)
	if err != nil {
		return false
	}
	answer, err := client.Do(ask)
	if err == nil {
		err = answer.Body.Close()
	}
	return err == nil && answer.StatusCode == http.StatusOK
}
