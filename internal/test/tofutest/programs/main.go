// Programs builds what tests run OpenTofu with into the user's cache.
package main

import (
	"fmt"
	"os"

	"github.com/tenon-ml/tenon/internal/test/tofutest"
)

func main() {
	_, err := tofutest.Tofu(os.Stderr)
	if err == nil {
		_, err = tofutest.Provider(os.Stderr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "programs:", err)
		os.Exit(1)
	}
}
