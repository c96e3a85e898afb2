package ssh

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"github.com/tenon-ml/tenon/executors/ssh/host"
	"github.com/tenon-ml/tenon/planner/artifact"
)

// A link is a connection to the tenon-host on a host.
type link struct {
	host    Host
	client  *gossh.Client
	session *gossh.Session
	conn    *host.Conn
	http    *http.Client
	said    *tailBuffer // what tenon-host prints

	saidStop   atomic.Bool // the host knows when to stop itself
	cannotStop string      // why the host cannot stop itself although it has to, or ""
}

// How often a connection that is silent is checked, and how long the answer may take.
const (
	silence = 10 * time.Second
	answers = 15 * time.Second
)

// open connects to a host and starts tenon-host there, which is copied first if it is missing; installs is
// true meanwhile.
func (e *Executor) open(ctx context.Context, h Host, installs *atomic.Bool) (*link, error) {
	own, err := e.programs.digest(e.opts.Host)
	if err != nil {
		return nil, h.refused(err, "tenon-host, which is copied to it, is not next to tenon: run `make build` to build both: %v", err)
	}
	runner, err := e.programs.digest(e.opts.Runner)
	if err != nil {
		return nil, h.refused(err, "tenon-run, which is copied to it, is not next to tenon: run `make build` to build both: %v", err)
	}
	client, err := e.opts.dial(ctx, h)
	if err != nil {
		return nil, err
	}
	l := &link{host: h, client: client}
	stop := context.AfterFunc(ctx, func() { client.Close() })
	ready, err := l.begin(own, runner, e.opts.Grace)
	if err == nil && !ready {
		installs.Store(true)
		err = l.install(e.opts.Host, own)
		installs.Store(false)
		if err == nil {
			ready, err = l.begin(own, runner, e.opts.Grace)
		}
		if err == nil && !ready {
			err = h.refused(nil, "tenon-host was copied to it, but cannot be found there")
		}
	}
	if !stop() {
		err = errors.Join(ctx.Err(), err)
	}
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	l.http = l.transport(e.opts.Idle)
	return l, nil
}

// transport speaks HTTP/2 over the session. It makes one connection; a link that has ended is
// not used any more. It ends when it is idle, because executors live as long as tenon, and a
// controller makes many.
func (l *link) transport(idle time.Duration) *http.Client {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	var once sync.Once
	return &http.Client{Transport: &http.Transport{
		Protocols: &protocols, HTTP2: &http.HTTP2Config{SendPingTimeout: silence, PingTimeout: answers}, DisableCompression: true, IdleConnTimeout: idle,
		DialContext: func(context.Context, string, string) (conn net.Conn, err error) {
			err = errors.New("the connection has ended")
			once.Do(func() { conn, err = l.conn, nil })
			return conn, err
		},
	}}
}

// mark begins the line in which a script answers, after whatever the profile of the user
// prints.
const mark = "tenon-host: "

// folder returns the folder on the host, for a script.
func (h Host) folder() string {
	if rest, ok := strings.CutPrefix(h.Folder, "~/"); ok {
		return `"$HOME/` + rest + `"` // its characters have no meaning to a shell, see tenon.#SSHHost
	}
	if h.Folder != "" {
		return `"` + h.Folder + `"`
	}
	return `"${XDG_CACHE_HOME:-$HOME/.cache}/tenon/ssh"`
}

// startPatience is how long a host may take to start tenon-host, which runs the profile of the
// user first.
const startPatience = 30 * time.Second

// begin starts tenon-host if it is there, intact.
func (l *link) begin(digest, runner string, grace time.Duration) (ready bool, err error) {
	hex, _ := artifact.Hex(digest)
	script := fmt.Sprintf(`set -eu; umask 077; d=%s; p=$d/programs/%s
if [ -x "$p" ] && [ "$(sha256sum <"$p")" = "%[2]s  -" ]; then echo "%[3]sready"; exec "$p" serve -dir "$d" -runner %s -grace %s -containerd "%s"; fi
echo "%[3]smissing $(uname -s) $(uname -m)"`, l.host.folder(), hex, mark, runner, grace, l.host.Containerd) // its characters, too, have no meaning to a shell
	timer := time.AfterFunc(startPatience, func() { l.client.Close() })
	defer timer.Stop()
	if l.session, err = l.client.NewSession(); err != nil {
		return false, err
	}
	in, err := l.session.StdinPipe()
	if err != nil {
		return false, err
	}
	out, err := l.session.StdoutPipe()
	if err != nil {
		return false, err
	}
	l.said = &tailBuffer{}
	l.session.Stderr = l.said
	if err := l.session.Start(asScript(script)); err != nil {
		if strings.HasPrefix(err.Error(), "ssh: command ") { // and the script
			return false, l.host.refused(err, "it does not run commands for user %s", l.host.User)
		}
		return false, fmt.Errorf("host %s: start tenon-host: %w", l.host, err)
	}
	r := bufio.NewReaderSize(out, 64<<10)
	for {
		line, err := r.ReadString('\n')
		_, answer, found := strings.Cut(line, mark)
		switch {
		case err != nil:
			return false, fmt.Errorf("host %s: start tenon-host: %w%s", l.host, err, l.said.after())
		case !found:
		case strings.TrimSpace(answer) == "ready":
			l.conn = host.NewConn(io.NopCloser(r), input{in, l.session})
			return true, nil
		default:
			return false, l.host.platform(strings.Fields(answer))
		}
	}
}

