package parity

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
	pool "github.com/tenon-ml/tenon/stdlib/serve/plane/worker"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// stepScript runs steps in Python again. It is among the modules of the library.
const stepScript = "tenon_parity_steps.py"

// A runner is a program that does the work of one step after another: tenon-duck for queries, or
// Python for a function of the user's.
type runner struct {
	name    string
	process *exec.Cmd
	in      io.WriteCloser
	answers *bufio.Scanner
}

// startRunner starts a program. It reads the path of a step from each line, and answers with a
// line that has the error of the step as JSON.
func startRunner(ctx context.Context, name string, args ...string) (*runner, error) {
	r := &runner{name: name, process: exec.CommandContext(ctx, name, args...)}
	r.process.Stderr = os.Stderr
	// As units have it: a function may depend on the time zone, or on the order of a set.
	r.process.Env = pool.Environ("TZ=UTC", "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "PYTHONHASHSEED=0", "PYTHONDONTWRITEBYTECODE=1")
	out, err := r.process.StdoutPipe()
	if err == nil {
		r.in, err = r.process.StdinPipe()
	}
	if err == nil {
		err = r.process.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	r.answers = bufio.NewScanner(out)
	r.answers.Buffer(nil, 1<<24)
	return r, nil
}

func (r *runner) close() error {
	if err := r.in.Close(); err != nil {
		return err
	}
	if err := r.process.Wait(); err != nil {
		return fmt.Errorf("%s: %w", r.name, err)
	}
	return nil
}

// step does the work of a step, whose document it writes to a path.
func (r *runner) step(path string, doc step.Step) (says string, err error) {
	b, err := json.Marshal(doc)
	if err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err == nil {
		_, err = io.WriteString(r.in, path+"\n")
	}
	if err == nil && !r.answers.Scan() {
		err = cmp.Or(r.answers.Err(), io.ErrUnexpectedEOF)
	}
	if err == nil {
		err = json.Unmarshal(r.answers.Bytes(), &says)
	}
	if err != nil {
		return "", fmt.Errorf("ask %s: %w", r.name, err)
	}
	return says, nil
}

// A runners has what runs each of the queries of a replay.
type runners struct {
	all []*runner
	of  []*runner // by query
}

// startRunners starts one tenon-duck for all queries, and a Python for each function.
func startRunners(ctx context.Context, r *requests.Replay) (x *runners, err error) {
	x = &runners{}
	defer func() {
		if err != nil {
			_ = x.close()
		}
	}()
	start := func(name string, args ...string) (*runner, error) {
		one, err := startRunner(ctx, name, args...)
		if err == nil {
			x.all = append(x.all, one)
		}
		return one, err
	}
	var duck *runner
	for _, q := range r.Queries {
		one := duck
		switch {
		case q.Python != "":
			one, err = start(q.Python, filepath.Join(r.Library, stepScript), q.Step.Code)
		case duck == nil:
			duck, err = start(r.Duck, "steps")
			one = duck
		}
		if err != nil {
			return x, err
		}
		x.of = append(x.of, one)
	}
	return x, nil
}

func (x *runners) close() (err error) {
	for _, r := range x.all {
		err = errors.Join(err, r.close())
	}
	return err
}
