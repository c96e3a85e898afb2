package project

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/internal/logfile"
	"github.com/tenon-ml/tenon/planner/state"
)

const (
	// startsWithin is how long a controller on this machine may take until it watches.
	startsWithin = time.Minute
	// stopsWithin is how long one may take to end what runs.
	stopsWithin = 90 * time.Second
	// quoted is how much of its log an error quotes, in bytes.
	quoted = 2000
)

// A controllerNote says with what a controller on this machine was started.
type controllerNote struct {
	ID      string    `json:"id"` // of [state.Controller]
	Command []string  `json:"command"`
	Tenon   time.Time `json:"tenon"` // when the program was built
}

// controllerFile returns the path of a file of the controller on this machine.
func (w *Workspace) controllerFile(ext string) string {
	name := "controller"
	if w.set.Env != "" {
		name += "-" + w.set.Env
	}
	return filepath.Join(w.dir, name+ext)
}

// controllerLog returns the path of the log of the controller on this machine, see package logfile.
func (w *Workspace) controllerLog() string { return w.controllerFile(".log") }

// detachHere starts a controller on this machine as a process of its own.
func (w *Workspace) detachHere(ctx context.Context, o ControllerOptions) (*DetachedController, error) {
	tenon, err := os.Stat(w.set.Tenon)
	if err != nil {
		return nil, err
	}
	note := controllerNote{Command: o.Command, Tenon: tenon.ModTime()}
	before, err := w.watching(ctx)
	if err != nil {
		return nil, err
	}
	if before != nil {
		if !before.Holder.Here() {
			return nil, fmt.Errorf("process %d on %s watches since %s: run tenon run --stop there", before.Holder.PID, before.Holder.Host, before.Since.Local().Format(time.DateTime))
		}
		if was := w.controllerNote(); was.ID == before.ID && slices.Equal(was.Command, note.Command) && was.Tenon.Equal(note.Tenon) {
			return &DetachedController{PID: before.Holder.PID, Host: before.Holder.Host, Log: w.controllerLog(), Unchanged: true}, nil
		}
		if err := w.stopHere(ctx, before); err != nil {
			return nil, err
		}
	}
	c, err := w.startHere(ctx, o.Command)
	if err != nil {
		return nil, err
	}
	note.ID = c.ID
	text, err := json.Marshal(note)
	if err == nil {
		err = files.Write(w.controllerFile(".json"), text, 0o600)
	}
	return &DetachedController{PID: c.Holder.PID, Host: c.Holder.Host, Log: w.controllerLog()}, err
}

// controllerNote reads the note of the controller. One that is missing or damaged says nothing.
func (w *Workspace) controllerNote() (n controllerNote) {
	if b, err := os.ReadFile(w.controllerFile(".json")); err == nil {
		_ = json.Unmarshal(b, &n)
	}
	return n
}

// errWithout stands for an error that there was not.
var errWithout = errors.New("without an error")

// startHere starts a command, which appends to the log, and waits until it watches.
func (w *Workspace) startHere(ctx context.Context, command []string) (*state.Controller, error) {
	began, err := logged(w.controllerLog())
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(command[0], append(command[1:len(command):len(command)], "--log", w.controllerLog())...)
	cmd.Env = w.set.Environ
	if w.store.Shared() { // its password is not for the list of processes
		cmd.Env = append(cmd.Env[:len(cmd.Env):len(cmd.Env)], "TENON_STATE="+w.set.State)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the controller: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for deadline := time.Now().Add(startsWithin); ; {
		c, err := w.watching(ctx)
		if err == nil && c != nil && c.Holder.PID == cmd.Process.Pid && c.Holder.Here() {
			return c, nil
		}
		select {
		case err := <-ended:
			return nil, fmt.Errorf("the controller has ended (%w), and printed\n%s", cmp.Or(err, errWithout), w.tail(began))
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), cmd.Process.Signal(syscall.SIGTERM))
		case <-time.After(lookForController):
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("the controller did not watch after %s and was ended (%w); it printed\n%s", startsWithin, cmp.Or(err, errWithout), w.tail(began)), cmd.Process.Signal(syscall.SIGTERM))
		}
	}
}

// logged returns how long a log is.
func logged(path string) (int, error) {
	f, err := logfile.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, err := io.Copy(io.Discard, f)
	return int(n), err
}

// tail returns the end of what the controller printed after a number of bytes.
func (w *Workspace) tail(after int) string {
	f, err := logfile.Open(w.controllerLog())
	if err != nil {
		return ""
	}
	defer f.Close()
	b, _ := io.ReadAll(f) // as far as it can be read
	b = b[min(after, len(b)):]
	return strings.TrimSpace(string(b[max(0, len(b)-quoted):]))
}

// stopHere asks a controller on this machine to end, and waits until it has.
func (w *Workspace) stopHere(ctx context.Context, c *state.Controller) error {
	p, err := os.FindProcess(c.Holder.PID)
	if err == nil {
		err = p.Signal(syscall.SIGTERM)
	}
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop process %d: %w", c.Holder.PID, err)
	}
	for deadline := time.Now().Add(stopsWithin); c.Holder.Here(); {
		if time.Now().After(deadline) {
			return fmt.Errorf("the controller, process %d, has not ended after %s: see %s", c.Holder.PID, stopsWithin, w.controllerLog())
		}
		if err := pause(ctx, lookForController); err != nil {
			return err
		}
	}
	return w.store.EndController(ctx, c.ID) // it may have had no time for that
}

// copyControllerLog copies the log of a controller on this machine.
func (w *Workspace) copyControllerLog(ctx context.Context, to io.Writer, follow bool) error {
	f, err := logfile.Open(w.controllerLog())
	if errors.Is(err, fs.ErrNotExist) {
		return &RequestError{errors.New("no controller was detached here: tenon run --detach starts one")}
	}
	if err != nil {
		return fmt.Errorf("read the log of the controller: %w", err)
	}
	defer f.Close()
	return followLog(ctx, f, to, func() bool {
		if !follow {
			return false
		}
		c, err := w.store.Controller(ctx)
		return err == nil && c != nil && c.Holder.Command == DetachCommand && c.Holder.Here()
	})
}
