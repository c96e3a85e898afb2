package executors_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/stdlib"
)

// A tenon-serve with other code would not be what the digests of units state.
func TestTenonServeHasTheCodeOfTenon(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"same":    {"#!/bin/sh\necho '" + stdlib.Code() + "'\n", ""},
		"another": {"#!/bin/sh\necho '0.1.0 (code 000000000000)'\n", "run `make build` to build both"},
		"broken":  {"#!/bin/sh\nexit 3\n", "start tenon-serve"},
		"none":    {"", "is not next to tenon"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tenon-serve")
			if c.script != "" {
				if err := os.WriteFile(path, []byte(c.script), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			got, err := executors.ServeAt(path)(t.Context())
			if c.want == "" && (err != nil || got != path) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%q, %v, wanted %q", got, err, c.want)
			}
		})
	}
}
