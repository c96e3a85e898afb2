package componenttest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// serverPatience limits how long a server may take to start.
const serverPatience = time.Minute

// A server is what a component talks to in the suite; see the package documentation. The
// zero server does nothing.
type server struct {
	tags, environ, secrets []string
	cmd                    *exec.Cmd
	in                     io.Closer
}

// serve starts the program at path, if there is one, in a folder of its own, and waits
// until it is ready.
func serve(ctx context.Context, path, dir string) (*server, error) {
	s := &server{}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return s, err
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return s, err
	}
	ctx, cancel := context.WithTimeout(ctx, serverPatience)
	defer cancel()
	var said bytes.Buffer
	cmd := exec.Command(abs)
	cmd.Dir, cmd.Stderr = dir, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return s, err
	}
	if s.in, err = cmd.StdinPipe(); err != nil { // closed when this program dies
		return s, err
	}
	if err := cmd.Start(); err != nil {
		return s, fmt.Errorf("start %s: %w", path, err)
	}
	s.cmd = cmd
	ready := make(chan error, 1)
	go func() {
		in := bufio.NewScanner(out)
		for in.Scan() {
			word, rest, _ := strings.Cut(in.Text(), " ")
			switch word {
			case "tag":
				s.tags = append(s.tags, rest)
			case "env":
				s.environ = append(s.environ, rest)
			case "secret":
				s.secrets = append(s.secrets, rest)
			case "ready":
				ready <- nil
				return
			default:
				ready <- fmt.Errorf("it prints %q", in.Text())
				return
			}
		}
		ready <- errors.New("it ended before it was ready")
	}()
	select {
	case err = <-ready:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		s.stop()
		return &server{}, fmt.Errorf("%s: %w\n%s", path, err, said.String())
	}
	return s, nil
}

// stop ends the server and what it started.
func (s *server) stop() {
	if s == nil || s.cmd == nil {
		return
	}
	_ = s.in.Close()
	group := -s.cmd.Process.Pid
	_ = syscall.Kill(group, syscall.SIGTERM)
	hard := time.AfterFunc(10*time.Second, func() { _ = syscall.Kill(group, syscall.SIGKILL) })
	defer hard.Stop()
	_ = s.cmd.Wait()
	s.cmd = nil
}
