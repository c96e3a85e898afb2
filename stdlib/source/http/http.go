// Package http downloads a file whose digest is pinned.
package http

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/stdlib/builtin"
	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/step"
)

const attempts = 5

// Variables, so that tests need not wait.
var (
	firstPause = 500 * time.Millisecond // doubles with each attempt
	stall      = time.Minute            // without a byte
)

// Run downloads one file, checks that it is the pinned one, and reads it
// as a table.
func Run(ctx context.Context, s *step.Step) error {
	var p struct {
		URL    string   `json:"url"`
		SHA256 string   `json:"sha256"`
		Format string   `json:"format"`
		CSV    duck.CSV `json:"csv"`
		Look   bool     `json:"look"`
	}
	if err := builtin.Params(s, &p); err != nil {
		return err
	}
	u, err := url.Parse(p.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("url %q is not an http or https URL", p.URL)
	}
	want := strings.ToLower(strings.TrimPrefix(p.SHA256, "sha256:"))
	if b, err := hex.DecodeString(want); err != nil || len(b) != sha256.Size {
		return fmt.Errorf("sha256 %q is not 64 hexadecimal digits", p.SHA256)
	}
	name := path.Base(u.Path)
	if name == "." || name == "/" {
		name = "download"
	}
	dir, err := os.MkdirTemp(s.Scratch, "http-")
	if err != nil {
		return fmt.Errorf("make a folder for the download: %w", err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, name)
	if p.Look {
		return look(ctx, s, u, file, duck.Source{Format: p.Format, CSV: p.CSV})
	}
	got, err := download(ctx, s, u, file)
	if err != nil {
		return fmt.Errorf("download %s: %w", u.Redacted(), err)
	}
	if got != want {
		return fmt.Errorf("%s does not match its sha256: got %s, wanted %s", u.Redacted(), got, want)
	}
	err = builtin.Ingest(ctx, s, duck.Source{Files: []string{file}, Format: p.Format, CSV: p.CSV})
	if err != nil && strings.HasPrefix(err.Error(), file) {
		// The person knows the address, not where the file was for a moment.
		return errors.New(u.Redacted() + strings.TrimPrefix(err.Error(), file))
	}
	return err
}

// errFinal is a failure that another attempt would not cure.
type errFinal struct{ error }

func (e errFinal) Unwrap() error { return e.error }

// download writes the content of u to file and returns its SHA-256.
func download(ctx context.Context, s *step.Step, u *url.URL, file string) (string, error) {
	pause := firstPause
	for n := 1; ; n++ {
		sum, err := fetch(ctx, s, u, file)
		if err == nil {
			return sum, nil
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if errors.As(err, &errFinal{}) {
			return "", err
		}
		if n == attempts {
			return "", fmt.Errorf("%w (after %d attempts)", err, attempts)
		}
		builtin.Report(s, 0, 0, fmt.Sprintf("attempt %d failed: %v", n, err))
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(pause):
		}
		pause *= 2
	}
}

func fetch(ctx context.Context, s *step.Step, u *url.URL, file string) (string, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(stall, func() { cancel(fmt.Errorf("no data for %s", stall)) })
	defer silent.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", errFinal{err}
	}
	req.Header.Set("User-Agent", "tenon")
	req.Header.Set("Accept-Encoding", "identity") // the pinned bytes are those of the file
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) { // it repeats the address
			err = inner.Err
		}
		return "", orCause(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		err := fmt.Errorf("the server returned %s", resp.Status)
		if resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests {
			return "", errFinal{err}
		}
		return "", err
	}
	f, err := os.Create(file)
	if err != nil {
		return "", errFinal{err}
	}
	defer f.Close()
	h := sha256.New()
	w := &meter{step: s, total: max(resp.ContentLength, 0), silent: silent}
	if _, err := io.Copy(io.MultiWriter(f, h, w), resp.Body); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return "", fmt.Errorf("the connection was cut after %d of %d bytes", w.done, w.total)
		}
		return "", orCause(ctx, err)
	}
	w.report()
	if err := f.Close(); err != nil {
		return "", errFinal{err}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// orCause returns why a context was cancelled rather than that it was.
func orCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// meter counts what comes in, and says so now and then.
type meter struct {
	step        *step.Step
	done, total int64
	silent      *time.Timer
	last        time.Time
}

func (m *meter) Write(b []byte) (int, error) {
	m.done += int64(len(b))
	m.silent.Reset(stall)
	if time.Since(m.last) > time.Second {
		m.report()
	}
	return len(b), nil
}

func (m *meter) report() {
	m.last = time.Now()
	builtin.Report(m.step, float64(m.done), float64(m.total), fmt.Sprintf("downloaded %d bytes", m.done))
}
