package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
)

// A bucket keeps blobs under keys at one service. It is safe for concurrent use and
// retries temporary failures. Its errors wrap [errAbsent] or a [*refusal] if the service
// reports one.
type bucket interface {
	// size returns the size of a blob.
	size(ctx context.Context, key string) (int64, error)
	// read opens a blob at an offset. It also returns the size of the whole blob.
	read(ctx context.Context, key string, offset int64) (io.ReadCloser, int64, error)
	// write stores what r yields, about size bytes, and replaces any earlier blob. If r
	// or write fails, nothing has changed.
	write(ctx context.Context, key string, r io.Reader, size int64) error
	// remove removes a blob. It does nothing if there is none.
	remove(ctx context.Context, key string) error
	// list yields the keys that begin with prefix, or an error and then no more. It
	// requests page keys at once.
	list(ctx context.Context, prefix string, page int) iter.Seq2[string, error]
}

// pageSize is how many keys are requested at once. No service returns more.
const pageSize = 1000

// errAbsent means that the blob or the bucket does not exist.
var errAbsent = errors.New("not found")

// errWhole means that a server does not send part of a blob.
var errWhole = errors.New("the server sent the whole blob instead of the requested range")

// absent marks an error as [errAbsent].
func absent(err error) error { return fmt.Errorf("%w: %w", errAbsent, err) }

// A refusal means that the service rejected the credentials, or that they do not
// allow the request.
type refusal struct {
	why string // in the words of the service
	err error
}

func (e *refusal) Error() string { return e.err.Error() }
func (e *refusal) Unwrap() error { return e.err }

// transport gives up on a server that does not answer, and keeps a connection for each
// file in transfer.
func transport(p patience) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = 5 * p.stall
	t.MaxIdleConnsPerHost = parts
	return t
}

// withoutQuery removes the query of a URL from an error of net/http. It may contain a
// signature or the name of an upload, which are as sensitive as a password.
func withoutQuery(err error) error {
	var e *url.Error
	if !errors.As(err, &e) {
		return err
	}
	u, bad := url.Parse(e.URL)
	if bad != nil {
		return e.Err
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return &url.Error{Op: e.Op, URL: u.String(), Err: e.Err}
}
