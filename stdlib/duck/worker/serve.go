package worker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/stdlib"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// patience is how long requests may take to end once nobody wants their answers.
const patience = 10 * time.Second

// Serve answers requests until in ends. It then cancels those that still run,
// and returns when they have ended.
func Serve(in io.Reader, out io.Writer, e duck.Engine) error {
	s := &server{out: out, calls: callsOf(e), cancels: map[int64]context.CancelFunc{}}
	if err := s.send(hello{protocol, stdlib.Code()}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	err := s.receive(ctx, in)
	cancel()
	ended := make(chan struct{})
	go func() { s.running.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(patience):
	}
	return err
}

type server struct {
	calls   map[string]handler
	running sync.WaitGroup

	mu      sync.Mutex
	cancels map[int64]context.CancelFunc // of requests that run

	writing sync.Mutex
	out     io.Writer
}

func (s *server) receive(ctx context.Context, in io.Reader) error {
	d := json.NewDecoder(bufio.NewReader(in))
	for {
		var r request
		if err := d.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read a request: %w", err)
		}
		if r.Call == "" {
			s.cancel(r.ID)
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		s.mu.Lock()
		s.cancels[r.ID] = cancel
		s.mu.Unlock()
		s.running.Go(func() {
			defer s.cancel(r.ID)
			// If this fails, the client is gone, and then in ends as well.
			_ = s.send(s.answer(ctx, r))
		})
	}
}

func (s *server) cancel(id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel := s.cancels[id]; cancel != nil {
		cancel()
		delete(s.cancels, id)
	}
}

func (s *server) answer(ctx context.Context, r request) response {
	call, ok := s.calls[r.Call]
	if !ok {
		return response{ID: r.ID, Error: &failure{Message: fmt.Sprintf("unknown call %q", r.Call)}}
	}
	result, err := call(ctx, r.Args)
	if err != nil {
		return response{ID: r.ID, Error: failureOf(err)}
	}
	return response{ID: r.ID, Result: result}
}

func (s *server) send(message any) error {
	b, err := json.Marshal(message)
	if err != nil {
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	_, err = s.out.Write(append(b, '\n'))
	return err
}

// A handler takes arguments and returns a result, both as JSON.
type handler func(ctx context.Context, args json.RawMessage) (json.RawMessage, error)

func callsOf(e duck.Engine) map[string]handler {
	return map[string]handler{
		"describe": handle(func(ctx context.Context, a describeArgs) (duck.Description, error) {
			return e.Describe(ctx, a.Tables, a.Query)
		}),
		"bind": handle(func(ctx context.Context, a describeArgs) (json.RawMessage, error) {
			return e.Bind(ctx, a.Tables, a.Query)
		}),
		"evaluate": handle(func(ctx context.Context, a evaluateArgs) (duck.Evaluated, error) {
			return e.Evaluate(ctx, a.Query, a.Inputs, a.Out)
		}),
		"typed": handle(func(ctx context.Context, a typedArgs) (duck.Rows, error) {
			return e.Typed(ctx, a.Rows, a.Schema)
		}),
		"write": handle(func(ctx context.Context, a writeArgs) (map[string][]duck.Violation, error) {
			return e.Write(ctx, a.Inputs, a.Paths)
		}),
		"read": handle(func(ctx context.Context, a readArgs) (duck.Rows, error) {
			return e.Read(ctx, a.Path, a.Schema)
		}),
		"verify": handle(func(ctx context.Context, a verifyArgs) (v verified, err error) {
			v.Violations, v.Rows, err = e.Verify(ctx, a.Path, a.Schema, a.Keys, a.References)
			return v, err
		}),
		"preview": handle(func(ctx context.Context, a previewArgs) (duck.Preview, error) {
			return e.Preview(ctx, a.Path, a.N)
		}),
		"nulls": handle(func(ctx context.Context, a nullsArgs) (map[string]int64, error) {
			return e.Nulls(ctx, a.Path)
		}),
		"csv": handle(func(ctx context.Context, a csvArgs) (struct{}, error) {
			return struct{}{}, e.CSV(ctx, a.Path, a.To)
		}),
		"heads": handle(func(ctx context.Context, a headsArgs) ([]duck.HeadResult, error) {
			return e.Heads(ctx, a.Heads)
		}),
		"infer": handle(func(ctx context.Context, a inferArgs) ([]duck.Inferred, error) {
			return e.Infer(ctx, a.Query, a.Sources)
		}),
	}
}

func handle[A, R any](call func(context.Context, A) (R, error)) handler {
	return func(ctx context.Context, args json.RawMessage) (json.RawMessage, error) {
		var a A
		if err := json.Unmarshal(args, &a); err != nil {
			return nil, fmt.Errorf("read the arguments: %w", err)
		}
		r, err := call(ctx, a)
		if err != nil {
			return nil, err
		}
		return json.Marshal(r)
	}
}
