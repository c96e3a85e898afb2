package remote

import (
	"context"
	"time"
)

// OpenHasty opens a store that gives up soon.
func OpenHasty(ctx context.Context, url string) (*Store, error) {
	return open(ctx, url, patience{tries: 3, pause: time.Millisecond, stall: 2 * time.Second})
}

// PartSize is how many bytes are sent at once.
const PartSize = partSize
