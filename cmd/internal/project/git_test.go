package project

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// No archive, regardless of its content, can write or read anything outside the folder
// through it.
func TestUnpackStaysInside(t *testing.T) {
	for name, tt := range map[string]struct {
		entries []tar.Header
		ok      bool
	}{
		"a file and a link to it":   {[]tar.Header{{Name: "a/b", Typeflag: tar.TypeReg}, {Name: "a/c", Typeflag: tar.TypeSymlink, Linkname: "../a/b"}}, true},
		"a path that leads out":     {[]tar.Header{{Name: "../victim", Typeflag: tar.TypeReg}}, false},
		"an absolute path":          {[]tar.Header{{Name: "/victim", Typeflag: tar.TypeReg}}, false},
		"a link that leads out":     {[]tar.Header{{Name: "a", Typeflag: tar.TypeSymlink, Linkname: ".."}, {Name: "a/victim", Typeflag: tar.TypeReg}}, true},
		"an absolute link":          {[]tar.Header{{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}}, true},
		"a file twice":              {[]tar.Header{{Name: "a", Typeflag: tar.TypeReg}, {Name: "a", Typeflag: tar.TypeReg}}, false},
		"a link in place of a file": {[]tar.Header{{Name: "b", Typeflag: tar.TypeSymlink, Linkname: "c"}, {Name: "b", Typeflag: tar.TypeReg}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			for _, h := range tt.entries {
				if err := w.WriteHeader(&h); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "in")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := unpack(tar.NewReader(&b), dir); (err == nil) != tt.ok {
				t.Errorf("it says %v", err)
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(dir), "victim")); err == nil {
				t.Error("a file was written outside")
			}
			if _, err := os.ReadFile(filepath.Join(dir, "a")); err == nil && name == "an absolute link" {
				t.Error("a file outside can be read")
			}
		})
	}
}
