package worker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// Name is the name of the program.
const Name = "tenon-duck"

// A Client is DuckDB in a process of its own. The process is started by the first
// call, and again by the first one after it has died.
type Client struct {
	program string

	mu     sync.Mutex
	proc   *process // nil before the first call
	closed bool
}

var _ duck.Engine = (*Client)(nil)

// New returns a client of the program at a path. It starts nothing.
func New(program string) *Client { return &Client{program: program} }

// Path is where the program is looked for.
func (c *Client) Path() string { return c.program }

// Start starts the process and a database in it, for a caller who is about to need
// them. It does not wait; what goes wrong is the error of the next call.
func (c *Client) Start() {
	go func() { _, _ = c.Describe(context.Background(), nil, "SELECT 1") }()
}

// Program returns the path of the program, once it has been seen to have the same
// version and code as this one.
func (c *Client) Program(ctx context.Context) (string, error) {
	p, err := c.process()
	if err == nil {
		err = p.wait(ctx)
	}
	return c.program, err
}

// Close ends the process. Calls that run fail.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.proc == nil {
		return
	}
	_ = c.proc.in.Close()
	select {
	case <-c.proc.ended:
	case <-time.After(2 * patience): // it need not be a program that ends with its input
		c.proc.kill()
		<-c.proc.ended
	}
}

// Describe implements [duck.Engine].
func (c *Client) Describe(ctx context.Context, tables map[string]ir.Schema, query string) (d duck.Description, err error) {
	err = c.call(ctx, "describe", describeArgs{tables, query}, &d)
	return d, err
}

// Bind implements [duck.Engine].
func (c *Client) Bind(ctx context.Context, tables map[string]ir.Schema, query string) ([]byte, error) {
	var plan json.RawMessage
	err := c.call(ctx, "bind", describeArgs{tables, query}, &plan)
	return plan, err
}

// Evaluate implements [duck.Engine].
func (c *Client) Evaluate(ctx context.Context, query string, inputs map[string]duck.Literal, out duck.Table) (e duck.Evaluated, err error) {
	err = c.call(ctx, "evaluate", evaluateArgs{query, inputs, out}, &e)
	return e, err
}

// Typed implements [duck.Engine].
func (c *Client) Typed(ctx context.Context, rows duck.Rows, schema ir.Schema) (typed duck.Rows, err error) {
	err = c.call(ctx, "typed", typedArgs{rows, schema}, &typed)
	return typed, err
}

// Write implements [duck.Engine].
func (c *Client) Write(ctx context.Context, inputs map[string]duck.Literal, paths map[string]string) (broken map[string][]duck.Violation, err error) {
	err = c.call(ctx, "write", writeArgs{inputs, paths}, &broken)
	return broken, err
}

// Read implements [duck.Engine].
func (c *Client) Read(ctx context.Context, path string, schema ir.Schema) (rows duck.Rows, err error) {
	err = c.call(ctx, "read", readArgs{path, schema}, &rows)
	return rows, err
}

// Verify implements [duck.Engine].
func (c *Client) Verify(ctx context.Context, path string, schema ir.Schema, keys []string, refs []duck.Reference) ([]duck.Violation, int64, error) {
	var v verified
	err := c.call(ctx, "verify", verifyArgs{path, schema, keys, refs}, &v)
	return v.Violations, v.Rows, err
}

// Preview implements [duck.Engine].
func (c *Client) Preview(ctx context.Context, path string, n int) (p duck.Preview, err error) {
	err = c.call(ctx, "preview", previewArgs{path, n}, &p)
	return p, err
}

// Nulls implements [duck.Engine].
func (c *Client) Nulls(ctx context.Context, path string) (nulls map[string]int64, err error) {
	err = c.call(ctx, "nulls", nullsArgs{path}, &nulls)
	return nulls, err
}

// CSV implements [duck.Engine].
func (c *Client) CSV(ctx context.Context, path, to string) error {
	return c.call(ctx, "csv", csvArgs{path, to}, new(struct{}))
}

// Heads implements [duck.Engine].
func (c *Client) Heads(ctx context.Context, heads []duck.Head) (results []duck.HeadResult, err error) {
	err = c.call(ctx, "heads", headsArgs{heads}, &results)
	return results, err
}

// Infer implements [duck.Engine].
func (c *Client) Infer(ctx context.Context, query string, sources map[string]duck.Source) (cols []duck.Inferred, err error) {
	err = c.call(ctx, "infer", inferArgs{query, sources}, &cols)
	return cols, err
}

