package bundle

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Portable are the parameters of a service that mean the same on another machine. Any other one
// is refused, so that none is lost.
var Portable = []string{
	"deployment", "drain_seconds", "env", "explain", "latency_buckets", "log", "max_bytes", "max_connections", "max_instances", "max_waiting",
	"model", "private", "python", "request", "system", "traces",
}

// NotPortable says why a service with these parameters cannot run on another machine, or returns "".
// It may have the allowed parameters and no others.
func NotPortable(parameters json.RawMessage, allowed []string) (why string, err error) {
	var all map[string]json.RawMessage
	var given struct {
		Request struct {
			History json.RawMessage `json:"history"`
			Lookups map[string]struct {
				Store json.RawMessage `json:"store"`
			} `json:"lookups"`
		} `json:"request"`
	}
	for _, into := range []any{&all, &given} {
		if err := json.Unmarshal(parameters, into); err != nil {
			return "", fmt.Errorf("read the parameters: %w", err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(given.Request.Lookups)) {
		if len(given.Request.Lookups[name].Store) > 0 {
			return fmt.Sprintf("the rows of %q are in a store, which another machine does not have: leave out store in lookup", name), nil
		}
	}
	if len(given.Request.History) > 0 {
		return "its features are computed from a history, which grows on the machine that serves", nil
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !slices.Contains(allowed, name) {
			return fmt.Sprintf("%q means nothing on another machine", name), nil
		}
	}
	return "", nil
}