// An input is the standard input of a session. To close it closes the session: that may happen
// during a write, and the end of the input alone must not be sent during one.
type input struct {
	io.Writer
	session *gossh.Session
}

func (i input) Close() error { return i.session.Close() }

// machines are the names that uname has for architectures of Go.
var machines = map[string]string{"x86_64": "amd64", "aarch64": "arm64"}

// platform refuses a host that cannot run this machine's programs.
func (h Host) platform(answer []string) error {
	if len(answer) != 3 {
		return h.refused(nil, "it did not say what it runs: %q", strings.Join(answer, " "))
	}
	system, machine := answer[1], answer[2]
	if system != "Linux" || machines[machine] != runtime.GOARCH {
		return h.refused(nil, "it runs %s on %s, and programs of this tenon run on Linux on %s", system, machine, runtime.GOARCH)
	}
	return nil
}

// install copies tenon-host. It gets its name once it is complete and has its digest.
func (l *link) install(path, digest string) error {
	hex, _ := artifact.Hex(digest)
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	session, err := l.client.NewSession()
	if err != nil {
		return err
	}
	defer session.Close()
	said := &tailBuffer{}
	compressed, w := io.Pipe()
	go func() { w.CloseWithError(compress(w, f)) }() //nolint:errcheck // it always returns nil
	defer compressed.Close()
	session.Stdin, session.Stderr = compressed, said
	script := fmt.Sprintf(`set -eu; umask 077; d=%s; mkdir -p "$d/programs"; chmod 700 "$d"; t=$(mktemp "$d/programs/.new-XXXXXXXX")
trap "rm -f \"$t\"" EXIT; gzip -dc >"$t"
[ "$(sha256sum <"$t")" = "%s  -" ] || { echo "what arrived is damaged" >&2; exit 1; }
chmod 700 "$t"; mv -f "$t" "$d/programs/%[2]s"`, l.host.folder(), hex)
	if err := session.Run(asScript(script)); err != nil {
		var exit *gossh.ExitError
		if errors.As(err, &exit) {
			return l.host.refused(err, "tenon-host cannot be copied to it: %v%s", err, said.after())
		}
		return fmt.Errorf("copy tenon-host: %w", err)
	}
	return nil
}

// compress writes what r has to w, compressed: a program is two thirds smaller then.
func compress(w io.Writer, r io.Reader) error {
	packets := bufio.NewWriterSize(w, 32<<10) // gzip writes a few bytes at a time, and ssh sends each
	z, err := gzip.NewWriterLevel(packets, gzip.BestSpeed)
	if err == nil {
		_, err = io.Copy(z, r)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return err
	}
	return packets.Flush()
}

// asScript makes a command of a script, whatever the shell of the user is. The script has no
// single quotes.
func asScript(script string) string { return "exec sh -c '" + script + "'" }

func (l *link) close() error {
	if l.session != nil {
		_ = l.session.Close() // it may have ended
	}
	if l.conn != nil {
		_ = l.conn.Close()
	}
	if err := l.client.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// A saidError is what the host answered instead of what was asked for.
type saidError struct {
	host Host
	code int
	text string
}

func (e *saidError) Error() string { return fmt.Sprintf("host %s: %s", e.host, e.text) }

// request sends a request and returns the body of the answer.
func (l *link) request(ctx context.Context, method, path string, body io.Reader) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://host"+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := l.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("%w%s", err, l.said.after())
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return nil, err
	}
	return nil, &saidError{l.host, resp.StatusCode, strings.TrimSpace(string(text))}
}

// ask sends a request in JSON.
func (l *link) ask(ctx context.Context, path string, in any) (io.ReadCloser, error) {
	b, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	return l.request(ctx, http.MethodPost, path, bytes.NewReader(b))
}

// ask sends a request and reads the answer, both in JSON.
func ask[Out any](ctx context.Context, l *link, path string, in any) (out Out, err error) {
	body, err := l.ask(ctx, path, in)
	if err != nil {
		return out, err
	}
	defer body.Close()
	return out, json.NewDecoder(body).Decode(&out)
}

// A tailBuffer keeps the end of what is written to it.
type tailBuffer struct {
	mu sync.Mutex
	b  []byte
}

func (t *tailBuffer) Write(b []byte) (int, error) {
	const most = 2000
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	t.b = t.b[max(0, len(t.b)-most):]
	return len(b), nil
}

// after returns what was written, to be added to an error, or "".
func (t *tailBuffer) after() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if text := strings.TrimSpace(string(t.b)); text != "" {
		return ": " + text
	}
	return ""
}

// absent reports whether the host has nothing by that name.
func (e *saidError) absent() bool { return e.code == http.StatusNotFound }

// oneLine makes one line of an error, for a status.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
