package release

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/tenon-ml/tenon/stdlib/step"
)

// pollEvery is how often the file of a route is looked at. It is small.
const pollEvery = 100 * time.Millisecond

// Read reads the file of a route.
func Read(path string) (step.Route, error) {
	r, _, err := read(path)
	return r, err
}

func read(path string) (r step.Route, b []byte, err error) {
	if b, err = os.ReadFile(path); err != nil {
		return r, nil, fmt.Errorf("read the route: %w", err)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, b, fmt.Errorf("read the route: %w", err)
	}
	return r, b, nil
}

// Follow calls apply with every route that the file has after the one with the serial, until ctx
// ends. A file that cannot be read, and a route that apply refuses, are said once. They change nothing.
func Follow(ctx context.Context, path string, serial int64, apply func(step.Route) error, say func(string)) {
	var last []byte
	var said string
	for tick := time.NewTicker(pollEvery); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
		r, b, err := read(path)
		if err == nil {
			if bytes.Equal(b, last) {
				continue
			}
			switch {
			case r.Serial < serial:
				err = fmt.Errorf("route %d comes after route %d", r.Serial, serial)
			case r.Serial > serial:
				err = apply(r)
			}
		}
		if err != nil {
			if says := err.Error(); says != said {
				said = says
				say(fmt.Sprintf("error: route %d stays: %v", serial, err))
			}
			continue
		}
		last, said, serial = b, "", r.Serial
	}
}
