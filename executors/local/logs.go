package local

import (
	"context"
	"io"
	"time"

	"github.com/tenon-ml/tenon/internal/logfile"
)

// Follow copies a log to w, and continues as long as running returns true. If ctx is
// done first, it returns its error. gone, which may be nil, makes it check running at
// once when the end is known.
func Follow(ctx context.Context, path string, w io.Writer, running func() bool, gone <-chan struct{}) error {
	f, err := logfile.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		// Ask before copying, so that everything printed before the end is copied.
		more := running()
		n, err := io.Copy(w, f)
		if err != nil || !more {
			return err
		}
		if n > 0 {
			wait = time.Millisecond
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-gone:
			gone = nil
		case <-time.After(wait):
		}
	}
}
