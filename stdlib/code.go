package stdlib

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"

	"github.com/tenon-ml/tenon/internal/version"
)

// Code is the version of Tenon, and the digest of the library's code in Go. The
// compiler takes the digests of components from the code that tenon has embedded, so it
// has to be the code of the programs that run beside it.
var Code = sync.OnceValue(func() string {
	h := sha256.New()
	err := fs.WalkDir(files, ".", func(p string, _ fs.DirEntry, err error) error {
		if err != nil || path.Ext(p) != ".go" || strings.HasSuffix(p, "_test.go") {
			return err
		}
		b, err := fs.ReadFile(files, p)
		fmt.Fprintf(h, "%q %d\n%s", p, len(b), b)
		return err
	})
	if err != nil {
		panic(err) // the files are embedded
	}
	return version.Version + " (code " + hex.EncodeToString(h.Sum(nil))[:12] + ")"
})
