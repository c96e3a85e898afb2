package image_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/executors/image"
)

// Equal folders make equal images, whoever packs them and when, and what is packed can be
// imported.
func TestPackedFoldersAreImages(t *testing.T) {
	pack := func(model string) (archive, digest string) {
		t.Helper()
		dir := t.TempDir()
		for name, text := range map[string]string{"program": "the program", "model/plane.json": model} {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(filepath.Join(dir, "program"), 0o711); err != nil {
			t.Fatal(err)
		}
		work := t.TempDir()
		img, err := image.Pack(context.Background(), image.Contents{Dir: dir, At: "/bundle", First: []string{"program"}, Work: filepath.Join(work, "layers"), OS: "linux", Arch: "arm64", User: "65532:65532", Port: "8080", Entrypoint: []string{"/bundle/program"}})
		if err != nil {
			t.Fatal(err)
		}
		archive = filepath.Join(work, "image.tar")
		if err := image.WriteArchive(img, archive, "localhost/shop/api"); err != nil {
			t.Fatal(err)
		}
		h, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		config, err := img.ConfigFile()
		if err != nil || config.Architecture != "arm64" || config.Config.User != "65532:65532" || len(config.RootFS.DiffIDs) != 2 {
			t.Errorf("%v: %+v", err, config)
		}
		return archive, h.String()
	}
	a, one := pack("one")
	b, again := pack("one")
	_, two := pack("two")
	if one != again || one == two {
		t.Errorf("digests %s, %s and %s", one, again, two)
	}
	x, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	if y, err := os.ReadFile(b); err != nil || string(x) != string(y) {
		t.Errorf("the archives differ: %v", err)
	}
	pinned, err := image.New(image.Options{Dir: t.TempDir()}).Import(context.Background(), a, "localhost/shop/api:1")
	if err != nil || !strings.HasSuffix(pinned, "@"+one) {
		t.Errorf("imported as %s, %v, want %s", pinned, err, one)
	}
}
