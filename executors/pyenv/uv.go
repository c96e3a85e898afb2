package pyenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNoUV means that uv was not found.
var ErrNoUV = errors.New("uv is not installed: run python3 -m pip install uv")

// A uvRun configures a run of uv.
type uvRun struct {
	stdin io.Reader
	held  []*os.File   // locks that uv inherits: they last as long as uv does, even if this process is killed
	line  func(string) // called with each line that uv prints for people, or nil
}

// uv runs uv and returns its standard output.
func (e *Env) uv(ctx context.Context, r uvRun, args ...string) ([]byte, error) {
	path, err := exec.LookPath(e.opts.UV)
	if err != nil {
		return nil, ErrNoUV
	}
	cmd := command(ctx, r.held, path, append([]string{"--color", "never", "--no-progress"}, args...)...)
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = r.stdin, &out, io.MultiWriter(&said, logWriter{e}, &lines{to: r.line})
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("uv %s: %w", args[0], context.Cause(ctx))
		}
		if text := explain(said.String()); text != "" {
			return nil, errors.New(text)
		}
		return nil, fmt.Errorf("uv %s: %w", strings.Join(args, " "), err)
	}
	return out.Bytes(), nil
}

// command returns a command that may start other processes: all of them end when ctx
// does.
func command(ctx context.Context, held []*os.File, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.ExtraFiles = held
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// lines passes on what is written to it line by line.
type lines struct {
	to   func(string)
	rest []byte
}

func (l *lines) Write(b []byte) (int, error) {
	if l.to == nil {
		return len(b), nil
	}
	l.rest = append(l.rest, b...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		l.rest = rest
		l.to(string(line))
	}
}

// A logWriter passes on the output of uv. Several uv may write at once.
type logWriter struct{ e *Env }

func (w logWriter) Write(b []byte) (int, error) {
	w.e.logging.Lock()
	defer w.e.logging.Unlock()
	return w.e.opts.Log.Write(b)
}

// unreachable lists the phrases with which uv reports that it could not reach an index.
var unreachable = []string{
	"error sending request", "dns error", "tcp connect error", "operation timed out", "connection closed",
	"network connectivity is disabled", "was not found in the cache",
}

// longest limits how many bytes of uv's message are passed on.
const longest = 2000

// explain turns the output of uv into an error message: one line if possible.
func explain(said string) string {
	_, text, found := strings.Cut(said, "error: ")
	if !found {
		text = said
	}
	// Boxes and arrows are meant for a terminal.
	text = strings.Map(func(r rune) rune {
		if strings.ContainsRune("×╰╭│├─▶", r) {
			return ' '
		}
		return r
	}, text)
	text = strings.NewReplacer("\n  cause: ", ": ", "\n  Caused by: ", ": ").Replace(text)
	text = strings.ToValidUTF8(strings.TrimSpace(text), "?")
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest], "") + " ..."
	}
	for _, word := range unreachable {
		if strings.Contains(strings.ToLower(text), word) {
			return "cannot reach the package index: " + oneLine(text)
		}
	}
	if _, why, ok := strings.Cut(text, "No solution found when resolving dependencies:"); ok {
		return "the requirements conflict: " + oneLine(why)
	}
	return text
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
