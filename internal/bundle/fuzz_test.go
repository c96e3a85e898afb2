package bundle

import (
	"path/filepath"
	"testing"
)

// Whatever a manifest says, no file is written outside of its folder.
func FuzzManifest(f *testing.F) {
	const sum = `"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"`
	for _, path := range []string{"a", "a/b", "../a", "/a", `..\\a`, "a/./b", "a\\u0000"} {
		f.Add([]byte(`{"kind":"tenon bundle","version":1,"name":"a/b","platform":"linux/test","code":"1","files":[{"path":"` + path + `","size":0,` + sum + `}]}`))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parse(b)
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, file := range m.Files {
			if at := filepath.Clean(filepath.FromSlash(file.Path)); !filepath.IsLocal(file.Path) || at != file.Path || seen[at] || file.Size < 0 {
				t.Errorf("accepted: %q", file.Path)
			}
			seen[file.Path] = true
		}
	})
}
