package project

import (
	"bytes"
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

// duckSimulation is a tenon-duck that answers the questions of a simulation: starting one for each
// takes longer than most answers.
type duckSimulation struct {
	cmd     *exec.Cmd
	asks    io.WriteCloser
	replies *json.Decoder
	log     bytes.Buffer
}

// simulateCommand is the command of tenon-duck.
const simulateCommand = "simulate"

func (w *Workspace) startDuck(ctx context.Context, u *ir.Unit) (*duckSimulation, error) {
	program, err := w.set.SQL.Program(ctx)
	if err != nil {
		return nil, err
	}
	d := &duckSimulation{cmd: w.program(ctx, program, simulateCommand, u)}
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

func (d *duckSimulation) ask(ask window.Ask) (r window.Reply, err error) {
	if err := json.NewEncoder(d.asks).Encode(ask); err != nil {
		return r, fmt.Errorf("ask tenon-duck: %w", errors.Join(err, d.close()))
	}
	if err := d.replies.Decode(&r); err != nil {
		return r, fmt.Errorf("ask tenon-duck: %w", errors.Join(err, d.close()))
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}

func (d *duckSimulation) prepare(p window.Preparation) (*window.Prepared, error) {
	r, err := d.ask(window.Ask{Prepare: &p})
	return r.Prepared, err
}

func (d *duckSimulation) measure(q *window.Question) (*window.Answer, error) {
	r, err := d.ask(window.Ask{Measure: q})
	return r.Answer, err
}

// close ends the program. It may be called again.
func (d *duckSimulation) close() error {
	if d.cmd.ProcessState != nil {
		return nil
	}
	_ = d.asks.Close()
	if err := d.cmd.Wait(); err != nil {
		return programError(d.cmd.Path, simulateCommand, err, d.log.String())
	}
	return nil
}

// A virtualClock runs as fast as what is simulated. It implements [control.Clock].
type virtualClock struct {
	mu              sync.Mutex
	began, now, end time.Time
	over            func() // is called at the end
}

// Now implements [control.Clock].
func (c *virtualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Elapsed implements [control.Clock].
func (c *virtualClock) Elapsed() time.Duration { return c.Now().Sub(c.began) }

// Sleep implements [control.Clock].
func (c *virtualClock) Sleep(_ context.Context, d time.Duration) { c.advance(d) }

func (c *virtualClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now = c.now.Add(d); !c.now.Before(c.end) {
		c.now = c.end
		c.over()
	}
}
