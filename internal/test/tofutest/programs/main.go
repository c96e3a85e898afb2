// Programs builds what tests run OpenTofu with into the user's cache.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/tenon-ml/tenon/internal/test/tofutest"
)

func main() {
	for _, build := range []func(io.Writer) (string, error){tofutest.Tofu, tofutest.Provider, tofutest.Schemas} {
		if _, err := build(os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, "programs:", err)
			os.Exit(1)
		}
	}
}
