package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/internal/files"
)

// A source is where the files of a channel are. open returns the content of a file from an
// offset on, or from its beginning: from says which.
type source interface {
	open(ctx context.Context, path string, offset int64) (r io.ReadCloser, from int64, err error)
}

// sourceOf returns the source of a URL, or of the path of a folder.
func sourceOf(where string) (source, error) {
	u, err := url.Parse(where)
	if err != nil {
		return nil, fmt.Errorf("%q is no URL: %w", where, err)
	}
	switch u.Scheme {
	case "":
		return folder(where), nil
	case "file":
		return folder(u.Path), nil
	case "http", "https":
		return web{u}, nil
	}
	return nil, fmt.Errorf("%q is no channel: it is a folder, or a URL with https, http or file", where)
}

type folder string

func (f folder) open(_ context.Context, path string, offset int64) (io.ReadCloser, int64, error) {
	file, err := os.Open(filepath.Join(string(f), filepath.FromSlash(path)))
	if err != nil {
		return nil, 0, err
	}
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, offset, nil
}

type web struct{ *url.URL }

// Times of a web server.
const (
	answers = 30 * time.Second // until it answers
	stalls  = 60 * time.Second // in which it has to send something
)

var client = &http.Client{Transport: &http.Transport{
	Proxy: http.ProxyFromEnvironment, ResponseHeaderTimeout: answers, TLSHandshakeTimeout: answers, ForceAttemptHTTP2: true, IdleConnTimeout: stalls,
	DisableCompression: true, // sizes are those of the files
}}

func (w web) open(ctx context.Context, path string, offset int64) (io.ReadCloser, int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	where := w.JoinPath(path)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, where.String(), nil)
	if err != nil {
		cancel()
		return nil, 0, err
	}
	if offset > 0 {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	answer, err := client.Do(r)
	if err != nil {
		cancel()
		return nil, 0, err
	}
	from, ok := int64(0), answer.StatusCode == http.StatusOK
	if answer.StatusCode == http.StatusPartialContent && strings.HasPrefix(answer.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", offset)) {
		from, ok = offset, true
	}
	if !ok {
		err := fmt.Errorf("%s answers %s", where.Redacted(), answer.Status)
		switch answer.StatusCode {
		case http.StatusNotFound:
			err = fmt.Errorf("%w: %w", err, fs.ErrNotExist)
		case http.StatusRequestedRangeNotSatisfiable:
			err = errRange
		}
		_ = answer.Body.Close()
		cancel()
		return nil, 0, err
	}
	return &stalling{answer.Body, time.AfterFunc(stalls, cancel), cancel}, from, nil
}

// errRange says that a file has no such offset.
var errRange = errors.New("the file is shorter")

// stalling ends when nothing arrives for a while.
type stalling struct {
	io.ReadCloser
	timer  *time.Timer
	cancel func()
}

func (s *stalling) Read(b []byte) (int, error) {
	n, err := s.ReadCloser.Read(b)
	s.timer.Reset(stalls)
	return n, err
}

func (s *stalling) Close() error {
	s.timer.Stop()
	s.cancel()
	return s.ReadCloser.Close()
}

// small reads a small file of a source.
func small(ctx context.Context, s source, path string, most int64) ([]byte, error) {
	r, _, err := s.open(ctx, path, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return readAll(r, path, most)
}

// tries is how often a download goes on after a failure.
const tries = 4

// download brings a file to a path, with what an earlier download brought.
func download(ctx context.Context, s source, f File, to string) error {
	part := to + ".part"
	var err error
	for try := range tries {
		if try > 0 {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(time.Duration(try) * 500 * time.Millisecond):
			}
		}
		if err = goOn(ctx, s, f, part); err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, errDigest) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("download %s: %w", f.Path, err)
	}
	return os.Rename(part, to)
}

var errDigest = errors.New("it has another digest than in the manifest")

// goOn adds what is missing to a file, and checks all of it.
func goOn(ctx context.Context, s source, f File, part string) (err error) {
	out, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	have, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if have > f.Size {
		have = 0
	}
	if have < f.Size || f.Size == 0 {
		in, from, err := s.open(ctx, "files/"+f.SHA256, have)
		if errors.Is(err, errRange) {
			in, from, err = s.open(ctx, "files/"+f.SHA256, 0)
		}
		if err != nil {
			return err
		}
		defer in.Close()
		if _, err := out.Seek(from, io.SeekStart); err != nil {
			return err
		}
		n, err := io.Copy(out, io.LimitReader(in, f.Size-from+1))
		if err != nil {
			return err
		}
		if from+n < f.Size {
			return io.ErrUnexpectedEOF
		}
	}
	if err := out.Truncate(f.Size); err != nil {
		return err
	}
	if err := out.Sync(); err != nil {
		return err
	}
	got, err := files.SHA256(part)
	if err == nil && got != f.SHA256 {
		err = errors.Join(errDigest, os.Remove(part))
	}
	return err
}
