package live

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/worker"
)

// mostMemory is a soft limit of the Go program that compares. DuckDB has a limit of its own, and
// Python gets at most a thousand rows.
const mostMemory = "256MiB"

// replay lets another process compute samples again.
func (c *Check) replay(ctx context.Context, ask *requests.Replay, differs func(requests.Differing)) (*requests.Replayed, error) {
	question, err := json.Marshal(ask)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(c.Command[0], c.Command[1:]...)
	cmd.Env = worker.Environ("GOMEMLIMIT="+mostMemory, "GOMAXPROCS=1", "OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1", "MKL_NUM_THREADS=1")
	var says tail
	cmd.Stdin, cmd.Stderr, cmd.WaitDelay = bytes.NewReader(question), &says, 5*time.Second
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = worker.StartChild(cmd)
	}
	if err != nil {
		return nil, fmt.Errorf("start the check: %w", err)
	}
	// It leaves the processor and the memory to requests, and so does whatever it starts.
	_ = unix.Setpriority(unix.PRIO_PGRP, cmd.Process.Pid, 19)
	_ = os.WriteFile("/proc/"+strconv.Itoa(cmd.Process.Pid)+"/oom_score_adj", []byte("1000"), 0)
	end := context.AfterFunc(ctx, func() { _ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) })
	defer end()
	var found *requests.Replayed
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<24)
	for err == nil && lines.Scan() {
		var e requests.Event
		if err = json.Unmarshal(lines.Bytes(), &e); err != nil {
			break
		}
		if e.Difference != nil {
			differs(*e.Difference)
		}
		if e.Replayed != nil {
			found = e.Replayed
		}
	}
	err = errors.Join(err, lines.Err())
	if err != nil {
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
	}
	ended := cmd.Wait()
	_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // what it has started and left
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("it took longer than %s", c.Patience)
	case ended != nil:
		return nil, errors.New(strings.TrimPrefix(cmp.Or(says.last(), ended.Error()), "error: "))
	case err == nil && found == nil:
		err = errors.New("it ended without a result")
	}
	return found, err
}

// A tail keeps the end of what is written.
type tail struct{ b []byte }

func (t *tail) Write(b []byte) (int, error) {
	const most = 4 << 10
	t.b = append(t.b, b...)
	if len(t.b) > most {
		t.b = append(t.b[:0], t.b[len(t.b)-most:]...)
	}
	return len(b), nil
}

// last returns the last line.
func (t *tail) last() string {
	text := strings.TrimSpace(string(t.b))
	return text[strings.LastIndexByte(text, '\n')+1:]
}
