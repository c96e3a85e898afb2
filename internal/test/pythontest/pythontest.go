// Package pythontest gives tests interpreters of Python with locked packages. Environments are
// kept in the user's cache, as those of units are.
package pythontest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tenon-ml/tenon/executors/pyenv"
)

// Interpreter returns the interpreter of the environment of a lock, and makes it if it is missing.
func Interpreter(t testing.TB, lock []byte) string {
	t.Helper()
	cache := os.Getenv("TENON_CACHE")
	if cache == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(base, "tenon")
	}
	python, err := pyenv.New(pyenv.Options{Dir: filepath.Join(cache, "python"), UV: os.Getenv("TENON_UV")}).Ensure(t.Context(), lock, nil)
	if err != nil {
		t.Fatal(err)
	}
	return python
}
