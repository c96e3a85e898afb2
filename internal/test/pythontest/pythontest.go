// Package pythontest gives tests interpreters of Python with locked packages. Environments are
// kept in the user's cache, as those of units are.
package pythontest

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/tenon-ml/tenon/executors/pyenv"
)

// Interpreter returns the interpreter of the environment of a lock, and makes it if it is missing.
func Interpreter(t testing.TB, lock []byte) string {
	t.Helper()
	python, err := Ensure(t.Context(), lock)
	if err != nil {
		t.Fatal(err)
	}
	return python
}

// Ensure is [Interpreter] for what runs before tests.
func Ensure(ctx context.Context, lock []byte) (string, error) {
	cache := os.Getenv("TENON_CACHE")
	if cache == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		cache = filepath.Join(base, "tenon")
	}
	return pyenv.New(pyenv.Options{Dir: filepath.Join(cache, "python"), UV: os.Getenv("TENON_UV")}).Ensure(ctx, lock, nil)
}
