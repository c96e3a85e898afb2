package local

import (
	"context"
	"io"
	"os"
	"time"
)

// Follow copies a log to w, and goes on while running says that more may come. If
// ctx is done first, that is the error. Who is told of the end has it come
// through gone, which may be nil.
func Follow(ctx context.Context, path string, w io.Writer, running func() bool, gone <-chan struct{}) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		// Asked before the copy: what is printed before the end is then copied.
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
