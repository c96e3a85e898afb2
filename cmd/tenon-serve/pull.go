package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/bundle"
)

func pull(args []string) error {
	f := flags("pull", "CHANNEL --key KEY --to FOLDER", `Brings the newest bundle of a channel to a folder of this machine, and makes it the current
one: FOLDER/current is a link to it. Before, it has to pass its selftest, and to become ready
when it is started. CHANNEL is a folder, or a URL with https, http or file.`)
	public := f.String("key", "", "public `KEY` that has to have signed everything: its text or a file")
	to := f.String("to", "", "`FOLDER` for bundles")
	restart := f.String("restart", "", "`COMMAND` that makes the service use the new bundle, for sh")
	ready := f.String("ready", "", "`URL` that answers 200 once the service is ready, after --restart: http://127.0.0.1:8080/readyz")
	wait := f.Duration("wait", time.Minute, "`TIME` until it has to be ready")
	most := f.String("most", "4GiB", "largest `SIZE` of a bundle")
	again := f.Bool("again", false, "try a bundle again that was rejected before")
	rest, err := parsed(f, args, 1)
	if err != nil {
		return err
	}
	if len(rest) != 1 || *public == "" || *to == "" || *ready != "" && *restart == "" {
		return errors.New("tenon-serve pull takes CHANNEL, --key KEY and --to FOLDER, and --ready only with --restart; see tenon-serve pull --help")
	}
	o := bundle.Options{Channel: rest[0], Dir: *to, Platform: runtime.GOOS + "/" + runtime.GOARCH, Most: ir.ParseSize(*most), Again: *again,
		Log: func(line string) { fmt.Fprintln(os.Stderr, line) }}
	if o.Most <= 0 {
		return fmt.Errorf("%q is no size, such as 4GiB", *most)
	}
	if o.Key, err = bundle.ParsePublic(*public); err != nil {
		return err
	}
	o.Prove = func(ctx context.Context, dir string) error { return prove(ctx, dir, *wait) }
	o.Activate = func(ctx context.Context, dir, digest string) error {
		if *restart == "" {
			return nil
		}
		cmd := exec.CommandContext(ctx, "sh", "-c", *restart)
		cmd.Env = append(os.Environ(), "TENON_BUNDLE="+dir)
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w", *restart, err)
		}
		if *ready == "" {
			return nil
		}
		return becomesReady(ctx, *ready, digest, *wait, nil)
	}
	ctx, stop := signals()
	defer stop()
	found, err := bundle.Pull(ctx, o)
	if err != nil {
		return err
	}
	says := "is current already"
	if found.Changed {
		says = "is current now"
	}
	fmt.Printf("bundle %d of %s %s: %s\n", found.Number, found.Name, says, found.Dir)
	return nil
}

// mostSelftest is how long a selftest may take.
const mostSelftest = 10 * time.Minute

// prove tests a bundle with its own program, and starts it at a free port.
func prove(ctx context.Context, dir string, wait time.Duration) error {
	program := filepath.Join(dir, bundle.Program)
	within, cancel := context.WithTimeout(ctx, mostSelftest)
	defer cancel()
	var says strings.Builder
	test := exec.CommandContext(within, program, "selftest", "--bundle", dir)
	test.Stdout, test.Stderr, test.WaitDelay = os.Stderr, &says, time.Second
	if err := test.Run(); err != nil {
		return fmt.Errorf("its selftest: %w: %s", err, strings.TrimPrefix(strings.TrimSpace(says.String()), "error: "))
	}
	_, digest, err := bundle.Read(dir, nil)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return err
	}
	says.Reset()
	service := exec.Command(program, "serve", "--bundle", dir, "--host", "127.0.0.1", "--port", strconv.Itoa(port))
	service.Stderr, service.SysProcAttr = &says, onTrial()
	service.Env = append(os.Environ(), "TENON_KEPT=")
	runtime.LockOSThread() // the signal comes when the thread ends that started the program
	defer runtime.UnlockOSThread()
	if err := service.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- service.Wait() }()
	err = becomesReady(ctx, fmt.Sprintf("http://127.0.0.1:%d/readyz", port), digest, wait, ended)
	var end *exec.ExitError
	if errors.As(err, &end) {
		return fmt.Errorf("started on trial, it ends: %w: %s", err, strings.TrimSpace(says.String()))
	}
	_ = service.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		_ = service.Process.Kill()
		<-ended
	}
	if err != nil {
		return fmt.Errorf("started on trial, %w", err)
	}
	return nil
}

// becomesReady waits until a service of a bundle is ready. Meanwhile, that of another bundle
// may answer.
func becomesReady(ctx context.Context, url, digest string, wait time.Duration, ended chan error) error {
	within, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	last := errors.New("nothing answers")
	for {
		r, err := http.NewRequestWithContext(within, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if answer, err := client.Do(r); err == nil {
			_ = answer.Body.Close()
			instance := answer.Header.Get("X-Tenon-Instance")
			switch {
			case answer.StatusCode != http.StatusOK:
				last = errors.New("it answers " + answer.Status)
			case instance != "" && instance != digest:
				last = errors.New("another bundle answers")
			default:
				return nil
			}
		}
		select {
		case err := <-ended:
			if err == nil {
				err = errors.New("it ended")
			}
			return err
		case <-within.Done():
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("it is not ready after %s: %w", wait, last)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// probe asks a service whether it is ready, for health checks of containers, whose images have
// no other program.
func probe(args []string) error {
	f := flags("probe", "[URL]", "Succeeds if a service is ready, by default the one on this machine at $TENON_PORT.")
	rest, err := parsed(f, args, 1)
	if err != nil {
		return err
	}
	url := "http://127.0.0.1:" + envOr("TENON_PORT", "8080") + "/readyz"
	if len(rest) > 0 {
		url = rest[0]
	}
	answer, err := (&http.Client{Timeout: 3 * time.Second}).Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, answer.Status)
	}
	return nil
}

func envOr(name, other string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return other
}