func (c *Client) call(ctx context.Context, name string, args, result any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b, err := json.Marshal(args)
	if err != nil {
		return err
	}
	p, err := c.process()
	if err != nil {
		return err
	}
	if err := p.wait(ctx); err != nil {
		return err
	}
	return p.call(ctx, name, b, result)
}

// process returns the process that runs, and starts it if there is none.
func (c *Client) process() (*process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errors.New(Name + " was stopped")
	}
	if c.proc == nil || c.proc.over() {
		p, err := start(c.program)
		if err != nil {
			return nil, err
		}
		c.proc = p
	}
	return c.proc, nil
}

// A process is one that was started.
type process struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	said  tail          // the end of its standard error
	ready chan struct{} // closed once it has said that it is of the right version
	ended chan struct{} // closed once it has ended, for err
	err   error

	writing sync.Mutex // of a line to in

	mu      sync.Mutex
	last    int64
	waiting map[int64]chan response
}

func start(program string) (*process, error) {
	p := &process{
		cmd: exec.Command(program, "serve"), ready: make(chan struct{}), ended: make(chan struct{}), waiting: map[int64]chan response{},
	}
	p.cmd.Stderr = &p.said
	// An interrupt from the terminal is for tenon, which then still needs it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s, which runs SQL, is not next to tenon: run `make build` to build both: %w", Name, err)
	} else if err != nil {
		return nil, fmt.Errorf("start %s: %w", Name, err)
	}
	go func() {
		err := p.receive(out)
		_ = p.in.Close()
		if err != nil {
			p.kill()
		}
		p.err = p.why(err, p.cmd.Wait())
		close(p.ended)
	}()
	return p, nil
}

// kill ends the process and what it has started, which is all in a group of its own.
func (p *process) kill() { _ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }

// receive hands out responses until the output of the process ends.
func (p *process) receive(out io.Reader) error {
	d := json.NewDecoder(bufio.NewReader(out))
	var h hello
	if err := d.Decode(&h); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil || h.Protocol == 0 {
		return fmt.Errorf("%s is not tenon-duck", p.cmd.Path)
	}
	if h != (hello{protocol, stdlib.Code()}) {
		return fmt.Errorf("%s has version %s, protocol %d, but this tenon has version %s, protocol %d: run `make build` to build both",
			p.cmd.Path, h.Version, h.Protocol, stdlib.Code(), protocol)
	}
	close(p.ready)
	for {
		var r response
		if err := d.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read an answer of %s: %w", Name, err)
		}
		p.mu.Lock()
		answer := p.waiting[r.ID]
		p.mu.Unlock()
		if answer != nil {
			answer <- r
		}
	}
}

// why says why the process has ended.
func (p *process) why(err, exit error) error {
	switch {
	case err != nil:
		return err
	case exit == nil:
		return errors.New(Name + " has ended")
	case len(p.said.b) == 0:
		return fmt.Errorf("%s has ended: %w", Name, exit)
	}
	return fmt.Errorf("%s has ended: %w: %s", Name, exit, bytes.TrimSpace(p.said.b))
}

func (p *process) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// wait waits until the process can be called.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.ready:
		return nil
	case <-p.ended:
		return p.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *process) call(ctx context.Context, name string, args json.RawMessage, result any) error {
	answer := make(chan response, 1)
	p.mu.Lock()
	p.last++
	id := p.last
	p.waiting[id] = answer
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.waiting, id)
	}()
	if err := p.send(request{ID: id, Call: name, Args: args}); err != nil {
		<-p.ended // it does not read, so it has ended or is about to
		return p.err
	}
	select {
	case r := <-answer:
		return r.into(result)
	case <-p.ended:
	case <-ctx.Done():
		_ = p.send(request{ID: id})
		return ctx.Err()
	}
	select {
	case r := <-answer: // it came with the end
		return r.into(result)
	default:
		return p.err
	}
}

func (p *process) send(r request) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	p.writing.Lock()
	defer p.writing.Unlock()
	_, err = p.in.Write(append(b, '\n'))
	return err
}

func (r response) into(result any) error {
	if r.Error != nil {
		return r.Error.err()
	}
	if err := json.Unmarshal(r.Result, result); err != nil {
		return fmt.Errorf("read an answer of %s: %w", Name, err)
	}
	return nil
}

// A tail keeps the end of what is written to it.
type tail struct{ b []byte }

func (t *tail) Write(b []byte) (int, error) {
	const most = 4 << 10
	t.b = append(t.b, b...)
	t.b = t.b[max(0, len(t.b)-most):]
	return len(b), nil
}
