package project

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/monitor/window"
)

// Commands of tenon-duck that answer one [window.Ask] after another.
const (
	simulateCommand = "simulate"
	monitorsCommand = "monitors"
)

// duckProcess is a tenon-duck that answers many questions: starting one for each takes longer than most answers.
type duckProcess struct {
	cmd     *exec.Cmd
	command string
	asks    io.WriteCloser
	replies *json.Decoder
	log     lastLines
}

// startDuck starts a process that ends with ctx.
func (w *Workspace) startDuck(ctx context.Context, u *ir.Unit, command string) (*duckProcess, error) {
	program, err := w.set.SQL.Program(ctx)
	if err != nil {
		return nil, err
	}
	d := &duckProcess{cmd: w.program(ctx, program, command, u), command: command}
	d.cmd.Stderr, d.cmd.WaitDelay = &d.log, 5*time.Second
	if d.asks, err = d.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := d.cmd.StdoutPipe()
	if err == nil {
		err = d.cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("start tenon-duck: %w", err)
	}
	d.replies = json.NewDecoder(out)
	return d, nil
}

func (d *duckProcess) ask(ask window.Ask) (r window.Reply, err error) {
	if err := json.NewEncoder(d.asks).Encode(ask); err != nil {
		return r, fmt.Errorf("ask tenon-duck: %w", errors.Join(err, d.close()))
	}
	if err := d.replies.Decode(&r); err != nil {
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			_ = d.cmd.Process.Kill() // it may still write, and nobody reads that
		}
		return r, fmt.Errorf("ask tenon-duck: %w", errors.Join(err, d.close()))
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}

func (d *duckProcess) prepare(p window.Preparation) (*window.Prepared, error) {
	r, err := d.ask(window.Ask{Prepare: &p})
	return r.Prepared, err
}

func (d *duckProcess) measure(q *window.Question) (*window.Answer, error) {
	r, err := d.ask(window.Ask{Measure: q})
	return r.Answer, err
}

// ended reports whether the process was closed, or failed.
func (d *duckProcess) ended() bool { return d.cmd.ProcessState != nil }

// close ends the program. It may be called again.
func (d *duckProcess) close() error {
	if d.ended() {
		return nil
	}
	_ = d.asks.Close()
	if err := d.cmd.Wait(); err != nil {
		return programError(d.cmd.Path, d.command, err, string(d.log.b))
	}
	return nil
}

// lastLines keeps the end of what is written to it.
type lastLines struct{ b []byte }

func (l *lastLines) Write(b []byte) (int, error) {
	const most = 4 << 10
	l.b = append(l.b, b...)
	l.b = l.b[max(0, len(l.b)-most):]
	return len(b), nil
}

// duckIdle is how long a process that measures waits for the next question.
const duckIdle = 5 * time.Minute

// A measurer is a process that measures, and keeps what it read for the next measurement. It is started when it
// is needed, and again when it has died.
type measurer struct {
	mu      sync.Mutex
	running *duckProcess // nil while none runs
	kill    context.CancelFunc
	idle    *time.Timer
}

// measure asks the process. If one dies that has waited for the question, another one is asked. If that dies, too, only
// this measurement fails.
func (m *measurer) measure(ctx context.Context, w *Workspace, q *window.Question) (*window.Answer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.idle != nil {
		m.idle.Stop()
	}
	waited := m.running != nil
	a, err := m.ask(ctx, w, q)
	if err != nil && waited && m.running == nil && ctx.Err() == nil {
		a, err = m.ask(ctx, w, q)
	}
	if m.running != nil {
		m.idle = time.AfterFunc(duckIdle, func() { _ = m.close() })
	}
	return a, err
}

// ask asks the process, and starts it before if it does not run. The lock is held.
func (m *measurer) ask(ctx context.Context, w *Workspace, q *window.Question) (*window.Answer, error) {
	if m.running == nil {
		living, kill := context.WithCancel(context.WithoutCancel(ctx))
		d, err := w.startDuck(living, &ir.Unit{}, monitorsCommand)
		if err != nil {
			kill()
			return nil, err
		}
		m.running, m.kill = d, kill
	}
	stop := context.AfterFunc(ctx, m.kill)
	defer stop()
	r, err := m.running.ask(window.Ask{Measure: q})
	if ctx.Err() != nil {
		_ = m.end()
		return nil, context.Cause(ctx)
	}
	if m.running.ended() || r.Full {
		err = errors.Join(err, m.end())
	}
	return r.Answer, err
}

// end ends the process. The lock is held.
func (m *measurer) end() (err error) {
	if m.running != nil {
		err = m.running.close()
		m.kill()
		m.running = nil
	}
	return err
}

func (m *measurer) close() error {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.idle != nil {
		m.idle.Stop()
	}
	return m.end()
}
